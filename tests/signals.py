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
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            told = (thread / "status").read_text()
        except OSError:  # it has just ended
            continue
        if "(stopped)" not in told:
            return False
    return True
