"""The recovery of a cluster as a state machine: tasks that die at any moment, and what is done about it."""

from __future__ import annotations

from typing import Any

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from weft.cluster.on_ray.recovery_state import (
    Begin,
    Budget,
    Create,
    Ended,
    GiveUp,
    Joined,
    Mending,
    RecoveryState,
    Status,
    Tell,
    Tick,
    Wanted,
    Whole,
)

TASKS = ("ps", "worker 0", "worker 1")


class Clusters(RuleBasedStateMachine):
    """A world in which tasks die, and do or do not come again, and which knows what is true of each."""

    @initialize(failures=st.integers(0, 4), preemptions=st.integers(0, 2))
    def begin(self, failures: int, preemptions: int) -> None:
        self.budget = Budget(failures, preemptions, first_delay=1, longest_delay=4, healthy_after=100)
        self.state = RecoveryState(TASKS, self.budget)
        self.now = 0.0
        self.alive = dict.fromkeys(TASKS, 0)  #: the epoch that each living task is in
        self.asked: dict[str, Any] = {}  #: what each has still to tell about
        self.told: set[str] = set()  #: what the sessions of the present epoch were told
        self.last: Any = Whole(0)
        self.epochs = [0]

    def handle(self, event: Any) -> None:
        for instruction in self.state.handle(event):
            match instruction:
                case Create(task, epoch):
                    assert task not in self.alive
                    assert task not in self.asked
                    self.asked[task] = instruction
                    self._epoch(epoch)
                case Begin(task, epoch):
                    assert task not in self.asked
                    self.asked[task] = instruction
                    self._epoch(epoch)
                case Tell(task, _):
                    self.told.add(task)
                case Mending(_, delay):
                    assert 0 <= delay <= self.budget.longest_delay
                case Whole(epoch):
                    assert set(self.alive) == set(TASKS)
                    assert set(self.alive.values()) == {epoch}
                    assert not self.asked
                    self.told.clear()
                    self.last = instruction
                case GiveUp():
                    self.last = instruction

    def _epoch(self, epoch: int) -> None:
        if epoch != self.epochs[-1]:
            assert epoch > self.epochs[-1]
            self.epochs.append(epoch)

    @rule(task=st.sampled_from(TASKS), preempted=st.booleans())
    def die(self, task: str, preempted: bool) -> None:
        """A task that lives dies; if it was asked for something, that is its answer."""
        if task in self.alive:
            del self.alive[task]
            self.asked.pop(task, None)
            self.handle(Ended(task, f"died at {self.now}", preempted, self.now))
            assert task in self.told

    @rule(task=st.sampled_from(TASKS))
    def answer(self, task: str) -> None:
        asked = self.asked.pop(task, None)
        if asked is not None:
            self.alive[task] = asked.epoch
            self.handle(Joined(task, asked.epoch, self.now))

    @rule(task=st.sampled_from(TASKS), preempted=st.booleans())
    def cannot_start(self, task: str, preempted: bool) -> None:
        if isinstance(self.asked.get(task), Create):
            del self.asked[task]
            self.handle(Ended(task, "no room", preempted, self.now))

    @rule(task=st.sampled_from(TASKS), back=st.integers(1, 3))
    def late_answer(self, task: str, back: int) -> None:
        """An answer for an older epoch counts for nothing."""
        before = dict(self.state.status)
        self.handle(Joined(task, self.state.epoch - back, self.now))
        assert self.state.status == before

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 4.0, 200.0]))
    def time(self, seconds: float) -> None:
        self.now += seconds
        self.handle(Tick(self.now))

    @rule()
    def want(self) -> None:
        self.last = None
        self.handle(Wanted(self.now))

    @precondition(lambda self: hasattr(self, "state"))
    @invariant()
    def budgets_hold(self) -> None:
        assert self.state.failures <= self.budget.max_failures
        assert self.state.preemptions <= self.budget.max_preemptions
        for task, status in self.state.status.items():
            assert (status is Status.UP) == (task in self.alive and task not in self.asked)

    def teardown(self) -> None:
        """When nothing more goes wrong, whoever wants the cluster gets it, or is told why not."""
        if not hasattr(self, "state"):
            return
        self.want()
        for _ in range(4):
            self.time(5.0)
            for task in TASKS:
                self.answer(task)
        assert isinstance(self.last, (Whole, GiveUp))
        if isinstance(self.last, Whole):
            assert self.last.epoch == self.epochs[-1]


TestClusters = Clusters.TestCase
TestClusters.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_an_outage_is_mended_in_a_new_epoch_of_all_tasks() -> None:
    state = RecoveryState(TASKS, Budget())
    assert state.handle(Ended("ps", "killed", False, 5)) == [Tell("ps", "killed")]
    assert state.handle(Ended("worker 0", "gone", False, 5)) == [Tell("worker 0", "gone")]
    assert state.handle(Wanted(6)) == [Mending("worker 0: gone", 0.0)]
    assert state.due == 6
    assert state.handle(Tick(6)) == [Create("ps", 1), Create("worker 0", 1), Begin("worker 1", 1)]
    assert [state.handle(Joined(task, 1, 7)) for task in TASKS] == [[], [], [Whole(1)]]
    assert (state.failures, state.preemptions) == (1, 0)


def test_preemptions_are_counted_apart() -> None:
    state = RecoveryState(["ps"], Budget(max_failures=0, max_preemptions=1))
    state.handle(Ended("ps", "its node was drained", True, 0))
    assert state.handle(Wanted(0)) == [Mending("ps: its node was drained", 0.0)]
    state.handle(Tick(0))
    assert state.handle(Joined("ps", 1, 1)) == [Whole(1)]
    assert (state.failures, state.preemptions) == (0, 1)
    state.handle(Ended("ps", "killed", False, 2))
    told = "killed (0 failures and 1 preemptions were mended)"
    assert state.handle(Wanted(2)) == [GiveUp("ps", told)]
    assert state.handle(Wanted(9)) == [GiveUp("ps", told)]


def test_the_error_names_what_went_wrong_first_and_what_last() -> None:
    state = RecoveryState(["ps"], Budget(max_failures=2, first_delay=3))
    state.handle(Ended("ps", "killed", False, 0))
    state.handle(Wanted(0))
    assert state.handle(Tick(0)) == [Create("ps", 1)]
    assert state.handle(Ended("ps", "no room", False, 1)) == [Mending("ps: no room", 3.0)]
    assert state.handle(Tick(3.5)) == []
    assert state.handle(Tick(4)) == [Create("ps", 2)]
    what = "killed (2 failures and 0 preemptions were mended; the last that went wrong: ps: no disk)"
    assert state.handle(Ended("ps", "no disk", False, 5)) == [GiveUp("ps", what)]


def test_after_a_healthy_time_the_counts_begin_again() -> None:
    state = RecoveryState(["ps"], Budget(max_failures=1, healthy_after=60))
    for now in (0.0, 100.0, 200.0):
        state.handle(Ended("ps", "killed", False, now))
        assert state.handle(Wanted(now)) == [Mending("ps: killed", 0.0)]
        state.handle(Tick(now))
        state.handle(Joined("ps", state.epoch, now))
    assert state.epoch == 3
