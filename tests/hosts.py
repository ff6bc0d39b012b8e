"""Hosts of their own on one machine: network namespaces on a bridge, with a node of one Ray cluster in each."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

RAY = ["-P", "-m", "ray.scripts.scripts"]
PORT = 6379
RAY_HERE = {
    # A node counts as lost after three questions without an answer, which takes seconds; Ray's own five take half a minute.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    # Ray would run its workers at nice 15, and what else runs on this machine would make a job that takes 6 s take a minute.
    "RAY_worker_niceness": "0",
}


def reason_against() -> str:
    """Why there can be no hosts here; "" where there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    if shutil.which("ip") is None:
        return "network namespaces need `ip` (Debian: iproute2)"
    name = f"weft{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespace can be made here: {made.stderr.strip()}"
    _ip("netns", "del", name)
    return ""


class Hosts:
    """So many hosts with addresses of one network, by the names of their namespaces; `start_ray` makes them a Ray cluster."""

    def __init__(self, count: int, stack: ExitStack) -> None:
        mark, self._stack = secrets.token_hex(2), stack
        subnet = f"10.{64 + secrets.randbelow(64)}.{secrets.randbelow(256)}"
        self.addresses = [f"{subnet}.{number + 1}" for number in range(count)]
        self.names = [f"weft-{mark}-{number}" for number in range(count)]
        self._links = [f"wf{mark}{number}" for number in range(count)]
        #: Of what runs on the hosts, more than this process has.
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)} | RAY_HERE
        bridge = f"wf{mark}b"
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "del", bridge)
        _ip("link", "set", bridge, "up")
        for name, link, address in zip(self.names, self._links, self.addresses, strict=True):
            self._connect(name, link, address, bridge)
        self.folder = tempfile.mkdtemp(prefix="ray-")  # short: Ray's sockets lie in it, and their names have a limit
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        # Ray starts some of its processes by a shell without quoting, and the checkout may lie under a path with a space.
        Path(self.folder, "venv").symlink_to(sys.prefix)
        self.python = str(Path(self.folder, "venv", "bin", "python"))

    def _connect(self, name: str, link: str, address: str, bridge: str) -> None:
        _ip("netns", "add", name)
        self._stack.callback(self._remove, name)
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", link, "master", bridge, "up")
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            _ip("-n", name, "link", "set", device, "up")

    def _remove(self, name: str) -> None:
        _kill_all(name)
        _ip("netns", "del", name)

    @property
    def ray(self) -> str:
        """Where the Ray cluster listens."""
        return f"{self.addresses[0]}:{PORT}"

    def start_ray(self, cpus: Sequence[int] = ()) -> None:
        """Start a Ray node on each host, with room for so many tasks: one, where nothing else is said."""
        room = dict(zip(self.names, cpus, strict=True)) if cpus else dict.fromkeys(self.names, 1)
        head = [f"--port={PORT}", "--head", "--include-dashboard=false", f"--temp-dir={self.folder}"]
        self._start_node(0, room, head)
        # One after the other: at the same time they would choose the same names for sockets in the folder that they share.
        for number in range(1, len(room)):
            self._start_node(number, room, [f"--address={self.ray}"])

    def _start_node(self, number: int, room: Mapping[str, int], where: list[str]) -> None:
        common = ["--disable-usage-stats", f"--object-store-memory={100 << 20}"]
        here = [f"--node-ip-address={self.addresses[number]}", f"--num-cpus={room[self.names[number]]}"]
        with self.running(number, [*RAY, "start", *where, *here, *common]) as process:
            output, _ = process.communicate(timeout=200)
        assert process.returncode == 0, output

    @contextmanager
    def running(self, number: int, arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
        """A block in which Python runs on a host."""
        environment = dict(os.environ) | self.environment | {"RAY_TMPDIR": self.folder}
        environment.pop("RAY_ADDRESS", None)
        with subprocess.Popen(
            ["ip", "netns", "exec", self.names[number], self.python, *arguments],
            env=environment, cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()

    def cut(self, number: int) -> None:
        """Pull a host's cable."""
        _ip("link", "set", self._links[number], "down")

    def mend(self, number: int) -> None:
        """Put the cable back."""
        _ip("link", "set", self._links[number], "up")

    def kill(self, number: int) -> None:
        """End all that runs on a host, at once."""
        _kill_all(self.names[number])

    def kill_raylet(self, number: int) -> None:
        """End the process that is a host's Ray node, at once; what it has started is left to itself."""
        found = [pid for pid in _ip("netns", "pids", self.names[number]).split() if _name_of(pid) == "raylet"]
        assert len(found) == 1, found
        os.kill(int(found[0]), signal.SIGKILL)


@contextmanager
def hosts(count: int) -> Iterator[Hosts]:
    """So many hosts, gone after the block with all that ran on them."""
    with ExitStack() as stack:
        yield Hosts(count, stack)


def _name_of(pid: str) -> str:
    """What a process is called; "" when it is gone."""
    try:
        return Path("/proc", pid, "comm").read_text().strip()
    except OSError:
        return ""


def _kill_all(name: str) -> None:
    deadline = time.monotonic() + 60
    while pids := _ip("netns", "pids", name).split():
        assert time.monotonic() < deadline, f"still running on {name}: {pids}"
        for pid in pids:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)


def _ip(*arguments: Any) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout
