"""What the tests of servers share: free ports, tasks as processes of their own, and a secret that only they know."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

#: What each program begins with: its task, as its arguments say.
_HEAD = """
import json, sys, time
import numpy as np
import weft as wf
cluster, job, index = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
"""
#: A task that serves until the job is over.
SERVE = """
server = wf.train.Server(cluster, job, index)
print("up", flush=True)
server.join(grace={grace})
print("over", flush=True)
"""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, none of those that the system gives to whoever asks for any: they stay free until used.

    Nor are they among those from 10,000 on that `ray start` gives to workers. Where the system gives away all others, they
    are free now.
    """
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    given = range(first, last + 1)
    candidates = [port for port in range(20_000, 65_536) if port not in given] or list(range(20_000, 65_536))
    found: set[int] = set()
    while len(found) < count:
        port = secrets.choice(candidates)  # two processes that share the tests have the same seeds
        with suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            found.add(port)
    return list(found)


def local_cluster(**jobs: int) -> dict[str, list[str]]:
    """A cluster of so many tasks a job, on this machine."""
    ports = iter(free_ports(sum(jobs.values())))
    return {job: [f"localhost:{next(ports)}" for _ in range(count)] for job, count in jobs.items()}


class Program:
    """A task's program as a process of its own; `name` is what it is called in errors."""

    def __init__(
        self, text: str, cluster: Mapping[str, Any], job: str, index: int, env: Mapping[str, str], host: str = ""
    ) -> None:
        self.name = f"/job:{job}/replica:0/task:{index}"
        source = _HEAD + textwrap.dedent(text)
        there = ["ip", "netns", "exec", host] if host else []
        self.process = subprocess.Popen(
            [*there, sys.executable, "-P", "-c", source, json.dumps(cluster), job, str(index)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **env},
        )  # fmt: skip

    def says(self, line: str) -> None:
        """Wait for it to print a line."""
        assert self.process.stdout is not None
        found = self.process.stdout.readline().strip()
        assert found == line, f"{self.name} said {found!r}: {self.end(kill=True)}"

    def tell(self) -> None:
        """Let it go on that waits for a line."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)

    def end(self, kill: bool = False, timeout: float = 120) -> tuple[int, str, str]:
        """Wait for its end: its status, the rest of what it printed, and its stderr."""
        if kill:
            self.process.kill()
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err


@contextmanager
def programs(env: Mapping[str, str] | None = None) -> Iterator[Callable[..., Program]]:
    """Starts programs, which have a secret in common and end with the block."""
    started: list[Program] = []
    shared = {"WEFT_CLUSTER_SECRET": secrets.token_hex(32), **(env or {})}

    def start(text: str, cluster: Mapping[str, Any], job: str, index: int = 0, host: str = "", **more: str) -> Program:
        started.append(Program(text, cluster, job, index, {**shared, **more}, host))
        return started[-1]

    before = os.environ.copy()
    os.environ.update(shared)
    try:
        yield start
    finally:
        os.environ.clear()
        os.environ.update(before)
        for program in started:
            with suppress(ProcessLookupError):
                program.process.kill()
            program.process.communicate()


def soon(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
