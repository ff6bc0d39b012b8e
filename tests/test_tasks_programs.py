"""Random programs over tasks of which one value is fetched, so that all other memory is used again: the bits of one process."""

from __future__ import annotations

import numpy as np
import programs
import pytest
import weft as wf
from hypothesis import HealthCheck, given, settings, strategies as st
from programs import Built, build, recipes, same_bits
from tasks import session_of_tasks

NAMES = ("/job:a/task:0", "/job:b/task:0", "/job:c/task:0")
TASKS = tuple(name.replace("/task", "/replica:0/task") for name in NAMES)
LIMIT = wf.RunOptions(timeout_in_ms=120_000)
bounded = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def last_values(built: Built, session: wf.Session) -> list[np.ndarray]:
    """The last value of three steps, and the variables after them."""
    session.run([v.initializer for v in built.variables])
    values = [session.run([built.values[-1], built.writes], built.feed_dict(), options=LIMIT)[0] for _ in range(3)]
    return [*values, *session.run(list(built.variables))]


def alone(built: Built) -> list[np.ndarray]:
    with wf.Session(config=wf.ConfigProto(allow_soft_placement=True)) as session:
        return last_values(built, session)


@pytest.mark.parametrize("transport", ["inproc", "shm", "tcp"])
@bounded
@given(recipes(), st.booleans())
def test_whatever_tasks_send_each_other_stays_as_it_was_sent(
    transport: str, recipe: list[programs.Step], known: bool
) -> None:
    built = build(recipe, known, names=NAMES)
    with session_of_tasks(tasks=TASKS, transport=transport) as session:
        found = last_values(built, session)
    assert same_bits(found, alone(built))


@pytest.mark.parametrize("transport", ["inproc", "shm", "tcp"])
@pytest.mark.parametrize("size", [8, 100])
def test_a_value_that_is_used_late_is_not_written_over_when_its_task_goes_on(transport: str, size: int) -> None:
    """The first task's second value lies in the memory that its first one had, which has been sent and is not used yet."""
    first, second, third = NAMES
    x = wf.placeholder(wf.float32, [size, size])
    with wf.device(first):
        early = x + 1.0
    with wf.device(second):
        there = wf.sin(early)
    with wf.device(first):
        # A branch, for nobody knows how long one takes: what was sent before is not kept back for what follows.
        late = 1.5 * wf.cond(wf.reduce_sum(there) < 1e9, lambda: wf.cos(there), lambda: there)
    with wf.device(third):
        both = early * wf.exp(late)
    fed = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
    with session_of_tasks(tasks=TASKS, transport=transport) as session:
        found = session.run(both, {x: fed}, options=LIMIT)
    assert same_bits([found], [(fed + 1) * np.exp(np.float32(1.5) * np.cos(np.sin(fed + 1)))])
