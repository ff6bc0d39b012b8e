"""Signals held back: what the program does about them waits while this thread is amid something that must not be cut short."""

from __future__ import annotations

import importlib
import os
import signal
import threading
from types import FrameType
from typing import Any

#: Those whose handlers raise in programs: Ctrl-C, requests to end, time limits.
_NUMBERS = tuple(int(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM))
#: What `signal` is made of: its own functions look handlers up among enums, which takes twenty times as long as the rest.
_plain: Any = importlib.import_module("_signal")


class _Main:
    """Which thread is the main one; asking `threading` each time takes three calls."""

    def __init__(self) -> None:
        self.look()
        os.register_at_fork(after_in_child=self.look)

    def look(self) -> None:
        self.ident = threading.main_thread().ident


_main = _Main()


class HeldSignals:
    """A block in which handlers of signals run only while `open` is set, or else at its end.

    Python runs them in the main thread, so elsewhere it does nothing.
    """

    __slots__ = ("_came", "_handlers", "open")

    def __init__(self) -> None:
        #: Whether a handler may run now, and raise. Outside of the block it is: one that raises there leaves nothing held.
        self.open = True
        self._handlers: dict[int, Any] = {}
        self._came: list[tuple[int, FrameType | None]] = []

    def __enter__(self) -> HeldSignals:
        if threading.get_ident() == _main.ident:
            for number in _NUMBERS:
                handler = _plain.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    _plain.signal(number, self._handle)
        self.open = False
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.open:
            self._handlers[number](number, frame)
        else:
            self._came.append((number, frame))

    def __exit__(self, *_: object) -> None:
        self.open = True
        for number, handler in self._handlers.items():
            _plain.signal(number, handler)
        for number, frame in self._came:
            self._handlers[number](number, frame)
