"""Carried: how the variables of a loop live from one iteration to the next, so that none is copied, allocated or converted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from ...graph import shapes
from ...graph.opdef import Spec
from ..kernels import Backend, Kernel
from ..memory.recycling import SMALLEST
from ..stages.buffers import in_place
from ..stages.lower import Draft
from ..stages.plan import Buffer, Fetch, Instruction, Plan, Run, TakeFeed
from .inline import Step
from .numbers import statements


class Carried(NamedTuple):
    """A variable that always lies in memory of the loop's own, which the body's last operation on it writes to.

    `twice`: the old value is still needed while the new one is written, so there are two places, used in turns.
    """

    slot: int
    spec: Spec
    twice: bool

    @property
    def nbytes(self) -> int:
        return (shapes.count(self.spec.dims) or 0) * self.spec.dtype.size


def carried(draft: Draft, feeds: Sequence[int]) -> dict[int, Carried]:
    """For fetch number i of a body, where it can be: how the variable lives that is fed as number `feeds[i]` next time.

    It must be a kernel's result that no other variable and no tape lies in. A big one that would need two places gets
    none: memory is used again then as it becomes free.
    """
    taken = {i.index: i.slot for i in draft.instructions if isinstance(i, TakeFeed)}
    makers = {slot: at for at, i in enumerate(draft.instructions) if isinstance(i, Run) for slot in i.outputs}
    last = draft.needed_until()
    holders: dict[int, list[int]] = defaultdict(list)
    for index, slot in draft.fetches.items():
        for root in draft.memory(slot):
            holders[root].append(index)
    found: dict[int, Carried] = {}
    for index, feed in enumerate(feeds):
        slot, before = draft.fetches[index], taken.get(feed)
        at = makers.get(slot, -1)
        if at < 0 or holders[slot] != [index] or (before is not None and holders.get(before)):
            continue
        run, kernel = draft.instructions[at], draft.kernels[at]
        assert isinstance(run, Run)
        number = run.outputs.index(slot)
        spec = run.output_specs[number]
        if draft.slots[slot].kind != "result" or not _is_written(run, kernel, spec):
            continue
        free = before is None or last[before] < at or _is_replaced(draft, at, number, before, last)
        place = Carried(slot, spec, not free)
        if free or place.nbytes < SMALLEST:
            found[index] = place
    return found


def _is_written(run: Run, kernel: Kernel, spec: Spec) -> bool:
    return kernel.takes_out and not run.copied and shapes.is_full(spec.dims) and not spec.dtype.np.hasobject


def _is_replaced(draft: Draft, at: int, number: int, before: int, last: list[int]) -> bool:
    """Whether a kernel may write a result over the old value, which it reads."""
    run: Instruction = draft.instructions[at]
    assert isinstance(run, Run)
    spec = run.input_specs[run.inputs.index(before)] if before in run.inputs else None
    if spec is None or last[before] != at or not shapes.is_full(spec.dims):
        return False
    old = Buffer(0, spec.dtype, tuple(dim or 0 for dim in spec.dims or ()))
    return in_place(draft, run, at, number, {before: old}, last) == before


def numbers_of(
    condition: Step | None, body: Step, specs: Sequence[Spec], variables: Sequence[int], backend: Backend
) -> frozenset[int]:
    """The feeds of a loop's plans that are NumPy's scalars, not arrays: see `numbers.py`.

    Of the `variables`, which the body gives anew, those that it computes so; of what stays the same or comes with each
    iteration, what nobody needs as an array.
    """
    now = _Uses(body.plan, backend)
    uses = [now, *([] if condition is None else [_Uses(condition.plan, backend)])]
    single = {at for at, spec in enumerate(specs) if spec.dims == ()}
    for step in (condition, body):
        if step is not None and step.first is not None:
            once = _Uses(step.first, backend)
            uses.append(once)
            single |= {feed for feed, slot in zip(step.given, once.fetched, strict=True) if slot in once.made}
    after = {feed: slot for feed, slot in zip(variables, now.fetched, strict=False) if now.taken.get(slot) != feed}
    found = {feed for feed, slot in after.items() if feed in single and slot in now.made}
    while passed := {feed for feed, slot in after.items() if feed in single and now.taken.get(slot) in found} - found:
        found |= passed
    given_away = [*after.values(), *now.fetched[len(variables) :]]
    held = {now.taken.get(slot) for slot in given_away}.union(*(each.held for each in uses))
    read = {feed for each in uses for feed in each.read}
    return frozenset(found | (single & read - held - after.keys()))


class _Uses:
    """What a plan makes as scalars, and which feeds it takes so, and otherwise."""

    def __init__(self, plan: Plan, backend: Backend) -> None:
        self.made = statements(plan, backend)
        self.taken = {i.slot: i.index for i in plan.instructions if isinstance(i, TakeFeed)}
        self.fetched = [i.slot for i in plan.instructions if isinstance(i, Fetch)]
        self.read: set[int] = set()
        self.held: set[int] = set()
        for run in plan.instructions:
            if isinstance(run, Run):
                feeds = {self.taken[slot] for slot in run.inputs if slot in self.taken}
                (self.held if self.made.isdisjoint(run.outputs) else self.read).update(feeds)
