"""Waits before another attempt: they grow up to the longest, also where the power is no number any more."""

import pytest
from weft.runtime.backoff import wait_before


def test_waits_grow_up_to_the_longest() -> None:
    assert [wait_before(attempt, 2.0, 10.0) for attempt in range(1, 6)] == [2.0, 4.0, 8.0, 10.0, 10.0]
    assert [wait_before(attempt, 1.0, 50.0, 3.0) for attempt in range(1, 5)] == [1.0, 3.0, 9.0, 27.0]


@pytest.mark.parametrize("factor", [2, 3.0, 1e300])
def test_after_any_number_of_attempts_there_is_a_wait(factor: float) -> None:
    assert wait_before(100_000, 1.0, 60.0, factor) == 60.0
    assert wait_before(100_000, 0.0, 60.0, factor) == 0.0
