"""Ctrl-C and SIGTERM, with which batch systems end a job, while a launcher works: both end the tasks, then the launcher."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """The user, or the system for the user, ends the job; `code` is what it then ends with."""

    def __init__(self, number: int) -> None:
        KeyboardInterrupt.__init__(self)
        self.code = 128 + number
        self.what = "terminated" if number == signal.SIGTERM else "interrupted"


class Signals:
    """A block in which the two raise Stopped; only the main thread hears of signals.

    Ray, while it starts, may swallow what a handler raises, and puts a handler of its own in the place of that of SIGTERM,
    which ends this process. So what came is kept for `again()`, which is to be called when Ray has started.
    """

    def __init__(self) -> None:
        self._came = 0
        self._before: dict[int, Any] = {}
        self._main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Signals:
        if self._main:
            self._before = {number: signal.signal(number, self._handle) for number in _NUMBERS}
        return self

    def again(self) -> None:
        """Take the signals back. Raises Stopped for one that came, and that nobody has heard of."""
        if self._main:
            for number in _NUMBERS:
                signal.signal(number, self._handle)
        if self._came:
            raise Stopped(self._came)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self._came = number
        raise Stopped(number)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)
