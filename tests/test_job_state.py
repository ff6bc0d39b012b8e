"""The job that `weft launch` watches over, as a state machine: when what is started, what counts, and when it is over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, strategies as st
from weft.cluster.launch.job_state import (
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
    Status,
    Stop,
    Tick,
)

PS, W0, W1 = TASKS = ["ps 0", "worker 0", "worker 1"]


def running(policy: Policy | None = None, now: float = 100.0) -> JobState:
    """A job whose tasks all run."""
    state = JobState(TASKS, [PS], policy or Policy())
    assert state.begin() == [Place(task) for task in TASKS]
    started = [instruction for task in TASKS for instruction in state.handle(Placed(task, now))]
    assert started == [Start(task) for task in TASKS]
    return state


def test_nothing_starts_before_every_task_has_a_place() -> None:
    state = JobState(TASKS, [PS], Policy())
    assert state.handle(Placed(W1, 1.0)) == []
    assert state.handle(Placed(PS, 2.0)) == []
    assert state.handle(Placed(W0, 3.0)) == [Start(W1), Start(PS), Start(W0)]


def test_the_time_is_not_waited_for_while_a_place_is() -> None:
    state = JobState(TASKS, [PS], Policy())
    state.handle(Placed(W1, 1.0))
    assert state.due is None
    running_state = running()
    running_state.handle(PlaceLost(W0, "gone", False, 200.0))
    assert running_state.due is None


def test_the_job_is_over_when_all_have_finished() -> None:
    state = running()
    assert state.handle(Exited(W0, 0, 101.0)) == []
    assert state.handle(Exited(W1, 0, 102.0)) == []
    assert state.handle(Exited(PS, 0, 103.0)) == [Finish(0)]


def test_a_ps_that_does_not_end_by_itself_is_ended_some_time_after_the_workers() -> None:
    state = running(Policy(serving_grace=7.0))
    state.handle(Exited(W0, 0, 101.0))
    state.handle(Exited(W1, 0, 102.0))
    assert state.due == 109.0
    assert state.handle(Tick(108.9)) == []
    assert state.handle(Tick(109.0)) == [Stop(PS)]
    assert state.handle(Exited(PS, -15, 110.0)) == [Finish(0)]


def test_how_a_ps_ends_does_not_matter_when_the_workers_have_finished() -> None:
    state = running()
    state.handle(Exited(W0, 0, 101.0))
    state.handle(Exited(W1, 0, 102.0))
    assert state.handle(Exited(PS, 1, 103.0)) == [Finish(0)]


def test_a_program_that_fails_is_started_again_alone_after_a_while() -> None:
    state = running(Policy(first_delay=2.0))
    assert state.handle(Exited(W0, 3, 200.0)) == [Mending(W0, "ended with status 3", 2.0)]
    assert state.due == 202.0
    assert state.handle(Tick(201.0)) == []
    assert state.handle(Tick(202.0)) == [Start(W0)]
    assert state.failures == 1


def test_each_failure_is_waited_for_twice_as_long_up_to_a_limit() -> None:
    state = running(Policy(max_failures=5, first_delay=2.0, longest_delay=10.0, derived_within=1.0))
    now, delays = 200.0, []
    for _ in range(5):
        (mending,) = state.handle(Exited(W0, 1, now))
        assert isinstance(mending, Mending)
        delays.append(mending.delay)
        now += 100.0
        assert state.handle(Tick(now)) == [Start(W0)]
    assert delays == [2.0, 4.0, 8.0, 10.0, 10.0]


@pytest.mark.parametrize(
    ("code", "result", "what"), [(3, 3, "ended with status 3"), (-9, 137, "was ended by signal 9")]
)
def test_one_failure_too_many_ends_the_job_with_its_exit_code(code: int, result: int, what: str) -> None:
    state = running(Policy(max_failures=0))
    assert state.handle(Exited(W1, code, 200.0)) == [Stop(PS), Stop(W0)]
    assert state.handle(Exited(PS, -15, 201.0)) == []
    assert state.handle(Exited(W0, 1, 201.0)) == [Finish(result, W1, what)]


def test_what_fails_right_after_a_failure_counts_for_nothing_and_is_started_again() -> None:
    state = running(Policy(max_failures=1, derived_within=10.0, first_delay=1.0))
    state.handle(Exited(PS, -9, 200.0))
    assert state.handle(Exited(W0, 1, 205.0)) == [Mending(W0, "ended with status 1", 1.0)]
    assert state.failures == 1
    assert state.handle(Tick(206.0)) == [Start(PS), Start(W0)]


def test_what_fails_again_fails_for_a_reason_of_its_own() -> None:
    """Else a program that fails at its start would be started again and again before anything counts."""
    state = running(Policy(max_failures=1, derived_within=10.0, first_delay=1.0))
    state.handle(Exited(W0, 1, 200.0))
    state.handle(Exited(W1, 1, 200.1))
    assert state.failures == 1
    assert state.handle(Tick(201.1)) == [Start(W0), Start(W1)]
    assert state.handle(Exited(W1, 1, 203.0)) == [Stop(PS), Stop(W0)]
    state.handle(Exited(W0, -15, 203.1))
    assert state.handle(Exited(PS, -15, 203.1)) == [Finish(1, W1, "ended with status 1")]


def failing_again(state: JobState, task: str, code: int, now: float) -> list[Instruction]:
    """What is done about a program that runs, fails, is started again, and fails a second after that."""
    state.handle(Exited(task, code, now))
    assert Start(task) in state.handle(Tick(now + 60.0))
    return state.handle(Exited(task, code, now + 61.0))


def test_a_program_that_fails_at_once_and_again_alike_ends_the_job() -> None:
    state = running(now=100.0)
    assert failing_again(state, W0, 2, 102.0) == [Stop(PS), Stop(W1)]
    state.handle(Exited(PS, -15, 170.0))
    finish = Finish(2, W0, "ended with status 2 within 10 s of its start, as it did the time before", at_once=True)
    assert state.handle(Exited(W1, -15, 170.0)) == [finish]


@pytest.mark.parametrize(
    ("within", "code", "first"),
    [(10.0, -9, 102.0), (10.0, 1, 111.0), (0.0, 1, 102.0)],
    ids=["it was killed", "it ran for longer", "the user says how often"],
)
def test_other_programs_that_fail_are_started_again_as_often_as_they_may_be(
    within: float, code: int, first: float
) -> None:
    state = running(Policy(at_once_within=within), now=100.0)
    assert [type(each) for each in failing_again(state, W0, code, first)] == [Mending]


def test_what_fails_at_once_because_another_was_killed_is_started_again() -> None:
    state = running(now=100.0)
    state.handle(Exited(W0, 1, 102.0))
    state.handle(Exited(PS, -9, 102.5))
    assert state.handle(Tick(110.0)) == [Start(W0), Start(PS)]
    assert [type(each) for each in state.handle(Exited(W0, 1, 111.0))] == [Mending]


def test_what_fails_at_once_because_a_place_was_lost_is_started_again() -> None:
    state = running(now=100.0)
    state.handle(Exited(W0, 1, 102.0))
    state.handle(PlaceLost(PS, "its node died", True, 102.5))
    state.handle(Exited(W1, -15, 102.6))
    assert Start(W0) in state.handle(Placed(PS, 110.0))
    assert [type(each) for each in state.handle(Exited(W0, 1, 111.0))] == [Mending]


def test_a_program_that_fails_at_once_in_another_way_is_started_again() -> None:
    state = running(now=100.0)
    state.handle(Exited(W0, 1, 102.0))
    assert state.handle(Tick(110.0)) == [Start(W0)]
    assert [type(each) for each in state.handle(Exited(W0, 3, 111.0))] == [Mending]


def test_a_lost_place_stops_all_programs_and_starts_them_again_when_there_is_another() -> None:
    state = running(Policy(first_delay=1.0))
    found = state.handle(PlaceLost(W0, "its node died", False, 200.0))
    assert found == [Mending(W0, "its node died", 1.0), Stop(PS), Stop(W1), Place(W0)]
    assert state.handle(Placed(W0, 200.5)) == []
    assert state.handle(Exited(W1, -15, 200.6)) == []
    assert state.handle(Exited(PS, -15, 200.7)) == []
    assert state.handle(Tick(201.0)) == [Start(W0), Start(W1), Start(PS)]


def test_a_host_that_is_lost_with_all_tasks_counts_once_and_once_more_for_the_attempt_to_start_them_there() -> None:
    """Ray tells of one at once, of the others when it knows that the node is gone; until then it finds places there."""
    state = running(Policy(max_failures=2, derived_within=10.0))
    assert state.handle(PlaceLost(PS, "no connection", False, 200.0))[0] == Mending(PS, "no connection", 1.0)
    assert state.handle(PlaceLost(W1, "no connection", False, 200.1)) == [Place(W1)]
    assert state.handle(PlaceLost(W0, "its node died", False, 217.0)) == [Place(W0)]
    assert state.handle(PlaceLost(PS, "its node died", False, 217.0)) == [Mending(PS, "its node died", 2.0), Place(PS)]
    assert state.handle(PlaceLost(W1, "its node died", False, 217.0)) == [Place(W1)]
    for task in TASKS:
        assert state.handle(Placed(task, 218.0)) == []
    assert set(state.handle(Tick(219.0))) == {Start(task) for task in TASKS}
    assert state.failures == 2


def test_a_loss_that_does_not_count_does_not_shorten_the_wait() -> None:
    state = running(Policy(first_delay=5.0))
    state.handle(PlaceLost(PS, "gone", False, 200.0))
    state.handle(PlaceLost(W0, "gone", False, 200.1))
    state.handle(Exited(W1, -15, 200.2))
    state.handle(Placed(W0, 200.3))
    assert state.handle(Placed(PS, 200.4)) == []
    assert state.due == 205.0


def test_those_that_have_finished_are_not_started_again_when_a_place_is_lost() -> None:
    state = running(Policy(first_delay=0.0))
    state.handle(Exited(W1, 0, 150.0))
    state.handle(PlaceLost(W0, "gone", False, 200.0))
    state.handle(Exited(PS, -15, 200.1))
    assert state.handle(Placed(W0, 200.2)) == [Start(PS), Start(W0)]
    assert state.status[W1] is Status.DONE


def test_preemptions_are_counted_apart_from_failures() -> None:
    state = running(Policy(max_failures=0, max_preemptions=1))
    state.handle(PlaceLost(W0, "preempted", True, 200.0))
    assert (state.failures, state.preemptions) == (0, 1)
    state.handle(Exited(W1, -15, 200.1))
    state.handle(Exited(PS, -15, 200.1))
    assert state.handle(Placed(W0, 200.2)) == [Start(W1), Start(PS), Start(W0)]
    assert state.handle(PlaceLost(W0, "preempted", True, 300.0)) == [Stop(PS), Stop(W1)]
    state.handle(Exited(W1, -15, 300.1))
    assert state.handle(Exited(PS, -15, 300.1)) == [Finish(1, W0, "preempted")]


def test_a_task_for_which_there_is_never_a_place_ends_the_job() -> None:
    state = JobState(TASKS, [PS], Policy(max_failures=2))
    state.begin()
    assert state.handle(PlaceLost(W0, "no room", False, 1.0))[-1] == Place(W0)
    assert state.handle(PlaceLost(W0, "no room", False, 2.0))[-1] == Place(W0)
    assert state.handle(PlaceLost(W0, "no room", False, 3.0)) == [Finish(1, W0, "no room")]


def test_an_interrupt_ends_all_that_runs() -> None:
    state = running()
    assert state.handle(Interrupted()) == [Stop(PS), Stop(W0), Stop(W1)]
    for task in (PS, W0):
        assert state.handle(Exited(task, -15, 200.0)) == []
    assert state.handle(Exited(W1, -15, 200.0)) == [Finish(130, what="interrupted")]
    assert state.handle(Interrupted()) == []


def test_a_second_interrupt_waits_for_nobody_and_the_first_end_is_the_jobs() -> None:
    state = running()
    assert state.handle(Interrupted(143, "terminated")) == [Stop(PS), Stop(W0), Stop(W1)]
    assert state.handle(Interrupted()) == [Finish(143, what="terminated")]
    assert state.handle(Exited(W0, -9, 200.0)) == []


class World:
    """What the instructions act on: places and programs, which fail as they are told to."""

    def __init__(self, state: JobState) -> None:
        self.state, self.now = state, 0.0
        self.placing: set[str] = set()
        self.runs: set[str] = set()
        self.placed: set[str] = set()
        self.finished: set[str] = set()
        self.end: Finish | None = None
        self.follow(state.begin())

    def follow(self, instructions: Iterable[Instruction]) -> None:
        for instruction in instructions:
            assert self.end is None, "nothing comes after the end"
            match instruction:
                case Place(task):
                    self.placing.add(task)
                    self.placed.discard(task)
                case Start(task):
                    assert task not in self.runs, "it runs once"
                    assert self.placed | self.finished >= set(TASKS), "all have places"
                    self.runs.add(task)
                case Stop(task):
                    assert task in self.runs, "only what runs is stopped"
                case Finish():
                    assert not self.runs, "nothing runs on"
                    self.end = instruction

    def do(self, event: Any) -> None:
        self.follow(self.state.handle(event))

    def place(self, task: str) -> None:
        self.placing.discard(task)
        self.placed.add(task)
        self.do(Placed(task, self.now))

    def exit(self, task: str, code: int) -> None:
        self.runs.discard(task)
        if code == 0:
            self.finished.add(task)
        self.do(Exited(task, code, self.now))

    def lose(self, task: str, preempted: bool) -> None:
        self.runs.discard(task)
        self.placed.discard(task)
        self.placing.discard(task)
        self.do(PlaceLost(task, "lost", preempted, self.now))


@given(st.data())
def test_whatever_fails_when_it_may_the_job_ends_and_nothing_runs_on(data: st.DataObject) -> None:
    policy = Policy(max_failures=3, max_preemptions=2, derived_within=data.draw(st.sampled_from([0.0, 5.0])))
    world = World(JobState(TASKS, [PS], policy))
    for _ in range(data.draw(st.integers(0, 30))):
        if world.end is not None:
            return
        kind = data.draw(st.sampled_from(["place", "exit", "lose", "time"]))
        world.now += data.draw(st.sampled_from([0.0, 1.0, 10.0]))
        if kind == "place" and world.placing:
            world.place(data.draw(st.sampled_from(sorted(world.placing))))
        elif kind == "exit" and world.runs:
            world.exit(data.draw(st.sampled_from(sorted(world.runs))), data.draw(st.sampled_from([0, 1, -9])))
        elif kind == "lose":
            world.lose(data.draw(st.sampled_from(TASKS)), data.draw(st.booleans()))
        else:
            world.do(Tick(world.now))
    for _ in range(50):  # from here on all goes well, and so the job has to end
        world.now += 100.0
        for task in sorted(world.placing):
            world.place(task)
        for task in sorted(world.runs):
            world.exit(task, 0)
        if world.end is not None:
            return
        world.do(Tick(world.now))
    raise AssertionError(f"it does not end: {world.state.status}")
