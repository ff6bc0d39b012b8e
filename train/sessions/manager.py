"""SessionManager: makes a session whose variables have values: restored, initialized, or by whoever else does it."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from ...graph import errors
from ...graph.ir import Graph, get_default_graph
from ...graph.storage.places import shown
from ...runtime.session import Session
from ...runtime.targets import is_finished
from ..checkpoint_state import CheckpointState, get_checkpoint_state
from ..lost import LOST
from .recovery import JobEndedError

_log = logging.getLogger("weft")

#: How soon to look again at first, in seconds; each wait is twice the one before, up to `recovery_wait_secs`.
_FIRST_WAIT = 0.1
#: How often the log says what is waited for, in seconds.
_TELL_EVERY = 60.0
#: How long to wait for a session when nobody says.
MAX_WAIT_SECS = 7200.0


class SessionManager:
    """Makes sessions that are ready to train.

    `local_init_op` (with `local_init_feed_dict` and `local_init_run_options`) is run in each new session, once
    `ready_for_local_init_op` gives no names. The session is ready when `ready_op` gives no names of variables without a
    value. `recovery_wait_secs`: the longest time between two looks while it waits; the first ones come sooner.

    Source: `tf.train.SessionManager`. Raises ValueError for a `ready_for_local_init_op` without a `local_init_op`.
    """

    def __init__(
        self, local_init_op: Any = None, ready_op: Any = None, ready_for_local_init_op: Any = None,
        graph: Graph | None = None, recovery_wait_secs: float = 30, local_init_run_options: Any = None,
        local_init_feed_dict: Any = None,
    ) -> None:  # fmt: skip
        if ready_for_local_init_op is not None and local_init_op is None:
            raise ValueError(
                "If you pass a ready_for_local_init_op you must also pass a local_init_op, ready_for_local_init_op "
                f"[{ready_for_local_init_op}]"
            )
        self._local_init_op = local_init_op
        self._ready_op = ready_op
        self._ready_for_local_init_op = ready_for_local_init_op
        self._graph = get_default_graph() if graph is None else graph
        self._recovery_wait_secs = recovery_wait_secs
        self._local_init_run_options = local_init_run_options
        self._local_init_feed_dict = local_init_feed_dict

    def prepare_session(
        self, master: str, init_op: Any = None, saver: Any = None, checkpoint_dir: str | None = None,
        checkpoint_filename_with_path: str | None = None, wait_for_checkpoint: bool = False, max_wait_secs: float = 7200,
        config: Any = None, init_feed_dict: Any = None, init_fn: Callable[[Any], Any] | None = None,
    ) -> Session:  # fmt: skip
        """A session on `master` in which everything is initialized.

        `saver` restores the newest checkpoint in `checkpoint_dir` (waited for up to `max_wait_secs` with
        `wait_for_checkpoint`) or that of `checkpoint_filename_with_path`. Where there is none, `init_op` is run with
        `init_feed_dict`, and `init_fn(session)` called. Raises RuntimeError when variables have no value after that,
        which it names, and when there is nothing to initialize with; ValueError for both places of a checkpoint.
        """
        session, restored = self._restored(
            master, saver, checkpoint_dir, checkpoint_filename_with_path, wait_for_checkpoint, max_wait_secs, config
        )
        try:
            if not restored:
                if init_op is None and init_fn is None and self._local_init_op is None:
                    raise RuntimeError("Model is not initialized and no init_op or init_fn or local_init_op was given")
                if init_op is not None:
                    session.run(init_op, feed_dict=init_feed_dict)
                if init_fn is not None:
                    init_fn(session)
            missing = self._init_locally(session)
            what = "ready for local_init" if missing else "ready"
            missing = missing or self._not_ready(session)
            if missing:
                raise RuntimeError(
                    f"Init operations did not make model {what}.  Init op: {getattr(init_op, 'name', init_op)}, init fn: "
                    f"{init_fn}, local_init_op: {getattr(self._local_init_op, 'name', None)}, error: {missing}"
                )
        except BaseException:
            session.close()
            raise
        return session

    def recover_session(
        self, master: str, saver: Any = None, checkpoint_dir: str | None = None,
        checkpoint_filename_with_path: str | None = None, wait_for_checkpoint: bool = False, max_wait_secs: float = 7200,
        config: Any = None,
    ) -> tuple[Session, bool]:  # fmt: skip
        """A session on `master`, and whether a checkpoint made it ready; arguments as those of `prepare_session`."""
        session, restored = self._restored(
            master, saver, checkpoint_dir, checkpoint_filename_with_path, wait_for_checkpoint, max_wait_secs, config
        )
        try:
            missing = self._init_locally(session) if not restored else (
                self._init_locally(session) or self._not_ready(session)
            )  # fmt: skip
        except BaseException:
            session.close()
            raise
        if restored:
            place = shown(os.fspath(checkpoint_dir or checkpoint_filename_with_path or ""))
            _log.info("Restored model from %s%s", place, f", which did not make it ready: {missing}" if missing else "")
        return session, restored and not missing

    def wait_for_session(self, master: str, config: Any = None, max_wait_secs: float | None = None) -> Session:
        """A session on `master`, when another process has made it ready: a chief, that initializes or restores.

        The log says at first and then each minute what is missing. Raises DeadlineExceededError, which says it too, after
        `max_wait_secs` (None: two hours; TensorFlow's waits for ever), and JobEndedError, an OutOfRangeError, when the
        others have ended as they should.
        """
        waiting = _Waiting("the model to be ready", max_wait_secs, self._recovery_wait_secs)
        while True:
            session: Session | None = None
            try:
                session = Session(master, graph=self._graph, config=config)
                missing = self._init_locally(session) or self._not_ready(session)
                if not missing:
                    return session
            except LOST as error:
                missing = f"{master} cannot be reached: {error}"
            except BaseException:
                _close(session)
                raise
            _close(session)
            if is_finished(master):
                raise JobEndedError(
                    None, None, f"The job of {master} has ended: nobody makes the model ready ({missing})"
                )
            waiting.again(missing)

    def _restored(
        self, master: str, saver: Any, folder: str | None, file: str | None, wait: bool, max_wait_secs: float, config: Any
    ) -> tuple[Session, bool]:  # fmt: skip
        """A new session, and whether a checkpoint was restored in it."""
        if folder and file:
            raise ValueError("Can not provide both checkpoint_dir and checkpoint_filename_with_path.")
        session = Session(master, graph=self._graph, config=config)
        try:
            if saver is None or not (folder or file):
                return session, False
            if file:
                saver.restore(session, file)
                return session, True
            assert folder is not None
            state = self._checkpoint(folder, wait, max_wait_secs)
            if state is None:
                return session, False
            saver.restore(session, state.model_checkpoint_path)
            saver.recover_last_checkpoints(state.all_model_checkpoint_paths)
            return session, True
        except BaseException:
            session.close()
            raise

    def _checkpoint(self, folder: str, wait: bool, max_wait_secs: float) -> CheckpointState | None:
        """What the folder says; None when it says nothing, with `wait` in all the time."""
        waiting = _Waiting(f"a checkpoint in {shown(folder)}", max_wait_secs, self._recovery_wait_secs)
        state = get_checkpoint_state(folder)
        while state is None and wait and waiting.left() > 0:
            waiting.again("there is none")
            state = get_checkpoint_state(folder)
        return state

    def _init_locally(self, session: Session) -> str | None:
        """Run `local_init_op` when the model is ready for it; why it is not."""
        if self._local_init_op is None:
            return None
        missing = _missing(self._ready_for_local_init_op, session)
        if not missing:
            session.run(self._local_init_op, self._local_init_feed_dict, self._local_init_run_options)
        return missing

    def _not_ready(self, session: Session) -> str | None:
        return _missing(self._ready_op, session)


def _missing(operation: Any, session: Session) -> str | None:
    """What an operation that gives names says is missing; None for nothing."""
    if operation is None:
        return None
    try:
        found = session.run(operation)
    except errors.FailedPreconditionError as error:
        if "uninitialized" not in str(error):
            raise
        return str(error)
    if found is None or getattr(found, "dtype", None) == np.int32 or not np.size(found):
        return None
    names = (name.decode() if isinstance(name, bytes) else str(name) for name in np.ravel(found))
    return f"Variables not initialized: {', '.join(names)}"


class _Waiting:
    """A wait that ends, and that tells what for."""

    def __init__(self, what: str, max_wait_secs: float | None, longest: float) -> None:
        self._what = what
        self._limit = MAX_WAIT_SECS if max_wait_secs is None else max_wait_secs
        self._begun = time.monotonic()
        self._told = -math.inf
        self._next = min(_FIRST_WAIT, longest)
        self._longest = longest

    def left(self) -> float:
        """The seconds until it ends."""
        return self._begun + self._limit - time.monotonic()

    def again(self, missing: str) -> None:
        """Wait a while. Raises DeadlineExceededError at the end."""
        left = self.left()
        if left <= 0:
            text = f"Session was not ready after waiting {self._limit:g} secs for {self._what}: {missing}"
            raise errors.DeadlineExceededError(None, None, text)
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY:
            self._told = now
            _log.info(
                "Waiting for %s (since %.0f s, at most %g s): %s", self._what, now - self._begun, self._limit, missing
            )
        time.sleep(min(self._next, left))
        self._next = min(2 * self._next, self._longest)


def _close(session: Session | None) -> None:
    """Close a session that was not ready; what fails then matters no more."""
    if session is not None:
        with suppress(Exception):
            session.close()
