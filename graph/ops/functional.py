"""Functions over the rows of tensors: map_fn, scan, foldl and foldr, as loops over TensorArrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import context
from ..defaults import name_scope
from ..dtypes import as_dtype
from ..ir import Tensor
from ..structure import check_same, flatten, pack
from .arithmetic import add, subtract
from .compare import greater_equal, less
from .convert import convert_to_tensor, stack
from .getitem import getitem
from .loops import as_next, while_loop
from .sizes import shape
from .tensor_array import TensorArray

Function = Callable[..., Any]


def map_fn(
    fn: Function, elems: Any, dtype: Any = None, parallel_iterations: int | None = None, back_prop: bool = True,
    swap_memory: bool = False, infer_shape: bool = True, name: str | None = None,
) -> Any:  # fmt: skip
    """`fn` of each row of `elems` (a tensor or a structure of tensors with as many rows), the results stacked.

    `dtype`: the structure of the results' types, where it is another than that of `elems`. Differentiable to any order.
    Source: `tf.map_fn`. Raises TypeError for an `fn` that is none, ValueError for scalars and results of another structure.
    """
    _check(fn)
    with name_scope(name, "map", flatten(elems)):
        rows = _Rows(elems)
        types = rows.types if dtype is None else dtype
        if context.executing_eagerly():
            return _stacked(types, [fn(rows.now(index)) for index in range(rows.known_count())])
        made = [TensorArray(as_dtype(kind), rows.count, infer_shape=infer_shape) for kind in flatten(types)]

        def step(index: Tensor, arrays: list[TensorArray]) -> tuple[Tensor, list[TensorArray]]:
            result = fn(rows.at(index))
            check_same(types, result)
            values = flatten(result)
            written = [array.write(index, value) for array, value in zip(arrays, values, strict=True)]
            return add(index, 1), written

        _, arrays = while_loop(
            lambda index, _: less(index, rows.count), step, (0, made), back_prop=back_prop,
            parallel_iterations=parallel_iterations or 10, swap_memory=swap_memory,
        )  # fmt: skip
        return pack(types, iter([_rows_of(array, rows) for array in arrays]))


def scan(
    fn: Function, elems: Any, initializer: Any = None, parallel_iterations: int = 10, back_prop: bool = True,
    swap_memory: bool = False, infer_shape: bool = True, reverse: bool = False, name: str | None = None,
) -> Any:  # fmt: skip
    """All values that `a = fn(a, row)` takes over the rows of `elems`, stacked; from the last row on with `reverse`.

    `initializer`: the first `a`; the first row where it is None, which is then also the first result.
    Source: `tf.scan`. Raises as `map_fn`.
    """
    _check(fn)
    with name_scope(name, "scan", [*flatten(elems), *flatten(initializer)]):
        rows = _Rows(elems)
        if context.executing_eagerly():
            return _scan_now(fn, rows, initializer, reverse)
        first, skipped = rows.start(initializer, reverse)
        values = flatten(first)
        made = [TensorArray(value.dtype, rows.count, infer_shape=infer_shape) for value in values]
        if skipped:
            at = subtract(rows.count, 1) if reverse else 0
            made = [array.write(at, value) for array, value in zip(made, values, strict=True)]

        def step(index: Tensor, now: Any, arrays: list[TensorArray]) -> tuple[Tensor, Any, list[TensorArray]]:
            after = _same_types(now, fn(now, rows.at(index)))
            written = [array.write(index, value) for array, value in zip(arrays, flatten(after), strict=True)]
            return rows.next(index, reverse), after, written

        _, _, arrays = while_loop(
            lambda index, *_: rows.inside(index, reverse), step, (rows.first(skipped, reverse), first, made),
            back_prop=back_prop, parallel_iterations=parallel_iterations, swap_memory=swap_memory,
        )  # fmt: skip
        return pack(first, iter([_rows_of(array, rows) for array in arrays]))


def foldl(
    fn: Function, elems: Any, initializer: Any = None, parallel_iterations: int = 10, back_prop: bool = True,
    swap_memory: bool = False, name: str | None = None,
) -> Any:  # fmt: skip
    """The last value that `a = fn(a, row)` takes over the rows of `elems`, the first one first.

    `initializer`: the first `a`; the first row where it is None. Source: `tf.foldl`. Raises as `map_fn`.
    """
    return _fold(fn, elems, initializer, back_prop, name, "foldl", reverse=False)


def foldr(
    fn: Function, elems: Any, initializer: Any = None, parallel_iterations: int = 10, back_prop: bool = True,
    swap_memory: bool = False, name: str | None = None,
) -> Any:  # fmt: skip
    """As `foldl`, the last row first. Source: `tf.foldr`."""
    return _fold(fn, elems, initializer, back_prop, name, "foldr", reverse=True)


def _fold(
    fn: Function, elems: Any, initializer: Any, back_prop: bool, name: str | None, default_name: str, reverse: bool
) -> Any:
    _check(fn)
    with name_scope(name, default_name, [*flatten(elems), *flatten(initializer)]):
        rows = _Rows(elems)
        if context.executing_eagerly():
            return _values_now(fn, rows, initializer, reverse)[-1]
        first, skipped = rows.start(initializer, reverse)

        def step(index: Tensor, now: Any) -> tuple[Tensor, Any]:
            return rows.next(index, reverse), _same_types(now, fn(now, rows.at(index)))

        return while_loop(
            lambda index, _: rows.inside(index, reverse), step, (rows.first(skipped, reverse), first),
            back_prop=back_prop,
        )[1]  # fmt: skip


def _check(fn: Any) -> None:
    if not callable(fn):
        raise TypeError(f"The provided function {getattr(fn, '__name__', fn)!r} is not callable.")


class _Rows:
    """The rows of a structure of tensors."""

    def __init__(self, elems: Any) -> None:
        self.tensors = [convert_to_tensor(leaf, name="elem") for leaf in flatten(elems)]
        if not self.tensors:
            raise ValueError("elems must be a Tensor or a structure of at least one Tensor")
        for tensor in self.tensors:
            if tensor.dims == ():
                raise ValueError("elems must have at least 1 dimension: there are no rows of a scalar")
        self.structure = elems
        self.types = pack(elems, iter([tensor.dtype for tensor in self.tensors]))
        known = {count for tensor in self.tensors for count in (tensor.dims or ())[:1] if count is not None}
        if len(known) > 1:
            raise ValueError(f"elems differ in how many rows they have: dimensions {sorted(known)} are not compatible")
        self.static = known.pop() if known else None
        self.count: Any = self.static if self.static is not None else getitem(shape(self.tensors[0]), 0)
        self._arrays: list[TensorArray] = []
        if not context.executing_eagerly():
            self._arrays = [TensorArray(tensor.dtype, self.count).unstack(tensor) for tensor in self.tensors]

    def at(self, index: Any) -> Any:
        """One row of each."""
        return pack(self.structure, iter([array.read(index) for array in self._arrays]))

    def now(self, index: int) -> Any:
        """One row of each, in eager execution."""
        return pack(self.structure, iter([getitem(tensor, index) for tensor in self.tensors]))

    def known_count(self) -> int:
        return int(self.count)

    def start(self, initializer: Any, reverse: bool) -> tuple[Any, bool]:
        """The first accumulated value, and whether it was the first row."""
        if initializer is not None:
            return pack(initializer, map(convert_to_tensor, flatten(initializer))), False
        return self.at(subtract(self.count, 1) if reverse else 0), True

    def first(self, skipped: bool, reverse: bool) -> Any:
        """The index to begin with."""
        if reverse:
            return subtract(self.count, 2 if skipped else 1)
        return 1 if skipped else 0

    def next(self, index: Tensor, reverse: bool) -> Tensor:
        return subtract(index, 1) if reverse else add(index, 1)

    def inside(self, index: Tensor, reverse: bool) -> Tensor:
        return greater_equal(index, 0) if reverse else less(index, self.count)


def _same_types(before: Any, after: Any) -> Any:
    """What a step gave, as tensors of the types that it was given. Raises ValueError, TypeError."""
    check_same(before, after)
    pairs = zip(flatten(after), flatten(before), strict=True)
    return pack(before, iter([as_next(leaf, start.name, start.dtype) for leaf, start in pairs]))


def _rows_of(array: TensorArray, rows: _Rows) -> Tensor:
    found = array.stack()
    if found.dims is not None and rows.static is not None:
        found.set_shape((rows.static, *found.dims[1:]))
    return found


def _values_now(fn: Function, rows: _Rows, initializer: Any, reverse: bool) -> list[Any]:
    """The values that an accumulation takes, in eager execution."""
    order = list(range(rows.known_count()))
    if reverse:
        order.reverse()
    now = rows.now(order.pop(0)) if initializer is None else initializer
    values = [now]
    for index in order:
        values.append(fn(values[-1], rows.now(index)))
    return values


def _scan_now(fn: Function, rows: _Rows, initializer: Any, reverse: bool) -> Any:
    values = _values_now(fn, rows, initializer, reverse)
    if initializer is not None:
        values = values[1:]
    return _stacked(values[0], values[::-1] if reverse else values)


def _stacked(like: Any, values: list[Any]) -> Any:
    """The values stacked leaf by leaf."""
    columns = zip(*map(flatten, values), strict=True)
    return pack(like, iter([stack(list(column)) for column in columns]))
