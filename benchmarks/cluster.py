"""What a step and a transfer cost on a cluster of processes: weft's servers beside TensorFlow's, on this machine.

One ps and two workers, each a process of its own, and a client beside them, run the same program for each library; their
turns alternate. Steps are timed in the client, around `Session.run`.
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
from cluster_program import workloads
from local_report import table, time_of

PROGRAM = Path(__file__).with_name("cluster_program.py")
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
START_SECONDS, TURN_SECONDS = 90.0, 120.0
#: What weft may take of TensorFlow's time.
TARGETS = {"null step": 1 / 3, "hop 4 KB": 1 / 10, "hop 16 MB": 1 / 5, "training step 1 MB": 1 / 8}


class Process:
    """A task or the client of one library."""

    def __init__(self, python: str, library: str, job: str, index: int, cluster: dict[str, list[str]]) -> None:
        self.what = f"{library}'s {job} {index}"
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, str(PROGRAM), library, job, str(index), json.dumps(cluster)],
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

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()


@contextmanager
def running(python: str, library: str) -> Iterator[Process]:
    """The client of a cluster of that library."""
    cluster = addresses({"ps": 1, "worker": 2})
    with ExitStack() as stack:
        tasks = [(job, index) for job, hosts in cluster.items() for index in range(len(hosts))]
        processes = [Process(python, library, job, index, cluster) for job, index in tasks]
        for process in processes:
            stack.callback(process.end)
        for process in processes:
            process.answer(START_SECONDS)
        client = Process(python, library, "client", 0, cluster)
        stack.callback(client.end)
        client.answer(START_SECONDS)
        yield client


def addresses(jobs: dict[str, int]) -> dict[str, list[str]]:
    """Free ports for so many tasks a job."""
    with ExitStack() as stack:
        found = {
            job: [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
            for job, count in jobs.items()
        }
        return {job: [f"localhost:{each.getsockname()[1]}" for each in sockets] for job, sockets in found.items()}


def measured(pythons: dict[str, str], names: list[str], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """A row a workload: for each library its median over the rounds of a round's median, and the least and most of these."""
    rows = []
    with ExitStack() as stack:
        clients = {library: stack.enter_context(running(python, library)) for library, python in pythons.items()}
        for name in names:
            medians: dict[str, list[float]] = {library: [] for library in clients}
            for _ in range(rounds):
                for library, client in clients.items():
                    medians[library].append(statistics.median(client.measure(name, seconds)))
                    time.sleep(0.05)
            row: dict[str, Any] = {"workload": name}
            for library, found in medians.items():
                row[library] = {"median": statistics.median(found), "least": min(found), "most": max(found)}
            rows.append(row)
    return rows


def report(rows: list[dict[str, Any]], libraries: list[str]) -> str:
    """The rows as a table."""
    lines = []
    for row in rows:
        line = [f"{time_of(row[each]['median'])}" for each in libraries]
        if "tf" in row:
            ratio, target = row["tf"]["median"] / row["weft"]["median"], TARGETS.get(row["workload"])
            line += [f"1/{ratio:.1f}", f"1/{1 / target:.0f}" if target else ""]
        lines.append([row["workload"], *line])
    more = ["weft / TF", "wanted"] if "tf" in libraries else []
    return table("", [{"weft": "weft", "tf": "TF"}[each] for each in libraries] + more, lines)


@click.command()
@click.option("--peer-python", type=click.Path(exists=True), help="A Python that has TensorFlow.")
@click.option("--only", default="", help="Workloads whose names contain this.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=0.5, show_default=True, type=float, help="How long each turn measures.")
@click.option("--json", "as_json", is_flag=True, help="Figures in seconds, for programs.")
def main(peer_python: str | None, only: str, rounds: int, seconds: float, as_json: bool) -> None:
    """Measure null steps, transfers and null training steps on a cluster of servers, beside TensorFlow's."""
    os.environ.setdefault("WEFT_CLUSTER_SECRET", secrets.token_hex(32))
    pythons = {"weft": sys.executable} | ({"tf": peer_python} if peer_python else {})
    names = [name for name in workloads(None) if only in name]
    if not names:
        raise click.BadParameter(f"no workload has '{only}' in its name", param_hint="--only")
    rows = measured(pythons, names, rounds, seconds)
    click.echo(json.dumps(rows) if as_json else report(rows, list(pythons)))


if __name__ == "__main__":
    main()
