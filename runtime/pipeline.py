"""From what a run asks for to the plan that does it: the stages in their order, each from value to value."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ..graph.devices import DeviceSpec
from ..graph.ir import Operation, Tensor
from ..graph.shapes import Dims
from .engine import Engine
from .kernels import CompilingBackend
from .placing.place import place_all
from .placing.placement import Placement
from .regions.fuse import fuse
from .reporting.explain import ExplainedPlan
from .spanning.bodies import Bodies
from .spanning.inside import Making
from .spanning.spread import spread
from .stages.lower import lower
from .stages.optimize import optimize
from .stages.order import order
from .stages.partition import partition
from .stages.partition_graphs import graph_defs
from .stages.plan import StepPlan
from .stages.program import Program, on_devices
from .stages.prune import prune
from .stages.report import Report
from .stages.specialize import specialize
from .stages.tapes import record
from .stages.waits import part_waits

#: From a program and its order to another program with the same results, and its order.
Gather = Callable[[Program, list[int]], tuple[Program, list[int]]]


class Placer(Protocol):
    """Places what no request says the device of."""

    def open(self, program: Program) -> tuple[Program, Bodies]:
        """The program with what each node's device must match, and what is in branches and loops that span devices.

        Raises InvalidArgumentError where no device matches.
        """
        ...

    def place(self, program: Program, positions: Sequence[int], bodies: Bodies) -> tuple[Program, Placement, Bodies]:
        """The program, in its order, with a device at each node, and why; and what is then in those that span devices."""
        ...


@dataclass(frozen=True, slots=True)
class Planning:
    """How plans are made for a session: on whose devices, and what its config says.

    `soft`: whether a request for a device that is not there may be met by another. `schedule_seed`: draws one of the orders
    that the graph allows. `gather`: makes compounds of what a compiler can take at once. `placer`: places by cost, once the
    order is fixed.
    """

    engine: Engine
    soft: bool
    schedule_seed: int | None = None
    gather: Gather | None = None
    placer: Placer | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What a run asks for; the same request has the same plans. `done`: what an earlier part of the run has run."""

    fetches: tuple[Tensor, ...]
    targets: tuple[Operation, ...]
    feeds: tuple[Tensor, ...]
    done: frozenset[Operation] = frozenset()


def cut(request: Request) -> Program:
    """The part of the graph that a request needs."""
    return prune(request.fetches, request.targets, request.feeds, request.done)


def make_plan(program: Program, feed_dims: Sequence[Dims], planning: Planning) -> StepPlan:
    """The plan of a pruned program for feeds of these shapes."""
    program, bodies = _placed(program, feed_dims, planning)
    return _lowered(optimize(program), bodies, planning)[0]


def explained_plan(program: Program, feed_dims: Sequence[Dims], planning: Planning) -> ExplainedPlan:
    """The same plan, with what was done to the program on the way, and the plan without it."""
    (program, bodies), report = _placed(program, feed_dims, planning), Report()
    plan, placement = _lowered(optimize(program, report), bodies, planning)
    before, _ = _lowered(program, bodies, replace(planning, gather=None))
    return ExplainedPlan(plan.plans, plan.fetches, before, report, tuple(_compiled(plan, planning.engine)), placement)


def _compiled(step: StepPlan, engine: Engine) -> list[str]:
    """What backends say that they compile."""
    lines = []
    for plan in step.plans:
        backend = engine.backend(device := DeviceSpec.from_string(plan.device))
        if isinstance(backend, CompilingBackend):
            lines += backend.note(plan, "" if engine.local else str(device.task_only()))
    return lines


def partition_graphs(program: Program, feed_dims: Sequence[Dims], planning: Planning) -> list[Any]:
    """What each device runs in a step, as a GraphDef: before operations are fused, and compiled."""
    program, bodies = _placed(program, feed_dims, planning)
    program = record(optimize(program))
    positions = order(program, planning.schedule_seed)
    if planning.placer is not None:
        program, _, _ = planning.placer.place(program, positions, bodies)
    return graph_defs(program, partition(program, positions))


def _placed(program: Program, feed_dims: Sequence[Dims], planning: Planning) -> tuple[Program, Bodies]:
    program, engine = specialize(program, feed_dims), planning.engine
    if planning.placer is not None:
        return planning.placer.open(program)
    devices, bodies = place_all(program, engine.devices, engine.default_device, planning.soft, engine.local)
    return on_devices(program, devices), bodies


def _lowered(program: Program, bodies: Bodies, planning: Planning) -> tuple[StepPlan, Placement | None]:
    engine, placement = planning.engine, None
    program = part_waits(record(program))
    positions = order(program, planning.schedule_seed)
    if planning.placer is not None:
        program, placement, bodies = planning.placer.place(program, positions, bodies)
    if planning.gather is not None:
        program, positions = planning.gather(program, positions)
    making = Making(engine.backend, itertools.count(), planning.schedule_seed)
    program, positions = spread(program, positions, bodies, making)
    plans = []
    for part in partition(program, positions, making.edges):
        backend = engine.backend(DeviceSpec.from_string(part.device))
        plans.append(lower(program, fuse(program, part, backend), backend, engine.sends_by_reference))
    return StepPlan(tuple(plans), len(program.fetches)), placement
