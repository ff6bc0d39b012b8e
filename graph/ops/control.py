"""Operations used for their effect on order or for what they report: group, tuple, with_dependencies, Print and Assert."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from types import NoneType
from typing import Any, cast

import numpy as np

from .. import context
from ..dtypes import boolean
from ..errors import InvalidArgumentError
from ..indexed_slices import IndexedSlices
from ..ir import Graph, Operation, Tensor, get_default_graph
from ..op import Op, op
from ..opdef import Spec, TensorLike
from .basic import Identity, no_op
from .constant import convert_to_tensor

_list, _tuple = list, tuple


@op
class PrintOp(Op):
    """The first input itself; prints the others to stderr, the first `first_n` times (-1: always)."""

    type = "Print"
    message: str = ""
    first_n: int = -1
    summarize: int = 3
    stateful = True
    view = True

    def infer(self, x: TensorLike, *data: TensorLike) -> Spec:
        return Spec(x.dtype, x.dims, x.known)

    def compute(self, state: Any, x: Any, *data: Any) -> Any:
        if self.first_n < 0 or state.next_count() < self.first_n:
            values = "".join(f"[{summary(value, self.summarize)}]" for value in data)
            print(f"{self.message}{values}", file=sys.stderr, flush=True)
        return x

    def grad(self, operation: Operation, dy: Any) -> _list[Any]:
        return [dy, *[None] * (len(operation.inputs) - 1)]


@op
class AssertOp(Op):
    """Fails the run, with the data in the message, when the condition does not hold."""

    type = "Assert"
    summarize: int = 3
    stateful = True
    not_differentiable = True

    def infer(self, condition: TensorLike, *data: TensorLike) -> _tuple[Spec, ...]:
        if condition.dtype is not boolean:
            raise TypeError(f"Assert takes a bool condition, got {condition.dtype.name}")
        if condition.dims not in (None, ()):
            raise ValueError("Assert takes a scalar condition")
        return ()

    def compute(self, state: Any, condition: Any, *data: Any) -> None:
        if not condition:
            values = " ".join(f"[{summary(value, self.summarize)}]" for value in data)
            raise InvalidArgumentError(None, None, f"assertion failed: {values}")


def summary(value: Any, count: int) -> str:
    """The first `count` elements (all, when negative) of a value, rows in brackets, with `...` for what is left out."""
    array = np.asarray(value)
    limit = array.size if count < 0 else min(count, array.size)
    items = [_text(item, array.dtype) for item in array.reshape(-1)[:limit].tolist()]
    return _nested(items, array.shape) + ("..." if limit < array.size else "")


def _nested(items: _list[str], dims: Sequence[int]) -> str:
    """The elements with a pair of brackets around each row, and `...` in a row that is cut off."""
    if len(dims) <= 1:
        return " ".join(items)
    row = math.prod(dims[1:])
    cut = "..." if len(dims) == 2 else ""
    starts = range(0, len(items), row) if row else ()
    rows = [(items[start : start + row]) for start in starts]
    return "".join(f"[{_nested(part, dims[1:])}{cut if len(part) < row else ''}]" for part in rows)


def _text(item: Any, dtype: np.dtype[Any]) -> str:
    if isinstance(item, bytes):
        return item.decode(errors="backslashreplace")
    if isinstance(item, bool):
        return str(int(item))
    if not isinstance(item, float):
        return str(item)
    return repr(item).removesuffix(".0") if dtype == np.float64 else f"{item:.9g}"


def Print(
    input_: Any, data: Sequence[Any], message: str | None = None, first_n: int | None = None,
    summarize: int | None = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """`input_` itself; each time it is computed (the first `first_n` times), `message` and the first `summarize` (3)
    elements of each tensor of `data` go to stderr. Source: `tf.Print`.
    """
    definition = PrintOp(
        message or "", -1 if first_n is None else int(first_n), 3 if summarize is None else int(summarize)
    )
    return definition(convert_to_tensor(input_), *(convert_to_tensor(item) for item in data), name=name)


def Assert(condition: Any, data: Sequence[Any], summarize: int | None = None, name: str | None = None) -> Operation:
    """An operation that fails the run with InvalidArgumentError "assertion failed: …" unless `condition` (a bool scalar)
    holds; the message shows the first `summarize` (3) elements of each tensor of `data`. Source: `tf.Assert`.

    It only takes effect where it runs: use it under `control_dependencies`. Raises TypeError where `data` is no list.
    """
    if not isinstance(data, (_list, _tuple)):
        raise TypeError(f"data must be a list of tensors to show, got {data!r}")
    definition = AssertOp(3 if summarize is None else int(summarize))
    inputs = (convert_to_tensor(condition), *(convert_to_tensor(item) for item in data))
    return definition.node(*inputs, name=name or "Assert")


# order


def group(*inputs: Any, **kwargs: Any) -> Operation:
    """An operation that is done when all `inputs` (operations, tensors, variables, nested lists of them) are.

    Source: `tf.group`; takes `name`. Inputs on several devices are first gathered on each. Raises TypeError for what is
    no part of a graph, ValueError for unknown keywords.
    """
    name = kwargs.pop("name", None)
    if kwargs:
        raise ValueError(f"Unknown keyword arguments: {', '.join(kwargs)}")
    if context.executing_eagerly():
        return cast(Operation, None)
    by_device: dict[str, _list[Any]] = {}
    graph = get_default_graph()
    for item in _flat(inputs):
        graph = item.graph
        by_device.setdefault(item.device, []).append(item)
    with graph.as_default(), graph.name_scope(name or "group_deps") as scope:
        if not by_device:
            return no_op(scope)
        if len(by_device) == 1:
            ((device, items),) = by_device.items()
            return _gather(graph, device, items, scope)
        gathered = [_gather(graph, device, by_device[device], None) for device in sorted(by_device)]
        with graph.control_dependencies(gathered):
            return no_op(scope)


def _flat(inputs: Iterable[Any]) -> Iterator[Any]:
    """The operations and tensors in nested lists, with the parts of IndexedSlices."""
    for item in inputs:
        if isinstance(item, dict):
            yield from _flat(item.values())
        elif isinstance(item, (_list, _tuple)):
            yield from _flat(item)
        elif isinstance(item, IndexedSlices):
            yield from _parts(item)
        elif not hasattr(item, "device"):
            raise TypeError(
                f"'inputs' should be zero or more (nested) Tensors. Received {item!r} of type {type(item)}."
            )
        else:
            yield item


def _parts(slices: IndexedSlices) -> _list[Tensor]:
    return [part for part in (slices.values, slices.indices, slices.dense_shape) if part is not None]


def _gather(graph: Graph, device: str, items: Sequence[Any], name: str | None) -> Operation:
    with graph.control_dependencies(items), graph.device(device):
        return no_op(name)


def with_dependencies(dependencies: Iterable[Any], output_tensor: Any, name: str | None = None) -> Any:
    """`output_tensor` (a Tensor or IndexedSlices) as a new one that exists only after `dependencies`.

    Source: `tf.with_dependencies`. Raises TypeError for what is neither.
    """
    if context.executing_eagerly():
        return output_tensor
    graph = output_tensor.graph
    with (
        graph.name_scope(name or "control_dependency") as scope,
        graph.colocate_with(output_tensor),
        graph.control_dependencies(dependencies),
    ):
        if not isinstance(output_tensor, IndexedSlices):
            return Identity()(convert_to_tensor(output_tensor), name=scope)
        values = Identity()(output_tensor.values, name=scope)
        return IndexedSlices(values, output_tensor.indices, output_tensor.dense_shape)


def tuple(tensors: Any, name: str | None = None, control_inputs: Any = None) -> _list[Any]:
    """The same tensors, none of which exists before all of them (and `control_inputs`) do; None and operations may stand
    among them. Source: `tf.tuple`.

    Raises ValueError without any tensor, TypeError for control inputs that are neither Operation nor Tensor.
    """
    kept = (Operation, IndexedSlices, NoneType)
    items = [item if isinstance(item, kept) else convert_to_tensor(item) for item in tensors]
    if context.executing_eagerly():
        return items
    present = [item for item in items if item is not None]
    if not present:
        raise ValueError(f"'tensors' must have at least one Tensor. Received: {tensors}.")
    after = _control_operations(control_inputs)
    with present[0].graph.name_scope(name or "tuple"):
        gate = group(present, after)
        return [item if item is None else _gated(gate, item) for item in items]


def _gated(gate: Operation, item: Any) -> Any:
    return group(item, gate) if isinstance(item, Operation) else with_dependencies([gate], item)


def _control_operations(control_inputs: Any) -> _list[Operation]:
    found = []
    for item in control_inputs or ():
        if not isinstance(item, (Operation, Tensor)):
            raise TypeError(f"'control_inputs' must only contain Operation or Tensor. Received: {type(item)}")
        found.append(item if isinstance(item, Operation) else item.op)
    return found
