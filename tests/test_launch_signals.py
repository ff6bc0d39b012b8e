"""Ctrl-C and requests to end while `weft launch` is amid something: no task's news is lost by it, and the job ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import ray
from weft.cluster.launch import launcher
from weft.cluster.launch.board import Board
from weft.cluster.launch.launcher import Job
from weft.cluster.launch.program import Task
from weft.cluster.launch.task import News, Where


class Call:
    """A method of an actor: `remote` makes what `FakeRay.get` turns into its result."""

    def __init__(self, method: Any) -> None:
        self._method = method

    def remote(self, *arguments: Any) -> Any:
        return lambda: self._method(*arguments)


class Actor:
    """A task whose program runs until it is stopped."""

    def __init__(self) -> None:
        self.stopped = self.told = False
        self.place = Call(lambda: Where("here", "127.0.0.1:1"))
        self.start = Call(lambda *_: None)
        self.stop = Call(self._stop)
        self.news = Call(self._news)

    def _stop(self) -> None:
        self.stopped = True

    def _news(self, wait: float) -> News:
        ends, self.told = self.stopped and not self.told, self.stopped
        return News([], 0, -int(signal.SIGTERM) if ends else None)


class Group:
    """Has an actor a task."""

    def __init__(self, *_: Any) -> None:
        self.actors: list[Actor] = []

    def actor(self, kind: Any, task: str, options: Any) -> Actor:
        self.actors.append(Actor())
        return self.actors[-1]

    def close(self) -> None:
        pass


class FakeRay:
    """Ray as the launcher uses it; a signal comes while the n-th result is taken."""

    exceptions = ray.exceptions

    def __init__(self, number: int, at: int) -> None:
        self._number, self._at, self._taken, self._waits = number, at, 0, 0

    def wait(self, calls: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        self._waits += 1
        assert self._waits < 1000, "a job that was interrupted goes on and on"
        return calls[:1], calls[1:]

    def get(self, call: Any) -> Any:
        self._taken += 1
        if self._taken == self._at:
            os.kill(os.getpid(), self._number)
        return call()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", range(1, 10))
def test_a_signal_amid_anything_ends_the_job(
    at: int, number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    group = Group()
    monkeypatch.setattr(launcher, "RayGroup", lambda *_: group)
    monkeypatch.setattr(launcher, "ray", FakeRay(number, at))
    (tmp_path / "program.py").write_text("")
    job = Job(str(tmp_path / "program.py"), (), (Task("worker", 0), Task("worker", 1)))
    assert launcher.launch(job, Board(list(job.tasks))) == 128 + number
    assert "ending the tasks (once more to kill them)" in capsys.readouterr().err
