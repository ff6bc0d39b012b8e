"""Partial runs: one step in several calls, each of which feeds more and runs what has thereby become possible."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..graph import errors
from ..graph.dtypes import resource
from ..graph.ir import Operation, Tensor
from .pipeline import Request

#: Runs a request with these feeds.
RunRequest = Callable[[Request, list[Any]], list[Any]]


class PartialStep:
    """A step that is set up for `fetches` and `targets`, and for `feeds` that come bit by bit.

    Each call runs every operation whose inputs are there by then, as one step of its own, which takes from those before
    it what they have computed. No operation runs twice. Variables' handles are looked up anew in each call.
    """

    def __init__(self, request: Request, feeds: Sequence[Tensor], run: RunRequest) -> None:
        _check_setup(request, feeds)
        self._lock = threading.Lock()
        self._run = run
        self._feeds = dict.fromkeys(feeds, False)  # whether each was fed
        self._fetches = dict.fromkeys(request.fetches, False)  # whether each was fetched
        self._failure: Exception | None = None
        self._values: dict[Tensor, Any] = {}
        self._done: set[Operation] = set()
        self._waiting = _needed(request.fetches, request.targets, self._feeds)

    def begin(self) -> None:
        """Run what needs no feeds."""
        try:
            self._advance({})
        except errors.OpError as error:
            self._failure = error  # the next call will raise it

    def run(self, fetches: Sequence[Tensor], feeds: dict[Tensor, Any]) -> list[Any]:
        """Feed, run, and return the values of `fetches`, which the caller may change. Raises OpError."""
        with self._lock:
            if self._failure is None:
                self._check(fetches, feeds)
                self._check_reachable(fetches, feeds)
                self._failure = _invalid("Must run 'setup' before performing partial runs!")  # whatever ends this one
                self._advance(feeds)
                self._failure = None
            else:
                raise self._failure
            self._fetches.update(dict.fromkeys(fetches, True))
            return [np.array(self._values[tensor]) for tensor in fetches]

    @property
    def over(self) -> bool:
        """Whether it has failed, or everything has been fed and fetched."""
        return self._failure is not None or (all(self._feeds.values()) and all(self._fetches.values()))

    def _advance(self, feeds: dict[Tensor, Any]) -> None:
        """Run what can run once these are fed too."""
        self._values.update((tensor, np.array(value, order="C")) for tensor, value in feeds.items())
        self._feeds.update(dict.fromkeys(feeds, True))
        self._done.update(tensor.op for tensor in feeds if tensor.op.type == "Placeholder")
        ready, later = self._ready()
        if not ready:
            return
        needed = {tensor for operation in later for tensor in operation.inputs}
        needed.update(tensor for tensor, fetched in self._fetches.items() if not fetched)
        kept = tuple(t for o in ready for t in o.outputs if t in needed and t.dtype is not resource)
        taken = tuple(dict.fromkeys(t for o in ready for t in o.inputs if t in self._values))
        request = Request(kept, tuple(ready), taken, frozenset(self._done))
        results = self._run(request, [self._values[tensor] for tensor in taken])
        self._done.update(operation for operation in ready if not _gives_handle(operation))
        self._waiting = later + [operation for operation in ready if _gives_handle(operation)]
        self._waiting.sort(key=lambda operation: operation.id)
        computed = dict(zip(kept, (np.asarray(result, order="C") for result in results), strict=True))
        self._values = {tensor: value for tensor, value in (self._values | computed).items() if tensor in needed}

    def _ready(self) -> tuple[list[Operation], list[Operation]]:
        """What can run now, and what must wait for feeds."""
        ready: dict[Operation, None] = {}
        later: list[Operation] = []
        for operation in self._waiting:
            inputs = all(self._is_there(tensor, ready) for tensor in operation.inputs)
            if inputs and all(control in self._done or control in ready for control in operation.control_inputs):
                ready[operation] = None
            else:
                later.append(operation)
        if all(_gives_handle(operation) for operation in ready):
            return [], self._waiting
        return list(ready), later

    def _is_there(self, tensor: Tensor, ready: dict[Operation, None]) -> bool:
        return tensor in self._values or (tensor not in self._feeds and tensor.op in ready)

    def _check(self, fetches: Iterable[Tensor], feeds: Iterable[Tensor]) -> None:
        """Raises InvalidArgumentError for what was not set up, and for what was fed or fetched before."""
        for what, tensors, known in (("feed", feeds, self._feeds), ("fetch", fetches, self._fetches)):
            for tensor in tensors:
                if known.get(tensor):
                    raise _invalid(
                        f"The {what} {tensor.name} has already been {'fed' if what == 'feed' else 'fetched'}."
                    )
                if tensor not in known:
                    raise _invalid(f"The {what} {tensor.name} was not specified in partial_run_setup.")

    def _check_reachable(self, fetches: Iterable[Tensor], feeds: Iterable[Tensor]) -> None:
        """Raises InvalidArgumentError for a fetch that needs a feed that is yet to come."""
        given = {*feeds, *self._values, *(tensor for tensor, fed in self._feeds.items() if fed)}
        for tensor in fetches:
            for operation in _needed([tensor], (), given):
                missing = next((t for t in operation.inputs if t in self._feeds and t not in given), None)
                if missing is not None and operation not in self._done:
                    raise _invalid(
                        f"Fetch {tensor.name} can't be computed from the feeds that have been fed so far: "
                        f"{missing.name} has not been fed."
                    )


def _check_setup(request: Request, feeds: Sequence[Tensor]) -> None:
    if not request.fetches and not request.targets:
        raise _invalid("Must specify at least one target to fetch or execute.")
    seen: set[Tensor] = set()
    for tensor in feeds:
        if tensor in seen:
            raise _invalid(f'Endpoint "{tensor.name}" fed more than once.')
        if tensor in request.fetches:
            raise _invalid(f"{tensor.name} is both fed and fetched.")
        seen.add(tensor)


def _needed(fetches: Iterable[Tensor], targets: Iterable[Operation], given: Any) -> list[Operation]:
    """What fetches and targets need that is not given, in the order it was made."""
    found: set[Operation] = set()
    waiting = [tensor.op for tensor in fetches if tensor not in given] + list(targets)
    while waiting:
        operation = waiting.pop()
        if operation not in found:
            found.add(operation)
            waiting += [tensor.op for tensor in operation.inputs if tensor not in given]
            waiting += [control for control in operation.control_inputs if not _is_given(control, given)]
    return sorted(found, key=lambda operation: operation.id)


def _is_given(operation: Operation, given: Any) -> bool:
    """Whether an operation is a placeholder that is fed: who waits for it waits for the feed."""
    return operation.type == "Placeholder" and operation.outputs[0] in given


def _gives_handle(operation: Operation) -> bool:
    return any(tensor.dtype is resource for tensor in operation.outputs)


def _invalid(message: str) -> errors.InvalidArgumentError:
    return errors.InvalidArgumentError(None, None, message)
