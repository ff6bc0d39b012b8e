"""HookedSession: one session with its coordinator, whose runs also serve hooks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ...graph.collections import GraphKeys
from ...runtime.config import RunMetadata, RunOptions
from ..hooks.session_run_hook import SessionRunArgs, SessionRunContext, SessionRunHook, SessionRunValues
from ..lost import LOST
from ..queues.coordinator import Coordinator

_log = logging.getLogger("weft")


class HookedSession:
    """A session that was just made: starts the threads that fill its queues, tells the hooks, and runs with them."""

    def __init__(self, session: Any, hooks: Sequence[SessionRunHook], stop_grace_period_secs: float) -> None:
        self.session = session
        self.coord = Coordinator(clean_stop_exception_types=())  # every exception is to be seen
        self._hooks = hooks
        self._grace = stop_grace_period_secs
        self._stop_requested = False
        try:
            for runner in session.graph.get_collection(GraphKeys.QUEUE_RUNNERS):
                runner.create_threads(session, coord=self.coord, daemon=True, start=True)
            for hook in hooks:
                hook.after_create_session(session, self.coord)
        except BaseException:
            with suppress(Exception):
                self.close()
            raise

    @property
    def _sess(self) -> Any:
        return self.session

    def should_stop(self) -> bool:
        """Whether a hook or a thread has requested a stop. Raises what a thread gave as the reason."""
        self.coord.raise_requested_exception()
        return self.coord.should_stop() or self._stop_requested

    def close(self) -> None:
        """Stop the threads, then close the session. Raises what a thread gave as the reason to stop."""
        self.coord.request_stop()
        try:
            self.coord.join(stop_grace_period_secs=self._grace, ignore_live_threads=True)
        finally:
            with suppress(Exception):  # of a session that was lost; what matters join has said
                self.session.close()

    def run(self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None) -> Any:
        """As `Session.run`, with what the hooks want. Raises, instead of what follows from it, the loss of a session that a
        thread has met; RuntimeError after a stop was requested.
        """
        try:
            return self._run(fetches, feed_dict, options, run_metadata)
        except LOST:
            raise
        except Exception:
            try:
                self.coord.raise_requested_exception()
            except LOST:
                raise
            except Exception:
                pass
            raise

    def _run(self, fetches: Any, feed_dict: Any, options: Any, run_metadata: Any) -> Any:
        if self._stop_requested:
            raise RuntimeError("Run called even after should_stop requested.")
        context = SessionRunContext(SessionRunArgs(fetches, feed_dict), self.session)
        requests = [hook.before_run(context) for hook in self._hooks]
        feeds, options = _merged_feeds(requests, feed_dict), _merged_options(requests, options)
        # In one run: [the user's fetches, [each hook's]]; a list of plain things, which the session finds again quickly.
        wanted = [request.fetches if request is not None else None for request in requests]
        asked = [item for item in wanted if item is not None]
        if options is not None and run_metadata is None:
            run_metadata = RunMetadata()
        found, results = self.session.run([fetches, asked], feeds, options, run_metadata)
        given = iter(results)
        told = options or RunOptions(), run_metadata or RunMetadata()
        for hook, item in zip(self._hooks, wanted, strict=True):
            hook.after_run(context, SessionRunValues(None if item is None else next(given), *told))
        self._stop_requested = context.stop_requested
        return found

    def run_step_fn(self, step_fn: Callable[[Any], Any], run_with_hooks: Callable[..., Any]) -> Any:
        """Call a step function with the session below and a run with hooks."""
        return step_fn(StepContext(self.session, run_with_hooks))


class StepContext:
    """What a step function gets: the session below, a run with hooks, and a way out.

    Source: `tf.train.MonitoredSession.StepContext`.
    """

    def __init__(self, session: Any, run_with_hooks_fn: Callable[..., Any]) -> None:
        self._session = session
        self._run_with_hooks_fn = run_with_hooks_fn

    @property
    def session(self) -> Any:
        """The session below, for runs without hooks."""
        return self._session

    def run_with_hooks(self, *args: Any, **kwargs: Any) -> Any:
        """As `MonitoredSession.run`."""
        return self._run_with_hooks_fn(*args, **kwargs)

    def request_stop(self) -> None:
        """Leave the training: raises StopIteration, which ends the `with` block of the session."""
        raise StopIteration("step_fn has requested the iterations to stop.")


def _merged_feeds(requests: Sequence[SessionRunArgs | None], user: Any) -> Any:
    """The feeds of the hooks and the user. Raises RuntimeError for a tensor that two of them feed."""
    merged: dict[Any, Any] = {}
    for request in requests:
        if request is not None and request.feed_dict:
            _check_apart(merged, request.feed_dict, "Same tensor is fed by two hooks.")
            merged.update(request.feed_dict)
    if not merged:
        return user
    if user:
        _check_apart(user, merged, "Same tensor is fed by a SessionRunHook and user.")
        merged.update(user)
    return merged


def _check_apart(one: Any, other: Any, text: str) -> None:
    both = [key for key in one if key in other]
    if both:
        raise RuntimeError(f"{text} Conflict(s): {both}")


def _merged_options(requests: Sequence[SessionRunArgs | None], user: Any) -> Any:
    """The RunOptions of the hooks and the user: of two numbers the larger one; None when nobody has any."""
    given = [request.options for request in requests if request is not None and request.options is not None]
    if not given:
        return user
    merged = replace(user) if user is not None else RunOptions()
    for options in given:
        merged.trace_level = max(merged.trace_level, options.trace_level)
        merged.timeout_in_ms = max(merged.timeout_in_ms, options.timeout_in_ms)
        merged.inter_op_thread_pool = max(merged.inter_op_thread_pool, options.inter_op_thread_pool)
        merged.output_partition_graphs |= options.output_partition_graphs
        merged.report_tensor_allocations_upon_oom |= options.report_tensor_allocations_upon_oom
    return merged
