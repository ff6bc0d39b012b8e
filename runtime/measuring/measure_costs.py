"""measure_costs: a CostModel from steps that run traced, and from small graphs that go to and fro between a session's devices."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...graph.opdef import OpDef, Spec
from ..config import RunMetadata, RunOptions
from ..feeds import flatten_feeds
from ..fetches import Fetches
from ..placing.cost_model import Cost, CostModel, MeasuredStep, key_of, size_of, whole_key, work_of
from ..session import Session
from ..stages.fused import Fused
from ..stages.parts import DevicePart
from ..stages.plan import Run, StepPlan
from .measure_links import Links


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
    The links are measured with graphs of their own, in some seconds, and again if others computed meanwhile, a few times; the
    printed model says how sure they are. Measure while nothing else computes, and best on one
    device a session places everything on: with `ConfigProto()`, not with `placer="cost"`.
    `cost_model`: what was measured before, which is kept beside. A model may know several steps; what is
    placed by it puts the variables where the slowest of them wants them.
    On a cluster as well. Raises ValueError for fewer than one step, UnimplementedError for a target that cannot
    trace, and what `run` raises.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, but got {steps}")
    step, costs, between = _measured_step(session, fetches, feed_dict, steps)
    links = Links(session._engine, session._timeout)
    model = CostModel(costs, links.all(), links.clients(), (step,), between)
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
        longest: dict[str, float] = {}  # a branch or loop that spans devices takes as long as the longest of its parts
        for node in nodes:
            if node.edge is None:
                longest[node.node_name] = max(node.all_end_rel_nanos * 1e-9, longest.get(node.node_name, 0.0))
        for name, seconds_of_it in longest.items():
            samples[name].append(seconds_of_it)
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
            if isinstance(run.definition, DevicePart):
                key = whole_key(run.definition.type.removesuffix("Part"), run.name)
                times[key], works[key] = seconds, (sum(map(size_of, run.output_specs)), 0)
                continue
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
