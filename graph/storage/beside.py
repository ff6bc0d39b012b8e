"""Beside: what is done while a training goes on, in threads that give way to it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from ..waiting import current

_Result = TypeVar("_Result")

#: How much less of a processor than others such a thread gets where there are too few: about a tenth of what they get. Not as
#: little as can be: it takes Python's lock now and then, and who waits for that waits until it has had its turn.
NICE = 10


def give_way() -> None:
    """Let others have the processor first, from now on: there is no way back for this thread. Where the system knows of no
    threads in this, it stays as it is."""
    if sys.platform == "linux":
        with suppress(OSError):
            number = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, number, os.getpriority(os.PRIO_PROCESS, number) + NICE)


def beside(function: Callable[[], _Result]) -> _Result:
    """What a function returns, or raises, that runs in a thread of its own which gives way to others.

    It is part of the step that this thread runs, and ends where that does.
    """
    ending, results, raised = current.ending, list[_Result](), list[BaseException]()

    def run() -> None:
        current.ending = ending
        try:
            give_way()
            results.append(function())
        except BaseException as error:  # whoever waits gets it
            raised.append(error)

    thread: Any = threading.Thread(target=run, daemon=True, name=f"{threading.current_thread().name} beside")
    thread.start()
    thread.join()
    if raised:
        raise raised.pop()
    return results.pop()
