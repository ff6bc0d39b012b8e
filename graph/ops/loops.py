"""while_loop: a loop of tensors, built of a While operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .. import context, shapes
from ..defaults import name_scope
from ..dtypes import DType, int32, resource, variant
from ..function import FunctionGraph
from ..indexed_slices import IndexedSlices
from ..ir import Graph, Tensor, get_default_graph
from ..opdef import Spec
from ..shapes import Dims
from ..structure import check_same, flatten, is_nested, pack
from .arithmetic import add
from .compare import less, logical_and
from .constant import constant
from .convert import convert_to_tensor
from .looping import loop


def while_loop(
    cond: Callable[..., Any], body: Callable[..., Any], loop_vars: Any, shape_invariants: Any = None,
    parallel_iterations: int = 10, back_prop: bool = True, swap_memory: bool = False, name: str | None = None,
    maximum_iterations: Any = None, return_same_structure: bool = False,
) -> Any:  # fmt: skip
    """The loop variables after `loop_vars = body(*loop_vars)` as often as `cond(*loop_vars)`, a bool scalar, holds.

    Both are called once, now. `loop_vars`: a list or tuple, nested as one likes. Each variable keeps its type, and its
    shape but for what `shape_invariants` (the same structure of shapes, None for no change) leave open; of IndexedSlices
    it is that of the values. `maximum_iterations`: a scalar. `back_prop=False` gives None as its gradients; otherwise they
    are of any order. Returns the structure that `body` does, with `return_same_structure` that of `loop_vars`; a single
    loop variable as such without it. The other arguments are taken for compatibility.

    Source: `tf.while_loop`. Raises TypeError for what cannot be called, types that change and `parallel_iterations` < 1,
    ValueError for no loop variables, structures that differ and shapes that change.
    """
    _check_arguments(cond, body, loop_vars, parallel_iterations)
    if context.executing_eagerly():
        return _run_now(cond, body, loop_vars, maximum_iterations, return_same_structure)
    structure = loop_vars

    def step(*variables: Any) -> list[Any]:
        nonlocal structure
        result = _as_variables(body(*variables), variables)
        structure = loop_vars if return_same_structure else result
        return list(result)

    with name_scope(name, "while", flatten(loop_vars)) as scope:
        if maximum_iterations is None:
            building = _Building(get_default_graph(), scope, loop_vars, shape_invariants)
            outputs = building.build(cond, step, back_prop)
        else:
            goes_on, counted, *rest = _counted(cond, step, loop_vars, shape_invariants, maximum_iterations)
            outputs = _Building(get_default_graph(), scope, *rest).build(goes_on, counted, back_prop)[1]
        if _is_single(loop_vars) and not return_same_structure:
            return outputs[0]
        return pack(structure, iter(flatten(outputs)))


def _check_arguments(cond: Any, body: Any, loop_vars: Any, parallel_iterations: Any) -> None:
    if not callable(cond):
        raise TypeError("'cond' must be callable.")
    if not callable(body):
        raise TypeError("'body' must be callable.")
    if parallel_iterations < 1:
        raise TypeError("'parallel_iterations' must be a positive integer.")
    if loop_vars is None or (is_nested(loop_vars) and not loop_vars):
        raise ValueError("'loop_vars' must be provided.")
    if not is_nested(loop_vars):
        raise TypeError(f"'loop_vars' must be a list or tuple, got {loop_vars!r}")


def _is_single(loop_vars: Any) -> bool:
    return len(flatten(loop_vars)) == 1


def _run_now(cond: Any, body: Any, loop_vars: Any, maximum: Any, same_structure: bool) -> Any:
    """The loop in eager execution."""
    count = 0
    while cond(*loop_vars) and (maximum is None or count < maximum):
        result = _as_variables(body(*loop_vars), loop_vars)
        check_same(list(loop_vars), list(result))
        loop_vars = pack(loop_vars, iter(flatten(result)))
        count += 1
    loop_vars = pack(loop_vars, map(convert_to_tensor, flatten(loop_vars)))
    return loop_vars[0] if _is_single(loop_vars) and not same_structure else loop_vars


def _as_variables(result: Any, loop_vars: Any) -> Any:
    """What a body returned, as a sequence of loop variables: a single one need not stand in a list."""
    if not is_nested(result) or (len(loop_vars) == 1 and isinstance(result, dict)):
        return [result]
    return result


def _counted(
    cond: Any, body: Callable[..., list[Any]], loop_vars: Any, invariants: Any, maximum: Any
) -> tuple[Any, Any, Any, Any]:
    """The loop with one variable more, that counts its iterations."""
    limit = convert_to_tensor(maximum, name="maximum_iterations")
    if limit.dims not in (None, ()):
        raise ValueError(f"'maximum_iterations' must be a scalar. Received shape: {limit.shape}")
    start = constant(0, limit.dtype if limit.dtype.is_integer else int32)
    invariants = None if invariants is None else [shapes.TensorShape(()), invariants]

    def goes_on(count: Tensor, variables: Any) -> Tensor:
        return logical_and(less(count, limit), cond(*variables))

    def step(count: Tensor, variables: Any) -> list[Any]:
        return [add(count, 1), body(*variables)]

    return goes_on, step, [start, list(loop_vars)], invariants


class _Building:
    """One while loop in the making: its graphs, and what is known of its variables."""

    def __init__(self, outer: Graph, scope: str, loop_vars: Any, shape_invariants: Any) -> None:
        self.outer = outer
        self.scope = scope
        loop_vars = list(loop_vars)
        self.initial = [self._start(leaf) for leaf in flatten(loop_vars)]
        self.structure = pack(loop_vars, iter(self.initial))
        self.dims = self._invariants(shape_invariants)

    def _start(self, leaf: Any) -> Tensor:
        tensor = convert_to_tensor(leaf)
        if tensor.dtype is resource:
            raise TypeError("the handle of a variable cannot be a loop variable: use it from around the loop")
        return tensor

    def _invariants(self, given: Any) -> list[Dims]:
        if given is None:
            return [tensor.dims for tensor in self.initial]
        flat = list(_shapes_of(list(self.structure), given))
        for tensor, dims in zip(self.initial, flat, strict=True):
            if not _covers(dims, tensor.dims):
                raise ValueError(
                    f"The shape invariant specified for {tensor.name} is not compatible with the initial shape of the "
                    f"loop variable. It enters the loop with shape {shapes.TensorShape(tensor.dims)}, but the "
                    f"specified shape invariant is {shapes.TensorShape(dims)}."
                )
        return flat

    def _function(self, what: str) -> tuple[FunctionGraph, list[Tensor], Any]:
        """A graph whose arguments are the loop variables, these, and their structure."""
        graph = FunctionGraph(self.outer, f"the {what} of '{self.scope[:-1]}'")
        arguments = [
            graph.argument(Spec(tensor.dtype, dims), tensor.op.name)
            for tensor, dims in zip(self.initial, self.dims, strict=True)
        ]
        graph.starts = dict(zip(arguments, self.initial, strict=True))
        return graph, arguments, pack(self.structure, iter(arguments))

    def build(self, cond: Callable[..., Any], body: Callable[..., list[Any]], back_prop: bool) -> list[Any]:
        """Call both functions, and add the loop. Returns its variables in their structure."""
        test_graph, test_arguments, variables = self._function("condition")
        with test_graph.as_default():
            goes_on = test_graph.capture(convert_to_tensor(cond(*variables)))
        test_graph.finalize()
        graph, arguments, variables = self._function("body")
        with graph.as_default():
            result = body(*variables)
            if any(leaf is None for leaf in flatten(result)):
                raise ValueError("None values not supported: the body of a loop must return its variables.")
            check_same(list(variables), result)
            following = [
                graph.capture(as_next(leaf, start.name, start.dtype))
                for leaf, start in zip(flatten(result), self.initial, strict=True)
            ]
        self._check_shapes(following)
        found = loop(
            test_graph, graph, (test_arguments, arguments), goes_on, following, self.initial, self.scope, back_prop
        )
        return list(pack(result, iter(found)))

    def _check_shapes(self, following: list[Tensor]) -> None:
        for tensor, before, after in zip(self.initial, self.dims, following, strict=True):
            if tensor.dtype is not variant and not _covers(before, after.dims):
                raise ValueError(
                    f"Input tensor '{tensor.name}' enters the loop with shape {shapes.TensorShape(before)}, but has shape "
                    f"{after.shape} after one iteration. To allow the shape to vary across iterations, use the "
                    "`shape_invariants` argument of while_loop to specify a less-specific shape."
                )


def as_next(value: Any, name: str, dtype: DType) -> Tensor:
    """What a body gave for a loop variable, as a tensor. Raises TypeError where it has another type."""
    kind = getattr(value, "dtype", dtype)
    if isinstance(value, Tensor) and kind is not dtype:
        raise TypeError(
            f"Loop var {name} enters the loop with type {dtype.name} but has type {kind.name} after 1 iteration. "
            f"{name} type should remain constant."
        )
    return convert_to_tensor(value, dtype=dtype)


def _shapes_of(variables: Any, given: Any) -> Iterator[Dims]:
    """The shape of each tensor in a structure of loop variables. Raises ValueError where the shapes have another structure."""
    if isinstance(variables, Tensor):
        yield variables.dims if given is None else shapes.as_dims(given)
    elif isinstance(variables, IndexedSlices):
        dims = variables.values.dims if given is None else shapes.as_dims(given)
        yield dims
        yield dims and dims[:1]
        if variables.dense_shape is not None:
            yield variables.dense_shape.dims
    elif not is_nested(variables):
        yield from (tensor.dims for tensor in flatten(variables))
    else:
        keys = sorted(variables) if isinstance(variables, Mapping) else list(range(len(variables)))
        if not is_nested(given) or keys != (sorted(given) if isinstance(given, Mapping) else list(range(len(given)))):
            raise ValueError(
                f"The two structures don't have the same nested structure: shapes {given!r} for loop variables {variables!r}"
            )
        for key in keys:
            yield from _shapes_of(variables[key], given[key])


def _covers(wide: Dims, narrow: Dims) -> bool:
    """Whether every value of the one shape also has the other."""
    if wide is None:
        return True
    return (
        narrow is not None
        and len(wide) == len(narrow)
        and all(w is None or w == n for w, n in zip(wide, narrow, strict=True))
    )
