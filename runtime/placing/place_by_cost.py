"""place_by_cost: a device for each unit of a step, by list scheduling, improved and judged by simulating the step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

from .simulate import Machine, Outcome, Work, simulate

#: How many operations are simulated in all while a placement is improved.
BUDGET = 150_000
#: What is spread must be predicted to be this much faster than all on one device.
GAIN = 0.95
#: How many units are tried elsewhere, the most expensive and those with the largest transfers.
TRIED = 48
#: What list scheduling counts a transfer as, times what it takes: a placement of few transfers is often the better.
WEIGHTS = (1.0, 4.0, 16.0)


@dataclass(slots=True)
class Choice:
    """Where each node goes, how the step is predicted to go, how that was found, and what all on one device would take."""

    homes: list[int]
    outcome: Outcome
    how: str
    alone: dict[int, float]


class _Step:
    """What is placed: units of nodes that share a device, each with the devices that it may be on, the preferred first."""

    def __init__(self, work: Work, units: Sequence[int], allowed: dict[int, tuple[int, ...]], machine: Machine) -> None:
        self.work = work
        self.units = units
        self.allowed = allowed
        self.machine = machine
        self.weight: dict[int, float] = defaultdict(float)
        for position in work.order:
            self.weight[units[position]] += work.seconds[position]
        self.free = [
            unit for unit in dict.fromkeys(units[position] for position in work.order) if len(allowed[unit]) > 1
        ]

    def homes(self, choice: dict[int, int]) -> list[int]:
        return [choice[unit] if unit in choice else self.allowed[unit][0] for unit in self.units]

    def outcome(self, choice: dict[int, int]) -> Outcome:
        return simulate(self.work, self.homes(choice), self.machine)

    def alone(self, device: int) -> dict[int, int]:
        """All on one device, but for what must be elsewhere."""
        return {unit: device if device in self.allowed[unit] else self.allowed[unit][0] for unit in self.free}


def place_by_cost(work: Work, units: Sequence[int], allowed: dict[int, tuple[int, ...]], machine: Machine) -> Choice:
    """The best placement found. Never predicted to be slower than all on one device; the same for the same arguments.

    `units`: for each node its unit; `allowed`: for each unit the numbers of the devices it may be on, the preferred first.
    """
    step = _Step(work, units, allowed, machine)
    alone = {device: step.alone(device) for device in range(machine.count)}
    outcomes = {device: step.outcome(choice) for device, choice in alone.items()}
    if not step.free:
        homes = step.homes({})
        return Choice(homes, simulate(work, homes, machine), "nothing is left open", {})
    first = step.allowed[max(step.free, key=lambda unit: step.weight[unit])][0]
    best_device = min(outcomes, key=lambda device: (outcomes[device].seconds, device != first, device))
    if outcomes[best_device].seconds > GAIN * outcomes[first].seconds:
        best_device = first
    seconds = {device: outcome.seconds for device, outcome in outcomes.items()}
    one = alone[best_device]
    choice, outcome, how = _spread(step, one, outcomes[best_device])
    if outcome.seconds > GAIN * outcomes[best_device].seconds:
        choice, outcome, how = one, outcomes[best_device], "all on one device: nothing found is faster by a twentieth"
    return Choice(step.homes(choice), outcome, how, seconds)


def _spread(step: _Step, one: dict[int, int], alone: Outcome) -> tuple[dict[int, int], Outcome, str]:
    best, outcome, how = one, alone, "all on one device"
    counts = sorted({min(step.machine.count, 2**power) for power in range(1, 11)})
    makers: list[tuple[str, Callable[[], dict[int, int]]]] = []
    for count in counts if step.machine.count > 1 else []:
        makers.append((f"clusters of heavy values on {count} devices", partial(_clustered, step, count)))
        for weight, ranked in product(WEIGHTS, (True, False)):
            by = "rank" if ranked else "order"
            text = f"list scheduling by {by} on {count} devices, transfers weighed {weight:g} times"
            makers.append((text, partial(_scheduled, step, weight, ranked, count)))
    left = max(4, BUDGET // max(1, len(step.work.order)))
    for text, make in makers[: max(4, left // 2)]:
        made = make()
        tried = step.outcome(made)
        left -= 1
        if tried.seconds < outcome.seconds:
            best, outcome, how = made, tried, text
    if best is not one:
        best, outcome, moved = _improved(step, best, outcome, left)
        how += f", {moved} moved after that" if moved else ""
    return best, outcome, how


def _improved(step: _Step, choice: dict[int, int], outcome: Outcome, left: int) -> tuple[dict[int, int], Outcome, int]:
    """Single units go elsewhere as long as that is better and there is time."""
    moved = 0
    crossing = sorted(outcome.sent.items(), key=lambda each: (-each[1], each[0]))[: TRIED // 2]
    ends = [step.units[source] for (source, _, _), _ in crossing]
    ends += [step.units[user] for (source, _, to), _ in crossing for user, _ in step.work.users[source]]
    heavy = sorted(step.free, key=lambda unit: (-step.weight[unit], unit))[:TRIED]
    free = set(step.free)
    for unit in dict.fromkeys(each for each in (*heavy, *ends) if each in free):
        for device in step.allowed[unit]:
            if left <= 0:
                return choice, outcome, moved
            if device == choice[unit]:
                continue
            left -= 1
            other = choice | {unit: device}
            tried = step.outcome(other)
            if tried.seconds < 0.999 * outcome.seconds:
                choice, outcome, moved = other, tried, moved + 1
    return choice, outcome, moved


def _clustered(step: _Step, count: int) -> dict[int, int]:
    """Units that exchange the largest values stay together, up to a device's share; then the heaviest goes to the freest."""
    work, machine = step.work, step.machine
    edges: dict[tuple[int, int], int] = defaultdict(int)
    for position in work.order:
        for user, output in work.users[position]:
            a, b = sorted((step.units[position], step.units[user]))
            if a != b:
                edges[a, b] += work.nbytes.get((position, output), 0) + 1
    parent = {unit: unit for unit in step.weight}
    weight = dict(step.weight)
    fixed = {unit: step.allowed[unit] for unit in step.weight}

    def root(unit: int) -> int:
        while parent[unit] != unit:
            parent[unit] = unit = parent[parent[unit]]
        return unit

    share = sum(weight.values()) / count * 1.05
    for (a, b), _ in sorted(edges.items(), key=lambda each: (-each[1], each[0])):
        a, b = root(a), root(b)
        both = tuple(device for device in fixed[a] if device in fixed[b])
        if a != b and both and weight[a] + weight[b] <= share:
            parent[b] = a
            weight[a] += weight[b]
            fixed[a] = both
    load = [0.0] * machine.count
    chosen: dict[int, int] = {}
    roots = [unit for unit in parent if parent[unit] == unit]
    for each in sorted(roots, key=lambda unit: (len(fixed[unit]) > 1, -weight[unit], unit)):
        devices = [device for device in fixed[each] if device < count] or fixed[each]
        chosen[each] = min(devices, key=lambda device: (load[device], device))
        load[chosen[each]] += weight[each]
    return {unit: chosen[root(unit)] for unit in step.free}


def _ranks(step: _Step) -> list[float]:
    """For each node the longest way to the end, with what values take to cross on average."""
    work, machine = step.work, step.machine
    pairs = machine.count * (machine.count - 1)
    latency = sum(map(sum, machine.latency)) / pairs
    byte = sum(map(sum, machine.byte_seconds)) / pairs
    ranks = [0.0] * len(work.seconds)
    for position in reversed(work.order):
        after = 0.0
        for user, output in work.users[position]:
            after = max(after, ranks[user] + latency + byte * work.nbytes.get((position, output), 0))
        ranks[position] = work.seconds[position] + after
    return ranks


def _scheduled(step: _Step, weight: float, ranked: bool, count: int) -> dict[int, int]:
    """Node by node, each unit goes where its first node that computes ends earliest.

    What is light and needs nothing placed (reads of variables) is left until somebody takes it, and goes there.
    """
    work, units, machine = step.work, step.units, step.machine
    sequence = work.order
    if ranked:
        ranks = _ranks(step)
        at = {position: index for index, position in enumerate(work.order)}
        sequence = sorted(work.order, key=lambda position: (-ranks[position], at[position]))
    light = sum(work.seconds) / max(1, len(work.order)) / 2
    home = {unit: devices[0] for unit, devices in step.allowed.items() if len(devices) == 1}
    free, finish = [0.0] * machine.count, [0.0] * len(work.seconds)
    later: set[int] = set()
    for position in sequence:
        unit, needs = units[position], work.needs[position]
        if unit not in home and work.seconds[position] <= light and all(source in later for source, _ in needs):
            later.add(position)
            continue
        behind = _behind(work, later, position)
        own = work.seconds[position] + sum(work.seconds[other] for other in behind)
        ends: list[tuple[float, int]] = []
        for device in _devices(step, unit, home, count):
            begin = free[device]
            for source, output in needs:
                other = home.get(units[source], device)
                if other != device:
                    crossing = work.nbytes.get((source, output), 0) * machine.byte_seconds[other][device]
                    begin = max(begin, finish[source] + weight * (machine.latency[other][device] + crossing))
            ends.append((begin + own, device))
        end, device = min(ends)
        free[device] = end
        for other in (position, *behind):
            finish[other] = end
            if units[other] not in home:
                open_to = step.allowed[units[other]]
                home[units[other]] = device if device in open_to else open_to[0]
        later.difference_update(behind)
    return {unit: home.get(unit, step.allowed[unit][0]) for unit in step.free}


def _behind(work: Work, later: set[int], position: int) -> list[int]:
    """What was left for later and a node needs."""
    found: dict[int, None] = {}
    stack = [source for source, _ in work.needs[position]]
    while stack:
        source = stack.pop()
        if source in later and source not in found:
            found[source] = None
            stack += [other for other, _ in work.needs[source]]
    return list(found)


def _devices(step: _Step, unit: int, home: dict[int, int], count: int) -> Sequence[int]:
    """The devices that a unit may go to, of the first `count`."""
    if unit in home:
        return (home[unit],)
    allowed = step.allowed[unit]
    return [device for device in allowed if device < count] or allowed
