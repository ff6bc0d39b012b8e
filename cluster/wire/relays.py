"""Relays: which parts of a step begin with another part's value, and which end with one, without a message of the session's.

A step is a message to each of its tasks and one back. But a plan that only waits for a value at its beginning may as well begin
when the value comes, with the message that brings it. And a plan whose last act is to send a value is over when the plan that
takes the value is. So a tensor that goes from one task over another to the session takes three messages, not five.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...graph import errors
from ...runtime.stages.plan import Fetch, Free, Load, Plan, Receive, Send, TakeFeed
from .protocol import decode_json

#: What a plan does without anybody's noticing.
_NOTHING = (Free, Load)


@dataclass(frozen=True, slots=True)
class Relay:
    """How a task's part of a step begins and ends."""

    begun: int | None = None  #: the edge whose value begins it, where the session does not
    begins: Mapping[int, int] = field(default_factory=dict)  #: the plans that it begins elsewhere, by the edge it sends
    silent: bool = False  #: whether the session hears from another task that it is over

    def encode(self) -> bytes:
        return json.dumps([self.begun, list(self.begins.items()), self.silent]).encode()

    @staticmethod
    def decode(data: bytes) -> Relay:
        """Raises DataLossError for data that is none."""
        match decode_json(data):
            case [begun, list(pairs), bool(silent)] if (begun is None or _are_numbers([begun])) and all(
                map(_is_pair, pairs)
            ):
                return Relay(begun, dict(pairs), silent)
        raise errors.DataLossError(None, None, f"expected how a plan begins and ends, got {data[:100]!r}")


def _is_pair(row: object) -> bool:
    return isinstance(row, list) and len(row) == 2 and _are_numbers(row)


def _are_numbers(row: list[Any]) -> bool:
    return all(type(each) is int and 0 <= each < 1 << 32 for each in row)


def relays(plans: Sequence[Plan], numbers: Sequence[int]) -> list[Relay]:
    """How each part of a step begins and ends, where the tasks know the plans by these numbers."""
    begun, ended = beginnings(plans), endings(plans)
    return [
        Relay(
            begun[part][0] if part in begun else None,
            {edge: numbers[other] for other, (edge, sender) in begun.items() if sender == part},
            part in ended,
        )
        for part in range(len(plans))
    ]


def beginnings(plans: Sequence[Plan]) -> dict[int, tuple[int, int]]:
    """Of the parts that begin with a value of another one: its edge, and the part that sends it.

    They take no feeds, for those come from the session. All parts keep one order, in which a send is before its receive: so
    of parts that begin each other one after the other, the first is begun by the session.
    """
    sent = {
        i.edge: part
        for part, plan in enumerate(plans)
        for i in plan.instructions
        if isinstance(i, Send) and not i.again
    }
    found = {}
    for part, plan in enumerate(plans):
        first = next((i for i in plan.instructions if not isinstance(i, _NOTHING)), None)
        fed = any(isinstance(i, TakeFeed) for i in plan.instructions)
        if isinstance(first, Receive) and not fed and first.edge in sent:
            found[part] = first.edge, sent[first.edge]
    return found


def endings(plans: Sequence[Plan]) -> dict[int, int]:
    """Of the parts that end with a value that another one takes: the part at whose end they are over, which says so itself.

    They return nothing to the session. By the same order, no two end with each other's values.
    """
    taken = {i.edge: part for part, plan in enumerate(plans) for i in plan.instructions if isinstance(i, Receive)}
    found = {}
    for part, plan in enumerate(plans):
        last = next((i for i in reversed(plan.instructions) if not isinstance(i, _NOTHING)), None)
        fetched = any(isinstance(i, Fetch) for i in plan.instructions)
        if isinstance(last, Send) and not last.again and not fetched and last.edge in taken:
            found[part] = taken[last.edge]
    return {part: _last(part, found) for part in found}


def _last(part: int, ended: Mapping[int, int]) -> int:
    while part in ended:
        part = ended[part]
    return part
