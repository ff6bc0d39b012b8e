"""What the user of `weft launch` sees: each task's output with its name before it, and one line that says how the job is."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping

from tqdm import tqdm

from .job_state import Status
from .program import Task

#: How many of a task's last lines are told again when it is what ends the job.
TAIL_LINES = 15
_STEP = re.compile(r"\bglobal[ _]step\D{0,3}(\d+)")
_WORDS = {
    Status.PLACING: "being placed",
    Status.WAITING: "waiting",
    Status.RUNNING: "running",
    Status.STOPPING: "stopping",
    Status.DONE: "ended",
}


class Board:
    """Writes the tasks' lines to standard output, what the launcher has to say to standard error.

    The line of the job is drawn where standard error is a terminal.
    """

    def __init__(self, tasks: list[Task]) -> None:
        self._tasks = {str(task): task for task in tasks}
        self._width = max(map(len, self._tasks))
        self._tails: dict[str, deque[str]] = {name: deque(maxlen=TAIL_LINES) for name in self._tasks}
        self._started = time.monotonic()
        self._step = 0
        self._shown = ""
        self._bar = tqdm(bar_format="{desc}", disable=None, leave=False)

    def begins(self, task: str) -> None:
        """A task starts, perhaps again: what it wrote before its last start is not the last of it."""
        self._tails[task].clear()

    def line(self, task: str, text: str) -> None:
        """A task has written a line."""
        self._tails[task].append(text)
        for found in _STEP.finditer(text):
            self._step = max(self._step, int(found.group(1)))
        tqdm.write(f"[{task:{self._width}}] {text}", file=sys.stdout)
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """The launcher has something to say."""
        tqdm.write(f"weft launch: {text}", file=sys.stderr)

    def show(self, status: Mapping[str, Status], failures: int, preemptions: int) -> None:
        """Draw the line of the job."""
        text = self.summary(status, failures, preemptions)
        if text != self._shown:
            self._shown = text
            self._bar.set_description_str(text)

    def summary(self, status: Mapping[str, Status], failures: int, preemptions: int) -> str:
        """How the job is, in one line."""
        seconds = int(time.monotonic() - self._started)
        parts = [f"{seconds // 3600:d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"]
        for job in dict.fromkeys(task.job for task in self._tasks.values()):
            counts = Counter(_WORDS[status[name]] for name, task in self._tasks.items() if task.job == job)
            parts.append(f"{job}: " + ", ".join(f"{count} {word}" for word, count in counts.items()))
        parts += [f"global step {self._step:,}"] if self._step else []
        parts += [f"failures mended: {failures}"] if failures else []
        parts += [f"preemptions: {preemptions}"] if preemptions else []
        return " · ".join(parts)

    def tail(self, task: str) -> list[str]:
        """The last lines of a task."""
        return [*self._tails[task]]

    def close(self) -> None:
        """Take the line away."""
        self._bar.close()
