"""What tasks said last about the steps in flight, for errors, and for steps that nobody would hear of while they wait."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from .step import SessionStep

#: When it is first said that a step without a deadline goes on, in seconds; then after twice that, four times, and so on.
SLOW_SECONDS = 60.0


class Told:
    """What each task said last, and about which step: without clock or I/O."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, str]] = {}
        self._due: dict[int, float] = {}  #: by step, how old it is when it is spoken of next

    def hear(self, task: str, step: int, text: str) -> None:
        """A task says what it does for a step."""
        self._last[task] = step, text

    def of(self, task: str, steps: Collection[int]) -> str:
        """What a task said last about one of these steps, to be added to what is said of it."""
        step, last = self._last.get(task, (0, ""))
        return f"; when last heard of, it {last}" if last and step in steps else ""

    def slow(self, steps: Mapping[int, SessionStep], now: float) -> list[str]:
        """What is to be said of steps without a deadline that go on and on: each waits for something, perhaps for ever."""
        self._due = {number: due for number, due in self._due.items() if number in steps}
        texts = []
        for number, step in steps.items():
            age = now - step.began
            if step.deadline is None and age >= self._due.get(number, SLOW_SECONDS):
                self._due[number] = 2 * age
                said = [f"{task} {text}" for task, (about, text) in self._last.items() if about == number and text]
                where = "; ".join(said) or f"{', '.join(sorted(step.state.running))} have not said yet what they do"
                texts.append(f"A step goes on for {age:.0f} s, without a deadline: when last heard of, {where}")
        return texts
