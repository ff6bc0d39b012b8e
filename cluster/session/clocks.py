"""How far the clocks of tasks are from their session's, as what they sent to each other tells: without clock or I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ...runtime.reporting.tracing import DeviceStepStats

#: The session, among the names of tasks.
SESSION = ""


class Passed(NamedTuple):
    """Something went from one to another: when it was sent, by the sender's clock, and was there, by the receiver's."""

    sender: str
    sent: int
    receiver: str
    received: int


def offsets(passed: Iterable[Passed]) -> dict[str, int]:
    """How far each task's clock is ahead of the session's, in the unit of the times.

    Nothing is there before it is sent: each thing that passed is a bound of the difference of two clocks, and all bounds
    together leave an interval for each task, of which this is the middle: for a task that has only spoken with the session,
    half of the round trip, as in NTP. So by the clocks that are put right by it everything was sent before it was there.
    Clocks that no bound tells apart, such as those of one host, stay as they are. Where bounds contradict each other,
    because a clock was set meanwhile, only what went from and to the session counts.
    """
    bounds: dict[tuple[str, str], int] = {}
    for sender, sent, receiver, received in passed:
        between = sender, receiver
        bounds[between] = min(received - sent, bounds.get(between, received - sent))
    tasks = {name for between in bounds for name in between} - {SESSION}
    if all(bound >= 0 for bound in bounds.values()):
        return dict.fromkeys(tasks, 0)
    back = {(receiver, sender): bound for (sender, receiver), bound in bounds.items()}
    most, least = _nearest(bounds), _nearest(back)
    if most is None or least is None:
        most = {name: bounds[SESSION, name] for name in tasks}
        least = {name: bounds[name, SESSION] for name in tasks}
    return {name: (most[name] - least[name]) // 2 for name in tasks}


def _nearest(lengths: Mapping[tuple[str, str], int]) -> dict[str, int] | None:
    """The length of the shortest way from the session to each task; None where going in circles makes ways shorter."""
    found = {SESSION: 0}
    for _ in range(1 + len({end for _, end in lengths})):
        changed = False
        for (begin, end), length in lengths.items():
            if begin in found and found[begin] + length < found.get(end, found[begin] + length + 1):
                found[end], changed = found[begin] + length, True
        if not changed:
            return found
    return None


def crossed(stats: Sequence[DeviceStepStats]) -> list[Passed]:
    """What went from device to device in a step: over each edge the first that was sent is the first that was received."""
    sent: dict[int, list[tuple[str, int]]] = defaultdict(list)
    received: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for device in stats:
        for node in device.node_stats:
            if node.edge is not None and node.sends:
                sent[node.edge].append((device.device, node.all_start_nanos))
            elif node.edge is not None:
                received[node.edge].append((device.device, node.all_start_nanos + node.all_end_rel_nanos))
    return [
        Passed(*begin, *end)
        for edge, begins in sent.items()
        for begin, end in zip(begins, received[edge], strict=False)
    ]


def shift(stats: Sequence[DeviceStepStats], ahead: Mapping[str, int]) -> None:
    """Put the times of devices whose clocks are so much ahead into the session's."""
    for device in stats:
        for node in device.node_stats:
            node.all_start_nanos -= ahead[device.device]
