"""The threads of a Supervisor: they compute summaries, count steps and write checkpoints, each on its own clock."""

from __future__ import annotations

import logging
import time
from typing import Any

from ..events.protos import event_protos
from ..global_step import global_step
from ..queues.coordinator import LooperThread

_log = logging.getLogger("weft")

#: How often the log tells the speed.
_TOLD = 10


class SummaryThread(LooperThread):
    """Writes the summaries of a supervisor every `save_summaries_secs`."""

    def __init__(self, supervisor: Any, session: Any) -> None:
        LooperThread.__init__(self, supervisor.coord, supervisor.save_summaries_secs)
        self._supervisor = supervisor
        self._session = session

    def run_loop(self) -> None:
        supervisor = self._supervisor
        counted = [] if supervisor.global_step is None else [supervisor.global_step]
        summary, steps = self._session.run([supervisor.summary_op, counted])
        supervisor.summary_writer.add_summary(summary, *steps)


class StepCounterThread(LooperThread):
    """Writes how many steps a second it goes, every `save_summaries_secs`."""

    def __init__(self, supervisor: Any, session: Any) -> None:
        LooperThread.__init__(self, supervisor.coord, supervisor.save_summaries_secs)
        self._supervisor = supervisor
        self._session = session
        self._tag = f"{supervisor.global_step.op.name}/sec"
        self._told = 0

    def start_loop(self) -> None:
        self._time, self._step = time.monotonic(), global_step(self._session, self._supervisor.global_step)

    def run_loop(self) -> None:
        now, step = time.monotonic(), global_step(self._session, self._supervisor.global_step)
        seconds, steps = now - self._time, step - self._step
        self._time, self._step = now, step
        rate = steps / seconds if seconds > 0 else float("inf")
        summary = event_protos().Summary
        value = summary.Value(tag=self._tag, simple_value=rate)
        self._supervisor.summary_writer.add_summary(summary(value=[value]), step)
        if self._told < _TOLD:
            self._told += 1
            _log.info("%s: %g", self._tag, rate)


class CheckpointThread(LooperThread):
    """Writes a checkpoint every `save_model_secs`."""

    def __init__(self, supervisor: Any, session: Any) -> None:
        LooperThread.__init__(self, supervisor.coord, supervisor.save_model_secs)
        self._supervisor = supervisor
        self._session = session

    def run_loop(self) -> None:
        supervisor = self._supervisor
        _log.info("Saving checkpoint to path %s", supervisor.save_path)
        supervisor.saver.save(self._session, supervisor.save_path, global_step=supervisor.global_step)
        if supervisor.summary_writer is not None and supervisor.global_step is not None:
            log = event_protos().SessionLog
            entry = log(status=log.CHECKPOINT, checkpoint_path=supervisor.save_path)
            supervisor.summary_writer.add_session_log(entry, global_step(self._session, supervisor.global_step))
