"""ProgressHook: one line on the terminal that tells how far a training is, how fast it goes, and when it will be done."""

from __future__ import annotations

import sys
from typing import Any

from ..global_step import needed_global_step_read
from .session_run_hook import SessionRunArgs, SessionRunContext, SessionRunHook, SessionRunValues


class ProgressHook(SessionRunHook):
    """Shows a progress line on stderr: the global step, steps a second and, when `last_step` is known, the time that is left.

    `tensors`: a dict of scalars by name to show too, such as the loss; their values are fetched in each run. `every_secs`:
    how often the line changes. Where stderr is no terminal nothing is shown and nothing fetched, unless `always`.
    Raises RuntimeError without a global step.
    """

    def __init__(
        self, last_step: int | None = None, tensors: dict[str, Any] | None = None, every_secs: float = 0.5,
        always: bool = False, stream: Any = None,
    ) -> None:  # fmt: skip
        self._last_step = last_step
        self._tensors = dict(tensors or {})
        self._every_secs = every_secs
        self._stream = stream
        self._always = always
        self._bar: Any = None

    def begin(self) -> None:
        self._global_step = needed_global_step_read(self)

    def after_create_session(self, session: Any, coord: Any) -> None:
        stream = self._stream or sys.stderr
        if self._bar is None and (self._always or stream.isatty()):
            from tqdm import tqdm  # not loaded by programs that show nothing

            step = int(session.run(self._global_step))
            self._bar = tqdm(
                total=self._last_step, initial=step, unit="step", file=stream, mininterval=self._every_secs, leave=True
            )
        elif self._bar is not None:  # after a recovery it may be further back
            self._show(int(session.run(self._global_step)))

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        return None if self._bar is None else SessionRunArgs((self._global_step, self._tensors))

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        if self._bar is None:
            return
        step, values = run_values.results
        if values:
            self._bar.set_postfix({name: f"{float(value):.6g}" for name, value in values.items()}, refresh=False)
        self._show(int(step))

    def end(self, session: Any) -> None:
        if self._bar is not None:
            self._show(int(session.run(self._global_step)))
            self._bar.close()
            self._bar = None

    def _show(self, step: int) -> None:
        """Move the line to a step; it is drawn when its time has come."""
        if step >= self._bar.n:
            self._bar.update(step - self._bar.n)
        else:
            self._bar.n = step
            self._bar.refresh()
