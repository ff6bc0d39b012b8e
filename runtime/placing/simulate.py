"""simulate: how long a placed step takes, as the runtime runs it: each device its part of the one order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

#: A kernel that takes longer is a long one, to which `Link.heavy` applies.
LONG_SECONDS = 5e-5


@dataclass(slots=True)
class Work:
    """A program as far as its time matters. Constants and feeds are everywhere, and not in `order`."""

    seconds: list[float]
    order: list[int]
    #: For each node the values it takes, (node, output), with output -1 where it only waits; and who takes its own.
    needs: list[list[tuple[int, int]]]
    users: list[list[tuple[int, int]]]
    #: The bytes of each value, and for each node what it is fed and what is fetched of it.
    nbytes: dict[tuple[int, int], int]
    fed: list[int]
    fetched: list[int]


@dataclass(slots=True)
class Machine:
    """The devices, by number: what crosses between two, and how they slow each other down."""

    count: int
    latency: list[list[float]]
    byte_seconds: list[list[float]]
    joint: list[list[float]]
    light: list[list[float]]
    heavy: list[list[float]]
    clients: list[float]
    feed_byte_seconds: list[float]
    fetch_byte_seconds: list[float]

    @property
    def shares(self) -> bool:
        """Whether any two slow each other down."""
        return any(factor > 1.0 for table in (self.light, self.heavy) for row in table for factor in row)


@dataclass(slots=True)
class Outcome:
    """How a step goes. `busy`: seconds each device computes and sends, alone; `sent`: (node, output, to): bytes."""

    seconds: float
    busy: list[float]
    sent: dict[tuple[int, int, int], int] = field(default_factory=dict)


def simulate(work: Work, homes: Sequence[int], machine: Machine) -> Outcome:
    """The time of a step whose node n runs on device `homes[n]`."""
    lists: list[list[int]] = [[] for _ in range(machine.count)]
    for position in work.order:
        lists[homes[position]].append(position)
    busy = [0.0] * machine.count
    sent: dict[tuple[int, int, int], int] = {}
    own = _own_seconds(work, homes, machine, busy, sent)
    used = [device for device in range(machine.count) if lists[device]]
    begin = [0.0] * machine.count
    after = [0.0] * machine.count
    for device in used:
        begin[device] = machine.feed_byte_seconds[device] * sum(work.fed[position] for position in lists[device])
        after[device] = machine.fetch_byte_seconds[device] * sum(work.fetched[position] for position in lists[device])
    if machine.shares and len(used) > 1:
        ends = _sharing(work, homes, machine, lists, own, begin)
    else:
        ends = _apart(work, homes, machine, own, begin)
    first = used[0] if used else 0
    joint = sum(machine.joint[first][device] for device in used[1:])
    total = max((ends[device] + after[device] + machine.clients[device] for device in used), default=0.0)
    return Outcome(total + joint, busy, sent)


def _own_seconds(
    work: Work, homes: Sequence[int], machine: Machine, busy: list[float], sent: dict[tuple[int, int, int], int]
) -> list[float]:
    """What each node takes with its sends: one for each value and device that needs it."""
    own = list(work.seconds)
    for position in work.order:
        home = homes[position]
        for user, output in work.users[position]:
            to = homes[user]
            if to != home and (position, output, to) not in sent:
                nbytes = sent[position, output, to] = work.nbytes.get((position, output), 0)
                own[position] += nbytes * machine.byte_seconds[home][to]
        busy[home] += own[position]
    return own


def _apart(
    work: Work, homes: Sequence[int], machine: Machine, own: Sequence[float], begin: Sequence[float]
) -> list[float]:
    """When each device is done, where none slows another down."""
    free, finish = list(begin), [0.0] * len(own)
    for position in work.order:
        home = homes[position]
        at = free[home]
        for source, _ in work.needs[position]:
            other = homes[source]
            if other != home and (there := finish[source] + machine.latency[other][home]) > at:
                at = there
        free[home] = finish[position] = at + own[position]
    return free


def _sharing(
    work: Work, homes: Sequence[int], machine: Machine, lists: Sequence[Sequence[int]], own: Sequence[float],
    begin: Sequence[float],
) -> list[float]:  # fmt: skip
    """When each device is done, where those that compute at the same time share what they have."""
    finish: dict[int, float] = {}
    ends, at, now = list(begin), [0] * machine.count, 0.0
    left = [0.0] * machine.count
    running: list[int] = []
    waiting = [device for device in range(machine.count) if lists[device]]
    never = float("inf")

    def ready(device: int) -> float:
        """When the next of a device can begin, as far as is known."""
        time = begin[device]
        for source, _ in work.needs[lists[device][at[device]]]:
            if homes[source] != device:
                time = max(time, finish.get(source, never) + machine.latency[homes[source]][device])
        return time

    while running or waiting:
        soonest = never
        for device in tuple(waiting):
            time = ready(device)
            if time <= now:
                waiting.remove(device)
                running.append(device)
                left[device] = own[lists[device][at[device]]]
            elif time < soonest:
                soonest = time
        rates = _rates(machine, running, [own[lists[device][at[device]]] for device in running])
        step = soonest - now
        for device, rate in zip(running, rates, strict=True):
            step = min(step, left[device] / rate)
        assert step < never, "the first of all that are left can always run"
        now += step
        for device, rate in zip(tuple(running), rates, strict=True):
            left[device] -= step * rate
            if left[device] > 1e-12:
                continue
            running.remove(device)
            finish[lists[device][at[device]]] = ends[device] = now
            at[device] += 1
            if at[device] < len(lists[device]):
                waiting.append(device)
    return ends


def _rates(machine: Machine, running: Sequence[int], own: Sequence[float]) -> list[float]:
    """How fast each of those that compute at once is."""
    if len(running) == 1:
        return [1.0]
    rates = []
    for device, seconds in zip(running, own, strict=True):
        table = machine.heavy if seconds > LONG_SECONDS else machine.light
        rates.append(1.0 / (1.0 + sum(table[device][other] - 1.0 for other in running if other != device)))
    return rates
