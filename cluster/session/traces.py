"""The trace of a step from what its tasks noted of their parts, all of it by the session's clock."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

from ...runtime.reporting.tracing import StepStats
from ..wire.traces import Trace
from .clocks import SESSION, Passed, crossed, offsets, shift


class Noted(NamedTuple):
    """What came with a task's answer, and when by the session's clock."""

    data: bytes
    came: int


def noted(data: bytes) -> Noted | None:
    """What has come just now with an answer, if anything has."""
    return Noted(data, time.time_ns()) if data else None


def step_stats(answers: Iterable[Noted]) -> StepStats:
    """What ran on all tasks, by the session's clock. Raises DataLossError."""
    traces = [(Trace.decode(data), came) for data, came in answers]
    stats = [trace.stats for trace, _ in traces]
    passed = crossed(stats)
    for trace, came in traces:
        device = trace.stats.device
        passed += [Passed(SESSION, trace.asked, device, trace.taken), Passed(device, trace.answered, SESSION, came)]
    shift(stats, offsets(passed))
    return StepStats(stats)
