"""The Ray actor of one task of a launched job: it has the task's address, runs its program, and passes on what that writes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

import ray

#: Lines that nobody has asked for yet; beyond, the oldest are left out.
MOST_LINES = 10_000
#: The longest piece of output that counts as one line, in bytes.
LONGEST_LINE = 1 << 16
#: How long a program may take to end when it is asked to, in seconds.
TERM_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Where:
    """Where a task is: its host's name, and the address its program is to listen at."""

    host: str
    address: str


@dataclass(frozen=True, slots=True)
class News:
    """What a task's program has written since it was last asked for, and its exit code if it has ended."""

    lines: list[str]
    left_out: int
    code: int | None


class LaunchedTask:
    """Runs the task's program, one at a time, in a process of its own. Calls come in several threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._held: socket.socket | None = None
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self._left_out = 0
        self._code: int | None = None

    def place(self) -> Where:
        """An address of this host that is free, and that the system gives to nobody else as long as this actor lives.

        The program listens there: Linux lets it, since this socket here does not listen and both may share an address.
        """
        host = ray.util.get_node_ip_address()
        held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((host, 0))
        port = held.getsockname()[1]
        if sys.platform == "linux":
            self._held = held
        else:
            held.close()
        return Where(socket.gethostname(), f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    def start(self, program: str, arguments: list[str], variables: dict[str, str], folder: str | None) -> None:
        """Start the program in a folder of this host, by default the one that this process is in. Its end is news."""
        # The process ends with the thread that started it, so that one waits for it.
        threading.Thread(target=self._run, args=(program, arguments, variables, folder), daemon=True).start()

    def stop(self) -> None:
        """End the program: it is asked to first, and its end is news, as always."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(TERM_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()

    def news(self, wait: float) -> News:
        """What there is to tell, after at most `wait` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._code is not None, wait)
            lines, left_out, code = [*self._lines], self._left_out, self._code
            self._lines.clear()
            self._left_out, self._code = 0, None
            return News(lines, left_out, code)

    def _run(self, program: str, arguments: list[str], variables: dict[str, str], folder: str | None) -> None:
        command = [sys.executable, "-P", "-m", f"{__package__}.child", str(os.getpid()), program, *arguments]
        try:
            process = subprocess.Popen(
                command, env=os.environ | variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, cwd=folder, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self._tell(f"the program could not be started: {error}")
            self._end(1)
            return
        self._process = process
        reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        reader.start()
        code = process.wait()
        with suppress(ProcessLookupError):  # what it has started and left behind would hold its output open
            os.killpg(process.pid, signal.SIGKILL)
        reader.join()
        self._end(code)

    def _read(self, output: IO[bytes]) -> None:
        with output:
            while line := output.readline(LONGEST_LINE):
                self._tell(line.decode(errors="replace").rstrip("\r\n"))

    def _tell(self, line: str) -> None:
        with self._changed:
            self._left_out += len(self._lines) == MOST_LINES
            self._lines.append(line)
            self._changed.notify_all()

    def _end(self, code: int) -> None:
        with self._changed:
            self._code = code
            self._changed.notify_all()
