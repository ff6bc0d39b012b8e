"""measure_costs: a CostModel from steps that run traced, and from small graphs that go to and fro between a session's devices."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..graph.defaults import device as on_device
from ..graph.devices import DeviceSpec
from ..graph.dtypes import float32
from ..graph.ir import Graph, Tensor
from ..graph.opdef import OpDef, Spec
from ..graph.ops.gathering import gather
from ..graph.ops.linalg import matmul
from ..graph.ops.placeholders import placeholder
from . import pipeline
from .config import RunMetadata, RunOptions
from .cost_model import Client, Cost, CostModel, Link, MeasuredStep, key_of, pair_of, size_of, work_of
from .engine import Engine
from .feeds import flatten_feeds
from .fetches import Fetches
from .fused import Fused
from .pipeline import Request
from .plan import Run, StepPlan
from .session import Session

#: So many devices have each link between two measured; of those beyond, only the links from the first.
ALL_PAIRS = 6
#: The values that cross while a link is measured: their rows and columns.
SMALL, LARGE = 4, 512
#: How often each small graph runs; the fastest run but for one in four counts, for others only get in its way.
RUNS = 16
#: Short kernels in a row, long ones and their rows and columns, and crossings. The long ones together take some 30 ms:
#: systems may leave two threads on one core for the first 10.
SHORT, LONG, LONG_ROWS, CROSSINGS = 60, 30, 384, 8


def median(times: Sequence[float]) -> float:
    """The middle one."""
    return float(np.median(times))


def measure_costs(
    session: Session,
    fetches: Any,
    feed_dict: Mapping[Any, Any] | None = None,
    steps: int = 10,
    cost_model: CostModel | None = None,
) -> CostModel:
    """What the operations of a step cost, and the links between the session's devices: a CostModel to place by.

    It runs `session.run(fetches, feed_dict)` some `steps` times and three times more, so what a step changes it changes as
    often: variables must have been initialized, and what trains goes on training. Half of the steps are traced.
    The links are measured with graphs of their own, in some seconds. Measure while nothing else computes, and best on one
    device a session places everything on: with `ConfigProto()`, not with `placer="cost"`.
    `cost_model`: what was measured before, which is kept beside. A model may know several steps; what is
    placed by it puts the variables where the slowest of them wants them.
    On a cluster as well. Raises ValueError for fewer than one step, UnimplementedError for a target that cannot
    trace, and what `run` raises.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, but got {steps}")
    step, costs, between = _measured_step(session, fetches, feed_dict, steps)
    engine = session._engine
    model = CostModel(costs, _links(engine, session._timeout), _clients(engine, session._timeout), (step,), between)
    return cost_model.merged(model) if cost_model is not None else model


def _measured_step(
    session: Session, fetches: Any, feed_dict: Mapping[Any, Any] | None, steps: int
) -> tuple[MeasuredStep, dict[str, Cost], float]:
    plan = session.plan(fetches, feed_dict)
    session.run(fetches, feed_dict)
    samples: dict[str, list[float]] = defaultdict(list)
    walls, kernels = [], []
    for _ in range((steps + 1) // 2):
        begin = time.perf_counter()
        session.run(fetches, feed_dict)
        walls.append(time.perf_counter() - begin)
    for number in range((steps + 1) // 2 + 1):
        metadata = RunMetadata()
        session.run(fetches, feed_dict, RunOptions(trace_level=RunOptions.FULL_TRACE), metadata)
        if not number:
            continue  # the first is slower
        nodes = [node for device in metadata.step_stats.dev_stats for node in device.node_stats]
        kernels.append(sum(node.all_end_rel_nanos for node in nodes if node.edge is None) * 1e-9)
        for node in nodes:
            samples[node.node_name].append(node.all_end_rel_nanos * 1e-9) if node.edge is None else None
    found, works = _by_kind(plan, samples)
    costs = {key: Cost(median(times), len(times), *works[key]) for key, times in found.items()}
    wanted = Fetches(session.graph, fetches)
    feeds = flatten_feeds(session.graph, feed_dict)
    seconds = median(walls)
    step = MeasuredStep(
        tuple(tensor.name for tensor in wanted.tensors if tensor not in feeds),
        tuple(operation.name for operation in wanted.operations),
        tuple((tensor.name, tuple(array.shape)) for tensor, array in feeds.items()),
        seconds,
    )
    count = sum(isinstance(instruction, Run) for each in plan.plans for instruction in each.instructions)
    alone = len(plan.plans) == 1
    between = max(0.0, (min(walls) - min(kernels)) / max(1, count)) if alone else 0.0
    return step, costs, min(between, 2e-6)


def _by_kind(
    plan: StepPlan, samples: Mapping[str, Sequence[float]]
) -> tuple[dict[str, list[float]], dict[str, tuple[int, int]]]:
    """The times of each kind of operation, and its work. What ran fused has its part of the time by what it wrote."""
    times: dict[str, list[float]] = defaultdict(list)
    works: dict[str, tuple[int, int]] = {}

    def note(
        name: str, definition: OpDef, inputs: Sequence[Spec], outputs: Sequence[Spec], seconds: list[float]
    ) -> None:
        key = key_of(name, definition, inputs)
        times[key] += seconds
        works[key] = work_of(definition, inputs, outputs)

    for each in plan.plans:
        for run in each.instructions:
            if not isinstance(run, Run) or run.name not in samples:
                continue
            seconds = list(samples[run.name])
            if not isinstance(run.definition, Fused):
                note(run.name, run.definition, run.input_specs, run.output_specs, seconds)
                continue
            specs = [*run.input_specs, *(part.spec for part in run.definition.parts)]
            whole = sum(size_of(part.spec) for part in run.definition.parts) or 1
            for part in run.definition.parts:
                share = size_of(part.spec) / whole
                inputs = [specs[index] for index in part.inputs]
                note(part.name, part.definition, inputs, [part.spec], [share * each for each in seconds])
    return times, works


# links


class _Steps:
    """Times steps of small graphs on an engine: chains of operations, each on its device, from one matrix that is fed."""

    def __init__(self, engine: Engine, timeout: float | None) -> None:
        self._engine = engine
        self._timeout = timeout

    def time(
        self, *chains: Sequence[DeviceSpec], rows: int = SMALL, copies: bool = False, whole: bool = False
    ) -> float:
        """Seconds of one. `copies`: its operations copy, where others multiply; `whole`: all of each end is fetched."""
        with Graph().as_default():
            fed = placeholder(float32, [rows, rows])
            ends = [_chain(fed, devices, copies) for devices in chains]
            if not whole:
                ends = [_corner(end, devices[-1]) for end, devices in zip(ends, chains, strict=True)]
            program = pipeline.cut(Request(tuple(ends), (), (fed,)))
            plan = pipeline.make_plan(program, [(rows, rows)], self._engine, soft=False)
            handle = self._engine.load(plan, self._timeout)
        feeds = [np.full((rows, rows), 0.5 / rows, np.float32)]
        times = []
        for _ in range((RUNS if rows != LONG_ROWS else RUNS // 2) + 2):
            begin = time.perf_counter()
            self._engine.run(handle, feeds, self._timeout)
            times.append(time.perf_counter() - begin)
        return sorted(times[2:])[len(times) // 5]

    def link(self, a: DeviceSpec, b: DeviceSpec) -> Link:
        """What is between two devices."""
        least = max(self.time([a]), self.time([b]))
        joint = max(0.0, self.time([a], [b]) - least)
        small, large = self._crossing(a, b, SMALL), self._crossing(a, b, LARGE)
        light, heavy = (self._slowdown(a, b, count, rows, joint) for count, rows in ((SHORT, 8), (LONG, LONG_ROWS)))
        nbytes = 4 * (LARGE * LARGE - SMALL * SMALL)
        return Link(max(0.0, small), max(0.0, large - small) / nbytes, joint, light, heavy)

    def _crossing(self, a: DeviceSpec, b: DeviceSpec, rows: int) -> float:
        """What it takes a value to get to the other device: a chain that crosses at each operation, less one that does not."""
        apart = self.time([a if number % 2 else b for number in range(CROSSINGS + 1)], rows=rows, copies=True)
        return (apart - self.time([a] * (CROSSINGS + 1), rows=rows, copies=True)) / CROSSINGS

    def _slowdown(self, a: DeviceSpec, b: DeviceSpec, count: int, rows: int, joint: float) -> float:
        """How many times as long two chains of products take at once, on two devices, as the longer of them alone."""
        least = max(self.time([each]) for each in (a, b))
        alone = max(self.time([each] * count, rows=rows) for each in (a, b))
        together = self.time([a] * count, [b] * count, rows=rows)
        return min(2.0, max(1.0, (together - joint - least) / max(1e-9, alone - least)))

    def client(self, device: DeviceSpec) -> Client:
        """What is between the program and a device."""
        least, nbytes = self.time([device]), 4 * LARGE * LARGE
        fed = self.time([device], rows=LARGE, copies=True)
        own = self.time([device] * 2, rows=LARGE, copies=True) - fed  # what the operation itself takes
        fetched = self.time([device], rows=LARGE, copies=True, whole=True)
        return Client(least, max(0.0, fed - own - least) / nbytes, max(0.0, fetched - fed) / nbytes)


def _links(engine: Engine, timeout: float | None) -> dict[str, Link]:
    devices, steps = engine.devices, _Steps(engine, timeout)
    pairs = itertools.combinations(devices[:ALL_PAIRS], 2)
    more = ((devices[0], other) for other in devices[ALL_PAIRS:])
    return {pair_of(a, b): steps.link(a, b) for a, b in (*pairs, *more)}


def _clients(engine: Engine, timeout: float | None) -> dict[str, Client]:
    steps = _Steps(engine, timeout)
    return {str(device): steps.client(device) for device in engine.devices}


def _corner(value: Tensor, device: DeviceSpec) -> Tensor:
    with on_device(str(device)):
        corner: Tensor = value[:1, :1]
    return corner


def _chain(fed: Tensor, devices: Sequence[DeviceSpec], copies: bool) -> Tensor:
    """Operations that are never fused with the next, nor taken out: products, or copies of rows."""
    value, rows = fed, list(range(fed.dims[0] or 0)) if fed.dims else []
    for device in devices:
        with on_device(str(device)):
            made: Tensor = gather(value, rows) if copies else matmul(value, fed)
        value = made
    return value
