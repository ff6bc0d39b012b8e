"""What a task's program is told of its job: the environment and the arguments of its process."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..schemes import VARIABLE as PROTOCOL
from ..secret import VARIABLE

#: What the flags end in that tell the addresses of a job.
_HOSTS = "_hosts"
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a job."""

    job: str
    index: int

    def __str__(self) -> str:
        return f"{self.job} {self.index}"


#: The addresses of the tasks of each job.
Addresses = Mapping[str, Sequence[str]]


def environment(task: Task, addresses: Addresses, secret: bytes, protocol: str = "weft") -> dict[str, str]:
    """The variables that a program finds its cluster in.

    TF_CONFIG as TensorFlow has it; the secret that weft's servers ask for, and what they speak; output line by line.
    """
    cluster = {job: list(hosts) for job, hosts in addresses.items()}
    config = {"cluster": cluster, "task": {"type": task.job, "index": task.index}}
    return {"TF_CONFIG": json.dumps(config), VARIABLE: secret.hex(), PROTOCOL: protocol, "PYTHONUNBUFFERED": "1"}


def arguments(given: Sequence[str], text: str, task: Task, addresses: Addresses) -> list[str]:
    """The program's arguments: those given, with placeholders filled in, and the flags that it reads.

    Placeholders: `{job_name}`, `{task_index}`, and for each job `{ps_hosts}` and the like. When none is used, the flags of
    these names are added that `text`, the program, speaks of in quotes, as definitions of flags do.
    Raises ValueError for a placeholder that stands for nothing.
    """
    values = {"job_name": task.job, "task_index": str(task.index)}
    values |= {f"{job}{_HOSTS}": ",".join(hosts) for job, hosts in addresses.items()}
    if any(_PLACEHOLDER.search(each) for each in given):
        return [_PLACEHOLDER.sub(lambda found: _value(found.group(1), values), each) for each in given]
    told = {each.lstrip("-").partition("=")[0] for each in given if each.startswith("-")}
    flags = [name for name in values if name not in told and _reads(text, name)]
    return [*given, *(f"--{name}={values[name]}" for name in flags)]


def _value(name: str, values: Mapping[str, str]) -> str:
    if name not in values:
        known = ", ".join(f"{{{each}}}" for each in values)
        raise ValueError(f"The argument {{{name}}} stands for nothing; known are {known}")
    return values[name]


def _reads(text: str, flag: str) -> bool:
    """Whether a program has the name of a flag as a string, with or without the dashes."""
    return re.search(rf"""["'](--)?{flag}["']""", text) is not None
