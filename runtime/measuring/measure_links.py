"""measure_links: what lies between a session's devices, by small graphs that run on one, on the other and on both in turns."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...graph import parallel
from ...graph.defaults import device as on_device
from ...graph.devices import DeviceSpec
from ...graph.dtypes import float32
from ...graph.ir import Graph, Tensor
from ...graph.ops.gathering import gather
from ...graph.ops.linalg import matmul
from ...graph.ops.placeholders import placeholder
from .. import pipeline
from ..engine import Engine
from ..pipeline import Planning, Request
from ..placing.cost_model import DISTURBED, Client, Link, pair_of
from .calm import busy_seconds, processors

#: So many devices have each link between two measured; of those beyond, only the links from the first.
ALL_PAIRS = 6
#: The values that cross while a link is measured: their rows and columns.
SMALL, LARGE = 4, 512
#: How often each small graph runs, and how many values cross in one.
RUNS, CROSSINGS = 16, 8
#: What two devices cost each other is measured with chains of products. Of short ones there are two chains: the difference
#: between them is of products alone, without what a step takes. Long ones have matrices of a megabyte, so that three of
#: them are more than a processor's own cache; four take some 10 ms, and six rounds on one, the other and both some 200 ms.
SHORT_ROWS, SHORT, LESS, SHORT_ROUNDS = 8, 600, 200, 30
LONG_ROWS, LONG, LONG_ROUNDS = 512, 4, 6
#: Rounds before those that count: systems may leave two threads that wake on one processor for some 10 ms.
WARM = 2
#: How often in all links are measured again because others computed, and how long is looked for others before and after.
AGAIN, LOOK = 4, 0.12
#: Of all rounds of tries none of which was calm, that percentile of each time counts.
CALMEST = 10


class Contention(NamedTuple):
    """How many times as long kernels take while the other device computes; `spread` and `others` as of a Link."""

    light: float
    heavy: float
    spread: float
    others: float

    @property
    def sure(self) -> bool:
        return self.spread <= DISTURBED and self.others <= DISTURBED


class Links:
    """Measures links on an engine. What is compared runs in turns, so that what changes on the machine hits all alike."""

    def __init__(self, engine: Engine, timeout: float | None) -> None:
        self._engine = engine
        self._timeout = timeout
        self._again = AGAIN

    def all(self) -> dict[str, Link]:
        """Between each two devices, or if there are many between the first and each."""
        devices = self._engine.devices
        pairs = itertools.combinations(devices[:ALL_PAIRS], 2)
        more = ((devices[0], other) for other in devices[ALL_PAIRS:])
        return {pair_of(a, b): self.link(a, b) for a, b in (*pairs, *more)}

    def clients(self) -> dict[str, Client]:
        """Between the program and each device."""
        return {str(device): self.client(device) for device in self._engine.devices}

    def link(self, a: DeviceSpec, b: DeviceSpec) -> Link:
        """Between two devices."""
        there, here = [a if number % 2 else b for number in range(CROSSINGS + 1)], [a] * (CROSSINGS + 1)
        steps = self._abreast(a, b, 1, SMALL)
        steps += [self._step(chain, rows=rows, copies=True) for rows in (SMALL, LARGE) for chain in (there, here)]
        one, other, both, small, small_here, large, large_here = np.median(self._in_turns(steps, RUNS), axis=0).tolist()
        latency, slow = max(0.0, small - small_here) / CROSSINGS, max(0.0, large - large_here) / CROSSINGS
        nbytes = 4 * (LARGE * LARGE - SMALL * SMALL)
        shared = self._contention(a, b, max(one, other), both)
        return Link(latency, max(0.0, slow - latency) / nbytes, max(0.0, both - max(one, other)), *shared)

    def client(self, device: DeviceSpec) -> Client:
        """Between the program and a device."""
        steps = [
            self._step([device]),
            self._step([device], rows=LARGE, copies=True),
            self._step([device] * 2, rows=LARGE, copies=True),
            self._step([device], rows=LARGE, copies=True, whole=True),
        ]
        least, fed, twice, fetched = np.median(self._in_turns(steps, RUNS), axis=0).tolist()
        own, nbytes = twice - fed, 4 * LARGE * LARGE  # what the operation itself takes
        return Client(least, max(0.0, fed - own - least) / nbytes, max(0.0, fetched - fed) / nbytes)

    def _contention(self, a: DeviceSpec, b: DeviceSpec, least: float, both: float) -> Contention:
        """What two devices cost each other; `least`, `both`: the shortest step of one and of both. Again while others compute."""
        short = self._abreast(a, b, LESS, SHORT_ROWS) + self._abreast(a, b, SHORT, SHORT_ROWS)
        long = self._abreast(a, b, LONG, LONG_ROWS)
        lights, heavies, computed, others = [], [], [], []
        while True:
            before = _others()
            lights.append(self._in_turns(short, SHORT_ROUNDS))
            heavy, cpu = self._in_turns_with_cpu(long, LONG_ROUNDS)
            heavies.append(heavy - (least, least, both))
            computed.append(cpu)
            others.append((before + _others()) / 2)
            found = contention(lights[-1], heavies[-1], others[-1])
            if found.sure:
                return found
            if not self._again:
                break
            self._again -= 1
        # None was calm. Who computes beside can only make it longer, so short times are nearest; and where the devices are
        # this process, the time of processors tells what the kernels cost each other, whoever had these in between.
        found = contention(np.concatenate(lights), np.concatenate(heavies), float(np.mean(others)), CALMEST)
        if not self._engine.local:
            return found
        return found._replace(heavy=by_processor_time(np.concatenate(computed), parallel.threads(), processors()))

    def _abreast(self, a: DeviceSpec, b: DeviceSpec, count: int, rows: int) -> list[_Step]:
        """Chains of products on one device, on the other, and on both at once."""
        one, other = [a] * count, [b] * count
        return [self._step(one, rows=rows), self._step(other, rows=rows), self._step(one, other, rows=rows)]

    def _step(
        self, *chains: Sequence[DeviceSpec], rows: int = SMALL, copies: bool = False, whole: bool = False
    ) -> _Step:
        """A step of chains of operations, each on its device, from one matrix that is fed.

        `copies`: the operations copy, where others multiply; `whole`: all of each end is fetched, not one number.
        """
        with Graph().as_default():
            fed = placeholder(float32, [rows, rows])
            ends = [_chain(fed, devices, copies) for devices in chains]
            if not whole:
                ends = [_corner(end, devices[-1]) for end, devices in zip(ends, chains, strict=True)]
            program = pipeline.cut(Request(tuple(ends), (), (fed,)))
            plan = pipeline.make_plan(program, [(rows, rows)], Planning(self._engine, soft=False))
            return _Step(self._engine.load(plan, self._timeout), np.full((rows, rows), 0.5 / rows, np.float32))

    def _in_turns(self, steps: Sequence[_Step], rounds: int) -> Any:
        """Seconds of each step (columns) in each round (rows)."""
        return self._in_turns_with_cpu(steps, rounds)[0]

    def _in_turns_with_cpu(self, steps: Sequence[_Step], rounds: int) -> tuple[Any, Any]:
        """The same, and the seconds that processors computed for this process meanwhile."""
        times, cpu = np.empty((2, rounds + WARM, len(steps)))
        for at, number in itertools.product(range(rounds + WARM), range(len(steps))):
            begin, before = time.perf_counter(), time.process_time()
            self._engine.run(steps[number].handle, [steps[number].fed], self._timeout)
            times[at, number], cpu[at, number] = time.perf_counter() - begin, time.process_time() - before
        return times[WARM:], cpu[WARM:]


class _Step(NamedTuple):
    """A loaded plan, and what is fed."""

    handle: Any
    fed: Any


def contention(light: Any, heavy: Any, others: float, quantile: float = 50) -> Contention:
    """From seconds of chains on one device, the other and both (columns), by round: of few and many short ones, of long ones."""
    few, many = np.split(np.percentile(light, quantile, axis=0), 2)
    more = many - few
    short = more[2] / max(1e-9, more[0], more[1])
    one, other, both = np.percentile(heavy, quantile, axis=0)
    low, middle, high = np.percentile(heavy[:, 2] / np.maximum(heavy[:, 0], heavy[:, 1]), (25, 50, 75))
    return Contention(_within(short), _within(both / max(one, other)), float((high - low) / middle), others)


def by_processor_time(seconds: Any, threads: int, count: int) -> float:
    """How many times as long kernels of these threads take at once, from processors' time of chains (columns as for `heavy`).

    It tells what caches and memory cost; what a lack of processors costs is known: both want `threads` of the `count`.
    """
    one, other, both = np.median(seconds, axis=0)
    return _within(both / (one + other) * max(1.0, 2 * min(threads, count) / count))


def _within(ratio: float) -> float:
    """Between nothing shared and all shared: what comes out beyond is a flaw of measuring."""
    return float(min(2.0, max(1.0, ratio)))


def _others() -> float:
    """How many processors others compute on that two devices need, in a while in which nothing is asked of these."""
    begin, before = time.perf_counter(), busy_seconds()
    time.sleep(LOOK)
    after, seconds = busy_seconds(), time.perf_counter() - begin
    if before is None or after is None:
        return 0.0
    return max(0.0, (after - before) / seconds - max(0, processors() - 2))


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
