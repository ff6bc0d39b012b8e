"""Signals to processes that tests disturb."""

import os
import signal
import time
from pathlib import Path


def send(number: int, pid: int) -> None:
    """Send a signal to a process; SIGSTOP has stopped all its threads when this returns, which takes a busy machine a while."""
    os.kill(pid, number)
    while number == signal.SIGSTOP and not _is_stopped(pid):
        time.sleep(0.001)


def _is_stopped(pid: int) -> bool:
    return all("(stopped)" in (thread / "status").read_text() for thread in Path(f"/proc/{pid}/task").iterdir())
