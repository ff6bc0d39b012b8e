"""gradients: the public function, with the checks of its arguments."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from ..graph import context, shapes
from ..graph.aging import uncollected
from ..graph.derivative import differentiator
from ..graph.function import FunctionGraph
from ..graph.indexed_slices import Gradient, IndexedSlices
from ..graph.ir import Graph, Operation, Tensor, get_default_graph, graph_of
from ..graph.ops.backward import GradientGraph
from ..graph.ops.convert import convert_to_tensor
from ..graph.ops.neutral import zeros_for
from ..graph.ops.segments import flat
from ..graph.sparse_tensor import SparseTensor
from ..graph.structure import flatten
from .reach import between
from .repeat import standing
from .seeds import seeds
from .starts import refuse_starts
from .walk import Options, walk


class UnconnectedGradients(enum.Enum):
    """What `gradients` returns for an x that no y depends on. Source: `tf.UnconnectedGradients`."""

    NONE = "none"
    ZERO = "zero"


def gradients(
    ys: Any,
    xs: Any,
    grad_ys: Any = None,
    name: str | None = "gradients",
    colocate_gradients_with_ops: bool = False,
    gate_gradients: bool = False,
    aggregation_method: int | None = None,
    stop_gradients: Any = None,
    unconnected_gradients: Any = UnconnectedGradients.NONE,
) -> list[Any]:
    """The sum of the derivatives of `ys` with respect to each of `xs`, as new operations of their graph.

    ys, xs: a tensor, variable or list of them. Returns a list as long as xs: for each x a Tensor of its shape, an
    IndexedSlices where only rows of it were used, or None where no path of floating or complex tensors leads to a y
    (zeros with `unconnected_gradients="zero"`).
    grad_ys: for each y the gradient to start from, None for ones. stop_gradients: tensors that count as constants.
    aggregation_method: see AggregationMethod. gate_gradients: all gradients of an operation before any is used.
    colocate_gradients_with_ops: the gradient of an operation is computed where it is.

    Raises RuntimeError in eager execution, LookupError for an operation without a gradient, ValueError for lengths,
    shapes or graphs that do not go together, TypeError for types that do not. Source: `tf.gradients`.
    """
    if context.executing_eagerly():
        raise RuntimeError("gradients is not supported when eager execution is enabled: build a graph instead.")
    unconnected = _unconnected(unconnected_gradients)
    targets, sources, stops = _as_list(ys), _as_list(xs), _as_list([] if stop_gradients is None else stop_gradients)
    given = [None] * len(targets) if grad_ys is None else _as_list(grad_ys)
    options = Options(colocate_gradients_with_ops, gate_gradients, aggregation_method)
    graph = common_graph([*targets, *sources, *stops, *given])
    if graph.context and graph.finalized:
        inside = next(
            y for y in map(_element, [*targets, *sources, *stops, *given]) if y is not None and y.graph is graph
        )
        raise ValueError(context.misplaced(inside))
    with graph.as_default(), uncollected(lambda: graph.version):
        with graph.name_scope("gradients" if name is None else name):
            tensors = [_source(x) for x in sources]
            found = _gradients([_target(y) for y in targets], tensors, given, stops, options, graph)
        if unconnected is UnconnectedGradients.ZERO:
            found = [zeros_for(x) if grad is None else grad for x, grad in zip(tensors, found, strict=True)]
    return [_like_source(x, grad) for x, grad in zip(sources, found, strict=True)]


def _gradients(
    ys: Sequence[Tensor],
    xs: Sequence[Tensor],
    grad_ys: Sequence[Any],
    stop_gradients: Sequence[Any],
    options: Options,
    graph: Graph,
) -> list[Gradient | None]:
    if len(grad_ys) != len(ys):
        raise ValueError(f"Length mismatch. Passed {len(grad_ys)} grad_ys for {len(ys)} ys")
    started = seeds(graph, ys, grad_ys, options.colocate)
    stopped = frozenset(_stop(item) for item in stop_gradients)
    totals: dict[Tensor, Gradient] = {}
    level = graph
    while True:  # from the innermost function outwards: what reaches a captured tensor goes on around the function
        outside = [x for x in xs if x.graph is not level and level.reaches(x.graph)]
        captured = level.captures if outside and isinstance(level, FunctionGraph) else {}
        wanted = frozenset([x for x in xs if x.graph is level] + list(captured.values()))
        inside = [(y, seed) for y, seed in started if y.graph is level]
        if outside and isinstance(level, FunctionGraph):
            refuse_starts(level, [y for y, _ in inside], outside)
        found = _walked(inside, wanted, stopped, options)
        totals |= found
        if isinstance(level, GradientGraph):
            forward = _in_forward(level, started, xs, stopped, options)
            totals |= forward
            started += [(level.given[tensor], grad) for tensor, grad in forward.items() if tensor in level.given]
        if not isinstance(level, FunctionGraph) or not outside:
            return [totals.get(x) for x in xs]
        around = [tensor for tensor in level.captured() if captured[tensor] in found]
        started += [(tensor, found[captured[tensor]]) for tensor in around]
        level = level.outer


def _in_forward(
    level: GradientGraph,
    started: Sequence[tuple[Tensor, Gradient]],
    xs: Sequence[Tensor],
    stopped: frozenset[Operation],
    options: Options,
) -> dict[Tensor, Gradient]:
    """What a user's gradient function, called for an operation in a branch or a loop, asks about tensors beside it."""
    inside = [(y, seed) for y, seed in started if y.graph is level.forward.graph]
    wanted = [x for x in xs if x.graph is level.forward.graph]
    return _walked(inside, frozenset([*wanted, *level.given]), stopped, options)


def _walked(
    started: Sequence[tuple[Tensor, Gradient]],
    wanted: frozenset[Tensor],
    stopped: frozenset[Operation],
    options: Options,
) -> dict[Tensor, Gradient]:
    if not started:
        return {}
    repeats = standing(started[0][0].graph, wanted)
    started = [(repeats.get(y, y), seed) for y, seed in started]
    reached = between(wanted, [y for y, _ in started], repeats=repeats)
    useful = [(y, seed) for y, seed in started if y in wanted or (y.op in reached.operations and y.dtype.is_trainable)]
    totals = walk(useful, wanted, reached, stopped, options, repeats)
    for y, seed in useful:
        # One that broadcasts does no harm; the sum of one that is larger than y could be taken for a gradient.
        if y.op in reached.operations and isinstance(seed, Tensor) and not shapes.broadcasts_to(seed.dims, y.dims):
            raise ValueError(f"Incompatible shapes between {y} and the gradient {seed} that grad_ys gives it")
    return totals


@differentiator
def _inside(ys: Sequence[Tensor], grad_ys: Sequence[Gradient], xs: Sequence[Tensor]) -> list[Gradient | None]:
    """The gradients inside of a branch or a loop; the values of IndexedSlices are tensors.

    Each is with its operation where the gradient of the whole branch or loop is with that.
    """
    graph = get_default_graph()
    around = (graph.outer if isinstance(graph, FunctionGraph) else graph)._scope
    colocate = around.original is not None and around.colocation[-1:] == (around.original,)
    started = list(zip(ys, grad_ys, strict=True))
    totals = _walked(started, frozenset(xs), frozenset(), Options(colocate, False, None))
    return [flat(grad) if isinstance(grad, IndexedSlices) else grad for grad in map(totals.get, xs)]


def _as_list(value: Any) -> list[Any]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if any(isinstance(item, SparseTensor) for item in values):
        raise ValueError("Type SparseTensor is not supported as a gradient source or gradient target: name its values.")
    return values


def _unconnected(value: Any) -> UnconnectedGradients:
    try:
        return UnconnectedGradients(value)
    except ValueError:
        raise ValueError(f"Unknown value for unconnected_gradients: {value!r}") from None


def common_graph(values: Sequence[Any]) -> Graph:
    """The graph that all values which are in one are in. Raises ValueError for two graphs."""
    elements = [value for value in (_element(value) for value in values) if value is not None]
    graph = graph_of(elements)
    for element in elements:
        if not graph.reaches(element.graph):
            raise ValueError(f"{element} must be from the same graph as {elements[0]}")
    return graph


def _element(value: Any) -> Tensor | None:
    """The tensor by which a value is in a graph, if it is in one."""
    handle = getattr(value, "handle", value)
    if isinstance(handle, IndexedSlices):
        return _element(handle.values)
    return handle if isinstance(handle, Tensor) else None


def _source(x: Any) -> Tensor:
    """The tensor to differentiate by: a variable's handle, the rows of IndexedSlices; other values become constants."""
    if x is None:
        raise AttributeError("xs holds None, which is no tensor")
    if isinstance(x, (list, tuple, dict)) and any(isinstance(leaf, Tensor) for leaf in flatten(x, composites=False)):
        raise TypeError(f"xs is a tensor or a list of tensors, but it holds {x!r}")
    handle = getattr(x, "handle", x)
    if isinstance(handle, IndexedSlices):
        return _source(handle.values)
    return handle if isinstance(handle, Tensor) else convert_to_tensor(handle)


def _stop(item: Any) -> Operation:
    """The operation that a stop gradient names, a variable's being its handle; of a copy, what it repeats."""
    element = _element(item)
    if element is None:
        raise AttributeError(f"stop_gradients holds {item!r}, which is no tensor")
    return element.graph.repeats.get(element, element).op


def _like_source(x: Any, grad: Gradient | None) -> Any:
    """The gradient in the form of its x: that of IndexedSlices is such, too."""
    if not isinstance(x, IndexedSlices) or grad is None:
        return grad
    return IndexedSlices(grad, x.indices, x.dense_shape)


def _target(y: Any) -> Tensor:
    """The tensor to differentiate: a variable's value, the rows of IndexedSlices."""
    if y is None:
        raise AttributeError("ys holds None, which is no tensor")
    return convert_to_tensor(y.values if isinstance(y, IndexedSlices) else y)
