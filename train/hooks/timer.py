"""When a hook acts: every so many steps, every so many seconds, or never."""

from __future__ import annotations

import time


class SecondOrStepTimer:
    """Says at which steps to act: the first one, and then when `every_secs` or `every_steps` have gone by.

    Source: `tf.train.SecondOrStepTimer`. Raises ValueError unless exactly one of the two is given.
    """

    def __init__(self, every_secs: float | None = None, every_steps: int | None = None) -> None:
        if every_secs is None and every_steps is None:
            raise ValueError("Either every_secs or every_steps should be provided.")
        if every_secs is not None and every_steps is not None:
            raise ValueError("Can not provide both every_secs and every_steps.")
        self._every_secs = every_secs
        self._every_steps = every_steps
        self.reset()

    def reset(self) -> None:
        """Forget when it acted."""
        self._step: int | None = None
        self._time = 0.0

    def should_trigger_for_step(self, step: int) -> bool:
        """Whether to act at this step."""
        if self._step is None:
            return True
        if self._step == step:
            return False
        if self._every_secs is not None:
            return time.monotonic() >= self._time + self._every_secs
        return self._every_steps is not None and step >= self._step + self._every_steps

    def update_last_triggered_step(self, step: int) -> tuple[float | None, int | None]:
        """Note that it acts at this step. Returns the seconds and steps since the time before, (None, None) at the first."""
        now = time.monotonic()
        gone = (None, None) if self._step is None else (now - self._time, step - self._step)
        self._step, self._time = step, now
        return gone

    def last_triggered_step(self) -> int | None:
        """The step at which it acted last."""
        return self._step


class NeverTriggerTimer:
    """Never says to act."""

    def reset(self) -> None:
        """Nothing to forget."""

    def should_trigger_for_step(self, step: int) -> bool:
        return False

    def update_last_triggered_step(self, step: int) -> tuple[float | None, int | None]:
        return None, None

    def last_triggered_step(self) -> int | None:
        return None
