"""SessionRunHook: what a hook of a monitored session may override, and what it is given."""

from __future__ import annotations

from typing import Any, NamedTuple


class SessionRunArgs(NamedTuple):
    """What a hook adds to a run: `fetches`, `feed_dict` and `options`. Source: `tf.train.SessionRunArgs`."""

    fetches: Any
    feed_dict: Any = None
    options: Any = None


class SessionRunValues(NamedTuple):
    """What a run gave for a hook: `results` in the form of its fetches. Source: `tf.train.SessionRunValues`."""

    results: Any
    options: Any = None
    run_metadata: Any = None


class SessionRunContext:
    """A run that is about to begin or over: its arguments, its session, and whether the loop is to end.

    Source: `tf.train.SessionRunContext`.
    """

    def __init__(self, original_args: SessionRunArgs, session: Any) -> None:
        self._original_args = original_args
        self._session = session
        self._stop_requested = False

    @property
    def original_args(self) -> SessionRunArgs:
        """What the user asked `run` for."""
        return self._original_args

    @property
    def session(self) -> Any:
        """The session that runs it."""
        return self._session

    @property
    def stop_requested(self) -> bool:
        """Whether a hook has asked to stop."""
        return self._stop_requested

    def request_stop(self) -> None:
        """Let the session say that it should stop after this run."""
        self._stop_requested = True


class SessionRunHook:
    """Called around a monitored session's runs; a subclass overrides what it needs. Source: `tf.train.SessionRunHook`."""

    def begin(self) -> None:
        """Before the session is made, the last time at which the graph may grow."""

    def after_create_session(self, session: Any, coord: Any) -> None:
        """A session was made, at the beginning and after each recovery; the graph is finalized."""

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        """Before each run; what it returns is run with it."""
        return None

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        """After each run that did not fail."""

    def end(self, session: Any) -> None:
        """At the end of the session, unless it ended with an error."""
