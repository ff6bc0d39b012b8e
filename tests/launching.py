"""What the tests of `weft launch` share: it as a process, and the processes of its programs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

#: Programs have this in their environment, so that what is left of them can be found.
MARK = "WEFT_TEST_MARK"


def weft(mark: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {MARK: mark}
    environment.pop("RAY_ADDRESS", None)
    return subprocess.Popen(
        [sys.executable, "-P", "-c", "from weft.cluster.launch.command import main; main()", "launch", *arguments],
        env=environment, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def programs(mark: str) -> set[int]:
    """The processes of programs that were started under this mark."""
    found = set()
    for process in Path("/proc").iterdir():
        try:
            ours = process.name.isdecimal() and mark.encode() in (process / "environ").read_bytes()
            if ours and b"weft.cluster.launch.child" in (process / "cmdline").read_bytes():
                found.add(int(process.name))
        except OSError:  # it has ended
            continue
    return found


def eventually(true: Callable[[], bool], seconds: float = 100.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.05)
    return False
