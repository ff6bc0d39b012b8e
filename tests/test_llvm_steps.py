"""Steps with the backend "llvm": optimizers' updates, threads, memory, what it cannot take, and what it says of itself."""

import threading
from typing import Any

import numpy as np
import programs
import pytest
import weft as wf
from fusing import regions_of
from machine_code import LLVM, OPTIMIZERS, both, compiled, same
from weft.graph import parallel
from weft.graph.opdef import Spec
from weft.runtime.backends import named
from weft.runtime.regions import compiled as fuse_compiled

pytest.importorskip("llvmlite", reason="the backend 'llvm' needs llvmlite: pip install 'weft[llvm]'")

from weft.runtime.backends.llvm import regions
from weft.runtime.backends.llvm.backend import _code
from weft.runtime.backends.llvm.compiling import compiler


@pytest.fixture(autouse=True)
def everything_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regions even of one operation."""
    monkeypatch.setattr(fuse_compiled, "FEWEST", 1)


def test_big_values_are_computed_in_blocks_by_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    x, b = wf.placeholder(wf.float32, (1777, 301)), wf.placeholder(wf.float32, (301,))
    flat = wf.tanh(x * 2.0 - 1.0) * wf.exp(x) + x
    rows = wf.sigmoid(x + b) * wf.tanh(b) - x
    random = np.random.default_rng(3)
    feeds = {x: random.normal(size=(1777, 301)), b: random.normal(size=301)}
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(parallel, "_limit", threads)
        found.append(both([flat, rows], feeds))
    with wf.Session(config=LLVM) as session:
        codes = [_code(run) for run in regions_of(session, [flat, rows], feeds)]
    blocks = [code.form.blocks for code in codes if code is not None]
    assert sum(count > 4 for count in blocks) == 2
    for llvms, numpys in found:
        assert programs.same_bits(llvms, numpys)
        assert programs.same_bits(llvms, found[0][0])


def test_a_cells_gates_are_shared_by_threads_and_let_nobody_else_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an LSTM's loop keeps of 32 rows: two blocks, too short to give the interpreter's lock away for."""
    monkeypatch.setattr(parallel, "_limit", 2)
    i, f, g, o, c = (wf.placeholder(wf.float32, (32, 128)) for _ in range(5))
    kept = [wf.sigmoid(i), wf.sigmoid(f), wf.tanh(g), wf.sigmoid(o)]
    cell = kept[1] * c + kept[0] * kept[2]
    fetches = [*kept, cell, wf.tanh(cell), kept[3] * wf.tanh(cell)]
    random = np.random.default_rng(5)
    feeds = {each: random.normal(size=(32, 128)) for each in (i, f, g, o, c)}
    found, wanted = both(fetches, feeds)
    assert programs.same_bits(found, wanted)
    with wf.Session(config=LLVM) as session:
        (code,) = [_code(run) for run in regions_of(session, fetches, feeds)]
    assert code is not None
    assert (code.form.blocks, code.form.release, code.form.long) == (2, False, False)


def test_results_may_lie_where_inputs_lay() -> None:
    """A chain in which each region could write over what it reads, with a function of NumPy in its middle."""
    x = wf.placeholder(wf.float32, (64, 64))
    y = wf.matmul(x, x)
    for _ in range(4):
        scaled = wf.tanh(y) * y - 0.5
        y = wf.matmul(scaled * y, scaled + wf.exp(-wf.square(y)) * scaled)
    found, wanted = both(y, {x: np.random.default_rng(0).normal(size=(64, 64)) / 8})
    assert programs.same_bits([found], [wanted])


def _trained(optimizer: str, backend: str, dtype: wf.DType) -> list[Any]:
    wf.reset_default_graph()
    random = np.random.default_rng(1)
    shapes: list[tuple[int, ...]] = [(), (1,), (5,), (16, 3), (700, 1100)]
    variables = [
        wf.get_variable(f"v{n}", initializer=random.normal(size=shape).astype(dtype.np))
        for n, shape in enumerate(shapes)
    ]
    feeds = {wf.placeholder(dtype, shape): random.normal(size=shape) for shape in shapes}
    train = OPTIMIZERS[optimizer]().apply_gradients(list(zip(feeds, variables, strict=True)))
    with wf.Session(config=wf.ConfigProto(backend=backend)) as session:
        session.run(wf.global_variables_initializer())
        for _ in range(3):
            session.run(train, feeds)
        return list(session.run(wf.global_variables()))


@pytest.mark.parametrize("dtype", [wf.float32, wf.float64], ids=str)
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_training_gives_the_same_bits(optimizer: str, dtype: wf.DType) -> None:
    before = compiler().count
    assert programs.same_bits(_trained(optimizer, "llvm", dtype), _trained(optimizer, "numpy", dtype))
    assert optimizer == "ftrl" or compiler().count >= before


def test_an_update_by_the_variable_itself_takes_its_old_value() -> None:
    v = wf.get_variable("v", initializer=np.arange(6, dtype=np.float32).reshape(2, 3))
    turned = wf.reshape(wf.reverse(wf.reshape(v, [-1]), [0]), [2, 3])
    train = wf.train.GradientDescentOptimizer(0.5).apply_gradients([(turned, v)])
    found: list[Any] = []
    wanted: list[Any] = []
    for backend, values in (("llvm", found), ("numpy", wanted)):
        with wf.Session(config=wf.ConfigProto(backend=backend)) as session:
            session.run(v.initializer)
            session.run(train)
            values.append(session.run(v))
    assert programs.same_bits(found, wanted)


def test_what_was_fetched_stays_as_it_was() -> None:
    v = wf.get_variable("v", initializer=np.ones(1000, np.float32))
    step = wf.train.GradientDescentOptimizer(1.0).apply_gradients([(wf.ones([1000]), v)])
    with wf.Session(config=LLVM) as session:
        session.run(v.initializer)
        value = session.run(v)
        for _ in range(3):
            session.run(step)
        assert value.tolist() == [1.0] * 1000
        assert session.run(v).tolist() == [-2.0] * 1000


def test_steps_at_once_lose_no_update() -> None:
    v = wf.get_variable("v", initializer=np.zeros(200_000, np.float32))
    step = wf.train.GradientDescentOptimizer(-1.0).apply_gradients([(wf.ones([200_000]), v)])
    with wf.Session(config=LLVM) as session:
        session.run(v.initializer)
        session.run(step)
        threads = [threading.Thread(target=lambda: [session.run(step) for _ in range(25)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(session.run(v).tolist()) == {101.0}


def test_an_update_that_does_not_fit_says_so() -> None:
    v = wf.get_variable("v", initializer=np.zeros(3, np.float32))
    step = wf.train.GradientDescentOptimizer(0.5).apply_gradients([(wf.ones([3]), v)])
    with (
        wf.Session(config=LLVM) as session,
        pytest.raises(wf.errors.FailedPreconditionError, match="uninitialized value v"),
    ):
        session.run(step)


def test_arrays_that_are_not_as_the_code_wants_them_go_through_numpy() -> None:
    x, y = wf.placeholder(wf.float32, (6, 4)), wf.placeholder(wf.float32, ())
    z = wf.tanh(x * y) + 1.0
    with wf.Session(config=LLVM) as session:
        (region,) = compiled(session, z)
        specs = [Spec(wf.float32, (6, 4)), *[Spec(wf.float32, ())] * 2]
        code = regions.region_code(region, specs)
        assert code is not None
        kernel: Any = regions.region_kernel(region, specs)
        array = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
        plain = session.run(z, {x: array.T, y: 0.5})
        strided, scalar = (
            kernel.function(array.T, np.float32(0.5), np.array(1, np.float32)),
            np.ma.masked_array(array.T),
        )
        assert programs.same_bits([strided], [plain])
        assert programs.same_bits([kernel.function(scalar, np.array(0.5, "f"), np.float32(1))], [plain])
        out = np.zeros((6, 4), np.float32)
        assert kernel.function(array.T, np.array(0.5, "f"), np.float32(1), out=out) is out
        assert programs.same_bits([out], [plain])
        for wrong in (array.T.astype(np.float64), np.zeros((6, 4), ">f4"), array):
            native = regions.native_of(code)
            assert native(wrong, np.array(0.5, "f"), np.array(1, "f"), out, 7) == 7
        out.flags.writeable = False
        assert native(np.ones((6, 4), "f"), np.array(0.5, "f"), np.array(1, "f"), out, 7) == 7


def test_branches_and_loops_are_compiled_inside() -> None:
    x = wf.placeholder(wf.float32, [50])
    looped = wf.while_loop(
        lambda i, v: i < 5, lambda i, v: (i + 1, wf.tanh(v * 1.5) + wf.cast(i, wf.float32)), [wf.constant(0), x]
    )[1]
    branched = wf.cond(wf.reduce_sum(x) > 0, lambda: wf.exp(-x) * 2.0, lambda: wf.square(x) + 1.0)
    gradients = wf.gradients([looped, branched], x)
    before = compiler().count
    found, wanted = both([looped, branched, gradients], {x: np.linspace(-1, 2, 50)})
    assert compiler().count > before
    for one, other in zip(found, wanted, strict=True):
        same(one, other)


def test_one_operation_alone_is_compiled_where_numpy_would_go_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    x, column = wf.placeholder(wf.float32, (128, 64)), wf.placeholder(wf.float32, (128, 1))
    with wf.Session(config=LLVM) as session:
        assert len(compiled(session, x / column)) == 1
        assert compiled(session, x / wf.constant(3.0)) == compiled(session, x[:4] / column[:4]) == []
        assert len(compiled(session, wf.tanh(x / wf.constant(3.0)))) == 1


def test_chains_of_single_numbers_are_one_function() -> None:
    x = v = wf.placeholder(wf.float32, [])
    for _ in range(50):
        v = wf.tanh(v * x + 0.25) - 0.1
    fetches = [v, wf.gradients(v, x)[0], v > x]
    found, wanted = both(fetches, {x: np.float32(0.7)})
    for one, other in zip(found, wanted, strict=True):
        same(one, other)
    with wf.Session(config=LLVM) as session:
        assert [len(region.parts) > 200 for region in compiled(session, fetches)] == [True]


def test_a_second_step_compiles_nothing_and_a_plan_alone_compiles_nothing() -> None:
    x = wf.placeholder(wf.float32, [23])
    y = wf.tanh(x * 1.25) * 7.5 - x
    with wf.Session(config=LLVM) as session:
        before = compiler().count
        session.plan(y)
        assert compiler().count == before
        once = session.run(y, {x: np.ones(23)})
        assert compiler().count == before + 1
        metadata = wf.RunMetadata()
        traced = session.run(y, {x: np.ones(23)}, wf.RunOptions(trace_level=wf.RunOptions.FULL_TRACE), metadata)
        called = session.make_callable(y, [x])(np.ones(23))
        assert compiler().count == before + 1
    assert programs.same_bits([traced, called], [once, once])
    assert "of mul, Tanh, mul_1, sub" in str(metadata.step_stats)


def test_explain_says_what_is_compiled() -> None:
    x = wf.placeholder(wf.float32, [24])
    y = wf.tanh(x * 1.25) * 7.5 - x
    with wf.Session(config=LLVM) as session:
        assert "the first step compiles 1 of them" in session.plan(y).explain()
        session.run(y, {x: np.ones(24)})
        text = session.plan(y).explain()
        assert "compile: machine code of 1 region, in 1 function." in text
        assert "compiling 1 of them took" in text
    with wf.Session() as session:
        assert "compile" not in session.plan(y).explain()


def test_one_that_is_not_there_or_cannot_be_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="backend must be 'numpy', 'llvm' or 'xla', but got 'lvm'"):
        wf.Session(config=wf.ConfigProto(backend="lvm"))
    monkeypatch.setattr(named, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'weft\[llvm\]'"):
        wf.Session(config=LLVM)
