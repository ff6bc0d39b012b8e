"""The state machine of a step: events in, instructions out."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from weft.cluster.session.step_state import Abort, Failed, Finish, GivenUp, Lost, Replied, StepState
from weft.cluster.wire.protocol import Failure
from weft.graph import errors

NAN = Failure(errors.INVALID_ARGUMENT, "NaN", "loss")
GONE = Failure(errors.UNAVAILABLE, "b is gone")
TIMEOUT = Failure(errors.DEADLINE_EXCEEDED, "too long")


def waited(task: str) -> Failure:
    return Failure(errors.CANCELLED, f"{task} had waited", derived=True)


def test_all_tasks_answer() -> None:
    step = StepState(["a", "b"])
    assert step.handle(Replied("b", [2])) == []
    assert step.handle(Replied("a", [1])) == [Finish(None, "")]
    assert step.values == {"a": [1], "b": [2]}


def test_a_failure_aborts_the_others_and_waits_for_them() -> None:
    step = StepState(["a", "b", "c"])
    assert step.handle(Replied("c", [])) == []
    assert step.handle(Failed("a", NAN)) == [Abort(("b",), NAN)]
    assert step.handle(Failed("b", waited("b"))) == [Finish(NAN, "a")]
    assert step.reports == {"b": "b had waited"}


def test_a_task_that_finished_all_the_same() -> None:
    step = StepState(["a", "b"])
    step.handle(Failed("a", NAN))
    assert step.handle(Replied("b", [1])) == [Finish(NAN, "a")]


def test_the_last_task_fails() -> None:
    step = StepState(["a", "b"])
    step.handle(Replied("a", []))
    assert step.handle(Failed("b", NAN)) == [Finish(NAN, "b")]


def test_a_lost_task_is_nobodys_answer() -> None:
    step = StepState(["a", "b"])
    assert step.handle(Lost("b", GONE)) == [Abort(("a",), GONE)]
    assert step.handle(Failed("a", waited("a"))) == [Finish(GONE, "")]


def test_what_only_follows_is_not_the_cause() -> None:
    step = StepState(["a", "b"])
    assert step.handle(Failed("a", waited("a"))) == [Abort(("b",), waited("a"))]
    assert step.handle(Lost("b", GONE)) == [Finish(GONE, "")]


def test_the_first_of_two_causes_counts() -> None:
    step = StepState(["a", "b"])
    step.handle(Failed("a", NAN))
    assert step.handle(Failed("b", Failure(errors.INTERNAL, "other"))) == [Finish(NAN, "a")]


def test_what_only_follows_is_better_than_nothing() -> None:
    step = StepState(["a"])
    assert step.handle(Failed("a", waited("a"))) == [Finish(waited("a"), "a")]


def test_given_up_by_the_session() -> None:
    step = StepState(["a", "b"])
    assert step.handle(GivenUp(TIMEOUT)) == [Abort(("a", "b"), TIMEOUT)]
    assert step.handle(GivenUp(GONE)) == []
    assert step.handle(Failed("b", waited("b"))) == []
    assert step.handle(Lost("a", waited("a"))) == [Finish(TIMEOUT, "")]
    assert step.reports == {"a": "a had waited", "b": "b had waited"}


def test_the_cause_before_the_session_gave_up_stays() -> None:
    step = StepState(["a", "b"])
    step.handle(Failed("a", NAN))
    assert step.handle(GivenUp(TIMEOUT)) == []
    assert step.handle(Failed("b", waited("b"))) == [Finish(NAN, "a")]


def test_a_task_may_be_over_when_another_one_is() -> None:
    step = StepState(["a", "b", "c"], {"b": ["a"]})
    assert step.handle(Replied("b", [2])) == []
    assert step.handle(Replied("c", [])) == [Finish(None, "")]
    assert step.values == {"a": (), "b": [2], "c": []}


def test_a_task_that_is_over_with_another_one_may_fail_before_and_be_lost_after() -> None:
    step = StepState(["a", "b", "c"], {"b": ["a"]})
    assert step.handle(Failed("a", NAN)) == [Abort(("b", "c"), NAN)]
    step = StepState(["a", "b", "c"], {"b": ["a"]})
    step.handle(Replied("b", []))
    assert step.handle(Lost("a", GONE)) == [Abort(("c",), GONE)]


def test_what_a_lost_task_has_sent_may_never_come_though_it_has_done_its_part() -> None:
    step = StepState(["a", "b"])
    step.handle(Replied("b", []))
    assert step.handle(Lost("b", GONE)) == [Abort(("a",), GONE)]
    assert step.handle(Failed("a", waited("a"))) == [Finish(GONE, "")]


@pytest.mark.parametrize("event", [Replied("a", [9]), Failed("a", NAN)])
def test_a_task_answers_once(event: Replied | Failed) -> None:
    step = StepState(["a", "b"])
    step.handle(Replied("a", [1]))
    assert step.handle(event) == []
    assert step.handle(Replied("b", [2])) == [Finish(None, "")]
    assert step.values == {"a": [1], "b": [2]}


def test_strangers_are_not_heard() -> None:
    step = StepState(["a"])
    assert step.handle(Failed("z", NAN)) == []
    assert step.handle(Replied("z", [1])) == []
    assert step.handle(Replied("a", [])) == [Finish(None, "")]
    assert step.values == {"a": []}


TASKS = ("a", "b", "c", "d")
FAILURES = st.builds(
    Failure, st.sampled_from([3, 13, 14]), st.sampled_from(["x", "y"]), derived=st.booleans(), node=st.just("")
)
tasks = st.sampled_from(TASKS)


class AnyOrderOfEvents(RuleBasedStateMachine):
    """Whatever happens in whatever order, a step ends once, and with the right blame."""

    @initialize(used=st.sets(tasks, min_size=1))
    def begin(self, used: set[str]) -> None:
        self.step = StepState(used)
        self.open = set(used)  # who has not answered, by our own account
        self.done: set[str] = set()
        self.failures: list[Failure] = []  # what could be to blame, in order
        self.aborts = 0
        self.finishes: list[Finish] = []

    def feed(self, event: Replied | Failed | Lost | GivenUp) -> None:
        may_count = self.open | self.done if isinstance(event, Lost) else self.open
        counted = not self.finishes and (isinstance(event, GivenUp) or event.task in may_count)
        if isinstance(event, Replied):
            self.done |= {event.task} & self.open
        elif counted:
            self.failures.append(event.failure)
        if not isinstance(event, GivenUp) and not self.finishes:
            self.open.discard(event.task)
        was_finished = bool(self.finishes)
        for instruction in self.step.handle(event):
            assert not was_finished, "an event after the end has no effect"
            if isinstance(instruction, Abort):
                self.aborts += 1
                assert set(instruction.tasks) == self.open
            else:
                self.finishes.append(instruction)

    @rule(task=tasks)
    def replied(self, task: str) -> None:
        self.feed(Replied(task, [task]))

    @rule(task=tasks, failure=FAILURES)
    def failed(self, task: str, failure: Failure) -> None:
        self.feed(Failed(task, failure))

    @rule(task=tasks, failure=FAILURES)
    def lost(self, task: str, failure: Failure) -> None:
        self.feed(Lost(task, failure))

    @rule(failure=FAILURES)
    def given_up(self, failure: Failure) -> None:
        self.feed(GivenUp(failure))

    @precondition(lambda self: hasattr(self, "step"))
    @invariant()
    def it_ends_once_and_exactly_when_all_are_heard(self) -> None:
        assert len(self.finishes) == (not self.open)

    @precondition(lambda self: hasattr(self, "step"))
    @invariant()
    def it_aborts_at_most_once_and_only_after_a_failure(self) -> None:
        assert self.aborts <= bool(self.failures)
        assert not (self.failures and self.open) or self.aborts == 1

    @precondition(lambda self: bool(getattr(self, "finishes", ())))
    @invariant()
    def the_cause_is_the_first_failure_that_follows_from_no_other(self) -> None:
        original = [failure for failure in self.failures if not failure.derived]
        assert self.finishes[0].failure == next(iter(original or self.failures), None)


TestAnyOrderOfEvents = AnyOrderOfEvents.TestCase
