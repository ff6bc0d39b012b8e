"""What a task tells of itself to whoever wants to use it: who and where it is, and how it is reached."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...graph import errors
from ..transports.transport import Location, choose
from ..wire.protocol import decode_json

#: The most digits that the index of a task has.
_DIGITS = 9
#: The transports, each of which goes wherever those before it do.
_WAYS = ("inproc", "shm", "tcp", "flight")


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """Where a task is: its name, host, process, and where it listens, by transport.

    `jobs`: the cluster that it was told of, as far as it knows it: each job's addresses by index. `serves`: whether its
    program does nothing but wait for others (`Server.join`). `left`: the tasks whose programs have told it that they end.
    `log`: the file on its host that it writes errors to, where who starts it is told: of tasks on Ray.
    """

    name: str
    host: str
    pid: int
    location: Location
    addresses: Mapping[str, str]
    jobs: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    serves: bool = False
    left: tuple[str, ...] = ()
    log: str = ""

    def __str__(self) -> str:
        return f"{self.name} on {self.host}, process {self.pid}"

    @classmethod
    def here(cls, name: str, addresses: Mapping[str, str], jobs: Mapping[str, Mapping[int, str]]) -> TaskInfo:
        """Of a task in this process."""
        return cls(name, socket.gethostname(), os.getpid(), Location.here(), addresses, jobs)

    def address_from(self, place: Location, transport: str = "auto") -> str:
        """Where to reach it from a place: by a transport, or by the fastest that goes there and that it listens on.

        Raises UnavailableError where there is none.
        """
        if transport != "auto":
            return self.addresses[transport]
        for each in _WAYS[_WAYS.index(choose(place, self.location)) :]:
            if each in self.addresses:
                return self.addresses[each]
        raise errors.UnavailableError(None, None, f"{self} listens nowhere that can be reached from here")

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> TaskInfo:
        """Raises DataLossError for data that is none."""
        match decode_json(data):
            case {
                "name": str(name),
                "host": str(host),
                "pid": int(pid),
                "location": {"node": str(node), "process": str(process)},
                "addresses": addresses,
                "jobs": jobs,
                "serves": bool(serves),
                "left": list(left),
            } if is_texts(addresses):
                location, ended = Location(node, process), tuple(str(task) for task in left)
                return cls(name, host, pid, location, addresses, _jobs(jobs), serves, ended)
        raise errors.DataLossError(None, None, f"expected what a task tells of itself, got {data[:100]!r}")


def addresses_from(place: Location, infos: Iterable[TaskInfo], transport: str = "auto") -> dict[str, str]:
    """Where to reach each of the tasks from a place."""
    return {info.name: info.address_from(place, transport) for info in infos}


def is_texts(value: Any) -> bool:
    """Whether this is a map from texts to texts."""
    return isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, str) for k, v in value.items())


def _jobs(jobs: Any) -> dict[str, dict[int, str]]:
    """JSON's keys are texts. Raises DataLossError for what is no map of addresses."""
    for tasks in jobs.values() if isinstance(jobs, dict) else [jobs]:
        if not is_texts(tasks) or not all(index.isdecimal() and len(index) <= _DIGITS for index in tasks):
            raise errors.DataLossError(None, None, f"expected the addresses of a job's tasks, got {str(tasks)[:100]}")
    return {job: {int(index): address for index, address in tasks.items()} for job, tasks in jobs.items()}
