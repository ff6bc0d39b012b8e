"""What a disturbed job must not leave: processes, shared memory, listeners, placement groups."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

#: So long what was asked to end may take to do so.
_SECONDS = 60.0
_LISTENS = "0A"
_ROW = re.compile(r"^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) \S+ (\S\S) ", re.MULTILINE)
_NAME = re.compile(r"^\S+: \S+ \S+ 00010000 .* (@weft-\w+)$", re.MULTILINE)


def shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm"))


def left_in_shared_memory(before: set[str]) -> set[str]:
    """Files that were not there before and that no process uses: those of others, who run at the same time, do not count."""
    found = shared_memory() - before
    return found - _used(found) if found else found


def _used(names: set[str]) -> set[str]:
    """Those of these files in shared memory that a process has open or mapped."""
    held = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with suppress(OSError):  # it has ended
                held.append((process / "maps").read_text())
            with suppress(OSError):
                for each in (process / "fd").iterdir():
                    with suppress(OSError):  # it was closed
                        held.append(f"{os.readlink(each)}\n")
    told = "".join(held)
    return {name for name in names if f"/dev/shm/{name}\n" in told}


def processes_with(mark: str) -> list[str]:
    """The processes that have this in their environment."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and mark.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it has ended
            continue
    return found


def alive(pids: Iterable[int]) -> list[int]:
    """Those of these processes that run; one that has ended and that nobody has asked about does not."""
    found = []
    for pid in pids:
        try:
            found += [pid] if "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text() else []
        except OSError:
            continue
    return found


def listeners(host: str = "") -> set[str]:
    """What is listened on, on this machine or a host of the tests: ports, and names of weft's UNIX sockets."""
    there = ["ip", "netns", "exec", host] if host else []
    files = ["/proc/net/tcp", "/proc/net/tcp6", "/proc/net/unix"]
    found = subprocess.run([*there, "cat", *files], capture_output=True, text=True, check=False).stdout
    return {str(int(port, 16)) for port, state in _ROW.findall(found) if state == _LISTENS} | set(_NAME.findall(found))


def gone(look: Callable[[], Iterable[object]]) -> str:
    """What is there still when that which was asked to end has had its time; "" for nothing."""
    until = time.monotonic() + _SECONDS
    while found := sorted(map(str, look())):
        if time.monotonic() > until:
            return ", ".join(found)
        time.sleep(0.1)
    return ""
