"""MonitoredSession: a session that initializes or restores itself, serves hooks, and is made anew when it was lost."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ...graph import errors
from ...graph.ir import get_default_graph
from ..hooks.session_run_hook import SessionRunHook
from ..lost import LOST
from .creators import ChiefSessionCreator, SessionCreator
from .hooked_session import HookedSession, StepContext
from .recovery import JobEndedError, Recoveries, RecoveryPolicy
from .scaffold import Scaffold

_log = logging.getLogger("weft")

_Result = TypeVar("_Result")


class _MonitoredSession:
    """What both kinds share; without a policy, a lost session stays lost."""

    StepContext = StepContext
    #: What `start_queue_runners` asks: it has nothing to do here.
    starts_queue_runners = True

    def __init__(
        self, session_creator: SessionCreator | None, hooks: Iterable[SessionRunHook] | None, stop_grace_period_secs: float,
        policy: RecoveryPolicy | None,
    ) -> None:  # fmt: skip
        self._main_graph = get_default_graph()
        self._graph_was_finalized = self._main_graph.finalized
        self._hooks = checked_hooks(hooks or ())
        self._grace = stop_grace_period_secs
        self._recoveries = None if policy is None else Recoveries(policy)
        self._closed = False
        #: The session in use; None after it was lost, until another is made.
        self._hooked: HookedSession | None = None
        for hook in self._hooks:
            hook.begin()
        self._creator = session_creator or ChiefSessionCreator()
        self._ended: JobEndedError | None = None
        try:
            self._hooked = self._create()
        except JobEndedError as error:  # it came too late, which is no fault of its own
            _log.info("There is nothing to do: %s", error)
            self._ended = error

    # the session below

    def _create(self) -> HookedSession:
        """A new session; while that fails as lost ones do, another."""
        while True:
            try:
                return HookedSession(self._creator.create_session(), self._hooks, self._grace)
            except LOST as error:
                self._lost(error)

    def _lost(self, error: errors.OpError) -> None:
        """Close the session that was lost, and wait until another may be made. Raises the error when none may."""
        hooked, self._hooked = self._hooked, None
        if hooked is not None:
            self._close_lost(hooked)
        if self._recoveries is None:
            raise error
        self._recoveries.failed(error)

    @staticmethod
    def _close_lost(hooked: HookedSession) -> None:
        try:
            hooked.close()
        except LOST as error:
            _log.warning("While the lost session was closed: %s", error)

    def _again(self, run: Callable[[HookedSession], _Result]) -> _Result:
        """What `run` gives of a session, of another one when it was lost meanwhile."""
        if self._closed:
            raise RuntimeError("Session is already closed.")
        if self._ended is not None:
            raise self._ended
        while True:
            try:
                if self._hooked is None:
                    self._hooked = self._create()
                result = run(self._hooked)
            except LOST as error:
                if self._recoveries is None:
                    raise
                self._lost(error)
            else:
                if self._recoveries is not None:
                    self._recoveries.ran()
                return result

    # what the user sees

    @property
    def graph(self) -> Any:
        """The graph it runs; None when closed."""
        session = self._tf_sess()
        return None if session is None else session.graph

    @property
    def _sess(self) -> Any:
        """What many programs climb down to get at the Session: `while type(s).__name__ != "Session": s = s._sess`."""
        return self._hooked

    def _tf_sess(self) -> Any:
        """The Session below, for programs that ask for it by this name; None when closed."""
        return None if self._hooked is None else self._hooked.session

    def run(self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None) -> Any:
        """As `Session.run`, with the hooks called around it. Raises as that and the hooks do, and RuntimeError after a stop
        was requested or the session closed.
        """
        return self._again(lambda hooked: hooked.run(fetches, feed_dict, options, run_metadata))

    def run_step_fn(self, step_fn: Callable[[Any], Any]) -> Any:
        """What `step_fn(step_context)` returns: a step that may use the session below, without hooks.

        When the session is lost in it, it is called again. Source: `tf.train.MonitoredSession.run_step_fn`.
        Raises ValueError for a function with other arguments, StopIteration when it calls `step_context.request_stop()`.
        """
        names = tuple(inspect.signature(step_fn).parameters)
        if names not in (("step_context",), ("self", "step_context")):
            raise ValueError(
                "`step_fn` may either have one `step_context` argument, or `self` and `step_context` arguments if it's an "
                f"instance method. Got {names} instead."
            )
        return self._again(lambda hooked: hooked.run_step_fn(step_fn, hooked.run))

    def should_stop(self) -> bool:
        """Whether to leave the loop: a hook or a thread has asked for it, or the session is closed."""
        if self._closed or self._ended is not None:
            return True
        if self._hooked is None:
            return False  # lost a moment ago: the next run makes another
        try:
            return self._hooked.should_stop()
        except LOST as error:
            self._lost(error)
            return False
        except Exception:
            if self._recoveries is None:
                raise
            return True  # close raises it

    def close(self) -> None:
        """Call `end` of the hooks, stop the threads, close the session. Raises RuntimeError when it is closed already."""
        self._close(call_end=True)

    def _close(self, call_end: bool) -> None:
        if self._closed:
            raise RuntimeError("Session is already closed.")
        try:
            if call_end:
                session = self._tf_sess()
                if session is None:
                    _log.warning("The session was lost and not made anew: the hooks' end is not called")
                for hook in self._hooks if session is not None else ():
                    hook.end(session)
        finally:
            hooked, self._hooked, self._closed = self._hooked, None, True
            try:
                if hooked is not None:
                    hooked.close()
            finally:
                if not self._graph_was_finalized:
                    self._main_graph._finalized = False

    def __enter__(self) -> Any:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> bool:
        """Closes; OutOfRangeError and StopIteration are an end as it should be."""
        well = kind is None or issubclass(kind, (errors.OutOfRangeError, StopIteration))
        self._close(call_end=well)
        return well


class MonitoredSession(_MonitoredSession):
    """A session for a training loop: `with MonitoredSession(...) as sess: while not sess.should_stop(): sess.run(train_op)`.

    When it is made: `begin` of the hooks, the scaffold's operations, the graph is finalized, a session made, its variables
    restored or initialized, queue runners started, `after_create_session` of the hooks. A run: `before_run` of the hooks,
    one run of all that is asked for, `after_run`. `close`: `end`, then threads and session are ended.

    When a run raises AbortedError or UnavailableError the session was lost: it is closed, another one made through
    `session_creator` (a ChiefSessionCreator by default), which restores the latest checkpoint, and the run repeated. How
    often and after what waits says `recovery`, a RecoveryPolicy (TensorFlow's tries for ever); the log tells of each with
    its cause. `stop_grace_period_secs`: how long threads may take to end. It is not itself a Session: it cannot be the
    default session, nor be given to a Saver.

    Source: `tf.train.MonitoredSession`.
    """

    def __init__(
        self, session_creator: SessionCreator | None = None, hooks: Iterable[SessionRunHook] | None = None,
        stop_grace_period_secs: float = 120, recovery: RecoveryPolicy | None = None,
    ) -> None:  # fmt: skip
        _MonitoredSession.__init__(self, session_creator, hooks, stop_grace_period_secs, recovery or RecoveryPolicy())


class SingularMonitoredSession(_MonitoredSession):
    """A monitored session of a chief that is not made anew when it was lost, and whose session can be had: `raw_session`.

    Source: `tf.train.SingularMonitoredSession`.
    """

    def __init__(
        self, hooks: Iterable[SessionRunHook] | None = None, scaffold: Scaffold | None = None, master: str = "",
        config: Any = None, checkpoint_dir: str | None = None, stop_grace_period_secs: float = 120,
        checkpoint_filename_with_path: str | None = None,
    ) -> None:  # fmt: skip
        creator = ChiefSessionCreator(scaffold, master, config, checkpoint_dir, checkpoint_filename_with_path)
        _MonitoredSession.__init__(self, creator, hooks, stop_grace_period_secs, None)

    def raw_session(self) -> Any:
        """The session below; None when closed."""
        return self._tf_sess()


def checked_hooks(hooks: Any) -> list[SessionRunHook]:
    """The hooks, as a list. Raises TypeError for what is none: often one alone, or a class that was not called."""
    if isinstance(hooks, SessionRunHook) or not isinstance(hooks, Iterable):
        raise TypeError(f"hooks must be a list of SessionRunHooks, but got {hooks!r}")
    found = list(hooks)
    for hook in found:
        if isinstance(hook, type):
            raise TypeError(f"hooks must be SessionRunHooks, but got the class {hook.__name__}: call it to make one")
        if not callable(getattr(hook, "begin", None)):
            raise TypeError(f"hooks must be SessionRunHooks, but got {hook!r}")
    return found
