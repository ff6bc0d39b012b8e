"""What a process wrote last: in the file that its standard error goes to, on its own host."""

from __future__ import annotations

import os
import stat

#: How many lines are worth telling, how much of each, and how far from the end of the file they begin at most.
LINES, WIDTH, BYTES = 15, 300, 8192
#: How Ray begins the lines by which it tells itself who writes: of no interest to anybody else.
_MARKS = (":job_id:", ":actor_name:", ":task_name:")


def log_file() -> str:
    """The file that this process's standard error goes to; "" when it goes somewhere else, as to a terminal."""
    try:
        return os.readlink("/proc/self/fd/2") if stat.S_ISREG(os.fstat(2).st_mode) else ""
    except OSError:
        return ""


def tail(path: str) -> str:
    """The last lines of a log on this host, each indented; "" when there are none."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.rstrip()[:WIDTH] for line in text.splitlines() if line.strip() and not line.startswith(_MARKS)]
    return "\n".join(f"  {line}" for line in lines[-LINES:])
