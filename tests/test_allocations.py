"""A step that is like the one before allocates nothing of 4 KB: every large value lies in a buffer that was there.

Measured is how far all that Python and NumPy have allocated grows at any time within a step (tracemalloc). NumPy's ufuncs take a
buffer of 8,192 numbers for themselves wherever an input is broadcast or strided, also in a program written by hand; for these
tests it has 16 numbers, so that it does not hide what weft allocates.
"""

import importlib
import tracemalloc
from collections.abc import Callable, Iterator
from contextvars import Context
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import weft as wf
from tree import ROOT
from weft.runtime.execution import quiet
from weft.runtime.execution.compile import CompiledPlan
from weft.runtime.execution.rendezvous import Rendezvous
from weft.runtime.local_engine import LocalEngine
from weft.runtime.stages.plan import Run

#: No kernel allocates more than this, and all that lives at once in a step, many small views, is less than twice as much: less
#: than the smallest array of a hidden layer.
LIMIT = 4096
#: Machine code, where there is a compiler.
LLVM = pytest.param(
    "llvm", marks=pytest.mark.skipif(find_spec("llvmlite") is None, reason="pip install 'weft[llvm]'")
)  # fmt: skip


@pytest.fixture(autouse=True)
def small_ufunc_buffers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def quiet_context() -> Context:
        context = Context()
        context.run(np.seterr, all="ignore")
        context.run(np.setbufsize, 16)
        return context

    monkeypatch.setattr(quiet, "_quiet_context", quiet_context)
    monkeypatch.setattr(quiet, "_idle", [])
    yield
    tracemalloc.stop()


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


class Watch:
    """How far what is allocated has grown at most since it began."""

    def __init__(self) -> None:
        self._before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()

    def most(self) -> int:
        return tracemalloc.get_traced_memory()[1] - self._before


def growth(step: Callable[..., Any], batch: tuple[Any, ...]) -> int:
    """The most bytes that a step holds beside what was held before it."""
    for _ in range(5):
        step(*batch)
    tracemalloc.start(1)
    found = []
    for _ in range(5):
        watch = Watch()
        step(*batch)
        found.append(watch.most())
    tracemalloc.stop()
    return min(found)  # the first also has what NumPy and Python keep from then on


def built(workload: str, steps: int, mode: str) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A workload with a batch of 16: what a hidden layer gives has 8 or 16 KB, and the arrays of the loss are small."""
    workloads, models = importlib.import_module("workloads"), importlib.import_module("models_weft")
    lstm = workload == "lstm_unrolled"
    case = workloads.lstm(steps, 16, 128, 256) if lstm else workloads.mlp("sgd", 0.1, 16, 64, 128, 128, 10)
    return models.build(workload, case, mode, 1), case.batches[0]


@pytest.mark.parametrize("workload", ["mlp_small", "lstm_unrolled"])
@pytest.mark.parametrize("mode", ["run", "callable", LLVM])
def test_a_whole_step_holds_no_large_array_beside_its_buffers(workload: str, mode: str) -> None:
    """Of an LSTM of two steps: the views that splits make, 100 bytes each, are all there at once in a long one."""
    assert growth(*built(workload, 2, mode)) < 2 * LIMIT


@pytest.mark.parametrize("workload", ["mlp_small", "lstm_unrolled"])
@pytest.mark.parametrize("mode", ["callable", LLVM])
def test_no_kernel_allocates_as_much_as_the_limit(workload: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[CompiledPlan] = []
    load = LocalEngine.load

    def noting(engine: LocalEngine, *arguments: Any) -> Any:
        handle = load(engine, *arguments)
        plans[:] = handle.plans
        return handle

    monkeypatch.setattr(LocalEngine, "load", noting)
    step, batch = built(workload, 16, mode)
    step(*batch)
    (plan,) = plans
    most: dict[str, int] = {}

    def watched(run: Run, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def call(*values: Any, **more: Any) -> Any:
            watch = Watch()
            result = kernel(*values, **more)
            most[run.name] = min(watch.most(), most.get(run.name, 1 << 40))
            return result

        return call

    frame = plan.with_kernels(watched)
    tracemalloc.start(1)
    for _ in range(3):
        plan.run_in(frame, batch, Rendezvous())
    assert {name: size for name, size in most.items() if size >= LIMIT} == {}
    assert len(most) > 30


def test_what_is_measured_are_arrays() -> None:
    x = wf.placeholder(wf.float32, [2000])
    with wf.Session() as sess:
        assert growth(sess.make_callable(wf.exp(x)[0], [x]), (np.ones(2000, np.float32),)) < LIMIT
        assert growth(sess.make_callable(wf.exp(x), [x]), (np.ones(2000, np.float32),)) > 8000  # the caller's to keep
