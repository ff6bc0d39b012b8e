"""SessionRunHook and what passes between a monitored session and its hooks at each run."""

from __future__ import annotations

from typing import Any, NamedTuple


class SessionRunArgs(NamedTuple):
    """What a hook asks of a run: `fetches` as `Session.run` takes them (None: nothing), `feed_dict`, and RunOptions.

    Source: `tf.train.SessionRunArgs`.
    """

    fetches: Any
    feed_dict: Any = None
    options: Any = None


class SessionRunValues(NamedTuple):
    """What a run gave a hook: `results` in the structure of its fetches (None when it asked for none), and the run's
    RunOptions and RunMetadata. Source: `tf.train.SessionRunValues`.
    """

    results: Any
    options: Any
    run_metadata: Any


class SessionRunContext:
    """One run as its hooks see it. Source: `tf.train.SessionRunContext`."""

    def __init__(self, original_args: SessionRunArgs, session: Any) -> None:
        self._original_args = original_args
        self._session = session
        self._stop_requested = False

    @property
    def original_args(self) -> SessionRunArgs:
        """What the user gave `run`."""
        return self._original_args

    @property
    def session(self) -> Any:
        """The session below, for runs without hooks."""
        return self._session

    @property
    def stop_requested(self) -> bool:
        """Whether a hook has asked to stop."""
        return self._stop_requested

    def request_stop(self) -> None:
        """Let `should_stop` of the monitored session be true after this run."""
        self._stop_requested = True


class SessionRunHook:
    """What a program adds to the life of a monitored session; a subclass defines the methods it needs.

    In the order of their calls: `begin` once, `after_create_session` for each session (again after a recovery),
    `before_run` and `after_run` around each run, `end` once. Source: `tf.train.SessionRunHook`.
    """

    def begin(self) -> None:
        """Before the session is made. The only call that may add to the graph, which is finalized after it."""

    def after_create_session(self, session: Any, coord: Any) -> None:
        """After a session was made and the variables have their values. `coord`: the Coordinator of its threads."""

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        """Before each run; returns what the hook wants from it."""

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        """After each run that did not fail."""

    def end(self, session: Any) -> None:
        """Before the session is closed, unless an error other than OutOfRangeError or StopIteration closes it."""
