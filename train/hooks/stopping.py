"""Hooks that end or hold a training: at a step, at a NaN, until others have come as far."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np

from ...graph import errors
from ..global_step import needed_global_step_read
from .session_run_hook import SessionRunArgs, SessionRunContext, SessionRunHook, SessionRunValues

_log = logging.getLogger("weft")


class StopAtStepHook(SessionRunHook):
    """Requests a stop when the global step has reached `last_step`, or grown by `num_steps` since the session was made.

    Source: `tf.train.StopAtStepHook`. Raises ValueError unless exactly one of the two is given; `begin` raises RuntimeError
    without a global step.
    """

    def __init__(self, num_steps: int | None = None, last_step: int | None = None) -> None:
        if num_steps is None and last_step is None:
            raise ValueError("One of num_steps or last_step must be specified.")
        if num_steps is not None and last_step is not None:
            raise ValueError("Only one of num_steps or last_step can be specified.")
        self._num_steps = num_steps
        self._last_step = last_step

    def begin(self) -> None:
        self._global_step = needed_global_step_read(self)

    def after_create_session(self, session: Any, coord: Any) -> None:
        if self._last_step is None:
            assert self._num_steps is not None
            self._last_step = int(session.run(self._global_step)) + self._num_steps

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:
        return SessionRunArgs(self._global_step)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        assert self._last_step is not None
        # What was fetched is the step before this run, which may have counted or not: near the end, look again.
        near = run_values.results + 1 >= self._last_step
        if near and run_context.session.run(self._global_step) >= self._last_step:
            run_context.request_stop()


class NanLossDuringTrainingError(RuntimeError):
    """The loss became NaN. Source: `tf.train.NanLossDuringTrainingError`."""

    def __str__(self) -> str:
        return " ".join(["NaN loss during training.", *map(str, self.args)])


class NanTensorHook(SessionRunHook):
    """Watches a loss: raises NanLossDuringTrainingError when it is NaN, or, without `fail_on_nan_loss`, requests a stop.

    Source: `tf.train.NanTensorHook`.
    """

    def __init__(self, loss_tensor: Any, fail_on_nan_loss: bool = True) -> None:
        self._loss_tensor = loss_tensor
        self._fail_on_nan_loss = fail_on_nan_loss

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:
        return SessionRunArgs(self._loss_tensor)

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        if not np.isnan(run_values.results):
            return
        text = "Model diverged with loss = NaN."
        if self._fail_on_nan_loss:
            _log.error(text)
            raise NanLossDuringTrainingError(*_told(self._loss_tensor))
        _log.warning(text)
        run_context.request_stop()


def _told(loss: Any) -> list[str]:
    """Which tensor it is, and where it was made, of one that is no name."""
    operation = getattr(loss, "op", None)
    return [] if operation is None else [f"It is {loss.name}, made at {operation.location}"]


class GlobalStepWaiterHook(SessionRunHook):
    """Holds the first run until the global step is `wait_until_step`: workers of a cluster then begin one after the other.

    It looks twice a second, says in the log each minute what it waits for, and raises DeadlineExceededError after
    `max_wait_secs`, which TensorFlow's has not. A stop of the session ends the waiting.
    Source: `tf.train.GlobalStepWaiterHook`.
    """

    def __init__(self, wait_until_step: int, max_wait_secs: float = 7200) -> None:
        self._wait_until_step = wait_until_step
        self._max_wait_secs = max_wait_secs
        self._coord: Any = None

    def begin(self) -> None:
        self._started = self._wait_until_step <= 0
        self._global_step = needed_global_step_read(self)

    def after_create_session(self, session: Any, coord: Any) -> None:
        self._coord = coord

    def before_run(self, run_context: SessionRunContext) -> None:
        if self._started:
            return
        wanted = f"global step {self._wait_until_step} before starting training"
        _log.info("Waiting for %s.", wanted)
        begun = told = time.monotonic()
        while (step := int(run_context.session.run(self._global_step))) < self._wait_until_step:
            now = time.monotonic()
            if now - begun >= self._max_wait_secs:
                text = f"The {wanted} was not reached after waiting {self._max_wait_secs:g} s: it is {step}"
                raise errors.DeadlineExceededError(None, None, text)
            if now - told >= 60:
                told = now
                _log.info("Waiting for %s. Current step is %d.", wanted, step)
            if self._coord is None:
                time.sleep(0.5)
            elif self._coord.wait_for_stop(0.5):
                return
        self._started = True
