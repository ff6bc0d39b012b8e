"""Plans run with other kernels than they were made for: those of another kind of processor, or of another backend."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import weft as wf
from hypothesis import HealthCheck, given, settings
from machine_code import LLVM
from programs import Built, build, recipes, runs, same_bits
from test_cases import COMPUTED, build as build_case
from weft.graph.state import State
from weft.runtime import local_engine, targets
from weft.runtime.backends.cpu import CPU
from weft.runtime.execution.as_planned import as_planned
from weft.runtime.execution.compile import CompiledPlan
from weft.runtime.kernels import Backend, Kernel
from weft.runtime.local_steps import Loaded
from weft.runtime.session import Session
from weft.runtime.stages.plan import StepPlan

pytest.importorskip("llvmlite", reason="the backend 'llvm' needs llvmlite: pip install 'weft[llvm]'")

from weft.runtime.backends.llvm.backend import LLVM as COMPILED

bounded = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
#: What a plan is made for, and what it runs with.
PAIRS: dict[str, tuple[Backend, Backend]] = {"made for llvm": (COMPILED, CPU), "made for numpy": (CPU, COMPILED)}


class Mixed(local_engine.LocalEngine):
    """Makes plans for one backend and runs them with another."""

    def __init__(self, count: int, planned: Backend, running: Backend) -> None:
        super().__init__({"CPU": count})
        self._backend, self._running_with = planned, running

    def load(self, step: StepPlan, timeout: float | None = None) -> Loaded:
        return Loaded(tuple(CompiledPlan(plan, self._running_with, self.state) for plan in step.plans), step.fetches)


@pytest.fixture(params=sorted(PAIRS))
def mixed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., wf.Session]:
    """Makes a session of that kind."""
    monkeypatch.setattr(targets, "_SERVED", {"mixed": targets.Served(lambda *_: Mixed(3, *PAIRS[request.param]))})
    return lambda graph=None: Session("mixed://", graph)


def _both(mixed: Callable[..., wf.Session], built: Built, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    wanted = runs(built, wf.ConfigProto(device_count={"CPU": 3}))
    with monkeypatch.context() as patch:
        patch.setattr(wf, "Session", lambda config, graph: mixed(graph))
        return runs(built, wf.ConfigProto()), wanted


@pytest.mark.filterwarnings("ignore::weft.RaceWarning")
@bounded
@given(recipe=recipes())
def test_random_programs_have_the_same_bits(
    recipe: Any, mixed: Callable[..., wf.Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, wanted = _both(mixed, build(recipe), monkeypatch)
    assert same_bits(found, wanted)


def test_every_operation_between_others_has_the_same_bits(mixed: Callable[..., wf.Session]) -> None:
    """So that its inputs and results lie in buffers, and may take each other's place."""
    for case in COMPUTED:
        wf.reset_default_graph()
        outputs, feeds = build_case(case, "full")
        fetches = [_more(output) for output in outputs]
        with mixed() as session, wf.Session() as plain:
            for each in (session, plain):
                each.run(wf.global_variables_initializer())
            found, wanted = session.run(fetches, feeds), plain.run(fetches, feeds)
        assert all(_same(one, other) for one, other in zip(found, wanted, strict=True)), case


def _more(value: Any) -> Any:
    return value * value + value if value.dtype in (wf.float32, wf.float64) else value


def _same(one: Any, other: Any) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    return np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")


def test_a_kernel_that_can_do_as_planned_is_the_kernel() -> None:
    exact = Kernel(np.add, takes_out=True, exact=True)
    region = Kernel(np.add, takes_out=True, may_replace=((1,),))
    assert as_planned(exact, ["b0", "b0"], ["b0"]) is exact
    assert as_planned(region, ["b0", "b1"], ["b1"]) is region
    assert as_planned(region, ["b0", "b1"], ["b2"]) is region


@pytest.mark.parametrize(
    ("kernel", "inputs"),
    [
        (Kernel(lambda x, y: x[::-1] + y), ["b0", "b1"]),
        (Kernel(lambda x, y, out=None: _worst(x, y, out), takes_out=True), ["b2", "b1"]),
        (Kernel(lambda x, y, out=None: _worst(x, y, out), takes_out=True, may_replace=((1,),)), ["b2", "b1"]),
        (Kernel(lambda x, y, out=None: _worst(x, y, out), takes_out=True, may_replace=((1,),)), ["b2", "b2"]),
    ],
    ids=["takes no place", "may write over nothing", "may write over another one", "may write over one of two"],
)
def test_a_kernel_that_cannot_do_as_planned_has_its_results_copied(kernel: Kernel, inputs: list[str]) -> None:
    x, y = np.arange(4.0), np.ones(4)
    out = {"b2": x}.get(inputs[0], np.zeros(4))
    there = as_planned(kernel, inputs, ["b2"])
    assert there is not kernel
    assert there.takes_out
    assert there.function(x, y, out=out) is out
    assert out.tolist() == [4.0, 3.0, 2.0, 1.0]


def _worst(x: Any, y: Any, out: Any) -> Any:
    """Writes before it has read everything."""
    if out is None:
        return x[::-1] + y
    for place in range(len(x)):
        out[place] = x[len(x) - 1 - place] + y[place]
    return out


def test_of_several_results_some_may_have_no_buffer() -> None:
    kernel = as_planned(Kernel(lambda x: (x + 1, x + 2)), ["b0"], ["b0", None])
    x = np.zeros(2)
    one, other = kernel.function(x, out=(x, None))
    assert one is x
    assert (one.tolist(), other.tolist()) == ([1.0, 1.0], [2.0, 2.0])


def test_what_there_is_no_kernel_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with wf.Session(config=LLVM) as session:
        plan = session.plan(wf.random_uniform([3], seed=1) * 2.0).plans[0]
    monkeypatch.setattr(type(CPU), "kernel", lambda *_: None)
    with pytest.raises(NotImplementedError, match=r"there is no kernel for .* here"):
        CompiledPlan(plan, CPU, State())
