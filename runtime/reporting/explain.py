"""explain: what the optimizer made of a step, and where its memory goes, as a text for people."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from ...graph import shapes
from ...graph.opdef import Spec
from ...graph.ops.conv import Conv2D
from ...graph.ops.looping import While
from ...graph.record import record
from ..loops.hoist import hoisted_names
from ..placing.placement import Placement
from ..stages.fused import Fused, Part
from ..stages.optimize import passes
from ..stages.parts import DevicePart, all_instructions
from ..stages.plan import Buffer, Plan, Run, StepPlan
from ..stages.report import EXAMPLES, Report

#: How many values of a list are named.
NAMED = 4


@record
class ExplainedPlan(StepPlan):
    """A plan that can say how it came about."""

    before: StepPlan
    report: Report
    #: What was compiled, as lines.
    compiled: tuple[str, ...] = ()
    #: Where `placer="cost"` put operations and why.
    placement: Placement | None = None

    def explain(self) -> str:
        """What each pass of the optimizer did, instructions and bytes before and after, and where the memory goes.

        With `ConfigProto(placer="cost")` also the predicted time of the step, as placed and with all on one device, the load
        of each device, the largest transfers, and why the most expensive operations are where they are.
        """
        lines = [
            self._summary(),
            "",
            "what was done:",
            *(_passes(self.report) + _fused(self) + [*self.compiled] + _once(self) or _NOTHING),
        ]
        lines += ["", "instructions by kind, without the optimizer and with it:", *_kinds(self.before, self)]
        for plan in self.plans:
            lines += ["", f"memory on {plan.device}:", *_memory(plan)]
        if self.placement is not None:
            lines += ["", "placement by cost:", self.placement.explain()]
        return "\n".join(lines)

    def _summary(self) -> str:
        sizes = []
        for step in (self.before, self):
            count = sum(len(plan.instructions) for plan in step.plans)
            arena, beside = sum(plan.arena_bytes for plan in step.plans), sum(_beside(plan) for plan in step.plans)
            sizes.append(f"{count:,} instructions, {arena:,} bytes of buffers, {beside:,} bytes allocated in each step")
        devices = f"{len(self.plans)} device{'s' if len(self.plans) > 1 else ''}"
        return f"a step on {devices}\n  without the optimizer: {sizes[0]}\n  with it:               {sizes[1]}"


def _passes(report: Report) -> list[str]:
    """For each pass that did something, in their order: what it is for, how often it applied, and for example where."""
    lines = []
    for name, about in passes():
        if name in report.counts:
            often = "once" if report.counts[name] == 1 else f"{report.counts[name]:,} times"
            lines.append(f"  {name}, {often}: {about}")
            lines += [f"    {example}" for example in report.examples.get(name, ())]
    return lines


_NOTHING = ["  nothing: the step is as it was written"]


def _fused(step: StepPlan) -> list[str]:
    """The regions that run block by block."""
    runs = [run for plan in step.plans for run in plan.instructions if isinstance(run, Run)]
    fused = [run.definition for run in runs if isinstance(run.definition, Fused)]
    regions = [definition.parts for definition in fused if not definition.rows]
    convolutions = [parts for parts in regions if isinstance(parts[0].definition, Conv2D)]
    others = [parts for parts in regions if parts not in convolutions]
    return [
        *_listed("fuse", "Elementwise operations run together", others),
        *_listed(
            "fuse rows",
            "Sums and extrema of rows run together with what is elementwise, some rows at a time",
            [definition.parts for definition in fused if definition.rows],
        ),
        *_listed(
            "fuse convolutions",
            "Bias, rectifier and pooling run with a convolution, some images at a time",
            convolutions,
        ),
    ]


def _listed(name: str, about: str, regions: list[tuple[Part, ...]]) -> list[str]:
    if not regions:
        return []
    lines = [f"  {name}, {sum(map(len, regions)):,} operations: {about}, in {len(regions):,} regions."]
    longest = sorted(regions, key=len, reverse=True)[:EXAMPLES]
    return lines + [f"    {len(parts)} from {parts[0].name} to {parts[-1].name}" for parts in longest]


def _once(step: StepPlan) -> list[str]:
    """What loops compute in their first iteration only."""
    runs = [run for plan in step.plans for run in plan.instructions if isinstance(run, Run)]
    names = [
        name
        for run in runs
        if isinstance(run.definition, While)
        for name in hoisted_names(run.definition, run.input_specs)
    ]
    names += [name for plan in step.plans for name in _once_in_parts(plan)]
    if not names:
        return []
    count = f"{len(names):,} operation{'s' if len(names) > 1 else ''}"
    return [
        f"  hoist, {count}: Loops compute once what is the same in each iteration.",
        *(f"    {name}" for name in names[:EXAMPLES]),
    ]


def _once_in_parts(plan: Plan) -> list[str]:
    """The same of the loops that span devices, also of those inside of others."""
    parts = [i.definition for i in all_instructions(plan.instructions) if isinstance(i, Run)]
    plans = [once for part in parts if isinstance(part, DevicePart) for once in part.once]
    return [each.name for once in plans for each in once.instructions if isinstance(each, Run)]


def _kinds(before: StepPlan, after: StepPlan) -> list[str]:
    """The kinds of operations whose number changed, the largest change first; then how many are as before."""
    old, new = _counts(before), _counts(after)
    changed = [kind for kind in {**old, **new} if old[kind] != new[kind]]
    changed.sort(key=lambda kind: (-abs(old[kind] - new[kind]), kind))
    lines = [f"  {kind:<28} {old[kind]:>6} {new[kind]:>6}" for kind in changed]
    same = sum(count for kind, count in new.items() if kind not in changed)
    return [*lines, f"  {'all others':<28} {same:>6} {same:>6}"]


def _counts(step: StepPlan) -> Counter[str]:
    return Counter(
        instruction.definition.type if isinstance(instruction, Run) else type(instruction).__name__.lower()
        for plan in step.plans
        for instruction in plan.instructions
    )


class _Value(NamedTuple):
    """A result with memory of its own: its size, who made it, and the first and last instruction that need it."""

    nbytes: int
    name: str
    text: str
    made: int
    last: int
    buffered: bool


def _memory(plan: Plan) -> list[str]:
    values = _values(plan)
    total = sum(value.nbytes for value in values if value.buffered)
    buffers = {buffer for run in plan.instructions if isinstance(run, Run) for buffer in run.buffered.values()}
    lines = [f"  {len(buffers):,} buffers in {plan.arena_bytes:,} bytes hold results of {total:,} bytes in turns"]
    beside = sorted((value for value in values if not value.buffered), reverse=True)
    if beside:
        size = sum(value.nbytes for value in beside)
        lines.append(f"  {size:,} bytes are allocated in each step: {_named(beside)}")
    at, most = _peak(values)
    if most:
        live = sorted((value for value in values if value.made <= at <= value.last), reverse=True)
        lines.append(
            f"  the most is needed at instruction {at + 1} of {len(plan.instructions)}, '{_name_at(plan, at)}': "
            f"{most:,} bytes in {len(live):,} values, of which the largest are"
        )
        lines += [f"    {value.nbytes:>13,}  {value.text} ({value.name})" for value in live[:NAMED]]
    return lines


def _named(values: list[_Value]) -> str:
    text = ", ".join(f"{value.name} ({value.nbytes:,})" for value in values[:NAMED])
    return f"{text}, ..." if len(values) > NAMED else text


def _name_at(plan: Plan, at: int) -> str:
    instruction = plan.instructions[at]
    return instruction.name if isinstance(instruction, Run) else str(instruction)


def _beside(plan: Plan) -> int:
    return sum(value.nbytes for value in _values(plan) if not value.buffered)


def _values(plan: Plan) -> list[_Value]:
    """The results that have memory of their own; where one takes the place of an input, that ends before."""
    roots: dict[int, tuple[int, ...]] = {}
    last: dict[int, int] = {}
    made: dict[int, tuple[int, Run, Spec]] = {}
    places: dict[int, Buffer] = {}
    for at, run in enumerate(plan.instructions):
        if not isinstance(run, Run):
            continue
        read = {root for slot in run.inputs for root in roots.get(slot, ())}
        last.update(dict.fromkeys(read, at))
        places.update(run.buffered)
        taken = set(run.buffered.values())
        last.update((root, at - 1) for root in read if places.get(root) in taken)
        for slot, spec in zip(run.outputs, run.output_specs, strict=True):
            if run.definition.view:
                roots[slot] = tuple(read)
            elif run.copied or run.definition.access != "read":
                roots[slot] = (slot,)
                made[slot] = at, run, spec
    values = []
    for slot, (at, run, spec) in made.items():
        count = shapes.count(spec.dims)
        if count and not spec.dtype.np.hasobject:
            text = f"{run.definition.type} {spec.dtype.name}{shapes.text(spec.dims)}"
            end = last.get(slot, at)
            values.append(_Value(count * spec.dtype.size, run.name, text, at, end, slot in places))
    return values


def _peak(values: list[_Value]) -> tuple[int, int]:
    """The instruction at which the values take the most memory together, and how much."""
    changes: Counter[int] = Counter()
    for value in values:
        changes[value.made] += value.nbytes
        changes[value.last + 1] -= value.nbytes
    at = most = now = 0
    for position in sorted(changes):
        now += changes[position]
        if now > most:
            at, most = position, now
    return at, most
