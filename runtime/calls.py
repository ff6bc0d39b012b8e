"""Calls: what a call of `run` comes down to, worked out at the first call of its kind and looked up at the next."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..graph import errors
from ..graph.ir import Graph, Operation, Tensor
from ..graph.shapes import Dims
from ..graph.variable import Variable
from .feeds import feeder
from .fetches import Fetches, as_result
from .pipeline import Request
from .stages.plan import StepPlan
from .stages.program import Program

#: What stands for the same element of a graph for ever.
_ELEMENTS = frozenset((Tensor, Operation, Variable, str))


class Prepared:
    """What a session keeps for one request: its pruned program and its loaded plans, by the shapes that were fed."""

    __slots__ = ("_loading", "loaded", "program", "request")

    def __init__(self, request: Request, program: Program) -> None:
        self.request = request
        self.program = program
        self.loaded: dict[tuple[Dims, ...], tuple[StepPlan, Any]] = {}
        self._loading = threading.Lock()

    @contextmanager
    def taken(self, timeout: float | None) -> Iterator[None]:
        """A block for one thread at a time, to add to `loaded`. Raises DeadlineExceededError."""
        if not self._loading.acquire(timeout=-1 if timeout is None else timeout):
            text = f"The step took longer than {timeout:g} s: another thread still made its plan ready"
            raise errors.DeadlineExceededError(None, None, text)
        try:
            yield
        finally:
            self._loading.release()


class Call:
    """What is fetched, in what structure, and what is fed, in what order."""

    __slots__ = ("_rebuild", "_sources", "feeders", "prepared", "request", "runs")

    def __init__(self, graph: Graph, fetches: Any, fed: Sequence[Tensor]) -> None:
        wanted = Fetches(graph, fetches)
        given = {tensor: index for index, tensor in enumerate(fed)}
        tensors = tuple(tensor for tensor in wanted.tensors if tensor not in given)
        self.request = Request(tensors, tuple(wanted.operations), tuple(fed))
        #: What makes the array to feed of a value, for each tensor that is fed.
        self.feeders = [feeder(tensor) for tensor in fed]
        #: Whether anything must be computed.
        self.runs = bool(tensors or wanted.operations)
        self.prepared: Prepared | None = None
        self._rebuild = wanted.rebuild
        #: Where each fetched value stands: among the results, or after them among the feeds; None for "as they stand".
        self._sources: list[int] | None = None
        if len(tensors) < len(wanted.tensors):
            computed = {tensor: index for index, tensor in enumerate(tensors)}
            self._sources = [
                computed[tensor] if tensor in computed else len(tensors) + given[tensor] for tensor in wanted.tensors
            ]

    def result(self, results: list[Any], feeds: list[Any]) -> Any:
        """What `run` returns."""
        if self._sources is not None:
            values = results + feeds
            results = [values[source] for source in self._sources]
        return self._rebuild([as_result(value) for value in results])


def fetches_key(fetches: Any) -> Any:
    """Equal and hashable for fetches that come down to the same; None for what must be looked at anew each time."""
    kind: Any = type(fetches)
    if kind in _ELEMENTS:
        return fetches
    parts: list[Any]
    if kind is list or kind is tuple:
        parts = [fetches_key(part) for part in fetches]
    elif kind is dict:
        parts = [fetches_key(part) for part in fetches.values()]
        kind = (*((type(name), name) for name in fetches),)
    else:
        return None
    return None if any(part is None for part in parts) else (kind, *parts)


def are_plain_keys(keys: Collection[Any]) -> bool:
    """Whether each key of a feed_dict stands for one tensor, always the same. A variable's reads become more."""
    return all(type(key) in _ELEMENTS and type(key) is not Variable for key in keys)


def seconds(milliseconds: int) -> float | None:
    """A limit of time as options say it: 0 is none, and so is less."""
    return milliseconds / 1000 if milliseconds > 0 else None
