"""Scopes whose values gradients compute again: `recompute`, and `recompute_grad` for functions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import update_wrapper
from typing import Any
from weakref import WeakKeyDictionary

from ..graph import context
from ..graph.ir import Graph, Operation, get_default_graph, graph_of
from ..graph.ops.convert import convert_to_tensor
from ..graph.structure import flatten, pack


class Scope:
    """The operations made in one recompute scope, by their numbers; the scopes in it, and the one around it."""

    __slots__ = ("around", "inner", "numbers")

    def __init__(self, numbers: range, inner: list[Scope]) -> None:
        self.numbers = numbers
        self.inner = inner
        self.around: Scope | None = None
        for scope in inner:
            scope.around = self


#: The outermost scopes of each graph, in their order.
_scopes: WeakKeyDictionary[Graph, list[Scope]] = WeakKeyDictionary()


@contextmanager
def recompute() -> Iterator[None]:
    """A scope whose values `gradients` computes again, instead of keeping them: less memory for more work.

    What leaves the scope is kept; what is only used inside is computed a second time, from what enters it, once a gradient
    has arrived. The same operations run on the same values, and gradients of any order add the same terms in the same order
    as without it: they have the same bits. Reads of variables and random numbers are kept, and so are branches and loops
    that have such inside. What is in a scope inside of another one is computed twice again: less memory still. Without
    `gradients` a scope does nothing. Also a decorator of functions; see `recompute_grad`.
    """
    if context.executing_eagerly():
        yield
        return
    with _scoped(get_default_graph()):
        yield


@contextmanager
def _scoped(graph: Graph) -> Iterator[None]:
    start = graph.version
    yield
    if graph.version == start:
        return
    beside = _scopes.setdefault(graph, [])
    first = bisect_right(beside, start - 1, key=lambda scope: scope.numbers.start)
    beside[first:] = [Scope(range(start, graph.version), beside[first:])]


def innermost(operation: Operation) -> Scope | None:
    """The innermost scope that an operation was made in."""
    beside = _scopes.get(operation.graph) if _scopes else None
    found = None
    while beside:
        at = bisect_right(beside, operation.id, key=lambda scope: scope.numbers.start) - 1
        if at < 0 or operation.id not in beside[at].numbers:
            break
        found = beside[at]
        beside = found.inner
    return found


def recompute_grad(f: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose gradient computes again what the function computed in between: less memory for more work.

    As if it were called in a `recompute` scope, whose documentation says what is repeated and what is kept. The gradients
    have the bits that they have without it and can be differentiated again. Source: `tf.recompute_grad`.
    """

    def recomputing(*args: Any, **kwargs: Any) -> Any:
        if context.executing_eagerly():
            return f(*args, **kwargs)
        tensors = [convert_to_tensor(item) for item in flatten(args, composites=False)]
        with _scoped(graph_of(tensors)):
            result = f(*pack(args, iter(tensors), composites=False), **kwargs)
            results = [convert_to_tensor(item) for item in flatten(result, composites=False)]
        return pack(result, iter(results), composites=False)

    return update_wrapper(recomputing, f)
