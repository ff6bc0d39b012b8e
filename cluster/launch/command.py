"""The command line `weft`."""

from __future__ import annotations

import sys

import click

from ...graph import errors
from ..schemes import TRANSPORTS, VARIABLE
from .job_state import Policy
from .program import Task

_DEFAULTS = Policy()
#: The jobs that have an option of their own.
_OPTIONS = {"ps": "--ps", "worker": "--workers"}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="weft")
def main() -> None:
    """weft: TensorFlow-1-style graphs on one process or on a Ray cluster."""


def _others(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for value in values:
        job, equals, count = value.partition("=")
        if not (job.isidentifier() and equals and count.isdecimal() and int(count) > 0):
            raise click.BadParameter(f"{value!r} is not NAME=COUNT, as in chief=1")
        if job in _OPTIONS:
            raise click.BadParameter(f"how many tasks '{job}' has is said with {_OPTIONS[job]}")
        if job in dict(found):
            raise click.BadParameter(f"'{job}' is named twice")
        found.append((job, int(count)))
    return found


@main.command(
    context_settings={"allow_interspersed_args": False},  # what stands after PROGRAM is its own
    epilog="Example: weft launch --ps 1 --workers 4 train.py --batch_size=64",
)
@click.option("--ps", default=0, show_default=True, type=click.IntRange(0), help="Parameter servers.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(0), help="Workers.")
@click.option("--job", "others", multiple=True, callback=_others, metavar="NAME=COUNT", help="Tasks of another job.")
@click.option("--address", help="A running Ray cluster (host:port or auto); without it Ray is started here.")
@click.option("--working-dir", "upload", type=click.Path(exists=True, file_okay=False),
              help="A folder that Ray brings to every host, in which PROGRAM lies.")  # fmt: skip
@click.option("--max-restarts", show_default=f"{_DEFAULTS.max_failures}; 1 where a program fails at once, and again alike",
              type=click.IntRange(0), help="Failures that are mended; one more ends the job.")  # fmt: skip
@click.option("--max-preemptions", default=_DEFAULTS.max_preemptions, show_default=True, type=click.IntRange(0),
              help="Times that Ray may take a host away.")  # fmt: skip
@click.option("--protocol", default="weft", show_default=True, envvar=VARIABLE, type=click.Choice(list(TRANSPORTS)),
              help="What the servers speak.")  # fmt: skip
@click.option("--timeout", default=60.0, show_default=True, help="Seconds that Ray may take to find room.")
@click.argument("program")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def launch(
    ps: int,
    workers: int,
    others: list[tuple[str, int]],
    address: str | None,
    upload: str | None,
    max_restarts: int | None,
    max_preemptions: int,
    protocol: str,
    timeout: float,
    program: str,
    arguments: tuple[str, ...],
) -> None:
    """Run PROGRAM once for each task of a cluster, placed by Ray, and end with the job's exit code.

    Each finds the cluster in TF_CONFIG, its secret in WEFT_CLUSTER_SECRET, and its protocol in WEFT_PROTOCOL. Programs that
    define the flags --job_name, --task_index, --ps_hosts, --worker_hosts get them as well; or say where they go, as in
    `weft launch train.py --me={job_name}:{task_index}`. The job is over when all tasks but the ps have finished. A task that
    fails is started again, with its address; MonitoredTrainingSession then goes on from the last checkpoint.
    """
    tasks = [Task(job, index) for job, count in [("ps", ps), *others, ("worker", workers)] for index in range(count)]
    if all(task.job == "ps" for task in tasks):
        raise click.UsageError("A job needs a task that is no ps: it is over when these have finished.")
    try:
        # Who says how often, means also what fails at once: it may be waiting for something that is not there yet.
        policy = (
            Policy(max_preemptions=max_preemptions)
            if max_restarts is None
            else Policy(max_restarts, max_preemptions, at_once_within=0.0)
        )
        sys.exit(_run(program, arguments, tasks, address, upload, policy, timeout, protocol))
    except (errors.OpError, OSError, ValueError) as error:
        raise click.ClickException(getattr(error, "message", None) or str(error)) from None


def _run(
    program: str,
    arguments: tuple[str, ...],
    tasks: list[Task],
    address: str | None,
    upload: str | None,
    policy: Policy,
    timeout: float,
    protocol: str,
) -> int:
    try:  # Ray is loaded when it is needed: --help is quick, and an installation without it says what is missing
        from .board import Board
        from .launcher import Job, launch
    except ModuleNotFoundError as error:
        raise ValueError(f'{error}: `pip install "weft[cluster]"`') from None
    job = Job(program, arguments, tuple(tasks), policy, address, upload, timeout, protocol)
    return launch(job, Board(tasks))
