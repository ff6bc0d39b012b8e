"""Tokens and accumulators with epochs: any order of steps, restarts and new chiefs gives each update the same gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from weft.graph import errors
from weft.graph.accumulator_state import Accumulator
from weft.graph.dtypes import float64
from weft.graph.sync_state import Tokens

WORKERS = (1, 2, 3)
NAMES = ("a", "b")


class Session:
    """Stands for the state of a chief's session."""


class Worker:
    """A worker between two of its own actions."""

    def __init__(self, number: int, session: int) -> None:
        self.number, self.session = number, session
        self.member: Any = None
        self.gradient = 0.0
        self.to_bring: list[str] = []
        self.token: Any = None


class Training(RuleBasedStateMachine):
    """Three workers and a chief over two variables: each update must be by one gradient of each worker, of its own step.

    A gradient is a number that tells worker and values: worker * 1000 + the sum of the variables it was computed from. So the
    undisturbed values of each step are known, and a wrong gradient shows.
    """

    @initialize()
    def begin(self) -> None:
        self.accumulators = {name: Accumulator(name, float64, (), "SUM") for name in NAMES}
        self.tokens = Tokens("tokens", counted=False)
        self.numbers = iter(range(1, 1 << 30))
        self.right = [(0.0, 0.0)]
        self.saved = 0
        self.values, self.step = [0.0, 0.0], 0
        self.workers = [Worker(number, next(self.numbers)) for number in WORKERS]
        self.new_chief()

    def new_chief(self) -> None:
        """Restore what was saved, begin an epoch, and wait for gradients."""
        self.values, self.step = list(self.right[self.saved]), self.saved
        number, self.chief = next(self.numbers), Session()
        for each in self.accumulators.values():
            each.begin_epoch(self.step, number, self.chief)
        self.tokens.begin(self.step, number, self.chief)
        self.workers[0] = Worker(WORKERS[0], next(self.numbers))
        self._take()

    def _take(self) -> None:
        self.taking = [self.accumulators[name].take(len(WORKERS), self.chief) for name in NAMES]

    @rule(which=st.integers(0, 2))
    def work(self, which: int) -> None:
        """The next action of a worker: begin, compute, bring one part, or look for its token."""
        worker = self.workers[which]
        if worker.member is None:
            worker.member = np.array([self.step, self.tokens.epoch.number, worker.number, worker.session])
        elif worker.token is not None:
            if worker.token.is_over:
                worker.member, worker.token = worker.token.wait(), None
        elif not worker.to_bring:
            worker.gradient, worker.to_bring = worker.number * 1000 + sum(self.values), list(NAMES)
        else:
            name = worker.to_bring.pop()
            self.accumulators[name].apply(int(worker.member[0]), np.array(worker.gradient), member=worker.member)
            if not worker.to_bring:
                worker.token = self.tokens.take(worker.member)

    @rule()
    def go_on(self) -> None:
        """All do what they can, several times."""
        for _ in range(6):
            for which in range(3):
                self.work(which)
            self.update()

    @rule()
    def update(self) -> None:
        """The chief takes the gradients when all are there, and gives out tokens."""
        if all(each.is_over for each in self.taking):
            self.values = [value / 2 + each.wait() for value, each in zip(self.values, self.taking, strict=True)]
            self.step += 1
            self.tokens.put(self.step, len(WORKERS), self.chief)
            self._take()
            if self.step == len(self.right):
                before = self.right[-1]
                total = sum(number * 1000 + sum(before) for number in WORKERS)
                self.right.append((before[0] / 2 + total, before[1] / 2 + total))

    @rule()
    def save(self) -> None:
        self.saved = self.step

    @rule(which=st.integers(1, 2))
    def kill_worker(self, which: int) -> None:
        dead = self.workers[which]
        if dead.token is not None:
            dead.token.cancel(errors.CancelledError(None, None, "killed"))
        self.workers[which] = Worker(dead.number, next(self.numbers))

    @rule()
    def kill_chief(self) -> None:
        dead, attempts = self.workers[0], self.taking
        if dead.token is not None:
            dead.token.cancel(errors.CancelledError(None, None, "killed"))
        former = self.chief
        self.new_chief()
        for attempt in attempts:
            assert attempt.is_over
        with pytest.raises(errors.AbortedError, match="another chief has begun"):
            self.tokens.put(1000, 3, former)
        with pytest.raises(errors.AbortedError, match="another chief has begun"):
            self.accumulators["a"].take(3, former)

    @precondition(lambda self: hasattr(self, "values"))
    @invariant()
    def every_update_is_right(self) -> None:
        assert tuple(self.values) == self.right[self.step]

    def teardown(self) -> None:
        if hasattr(self, "values"):  # nobody is stuck
            before = self.step
            for _ in range(4):
                self.go_on()
            assert self.step > before


TestTraining = Training.TestCase
TestTraining.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


def member(step: int, epoch: int, worker: int = 1) -> Any:
    return np.array([step, epoch, worker, 1])


def test_with_fewer_workers_than_gradients_each_token_is_for_one_gradient() -> None:
    tokens = Tokens("tokens", counted=True)
    tokens.begin(3, 9, Session())
    waiting = [tokens.take(member(3, 9)) for _ in range(3)]
    tokens.put(3, 2, Session())
    assert [each.is_over for each in waiting] == [True, True, False]
    assert waiting[0].wait().tolist() == [3, 9, 1, 1]


def test_what_a_worker_that_has_left_would_have_taken_others_take() -> None:
    tokens, chief = Tokens("tokens", counted=False), Session()
    tokens.begin(0, 9, chief)
    first = tokens.take(member(0, 9))
    assert not first.is_over
    tokens.leave(member(0, 9, worker=2))
    assert first.wait().tolist() == [0, 9, 1, 1]
    again = tokens.take(member(0, 9))
    assert not again.is_over
    tokens.put(1, 2, chief)
    assert again.wait().tolist() == [1, 9, 1, 1]
    assert tokens.take(member(1, 9)).is_over  # the token of the other one
    waiting = tokens.take(member(1, 9))
    assert not waiting.is_over
    tokens.close()
    with pytest.raises(errors.OutOfRangeError, match="SyncTokens 'tokens' is closed: the chief has ended"):
        waiting.wait()


def test_who_waits_says_for_what() -> None:
    tokens = Tokens("tokens", counted=False)
    waiting = tokens.take(member(0, -1))
    assert waiting.describe().startswith("for a chief to begin (in SyncTokens 'tokens') for 0.")
    tokens.begin(4, 9, Session())
    assert waiting.wait()[1] == 9
    assert (
        "for a token of the step after 4 (in SyncTokens 'tokens' the newest is of step 4)"
        in tokens.take(member(4, 9)).describe()
    )
