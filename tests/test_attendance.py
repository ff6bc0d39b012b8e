"""When a task's job is over, as a state machine says: by cases, and whatever order things happen in."""

from collections.abc import Callable

from hypothesis import given, strategies as st
from weft.cluster.presence.attendance import Attendance, Seen

A, B = "/job:worker/replica:0/task:0", "/job:worker/replica:0/task:1"


def visited(*ends: bool) -> Attendance:
    """A and, with a second end, B came and went: as they should, or killed."""
    attendance = Attendance([A, B], grace=10.0)
    for task in (A, B)[: len(ends)]:
        attendance.came(task)
    for task, said_so in zip((A, B), ends, strict=False):
        attendance.went(task, 100.0, said_so)
    return attendance


def test_nothing_is_over_before_anybody_came() -> None:
    attendance = Attendance([A, B], grace=10.0)
    assert not attendance.over(1e9)
    assert attendance.to_ask() == []


def test_it_is_over_as_soon_as_all_have_said_goodbye() -> None:
    attendance = visited(True, True)
    assert attendance.over(100.0)
    assert attendance.left() == (A, B)


def test_one_that_was_killed_has_a_while_to_come_again() -> None:
    attendance = visited(True, False)
    assert attendance.left() == (A,)
    assert attendance.to_ask() == [B]
    assert not attendance.over(109.9)
    assert attendance.over(110.0)
    attendance.came(B)
    assert not attendance.over(1e9)
    attendance.went(B, 200.0, said_so=True)
    assert attendance.over(200.0)


def test_one_that_never_came_is_waited_for_as_long_as_it_runs() -> None:
    attendance = visited(True)
    assert attendance.to_ask() == [B]
    attendance.answered(B, serves=False, now=105.0)
    assert attendance.seen[B] is Seen.UP
    assert not attendance.over(1e9)
    attendance.silent(B)
    assert not attendance.over(114.9)
    assert attendance.over(115.0)


def test_one_that_waits_itself_is_not_waited_for() -> None:
    attendance = visited(True)
    attendance.answered(B, serves=True, now=101.0)
    assert attendance.over(101.0)


def test_a_session_of_whoever_keeps_it_going_but_its_end_ends_nothing() -> None:
    attendance = visited(True, True)
    attendance.session_began()
    assert not attendance.over(1e9)
    attendance.session_ended(300.0)
    assert attendance.over(300.0)
    unused = Attendance([A])
    unused.session_began()
    unused.session_ended(1.0)
    assert not unused.over(1e9)


def test_a_new_program_in_the_place_of_one_whose_end_is_noticed_late() -> None:
    attendance = Attendance([A], grace=10.0)
    attendance.came(A)
    attendance.came(A)
    attendance.went(A, 5.0, said_so=False)
    assert attendance.seen[A] is Seen.HERE
    assert not attendance.over(1e9)
    attendance.went(A, 6.0, said_so=True)
    assert attendance.over(6.0)


def test_what_is_heard_of_strangers_changes_nothing() -> None:
    attendance = visited(True, True)
    attendance.answered("/job:other/replica:0/task:0", serves=False, now=101.0)
    attendance.silent("/job:other/replica:0/task:0")
    assert attendance.over(101.0)


EVENTS: dict[str, Callable[[Attendance, str, float], None]] = {
    "came": lambda attendance, task, now: attendance.came(task),
    "left": lambda attendance, task, now: attendance.went(task, now, said_so=True),
    "lost": lambda attendance, task, now: attendance.went(task, now, said_so=False),
    "serves": lambda attendance, task, now: attendance.answered(task, True, now),
    "up": lambda attendance, task, now: attendance.answered(task, False, now),
    "silent": lambda attendance, task, now: attendance.silent(task),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(EVENTS)), st.sampled_from([A, B]))))
def test_whatever_happens_it_ends_if_all_end_and_never_while_one_is_here(events: list[tuple[str, str]]) -> None:
    attendance, here, used, now = Attendance([A, B], grace=10.0), {A: 0, B: 0}, False, 0.0
    for what, task in events:
        now += 1.0
        if what in ("left", "lost"):
            if not here[task]:
                continue
            here[task] -= 1
        if what == "came":
            here[task] += 1
            used = True
        EVENTS[what](attendance, task, now)
        assert not (attendance.over(now + 1e6) and any(here.values()))
        assert not (attendance.over(now) and not used)
    for task, count in here.items():
        for _ in range(count):
            attendance.went(task, now, said_so=False)
    for task in (A, B):
        attendance.silent(task)
    assert attendance.over(now + 10.0) == used
