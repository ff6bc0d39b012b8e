"""Parts of branches and loops as data, in the plans that hold them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.wire import decode_spec, encode_spec
from ..runtime.parts import IfPart, Part, WhilePart
from ..runtime.plan import Fetch, Plan, TakeFeed

_ACCESSES = ("", "read", "write")


def encode_part(part: Part, encode: Callable[[Plan], Any]) -> list[Any]:
    """A part, its plans by `encode`."""
    plans = [encode(plan) for _, plan in part.plans]
    specs = [encode_spec(spec) for spec in part.specs]
    match part:
        case IfPart():
            return [part.type, plans, part.feeds, part.accesses, specs]
        case WhilePart():
            numbers = [part.feeds, part.following, part.results, part.waits]
            return [part.type, plans, numbers, part.count, part.tells, part.accesses, specs]
    raise TypeError(f"{part.type} cannot travel as data")


def decode_part(row: Any, inputs: int, decode: Callable[[Any], Plan]) -> Part:
    """The part again, of an instruction with so many inputs. Raises ValueError, TypeError for data that is none."""
    match row:
        case [IfPart.type, [then, orelse], list(feeds), accesses, list(specs)]:
            made = IfPart(decode(then), decode(orelse), _numbers(feeds), *_told(accesses, specs, inputs))
            _check(len(made.feeds) == inputs - 1 and _gives(made.then, len(specs)) and _gives(made.orelse, len(specs)), row)
            _check(_takes(made.then, made.feeds) and _takes(made.orelse, made.feeds), row)
            return made
        case [WhilePart.type, [condition, body], [feeds, following, results, waits], count, tells, accesses, list(specs)]:
            numbers = [_numbers(each) for each in (feeds, following, results, waits)]
            told = _told(accesses, specs, inputs)
            test, step = decode(condition), decode(body)
            loop = WhilePart(test, step, numbers[0], _number(count), *numbers[1:], _telling(tells), *told)
            _check(len(loop.feeds) == inputs and len(loop.results) == len(specs) and _gives(test, 1), row)
            _check(_gives(step, len(loop.following)) and {*loop.following, *loop.results} <= {*loop.feeds}, row)
            _check(_takes(test, loop.feeds) and _takes(step, loop.feeds) and max(loop.feeds, default=-1) < loop.count, row)
            _check(loop.count <= MOST_FEEDS, row)
            return loop
    raise ValueError(f"no part of a branch or a loop: {str(row)[:100]}")


#: How many feeds a loop's plans may have: there is a place for each.
MOST_FEEDS = 1 << 20


def _check(fits: bool, row: Any) -> None:
    if not fits:
        raise ValueError(f"no part of a branch or a loop: {str(row)[:100]}")


def _gives(plan: Plan, count: int) -> bool:
    return sum(isinstance(instruction, Fetch) for instruction in plan.instructions) == count


def _takes(plan: Plan, feeds: tuple[int, ...]) -> bool:
    """Whether a plan takes no feeds but these."""
    return {i.index for i in plan.instructions if isinstance(i, TakeFeed)} <= {*feeds}


def _told(accesses: Any, specs: list[Any], inputs: int) -> tuple[Any, Any]:
    if len(accesses) != inputs or any(access not in _ACCESSES for access in accesses):
        raise ValueError(f"expected what is done to each of {inputs} inputs: {str(accesses)[:100]}")
    return tuple(accesses), tuple(decode_spec(spec) for spec in specs)


def _telling(row: Any) -> tuple[int, str] | None:
    match row:
        case None:
            return None
        case [edge, str(device)]:
            return _number(edge), device
    raise ValueError(f"no edge to a device: {str(row)[:100]}")


def _numbers(values: Any) -> tuple[int, ...]:
    return tuple(_number(value) for value in values)


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"expected a number, got {str(value)[:100]}")
    return value
