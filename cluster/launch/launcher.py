"""Runs a job on Ray: does what the job's state machine says, and tells it what happens."""

from __future__ import annotations

import secrets
import time
import traceback
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

from ..on_ray.group import RayGroup, said
from ..reading.held_signals import HeldSignals
from ..transports import tls
from ..transports.auth import SECRET_SIZE
from .board import Board
from .job_state import (
    Event,
    Exited,
    Finish,
    Instruction,
    Interrupted,
    JobState,
    Mending,
    Place,
    Placed,
    PlaceLost,
    Policy,
    Start,
    Stop,
    Tick,
)
from .program import Addresses, Task, arguments, environment
from .signals import Signals, Stopped
from .task import LaunchedTask, News, Where

#: How long a task is waited for at a time, in seconds.
_NEWS_SECONDS = 1.0
#: The jobs whose tasks serve others, and so do not decide when the job is over.
SERVING = frozenset({"ps"})


@dataclass(frozen=True, slots=True)
class Job:
    """What to run: a program with its arguments, once for each task.

    `address`: of a Ray cluster, by default what RAY_ADDRESS names, else one that is started on this machine. `upload`: a folder
    that Ray brings to each task, in which the program lies; without it the program's path must be good on every host.
    `timeout`: how many seconds Ray may take to find room for the tasks. `protocol`: what the servers of the programs speak.
    """

    program: str
    arguments: tuple[str, ...]
    tasks: tuple[Task, ...]
    policy: Policy = field(default_factory=Policy)
    address: str | None = None
    upload: str | None = None
    timeout: float = 60.0
    protocol: str = "weft"

    @property
    def text(self) -> str:
        """The program. Raises OSError."""
        return self._path.read_text(errors="replace")

    @property
    def code(self) -> bytes:
        """The program as it lies there. Raises OSError."""
        return self._path.read_bytes()

    @property
    def _path(self) -> Path:
        return Path(self.upload or ".", self.program)


def launch(job: Job, board: Board) -> int:
    """Run a job to its end; its exit code.

    Raises OpError when Ray cannot be reached or has no room, or for want of certificates, OSError, ValueError.
    """
    text = job.text
    _check_syntax(job)  # each task would say so, after Ray has started
    if job.protocol == "flight":  # each server would say so, again and again
        tls.needed("Flight")
    for task in job.tasks:  # what is wrong with the arguments is said before anything is started
        arguments(job.arguments, text, task, {each.job: [] for each in job.tasks})
    with Signals() as signals:
        try:
            return _launch(job, text, board, signals)
        except Stopped as stopped:  # before anything ran, or again and again
            board.close()
            board.say(f"{stopped.what}: no program runs")
            return stopped.code


def _launch(job: Job, text: str, board: Board, signals: Signals) -> int:
    group = RayGroup(dict.fromkeys(map(str, job.tasks), ""), job.address, job.timeout)
    try:
        signals.again()
        return _Launcher(job, text, group, board).run()
    finally:
        group.close()


class _Launcher:
    """One run of a job."""

    def __init__(self, job: Job, text: str, group: RayGroup, board: Board) -> None:
        self._job, self._text, self._group, self._board = job, text, group, board
        self._tasks = {str(task): task for task in job.tasks}
        serving = [str(task) for task in job.tasks if task.job in SERVING]
        self._state = JobState(self._tasks, serving, job.policy)
        self._secret = secrets.token_bytes(SECRET_SIZE)
        self._actors: dict[str, Any] = {}
        self._where: dict[str, Where] = {}
        self._was_interrupted = False
        self._calls: dict[Any, tuple[str, Any]] = {}  #: what is waited for, and the actor it is from

    def run(self) -> int:
        end = self._follow(self._state.begin())
        came: Interrupted | None = None
        while end is None:
            try:
                # Cut short, it would lose a task's news, or what is to be done about it, which is waited for without an end.
                with HeldSignals() as held:
                    now, came = came, None
                    end = self._follow(self._interrupted(now) if now else self._next(held))
            except Stopped as stopped:
                came = Interrupted(stopped.code, stopped.what)
        self._report(end)
        return end.code

    def _interrupted(self, event: Interrupted) -> list[Instruction]:
        again = "killing the tasks" if self._was_interrupted else "ending the tasks (once more to kill them)"
        self._board.say(f"{event.what}: {again}")
        self._was_interrupted = True
        return self._state.handle(event)

    # instructions

    def _follow(self, instructions: Iterable[Instruction]) -> Finish | None:
        end = None
        for instruction in instructions:
            match instruction:
                case Place(task):
                    self._place(task)
                case Start(task):
                    self._start(task)
                case Stop(task):
                    self._call(task, self._actors[task].stop.remote())
                case Mending(task, what, delay):
                    where = f" on {self._where[task].host}" if task in self._where else ""
                    self._board.say(f"{task}{where} {what}; it is started again in {delay:g} s")
                case Finish():
                    end = instruction
        self._board.show(self._state.status, self._state.failures, self._state.preemptions)
        return end

    def _place(self, task: str) -> None:
        options = {"runtime_env": {"working_dir": self._job.upload}} if self._job.upload else {}
        self._actors[task] = actor = self._group.actor(LaunchedTask, task, options=options)
        self._call(task, actor.place.remote())

    def _start(self, task: str) -> None:
        me, addresses = self._tasks[task], self._addresses()
        folder = None if self._job.upload else str(Path.cwd())
        given = arguments(self._job.arguments, self._text, me, addresses)
        variables = environment(me, addresses, self._secret, self._job.protocol)
        self._board.begins(task)
        self._board.say(f"{task} starts on {self._where[task].host}, {self._where[task].address}")
        self._call(task, self._actors[task].start.remote(self._job.program, given, variables, folder))

    def _addresses(self) -> Addresses:
        found: dict[str, list[str]] = {}
        for task in self._job.tasks:
            found.setdefault(task.job, []).append(self._where[str(task)].address)
        return found

    def _call(self, task: str, reference: Any) -> None:
        self._calls[reference] = task, self._actors[task]

    # events

    def _next(self, held: HeldSignals) -> list[Instruction]:
        """Wait for what happens next, and what is to be done about it. Only the wait can be interrupted."""
        due, now = self._state.due, time.monotonic()
        wait = _NEWS_SECONDS if due is None else min(_NEWS_SECONDS, max(0.0, due - now))
        done: list[Any] = []
        held.open = True
        if self._calls:
            done, _ = ray.wait(list(self._calls), num_returns=1, timeout=wait)
        else:
            time.sleep(wait)
        held.open = False
        found = [instruction for reference in done for instruction in self._handle(self._result(reference))]
        return [*found, *self._state.handle(Tick(time.monotonic()))]

    def _handle(self, event: Event | None) -> list[Instruction]:
        return [] if event is None else self._state.handle(event)

    def _result(self, reference: Any) -> Event | None:
        """What a call has come to."""
        task, actor = self._calls.pop(reference)
        if actor is not self._actors[task]:
            return None  # of a place that was lost before
        try:
            value = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            return self._lost(task, f"failed: {error.cause}", preempted=False)
        except ray.exceptions.RayError as error:
            return self._lost(task, f"is lost: {said(error)}", bool(getattr(error, "preempted", False)))
        if isinstance(value, Where):
            self._where[task] = value
            self._call(task, actor.news.remote(_NEWS_SECONDS))
            return Placed(task, time.monotonic())
        return self._told(task, actor, value) if isinstance(value, News) else None

    def _lost(self, task: str, reason: str, preempted: bool) -> PlaceLost:
        self._calls = {call: about for call, about in self._calls.items() if about[1] is not self._actors[task]}
        return PlaceLost(task, reason, preempted, time.monotonic())

    def _told(self, task: str, actor: Any, news: News) -> Event | None:
        if news.left_out:
            self._board.line(task, f"... ({news.left_out} lines are left out)")
        for line in news.lines:
            self._board.line(task, line)
        self._call(task, actor.news.remote(_NEWS_SECONDS))
        return None if news.code is None else Exited(task, news.code, time.monotonic())

    def _report(self, end: Finish) -> None:
        """Say how the job has ended."""
        self._board.close()
        summary = self._board.summary(self._state.status, self._state.failures, self._state.preemptions)
        if not end.task:
            self._board.say(f"{end.what or 'the job has finished'} ({summary})")
            return
        where = f" on {self._where[end.task].host}" if end.task in self._where else ""
        self._board.say(f"{end.task}{where} {end.what}{_why_no_more(end, self._job.policy)} ({summary})")
        tail = self._board.tail(end.task)
        if tail:
            self._board.say("\n  ".join(["the last it wrote:", *tail]))


def _check_syntax(job: Job) -> None:
    """Raises ValueError for a program that is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(job.code, job.program, "exec", dont_inherit=True)
    except SyntaxError as error:  # as Python shows it, from the file and line on
        text = "".join(traceback.format_exception_only(error)).rstrip()
        raise ValueError(f"{job.program} is no Python program:\n{text}") from None
    except ValueError as error:  # of zero bytes, in some versions of Python
        raise ValueError(f"{job.program} is no Python program: {error}") from None


def _why_no_more(end: Finish, policy: Policy) -> str:
    """Why a program that has failed is not started again."""
    if end.at_once:
        return ". It would fail again, so it is not started again (say --max-restarts to have it tried so many times)"
    if not policy.max_failures:
        return ", and is not started again: --max-restarts is 0"
    return ", and it was started again as often as it may be (--max-restarts, --max-preemptions)"
