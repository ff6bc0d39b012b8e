"""Parts of branches and loops as data, in the plans that hold them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...graph.opdef import Spec
from ...graph.wire import decode_spec, encode_spec
from ...runtime.stages.parts import DevicePart, IfPart, OncePart, WhilePart
from ...runtime.stages.plan import Fetch, Plan, TakeFeed

#: The types of parts.
PARTS = (IfPart.type, WhilePart.type, OncePart.type)


def encode_part(part: DevicePart, encode: Callable[[Plan], Any]) -> list[Any]:
    """A part, its plans by `encode`."""
    plans = [encode(plan) for _, plan in part.plans]
    told = [part.records, part.accesses, [encode_spec(spec) for spec in part.specs]]
    match part:
        case IfPart():
            return [part.type, plans, part.feeds, part.entries, *told]
        case WhilePart():
            numbers = [part.feeds, part.following, part.results, part.waits]
            once = [*part.given, part.starts]
            return [part.type, plans, numbers, part.count, part.entries, part.tells, once, *told]
        case OncePart():
            return [part.type, plans, part.feeds, part.count, part.start, part.accesses]
    raise TypeError(f"{part.type} cannot travel as data")


def decode_part(row: Any, inputs: int, decode: Callable[[Any], Plan]) -> DevicePart:
    """The part again, of an instruction with so many inputs. Raises ValueError, TypeError for data that is none."""
    match row:
        case [IfPart.type, [then, orelse], feeds, [yes, no], bool(records), accesses, list(specs)]:
            branch = IfPart(
                then=decode(then), orelse=decode(orelse), feeds=as_numbers(feeds), entries=(_texts(yes), _texts(no)),
                records=records, accesses=_accesses(accesses, inputs), specs=_specs(specs),
            )  # fmt: skip
            _check_branch(branch, inputs)
            return branch
        case [WhilePart.type, list(plans), [feeds, following, results, waits], count, entries, tells, once, *told]:
            records, accesses, specs = told
            before, first, test, body = map(decode, plans)
            given, later, starts = once
            loop = WhilePart(
                condition=test, body=body, before=before, first=first, given=(as_numbers(given), as_numbers(later)),
                starts=tuple(_edge(each) for each in starts), feeds=as_numbers(feeds), count=as_number(count),
                following=as_numbers(following), results=as_numbers(results), entries=_texts(entries), records=records is True,
                waits=as_numbers(waits), tells=None if tells is None else _edge(tells),
                accesses=_accesses(accesses, inputs), specs=_specs(specs),
            )  # fmt: skip
            _check_loop(loop, inputs)
            return loop
        case [OncePart.type, [before, first], feeds, count, start, accesses]:
            part = OncePart(
                before=decode(before), first=decode(first), start=None if start is None else _edge(start),
                feeds=as_numbers(feeds), count=as_number(count), accesses=_accesses(accesses, inputs),
            )  # fmt: skip
            _check_once(part, inputs)
            return part
    raise ValueError(f"no part of a branch or a loop: {str(row)[:100]}")


def _check_branch(part: IfPart, inputs: int) -> None:
    results = len(part.specs) - part.records
    _check(part, len(part.feeds) == inputs - 1)
    for plan, entries in zip((part.then, part.orelse), part.entries, strict=True):
        _check(part, _gives(plan) == results + len(entries) and _takes(plan, part.feeds))


def _check_loop(part: WhilePart, inputs: int) -> None:
    _check_feeds(part, part.feeds, part.count, inputs)
    _check(part, len(part.results) == len(part.specs) - part.records)
    _check(part, {*part.following, *part.results} <= {*part.feeds})
    _check(part, _gives(part.condition) == 1 and _gives(part.body) == len(part.following) + len(part.entries))
    fed = part.feeds
    for plan, given in zip((part.before, part.first), part.given, strict=True):
        _check(part, _gives(plan) == len(given) and _takes(plan, fed) and {*given}.isdisjoint(fed))
        fed = (*fed, *given)
        _check(part, max(fed, default=-1) < part.count)
    _check(part, _takes(part.condition, fed) and _takes(part.body, fed))


def _check_once(part: OncePart, inputs: int) -> None:
    _check_feeds(part, part.feeds, part.count, inputs)
    for plan in (part.before, part.first):
        _check(part, not _gives(plan) and _takes(plan, part.feeds))


def _check_feeds(part: DevicePart, feeds: tuple[int, ...], count: int, inputs: int) -> None:
    _check(part, len(feeds) == inputs and max(feeds, default=-1) < count <= MOST_FEEDS)


#: How many feeds a loop's plans may have: there is a place for each.
MOST_FEEDS = 1 << 20


def _check(part: DevicePart, fits: bool) -> None:
    if not fits:
        raise ValueError(f"no part of a branch or a loop: the numbers in this {part.type} do not fit together")


def _gives(plan: Plan) -> int:
    """How many values a plan gives."""
    return sum(isinstance(instruction, Fetch) for instruction in plan.instructions)


def _takes(plan: Plan, feeds: tuple[int, ...]) -> bool:
    """Whether a plan takes no feeds but these."""
    return {i.index for i in plan.instructions if isinstance(i, TakeFeed)} <= {*feeds}


def _accesses(row: Any, inputs: int) -> tuple[str, ...]:
    accesses = _texts(row)
    if len(accesses) != inputs or not {*accesses} <= {"", "read", "write"}:
        raise ValueError(f"expected what is done to each of {inputs} inputs: {str(row)[:100]}")
    return accesses


def _specs(rows: list[Any]) -> tuple[Spec, ...]:
    return tuple(decode_spec(row) for row in rows)


def _texts(row: Any) -> tuple[str, ...]:
    if not isinstance(row, list) or not all(isinstance(each, str) for each in row):
        raise ValueError(f"expected texts: {str(row)[:100]}")
    return tuple(row)


def _edge(row: Any) -> tuple[int, str]:
    match row:
        case [edge, str(device)]:
            return as_number(edge), device
    raise ValueError(f"no edge to a device: {str(row)[:100]}")


def as_numbers(values: Any) -> tuple[int, ...]:
    """What came, as numbers. Raises ValueError."""
    return tuple(as_number(value) for value in values)


def as_number(value: Any) -> int:
    """What came, as a number that counts or names something. Raises ValueError."""
    if type(value) is not int or value < 0:
        raise ValueError(f"expected a number, got {str(value)[:100]}")
    return value
