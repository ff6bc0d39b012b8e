"""Who reads what comes: the turn as a state machine, several threads that wait for their messages, and Ctrl-C amid it."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest
from endpoints import ALL, certified, connected, in_background, nothing_left
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from weft.cluster.reading.connections import Reading
from weft.cluster.reading.held_signals import HeldSignals
from weft.cluster.reading.watch import Watch
from weft.cluster.transports.transport import Connection
from weft.cluster.wire.message import Message
from weft.graph import errors

pytestmark = pytest.mark.counts

environment = pytest.fixture(autouse=True)(certified)


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    with nothing_left():
        yield


class WatchMachine(RuleBasedStateMachine):
    """Threads that take and give the turn, one step of any of them at a time; what comes wakes a sleeper once."""

    def __init__(self) -> None:
        super().__init__()
        self.armed = True
        self.messages = 0  # that nobody has read
        self.woken = 0  # sleepers on their way
        self.holder = False
        self.arming = 0  # threads that have freed the turn and will arm it next
        self.watch = Watch(self.arm)

    def arm(self, on: bool) -> None:
        if on:
            self.arming += 1
        else:
            self.armed = False

    @rule()
    def comes(self) -> None:
        self.messages += 1
        self.look()

    def look(self) -> None:
        if self.armed and self.messages:  # once
            self.armed = False
            self.woken += 1

    @rule()
    def takes(self) -> None:
        took = self.watch.take()
        assert took == (not self.holder)
        self.holder = True

    @precondition(lambda self: self.woken)
    @rule()
    def wakes(self) -> None:
        self.woken -= 1
        if self.watch.take():
            assert not self.holder
            self.holder = True

    @precondition(lambda self: self.holder)
    @rule(read=st.booleans())
    def gives(self, read: bool) -> None:
        if read:
            self.messages = 0
        self.holder = False
        self.watch.give()

    @precondition(lambda self: self.arming)
    @rule()
    def arms(self) -> None:
        self.arming -= 1
        self.armed = True
        self.look()

    @invariant()
    def nothing_comes_unnoticed(self) -> None:
        """A message is known to the holder, to a sleeper on its way, or to somebody who is about to arm."""
        assert not self.messages or self.holder or self.woken or self.arming


WatchMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestTheTurn = WatchMachine.TestCase


class Taken:
    """What came, by connection; a message of kind 7 asks for a job."""

    def __init__(self) -> None:
        self.messages: list[int] = []
        self.readers: set[int] = set()
        self.jobs: list[int] = []
        self.lost_to: list[str] = []
        self.threads: list[threading.Thread] = []
        self.release = threading.Event()
        self.changed = threading.Condition()
        self.refused = 0
        self.refuses = False

    def take(self, connection: Connection, message: Message) -> Callable[[], None] | None:
        with self.changed:
            self.messages.append(message.step)
            self.readers.add(threading.get_ident())
            self.changed.notify_all()
        return (lambda: self.job(message.step)) if message.kind == 7 else None

    def job(self, step: int) -> None:
        self.jobs.append(step)
        assert self.release.wait(60)

    def lost(self, connection: Connection, error: Exception) -> None:
        self.lost_to.append(connection.peer)

    def start(self, function: Callable[[], None]) -> None:
        if self.refuses:
            raise RuntimeError("no more threads")
        self.threads.append(threading.Thread(target=function))
        self.threads[-1].start()

    def refuse(self, job: Callable[[], None], error: RuntimeError) -> None:
        self.refused += 1

    def has(self, *steps: int) -> bool:
        return set(steps) <= set(self.messages)

    def begun(self, step: int) -> bool:
        return step in self.jobs

    def soon(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.001)


@contextmanager
def reading(scheme: str = "shm", count: int = 2, standing: int = 1) -> Iterator[tuple[Taken, Reading[Any], list[Any]]]:
    """Connections that are read, and the other ends of them."""
    with ExitStack() as stack:
        taken = Taken()
        reads: Reading[Any] = Reading(taken, 1e-4)
        pairs = [stack.enter_context(connected(scheme)) for _ in range(count)]
        for _ in range(standing):
            taken.start(reads.stand_by)
        for mine, _ in pairs:
            reads.add(mine)
        try:
            yield taken, reads, [theirs for _, theirs in pairs]
        finally:
            taken.release.set()
            reads.close()
            for thread in taken.threads:
                thread.join(60)
                assert not thread.is_alive()


@pytest.mark.parametrize("scheme", ALL)
def test_what_comes_while_nobody_waits_wakes_who_stands_by(scheme: str) -> None:
    with reading(scheme) as (taken, _, (first, second)):
        for step in range(20):
            (first if step % 3 else second).send(Message(1, 0, step))
            taken.soon(partial(taken.has, step))
        assert taken.readers == {taken.threads[0].ident}


@pytest.mark.parametrize("scheme", ALL)
def test_who_waits_reads(scheme: str) -> None:
    def later(step: int) -> None:
        time.sleep(0.01)
        first.send(Message(1, 0, step))

    with reading(scheme) as (taken, reads, (first, second)):
        for step in range(0, 10, 2):
            second.send(Message(1, 0, step))
            answers = in_background(later, step + 1)
            while not reads.wait(partial(taken.has, step, step + 1), time.monotonic() + 60):
                time.sleep(0.001)  # the other thread had the turn, for `second`
            answers()
        assert threading.get_ident() in taken.readers


def test_what_was_taken_in_before_is_read_too() -> None:
    with connected("shm") as (mine, theirs):
        for step in range(3):
            theirs.send(Message(1, 0, step))
        assert mine.recv(60).step == 0  # the system gave all three
        taken = Taken()
        reads: Reading[Any] = Reading(taken, 1e-4)
        reads.add(mine)
        assert reads.wait(lambda: taken.has(1, 2), time.monotonic() + 60)
        assert taken.messages == [1, 2]
        reads.close()


def test_threads_that_wait_at_once_get_what_is_theirs() -> None:
    with reading(count=4) as (taken, reads, peers):

        def wait(number: int) -> None:
            for step in range(number, 400, 4):
                peers[number].send(Message(1, 0, step))
                if not reads.wait(partial(taken.has, step), time.monotonic() + 60):
                    with taken.changed:
                        assert taken.changed.wait_for(partial(taken.has, step), 10)

        for waits in [in_background(wait, number) for number in range(4)]:
            waits()
        assert sorted(taken.messages) == list(range(400))


def test_a_wait_that_nothing_ends_in_time() -> None:
    with reading(standing=0) as (_, reads, _):
        began = time.monotonic()
        assert reads.wait(lambda: False, began + 0.05)
        assert time.monotonic() >= began + 0.05


def test_a_wait_is_told_of_what_did_not_come_over_a_connection() -> None:
    with reading(standing=0) as (_, reads, _):
        happened = threading.Event()
        waits = in_background(lambda: reads.wait(happened.is_set))
        time.sleep(0.05)
        happened.set()
        reads.wake()
        assert waits()


def test_a_job_keeps_nobody_from_reading() -> None:
    with reading() as (taken, _reads, (first, _)):
        for step in range(4):
            first.send(Message(7, 0, step))
            taken.soon(partial(taken.begun, step))
        first.send(Message(1, 0, 4))
        taken.soon(lambda: taken.has(4))
        assert len(taken.threads) == 5  # four are busy
        taken.release.set()
        first.send(Message(7, 0, 5))
        taken.soon(lambda: 5 in taken.jobs)
        assert len(taken.threads) <= 6


def test_who_waits_does_no_jobs_itself() -> None:
    with reading(standing=0) as (taken, reads, (first, _)):
        first.send(Message(7, 0, 1))
        first.send(Message(1, 0, 2))
        assert reads.wait(lambda: taken.has(1, 2), time.monotonic() + 60)
        taken.soon(lambda: taken.jobs == [1])
        assert len(taken.threads) == 1


def test_jobs_for_which_there_are_no_threads_are_refused() -> None:
    with reading() as (taken, _, (first, _)):
        taken.refuses = True
        first.send(Message(7, 0, 1))
        taken.soon(lambda: taken.refused == 1)
        assert not taken.jobs
        first.send(Message(1, 0, 2))
        taken.soon(lambda: taken.has(2))


@pytest.mark.parametrize("scheme", ALL)
def test_the_end_of_a_connection_comes_after_what_it_said_last(scheme: str) -> None:
    with reading(scheme) as (taken, _, (first, second)):
        for step in range(3):
            first.send(Message(1, 0, step))
        first.close()
        taken.soon(lambda: bool(taken.lost_to))
        assert taken.messages == [0, 1, 2]
        second.send(Message(1, 0, 3))
        taken.soon(lambda: taken.has(3))


def test_the_end_wakes_all() -> None:
    with reading(standing=3) as (_, reads, _peers):
        waits = in_background(lambda: reads.wait(lambda: False))
        time.sleep(0.05)
        reads.close()
        waits()
        assert not reads.wait(lambda: True)
        with connected("shm") as (mine, _), pytest.raises(errors.CancelledError, match="nobody reads any more"):
            reads.add(mine)


def test_signals_are_held_back_and_not_lost() -> None:
    told: list[str] = []
    before = signal.getsignal(signal.SIGINT)

    def hold(is_open: bool) -> None:
        with HeldSignals() as signals:
            signals.open = is_open
            os.kill(os.getpid(), signal.SIGINT)
            told.append("went on")

    for is_open in (False, True):
        with pytest.raises(KeyboardInterrupt):
            hold(is_open)
        assert told == ["went on"]
        assert signal.getsignal(signal.SIGINT) is before


class Interrupts:
    """Ctrl-C raises while `awaited`, once, and goes by unseen at any other time: a test can say where it may come."""

    def __init__(self) -> None:
        self.awaited = False

    def __enter__(self) -> "Interrupts":
        self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, *_: object) -> None:
        if self.awaited:
            self.awaited = False
            raise KeyboardInterrupt

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)


def test_ctrl_c_takes_no_message_with_it() -> None:
    """However often it comes: what was on its way is read by whoever waits next."""
    with reading(count=1) as (taken, reads, (peer,)), Interrupts() as interrupts:

        def send() -> None:
            for step in range(2000):
                peer.send(Message(1, 0, step))
                if step % 20 == 0:
                    os.kill(os.getpid(), signal.SIGINT)

        interrupted = 0
        sends = in_background(send)
        while not taken.has(1999):
            try:
                interrupts.awaited = True
                reads.wait(lambda: taken.has(1999), time.monotonic() + 60)
                interrupts.awaited = False
            except KeyboardInterrupt:
                interrupted += 1
        sends()
        assert interrupted
        assert taken.messages == list(range(2000))
        assert not taken.lost_to
