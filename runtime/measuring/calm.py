"""calm: how much of this machine others compute on meanwhile, where the system tells."""

from __future__ import annotations

import os

#: Columns of a processor's line in /proc/stat in which it computes, or is taken away: all but idle, waiting, guests.
_BUSY = (0, 1, 2, 5, 6, 7)


def processors() -> int:
    """How many processors this process may compute on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy_seconds() -> float | None:
    """Seconds that these have computed since the system began, for whomever; None where the system does not tell."""
    try:
        mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        with open("/proc/stat", encoding="ascii") as file:
            lines = [line.split() for line in file if line.startswith("cpu")]
        found = [line[1:] for line in lines if line[0] in mine]
        ticks = sum(int(line[column]) for line in found for column in _BUSY)
    except (AttributeError, OSError, ValueError, IndexError):
        return None
    return ticks / os.sysconf("SC_CLK_TCK") if found else None
