"""Which tasks have fallen silent, from what is counted of them at every beat: without clock or I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: How long a task that something is expected of may stay silent before it counts as lost.
HEARTBEAT_SECONDS = 10.0
#: How often such tasks are asked for a sign of life, at least.
BEAT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Signs:
    """What a connection has counted so far. `asked`: the question got through, so only an answer is a sign of life;
    else a long message is before it, and the task lives as long as it takes more of that.
    """

    received: int
    sent: int
    asked: bool


class Heartbeat:
    """Tells of tasks that gave no sign of life for `limit` seconds. `interval`: how often `beat` wants to be called."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.interval = min(BEAT_SECONDS, limit / 4)
        self._known: dict[str, Signs] = {}
        self._silence: dict[str, float] = {}

    def beat(self, seconds: float, signs: Mapping[str, Signs]) -> list[str]:
        """The tasks that are lost, `seconds` after the last beat; `signs`: of all that something is expected of now.

        A beat counts for two at most: when this process was stopped itself, what came meanwhile is still to be read.
        """
        seconds = min(seconds, 2 * self.interval)
        known, silence = self._known, self._silence
        self._known, self._silence = dict(signs), {}
        for task, now in signs.items():
            before = known.get(task)
            alive = (
                before is None or now.received > before.received or (not now.asked and now.sent > before.sent)
            )  # fmt: skip
            self._silence[task] = 0.0 if alive else silence[task] + seconds
        return [task for task, silent in self._silence.items() if silent >= self.limit]
