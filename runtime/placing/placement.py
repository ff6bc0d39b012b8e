"""Placement: where the operations of a step go and why, as a text for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..stages.program import Program
from .place_by_cost import Choice
from .simulate import Machine, Work, simulate

#: How many transfers, and how many operations, are named.
NAMED = 5


@dataclass(frozen=True, slots=True)
class Placement:
    """How a step was placed by cost: its prediction, and what it would be otherwise. `devices`: the names, by number."""

    program: Program
    devices: Sequence[str]
    work: Work
    machine: Machine
    choice: Choice
    units: tuple[int, ...]
    reasons: dict[int, str]
    measured: Sequence[bool]
    #: What the prediction rests on that was measured while others computed.
    doubts: Sequence[str] = ()

    @property
    def seconds(self) -> float:
        """What the step is predicted to take."""
        return self.choice.outcome.seconds

    @property
    def alone(self) -> dict[str, float]:
        """What it is predicted to take with all that may be there on one device, by the device's name."""
        return {self.devices[device]: seconds for device, seconds in self.choice.alone.items()}

    def device(self, name: str) -> str:
        """Where an operation of the plan is. Raises KeyError."""
        return self.devices[self.choice.homes[self._position(name)]]

    def why(self, name: str) -> str:
        """Why an operation is where it is: a request, what it shares a device with, or what the step takes otherwise.

        Raises KeyError for a name that the optimized step does not have.
        """
        position = self._position(name)
        unit, home = self.units[position], self.choice.homes[position]
        text = f"{name} is on {self.devices[home]}: "
        if position not in self.work.order:
            return f"{text}it is a constant or fed, and is wherever it is needed"
        if unit in self.reasons:
            return text + self.reasons[unit]
        others = [
            f"{_ms(simulate(self.work, self._moved(unit, device), self.machine).seconds)} on {self.devices[device]}"
            for device in range(self.machine.count)
            if device != home
        ]
        along = self.units.count(unit) - 1
        shared = f" with the {along} that share its device" if along else ""
        return f"{text}the step takes {_ms(self.seconds)}, and with it{shared} elsewhere {', '.join(others)}"

    def explain(self) -> str:
        """The prediction, the load of each device, the largest transfers, and why the most expensive operations are there."""
        choice = self.choice
        lines = [
            f"  predicted: {_ms(self.seconds)} a step, {choice.how}",
            *(f"  all on {self.devices[device]}: {_ms(seconds)}" for device, seconds in choice.alone.items()),
        ]
        for device, name in enumerate(self.devices):
            count = sum(choice.homes[position] == device for position in self.work.order)
            if count:
                lines.append(f"  {name}: {count:,} operations, busy for {_ms(choice.outcome.busy[device])}")
        crossing = sorted(choice.outcome.sent.items(), key=lambda each: (-each[1], each[0]))
        lines.append(f"  {len(crossing):,} values cross, {sum(size for _, size in crossing):,} bytes")
        for (source, output, to), size in crossing[:NAMED]:
            what = self._name(source) if output < 0 else f"{self._name(source)}:{output}"
            there = self.devices[choice.homes[source]]
            lines.append(f"    {size:>13,}  {what} from {there} to {self.devices[to]}")
        known = sum(self.measured[position] for position in self.work.order)
        lines.append(
            f"  costs of {known:,} of {len(self.work.order):,} operations were measured, the others are estimates"
        )
        lines += [f"  {doubt}" for doubt in self.doubts]
        for position in sorted(self.work.order, key=lambda each: (-self.work.seconds[each], each))[:NAMED]:
            guess = "" if self.measured[position] else " (estimated)"
            lines.append(f"    {_ms(self.work.seconds[position])}{guess}  {self.why(self._name(position))}")
        return "\n".join(lines)

    def _moved(self, unit: int, device: int) -> list[int]:
        return [device if each == unit else home for each, home in zip(self.units, self.choice.homes, strict=True)]

    def _name(self, position: int) -> str:
        return self.program.nodes[position].name

    def _position(self, name: str) -> int:
        for position, node in enumerate(self.program.nodes):
            if node.name == name:
                return position
        raise KeyError(f"The step has no operation {name!r}, or the optimizer took it out")


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms"
