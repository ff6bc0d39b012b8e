"""Who writes a file: a mark for its name, by which a later process sees whether the writer is gone."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from functools import cache

#: The machine since it was started, with the numbering of its processes; process; when that began; a random number.
MARK = r"[0-9a-f]{8}-[0-9a-f]+-[0-9a-f]+-[0-9a-f]{8}"
_PARTS = re.compile(r"([0-9a-f]{8})-([0-9a-f]+)-([0-9a-f]+)-[0-9a-f]{8}")


def new_mark() -> str:
    """A mark that no other has, of this process."""
    pid = os.getpid()
    return f"{_machine()}-{pid:x}-{_began(pid) or 0:x}-{os.urandom(4).hex()}"


def is_gone(mark: str) -> bool:
    """Whether its process was one of this machine and has ended. Of other machines' nobody here knows."""
    found = _PARTS.fullmatch(mark)
    if found is None or found[1] != _machine():
        return False
    return _began(int(found[2], 16)) != int(found[3], 16)


@cache
def _machine() -> str:
    """This machine, until it is started anew, as processes of this container number each other."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read()
    return hashlib.sha256(f"{boot} {os.readlink('/proc/self/ns/pid')}".encode()).hexdigest()[:8]


def _began(pid: int) -> int | None:
    """When a process began, in ticks since the machine did; None when there is no such process, or only its remains."""
    with suppress(OSError):
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    return None
