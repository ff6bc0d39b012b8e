"""CheckpointSaverHook: a checkpoint every so often, at the first run and at the end; and who is told of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

from ...graph import errors
from ...graph.collections import GraphKeys
from ...graph.ir import get_default_graph
from ...graph.storage.files import make_folder
from ...graph.storage.places import join, shown
from ..background_saver import BackgroundSaver
from ..events.graph_events import write_graph_events
from ..events.protos import can_write_events, event_protos
from ..events.writing import writer_of
from ..global_step import needed_global_step_read
from ..lost import LOST
from .session_run_hook import SessionRunArgs, SessionRunContext, SessionRunHook, SessionRunValues
from .timer import SecondOrStepTimer

_log = logging.getLogger("weft")


#: More steps than a run counts.
_STEPS_A_RUN = 1_000_000


class CheckpointSaverListener:
    """Is told by a CheckpointSaverHook what it does; a subclass defines the methods it needs.

    Source: `tf.train.CheckpointSaverListener`.
    """

    def begin(self) -> None:
        """Before the session is made; may add to the graph."""

    def before_save(self, session: Any, global_step_value: int) -> None:
        """Before a checkpoint is written."""

    def after_save(self, session: Any, global_step_value: int) -> Any:
        """After a checkpoint was written; a true result requests a stop."""

    def end(self, session: Any, global_step_value: int) -> None:
        """At the end of the session."""


class CheckpointSaverHook(SessionRunHook):
    """Saves a checkpoint when the session was made, every `save_steps` steps or `save_secs` seconds, and at the end.

    By `saver`, that of `scaffold`, or the one in the collection SAVERS, to `<checkpoint_dir>/<checkpoint_basename>-<step>`.
    With `save_graph_def` the graph is written too: `graph.pbtxt` once, a meta graph with each checkpoint. These, and the
    events that TensorBoard shows, need tensorboardX; without it a warning says that they are missing.

    `asynchronous`, which TensorFlow's has not: the values are taken between two runs and written by another thread while
    the training goes on. One checkpoint is in flight at most; a failure is raised after the next run, or by `end`, and so
    `after_save` of the listeners is called.

    Source: `tf.train.CheckpointSaverHook`. Raises ValueError for both a `saver` and a `scaffold`, and unless exactly one of
    the intervals is given; RuntimeError without a global step, and without any saver.
    """

    def __init__(
        self, checkpoint_dir: str, save_secs: float | None = None, save_steps: int | None = None, saver: Any = None,
        checkpoint_basename: str = "model.ckpt", scaffold: Any = None,
        listeners: Sequence[CheckpointSaverListener] | None = None, save_graph_def: bool = True, asynchronous: bool = False,
    ) -> None:  # fmt: skip
        if saver is not None and scaffold is not None:
            raise ValueError("You cannot provide both saver and scaffold.")
        self._saver = saver
        self._checkpoint_dir = os.fspath(checkpoint_dir)
        self._save_path = join(self._checkpoint_dir, checkpoint_basename)
        self._scaffold = scaffold
        self._timer = SecondOrStepTimer(save_secs, save_steps)
        self._listeners = list(listeners or ())
        self._save_graph_def = save_graph_def
        self._asynchronous = asynchronous
        self._background: BackgroundSaver | None = None
        #: The step of the checkpoint in flight.
        self._in_flight: int | None = None

    def begin(self) -> None:
        make_folder(self._checkpoint_dir)
        self._summary_writer = writer_of(self._checkpoint_dir)
        self._global_step = needed_global_step_read(self)
        for listener in self._listeners:
            listener.begin()

    def after_create_session(self, session: Any, coord: Any) -> None:
        if self._background is not None:
            self._finish_lost(session)
        saver = self._get_saver()
        if self._asynchronous:
            self._background = BackgroundSaver(saver)
        step = int(session.run(self._global_step))
        if can_write_events():
            folder = self._checkpoint_dir if self._save_graph_def else None
            write_graph_events(session.graph, saver, folder, self._summary_writer)
        self._save(session, step)
        self._timer.update_last_triggered_step(step)

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:
        return SessionRunArgs(self._global_step)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        stop = False
        if self._in_flight is not None and self._background is not None and not self._background.busy:
            stop = self._finish(run_context.session)
        # What was fetched is the step before this run, which may have counted many.
        if self._timer.should_trigger_for_step(run_values.results + _STEPS_A_RUN):
            step = int(run_context.session.run(self._global_step))
            if self._timer.should_trigger_for_step(step):
                self._timer.update_last_triggered_step(step)
                stop = self._save(run_context.session, step) or stop
        if stop:
            run_context.request_stop()

    def end(self, session: Any) -> None:
        last_step = int(session.run(self._global_step))
        if last_step != self._timer.last_triggered_step():
            self._save(session, last_step)
        self._finish(session)
        if self._summary_writer is not None:
            self._summary_writer.flush()
        for listener in self._listeners:
            listener.end(session, last_step)

    def _save(self, session: Any, step: int) -> bool:
        """Save a checkpoint; whether a listener wants to stop."""
        stop = self._finish(session)
        for listener in self._listeners:
            listener.before_save(session, step)
        _log.info("Saving checkpoints for %d into %s.", step, shown(self._save_path))
        if self._background is None:
            self._get_saver().save(session, self._save_path, global_step=step, write_meta_graph=self._save_graph_def)
            return self._told(session, step) or stop
        suffix = "meta" if self._save_graph_def else None
        self._background.save(session, self._save_path, global_step=step, meta_graph_suffix=suffix)
        self._in_flight = step
        return stop

    def _finish(self, session: Any) -> bool:
        """Wait for the checkpoint in flight, if any; whether a listener wants to stop."""
        step, self._in_flight = self._in_flight, None
        if step is None or self._background is None:
            return False
        self._background.wait()
        return self._told(session, step)

    def _finish_lost(self, session: Any) -> None:
        """As `_finish`, of a session that was lost: with it may be lost what tasks held for the checkpoint in flight."""
        step = self._in_flight
        try:
            self._finish(session)
        except (*LOST, errors.CancelledError) as error:
            _log.warning("The checkpoint of step %s was not finished, as its session was lost: %s", step, error)

    def _told(self, session: Any, step: int) -> bool:
        """Tell the events and the listeners of a checkpoint that was written."""
        if self._summary_writer is not None:
            log = event_protos().SessionLog
            entry = log(status=log.CHECKPOINT, checkpoint_path=shown(self._save_path))
            self._summary_writer.add_session_log(entry, step)
        stop = False
        for listener in self._listeners:
            if listener.after_save(session, step):
                _log.info("A CheckpointSaverListener requested that training be stopped. listener: %s", listener)
                stop = True
        return stop

    def _get_saver(self) -> Any:
        if self._saver is not None:
            return self._saver
        if self._scaffold is not None:
            return self._scaffold.saver
        savers = get_default_graph().get_collection(GraphKeys.SAVERS)
        if not savers:
            raise RuntimeError(
                f"No items in collection {GraphKeys.SAVERS}. Please add a saver to the collection or provide a saver or "
                "scaffold."
            )
        if len(savers) > 1:
            raise RuntimeError(
                f"More than one item in collection {GraphKeys.SAVERS}. Please indicate which one to use by passing it to "
                "the constructor."
            )
        self._saver = savers[0]
        return self._saver
