"""Where a task's process writes its log, and the last of it: for the error that says that the task is gone."""

from __future__ import annotations

import os
from contextlib import suppress

from .task_info import TaskInfo
from .transport import Location

#: How much of a log is told: so many lines, which lie in so many bytes at its end, and of each so many characters.
LINES, BYTES, LONGEST = 15, 8192, 300


def log_of_this_process() -> str:
    """The file that this process's errors are written to; "" where that is none."""
    with suppress(OSError):
        path = os.readlink("/proc/self/fd/2")
        if os.path.isfile(path):
            return path
    return ""


def last_words(info: TaskInfo) -> str:
    """The last lines of a task's log, to be added to what is said of it; of a task on another host, where its log is.

    "" where there are none.
    """
    if not info.log:
        return ""
    if info.location.node != Location.here().node:
        return f"; its log is {info.log} on {info.host}"
    try:
        with open(info.log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - BYTES))
            text = file.read(BYTES).decode(errors="replace")
    except OSError:
        return ""
    told = [line for line in text.splitlines() if line.strip() and not line.startswith(":")]  # those are Ray's marks
    lines = "".join(f"\n  {line[:LONGEST]}" for line in told[-LINES:])
    return f"; the last in its log, {info.log}:{lines}" if lines else ""
