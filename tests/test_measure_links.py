"""What two devices cost each other: from times in turns, again while others compute, and how sure it is."""

import os
import time
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.runtime.measuring import measure_links
from weft.runtime.measuring.calm import busy_seconds, processors
from weft.runtime.measuring.measure_links import CALMEST, Contention, Links, by_processor_time, contention
from weft.runtime.placing.cost_model import Link

ROUNDS = 12


def rounds(*columns: float, late: dict[int, float] | None = None) -> Any:
    """The same seconds in each round, but in those of `late` so many times as long on both devices at once."""
    times = np.tile(np.asarray(columns), (ROUNDS, 1))
    for row, factor in (late or {}).items():
        times[row, 2] *= factor
    return times


#: Of short chains; with 1 ms that a step takes and 2 that one of both takes, each product takes twice as long at once.
SHORT = rounds(1.2, 1.2, 2.4, 1.6, 1.6, 3.2)


def test_what_a_step_takes_does_not_count_and_late_rounds_do_not() -> None:
    found = contention(SHORT, rounds(1.0, 1.1, 1.21, late={3: 5.0, 7: 2.0}), 0.0)
    assert found == pytest.approx((2.0, 1.1, 0.0, 0.0))
    assert found.sure


def test_it_is_between_nothing_shared_and_all_shared() -> None:
    assert contention(SHORT, rounds(1.0, 1.0, 0.9), 0.0).heavy == 1.0
    assert contention(rounds(1.0, 1.0, 1.0, 2.0, 2.0, 9.0), rounds(1.0, 1.0, 2.5), 0.0)[:2] == (2.0, 2.0)


def test_it_is_in_doubt_where_rounds_differ_or_others_compute() -> None:
    mixed = rounds(1.0, 1.0, 1.0, late=dict.fromkeys(range(0, ROUNDS, 2), 2.0))
    assert not contention(SHORT, mixed, 0.0).sure
    assert not contention(SHORT, rounds(1.0, 1.0, 1.0), 0.5).sure
    assert contention(SHORT, rounds(1.0, 1.0, 1.0), 0.1).sure
    assert contention(SHORT, mixed, 0.0, CALMEST).heavy == 1.0  # short times are nearest where others compute


def test_processors_time_tells_what_caches_cost_and_threads_what_processors_lack() -> None:
    late = rounds(1.0, 1.0, 2.2, late={3: 5.0})
    assert by_processor_time(late, 1, 2) == pytest.approx(1.1)
    assert by_processor_time(late, 1, 1) == 2.0  # one processor for both
    assert by_processor_time(late, 64, 2) == 2.0
    assert by_processor_time(late, 3, 4) == pytest.approx(1.65)


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Of a session with two devices, quick, and how often was measured."""
    for name, value in {"RUNS": 2, "SHORT": 20, "LESS": 10, "SHORT_ROUNDS": 2, "LONG_ROWS": 16, "AGAIN": 3}.items():
        monkeypatch.setattr(measure_links, name, value)
    with wf.Session(config=wf.ConfigProto(device_count={"CPU": 2})) as session:
        yield Links(session._engine, 60.0)


def test_it_is_measured_again_until_it_is_calm(links: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([Contention(2.0, 2.0, 0.9, 0.0), Contention(2.0, 1.9, 0.0, 1.4), Contention(2.0, 1.1, 0.1, 0.1)])
    monkeypatch.setattr(measure_links, "contention", lambda *_: next(found))
    (link,) = links.all().values()
    assert (link.light, link.heavy, link.spread, link.others) == (2.0, 1.1, 0.1, 0.1)
    assert link.doubt == "within 10%, others computed on 0.1 processors meanwhile"
    assert next(found, None) is None


def test_where_it_is_never_calm_it_ends_and_says_so(links: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    true = measure_links.contention

    def noted(light: Any, heavy: Any, *more: Any) -> Contention:
        sizes.append(len(heavy))
        return true(light, heavy, *more)

    monkeypatch.setattr(measure_links, "contention", noted)
    monkeypatch.setattr(measure_links, "_others", lambda: 1.5)
    (link,) = links.all().values()
    one = measure_links.LONG_ROUNDS
    assert sizes == [one] * 4 + [4 * one]  # four tries, and then all of them together
    assert link.others == 1.5
    assert not link.sure
    model = wf.CostModel(links={"/cpu:0|/cpu:1": link})
    assert "unsure: within " in str(model)
    assert "others computed on 1.5 processors" in str(model)


def test_a_plan_says_that_its_links_are_in_doubt() -> None:
    names = [f"/job:localhost/replica:0/task:0/device:CPU:{index}" for index in range(2)]
    x = wf.matmul(wf.ones([4, 4]), wf.placeholder_with_default(np.ones((4, 4), np.float32), [4, 4]))
    for others in (0.0, 1.0):
        model = wf.CostModel(links={"|".join(names): Link(1e-6, 0.0, 0.0, 1.0, 1.0, 0.1, others)})
        given = wf.ConfigProto(device_count={"CPU": 2}, placer="cost", cost_model=model)
        with wf.Session(config=given) as session:
            told = (
                "cost each other is unsure: within 10%, others computed on 1.0 processors" in session.plan(x).explain()
            )
            assert told == (others == 1.0)


@pytest.mark.skipif(busy_seconds() is None, reason="the system does not tell what processors do")
def test_who_computes_is_seen() -> None:
    begin, before, mine = time.perf_counter(), busy_seconds(), os.times()
    while time.process_time() - mine.user - mine.system < 0.3 and time.perf_counter() - begin < 60:
        np.ones((200, 200)) @ np.ones((200, 200))
    after = busy_seconds()
    assert before is not None
    assert after is not None
    assert 0.2 < after - before <= processors() * (time.perf_counter() - begin) + 0.1
