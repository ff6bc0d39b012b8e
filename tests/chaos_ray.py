"""The jobs of the fault matrix whose tasks are on Ray, over hosts of their own: a driver's cluster, or `weft launch`.

The first host has the driver, or the launcher, and no room for tasks. Over TCP each of the others has room for one task, else for
all of them; where one is to be lost there is another.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import chaos_actor
import chaos_program
from certificates import Authority
from chaos_jobs import SETTINGS, Fault, Job
from chaos_left import alive, gone, listeners
from hosts import Hosts, hosts

_TESTS = Path(__file__).parent


def ray_hosts(stack: ExitStack, transport: str, fault: Fault, folder: Path) -> Hosts:
    """Hosts for the tasks of a job over this transport, with a Ray node each."""
    room = [0, 1, 1, 1, 1] if transport == "tcp" else [0, 3, 3] if fault.on_ray else [0, 3]
    on = stack.enter_context(hosts(len(room)))
    told = {"folder": str(folder), "task": fault.task, "disturbance": "" if fault.act else fault.name}
    on.environment |= SETTINGS | {chaos_actor.VARIABLE: json.dumps(told), "PYTHONPATH": str(_TESTS)}
    if transport == "flight":
        on.environment |= Authority(folder, "authority").certificate("node", "127.0.0.1", *on.addresses)
    on.start_ray(room)
    return on


class RayJob(Job):
    """A driver, started again when it dies, with a cluster on Ray that it starts."""

    patience = 150.0

    def __init__(self, mode: str, transport: str, fault: Fault, folder: Path, on: Hosts) -> None:
        self.ray, self.transport = on, transport
        super().__init__(mode, fault, folder, on)

    def programs(self) -> tuple[list[str], list[str]]:
        return ["driver0"], ["driver0"]

    def command(self, task: str) -> list[str]:
        transport = "auto" if self.transport == "shm" else self.transport
        told = {"mode": self.mode, "job": "ray", "index": 0, "address": self.ray.ray, "transport": transport}
        return [self.ray.python, "-P", chaos_program.__file__, json.dumps(told | self.disturbance(task))]

    def environment(self) -> dict[str, str]:
        return self.ray.environment | {"RAY_TMPDIR": self.ray.folder}

    def lines(self) -> list[dict[str, Any]]:
        """What was told of tasks, again and again: by name, its process and where it listens."""
        try:
            return [json.loads(line) for line in (self.folder / "tasks").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def task(self, task: str) -> Any:
        """A task's process and where it listens, as they are now."""
        return {name: told for line in self.lines() for name, told in line.items()}[task]

    def host_of(self, task: str) -> int:
        if task in self.tasks:
            return 0
        _, addresses = self.task(task)
        (host,) = {address.rpartition("/")[2].rpartition(":")[0] for address in addresses if "shm://" not in address}
        return self.ray.addresses.index(host)

    def send(self, task: str, number: int) -> Callable[[int], None]:
        if task in self.tasks:
            return super().send(task, number)
        pid, _ = self.task(task)

        def send(number: int) -> None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

        send(number)
        return send

    def ended(self, task: str) -> Callable[[], bool]:
        pid, _ = self.task(task)
        return lambda: not alive([pid])

    def untouched(self) -> str:
        """A node that was lost was lost with its tasks."""
        pids = {line[self.fault.task][0] for line in self.lines() if self.fault.task in line}
        return super().untouched() or ("its task was never lost" if self.fault.on_ray and len(pids) < 2 else "")

    def left(self) -> str:
        """Ray stays: of the tasks' processes none, of their listeners none, and no placement group."""
        told = [each for line in self.lines() for each in line.values()]
        if processes := gone(lambda: alive({pid for pid, _ in told})):
            return f"processes are left: {processes}"
        ends = {address.rpartition("/")[2] for _, addresses in told for address in addresses}
        names = {f"@{end}" if end.startswith("weft-") else end for end in ends}
        if listening := gone(lambda: names & self._listening()):
            return f"it is still listened on {listening}"
        return f"placement groups are left: {groups}" if (groups := self._groups()) else ""

    def _listening(self) -> set[str]:
        found = set()
        for name, address in zip(self.ray.names, self.ray.addresses, strict=True):
            found |= {each if each.startswith("@") else f"{address}:{each}" for each in listeners(name)}
        return found

    def _groups(self) -> str:
        arguments = [chaos_program.__file__, json.dumps({"job": "groups", "address": self.ray.ray, "folder": "."})]
        with self.ray.running(0, ["-P", *arguments]) as looking:
            output, _ = looking.communicate(timeout=60)
        groups = [line for line in output.splitlines() if line.startswith("[")]
        return output if not groups else "" if groups[-1] == "[]" else groups[-1]


class LaunchJob(RayJob):
    """`weft launch`, which runs a between-graph program once for each task."""

    def programs(self) -> tuple[list[str], list[str]]:
        return ["launch0"], ["launch0"]

    def command(self, task: str) -> list[str]:
        weft = ["-P", "-c", "from weft.cluster.launch.command import main; main()"]
        told = json.dumps({"mode": self.mode, "job": "launched", "index": 0} | self.disturbance(task))
        sizes = ["--ps=1", "--workers=2", "--max-restarts=9"]
        sizes += ["--protocol=flight"] if self.transport == "flight" else []
        return [self.ray.python, *weft, "launch", f"--address={self.ray.ray}", *sizes, chaos_program.__file__, told]

    def told(self, task: str) -> str:
        return f"weft launch: {self.output(task)[-500:]}"
