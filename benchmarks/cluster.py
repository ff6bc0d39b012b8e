"""What steps and transfers cost on a cluster of processes: weft's servers beside TensorFlow's, Ray actors and Arrow Flight.

One ps and two workers, each a process of its own, and a client beside them, do the same work with each library; their
turns alternate. Steps are timed in the client.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
from cluster_program import NULL_ON_ALL, TRANSFERS, workloads
from cluster_report import line_of, plot, report, workers_report
from cluster_training import LOSSES, TRAININGS, difference, save_digits

HERE = Path(__file__).parent
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
START_SECONDS, TURN_SECONDS, END_SECONDS = 90.0, 120.0, 15.0
#: Those whose client starts its own tasks.
PEERS = ("ray", "flight")
#: What these do not measure: they have no kernels, a model would be another library's.
NO_KERNELS = {*PEERS}
#: weft with the backend "llvm".
LLVM = "llvm"
#: How many workers a null step is measured with.
WORKERS = (1, 2, 4, 8, 16)


class Process:
    """A task or the client of one library; `host`: the network namespace that it runs in, if not this one."""

    def __init__(self, what: str, command: Sequence[str], host: str = "") -> None:
        self.what = what
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [*(["ip", "netns", "exec", host] if host else []), *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            env={**os.environ, **QUIET}, text=True,
        )  # fmt: skip

    def answer(self, seconds: float) -> Any:
        """What it says next. Raises ClickException when it says nothing in time."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            raise click.ClickException(f"{self.what} said nothing for {seconds:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise click.ClickException(f"{self.what} ended with status {self._process.wait()}: {self._last_words()}")
        return json.loads(line)

    def measure(self, workload: str, seconds: float) -> list[float]:
        """How long the steps of a workload took, in seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps([workload, seconds])}\n")
        self._process.stdin.flush()
        times: list[float] = self.answer(TURN_SECONDS)
        return times

    def _last_words(self) -> str:
        self._errors.seek(0)
        return (self._errors.read().strip().splitlines() or ["it said nothing"])[-1]

    def end(self, seconds: float = 0.0) -> None:
        """End it, after so many seconds in which it may end itself, and what it has started."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(seconds)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()


@contextmanager
def running(python: str, library: str, workers: int = 2, hosts: Any = None, digits: str = "") -> Iterator[Process]:
    """The client of a cluster of that library, on this machine, or with the ps on another host than all else.

    `digits`: where the data is, if models are to be trained.
    """
    with ExitStack() as stack:
        tasks, cluster = [], addresses({"ps": 1, "worker": workers}, hosts)
        if library not in PEERS:
            for job, places in cluster.items():
                for index in range(len(places)):
                    tasks.append(_task(python, library, job, index, cluster, hosts))
                    stack.callback(tasks[-1].end)
        for process in tasks:
            process.answer(START_SECONDS)
        if library in PEERS:
            client = Process(f"the client of {library}", [python, str(HERE / f"cluster_{library}.py")])
        else:
            client = _task(python, library, "client", 0, cluster, hosts, digits)
        stack.callback(client.end, END_SECONDS)
        client.answer(START_SECONDS)
        yield client


def _task(
    python: str, library: str, job: str, index: int, cluster: dict[str, list[str]], hosts: Any, digits: str = ""
) -> Process:
    host = hosts.names[job == "ps"] if hosts else ""
    arguments = [library, job, str(index), json.dumps(cluster), digits]
    return Process(f"{library}'s {job} {index}", [python, str(HERE / "cluster_program.py"), *arguments], host)


def addresses(jobs: dict[str, int], hosts: Any = None) -> dict[str, list[str]]:
    """Free ports for so many tasks a job."""
    if hosts:  # on which nobody else is
        places = {job: hosts.addresses[job == "ps"] for job in jobs}
        first = {"ps": 2222, "worker": 3333}
        first = {job: port + secrets.randbelow(500) for job, port in first.items()}
        return {job: [f"{places[job]}:{first[job] + index}" for index in range(count)] for job, count in jobs.items()}
    return {job: [f"localhost:{_held_port()}" for _ in range(count)] for job, count in jobs.items()}


#: They keep ports for tasks: bound, and not listened on, so that the tasks may.
_HELD: list[socket.socket] = []


def _held_port() -> int:
    """A port that the system gives to nobody else as long as this process lives."""
    _HELD.append(socket.socket())
    _HELD[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _HELD[-1].bind(("127.0.0.1", 0))
    return int(_HELD[-1].getsockname()[1])


@contextmanager
def bare_socket(hosts: Any) -> Iterator[Process]:
    """One that reads from a bare TCP socket on this host what another process writes into it on the other one."""
    place = [hosts.addresses[1], str(4444 + secrets.randbelow(500))]
    program = [sys.executable, str(HERE / "cluster_socket.py")]
    with ExitStack() as stack:
        for role, name in (("sender", hosts.names[1]), ("reader", hosts.names[0])):
            process = Process(f"the {role} of a bare socket", [*program, role, *place], name)
            stack.callback(process.end)
            process.answer(START_SECONDS)
        yield process


def measured(
    pythons: dict[str, str], names: list[str], rounds: int, seconds: float, hosts: Any = None
) -> list[dict[str, Any]]:
    """A row a workload: for each library its median over the rounds of a round's median, and the least and most of these.

    Beside a transfer there is what its bytes take otherwise, `bare`: copied in memory, or between hosts over a bare socket.
    """
    rows = []
    with ExitStack() as stack:
        digits = ""
        if any(name in TRAININGS for name in names):
            digits = str(Path(stack.enter_context(tempfile.TemporaryDirectory()), "digits.npz"))
            save_digits(Path(digits))
        clients = {
            library: stack.enter_context(running(python, library, hosts=hosts, digits=digits))
            for library, python in pythons.items()
        }
        bare = (stack.enter_context(bare_socket(hosts)), "socket for") if hosts else (clients["weft"], "copy of")
        for name in names:
            able = {each: client for each, client in clients.items() if name not in TRAININGS or each not in NO_KERNELS}
            rows.append(_row(name, able, bare, rounds, seconds))
    return rows


def _row(
    name: str, clients: dict[str, Process], bare: tuple[Process, str], rounds: int, seconds: float
) -> dict[str, Any]:
    medians: dict[str, list[float]] = {library: [] for library in clients}
    others: list[float] = []
    for _ in range(rounds):
        for library, client in clients.items():
            medians[library].append(statistics.median(client.measure(name, seconds)))
            time.sleep(0.05)
        if name.removeprefix("transfer ") in TRANSFERS:
            process, what = bare
            others.append(statistics.median(process.measure(f"{what} {name.removeprefix('transfer ')}", seconds)))
    row: dict[str, Any] = {"workload": name, "bare": statistics.median(others) if others else None}
    for library, found in medians.items():
        row[library] = {"median": statistics.median(found), "least": min(found), "most": max(found)}
    if name in TRAININGS:
        losses = {library: client.measure(LOSSES.format(name), 0) for library, client in clients.items()}
        for library in losses:
            row[library]["losses"] = losses[library]
            row[library]["difference"] = difference(losses["weft"], losses[library])
    return row


def by_workers(pythons: dict[str, str], most: int, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """What a null step on all workers takes, by how many there are, and the line through it, for each library."""
    rows: list[dict[str, Any]] = []
    for library, python in pythons.items():
        if library in PEERS:
            continue
        times = {}
        for count in [count for count in WORKERS if count <= most]:
            with running(python, library, count) as client:
                found = [statistics.median(client.measure(NULL_ON_ALL, seconds)) for _ in range(rounds)]
            times[count] = statistics.median(found)
        base, more = line_of(list(times), list(times.values()))
        rows.append({"library": library, "times": times, "base": base, "worker": more})
    return rows


@contextmanager
def two_hosts() -> Iterator[Any]:
    """Network namespaces, as tests of hosts make them. Raises ClickException where there can be none."""
    sys.path.append(str(HERE.parent / "tests"))
    import hosts

    if reason := hosts.reason_against():
        raise click.ClickException(reason)
    with hosts.hosts(2) as made:
        yield made


@click.command()
@click.option("--peer-python", type=click.Path(exists=True), help="A Python that has TensorFlow.")
@click.option("--peers", default="", help="Beside it, in the Python of weft: ray, flight, llvm (weft's other backend).")
@click.option("--only", default="", help="Workloads whose names contain one of these, separated by commas.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option(
    "--seconds",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="How long each turn measures.",
)
@click.option("--hosts", is_flag=True, help="With the ps on a host of its own, a network namespace: needs root.")
@click.option("--workers", type=click.IntRange(2, 16), help="Null steps on 1 to so many workers instead.")
@click.option("--json", "as_json", is_flag=True, help="Figures in seconds, for programs.")
@click.option("--plot", "picture", type=click.Path(), help="Draw the ratios, too (needs matplotlib).")
def main(
    peer_python: str | None,
    peers: str,
    only: str,
    rounds: int,
    seconds: float,
    hosts: bool,
    workers: int | None,
    as_json: bool,
    picture: str | None,
) -> None:
    """Measure steps, transfers and trainings on a cluster of servers, beside TensorFlow's, Ray actors and Arrow Flight."""
    os.environ.setdefault("WEFT_CLUSTER_SECRET", secrets.token_hex(32))
    pythons = {"weft": sys.executable} | ({"tf": peer_python} if peer_python else {})
    chosen = [peer for peer in peers.split(",") if peer]
    if unknown := set(chosen) - {LLVM} - (set() if hosts else set(PEERS)):
        raise click.BadParameter(f"cannot measure {', '.join(sorted(unknown))} here", param_hint="--peers")
    pythons |= dict.fromkeys(chosen, sys.executable)
    if workers:
        lines = by_workers(pythons, workers, rounds, seconds)
        click.echo(json.dumps(lines) if as_json else workers_report(lines))
        return
    names = [name for name in (*workloads(None), *TRAININGS) if any(part in name for part in only.split(","))]
    if not names:
        raise click.BadParameter(f"no workload has '{only}' in its name", param_hint="--only")
    with ExitStack() as stack:
        rows = measured(pythons, names, rounds, seconds, stack.enter_context(two_hosts()) if hosts else None)
    click.echo(json.dumps(rows) if as_json else report(rows, list(pythons), hosts))
    if picture:
        plot(rows, list(pythons), picture)


if __name__ == "__main__":
    main()
