"""XLA's compounds: each operation means what its kernel means, and a program with compounds does what it does without."""

import threading
from functools import partial
from typing import Any

import beside_numpy
import numpy as np
import programs
import pytest
import weft as wf
from beside_numpy import cases_of, check_table
from hypothesis import HealthCheck, given, settings
from programs import build, recipes, runs
from weft.graph.state import VariableSlot
from weft.runtime.regions import compounds
from weft.runtime.stages.plan import Run

pytest.importorskip("jax", reason="the backend 'xla' needs JAX: pip install 'weft[xla]'")

import jax
from test_cases import TABLES, build as build_case
from weft.runtime.backends.xla import _lock, _locked_by_others
from weft.runtime.backends.xla_ops import ROWS

XLA = wf.ConfigProto(backend="xla")
bounded = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def everything_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compounds even where they are too small to be worth their call."""
    monkeypatch.setattr(compounds, "_pays", lambda program, members: True)


def compound_of(session: wf.Session, fetches: Any, feeds: Any = None) -> set[str]:
    """The types of operations in the compounds of a plan."""
    plans = session.plan(fetches, feeds).plans
    found = [i.definition for plan in plans for i in plan.instructions if isinstance(i, Run)]
    return {node.definition.type for each in found if isinstance(each, compounds.Compound) for node in each.body}


def close(found: Any, wanted: Any, name: str = "") -> None:
    """Equal up to a few of the last bits, with nan and inf in the same places, in the same type and shape."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), name
    if wanted.dtype.kind == "f":
        np.testing.assert_allclose(
            found, wanted, rtol=2e-5 if wanted.dtype == np.float32 else 1e-9, atol=1e-6, err_msg=name
        )
    else:
        np.testing.assert_array_equal(found, wanted, err_msg=name)


both = partial(beside_numpy.both, "xla")


@pytest.mark.parametrize("table", sorted({table for table in TABLES if any(c.op in ROWS for c in cases_of(table))}))
def test_the_operations_of_the_table_give_what_their_kernels_give(table: str) -> None:
    check_table("xla", table, ROWS, close)


def test_every_operation_of_the_table_has_a_case_that_comes_into_a_compound() -> None:
    seen: set[str] = set()
    for case in [case for table in TABLES for case in cases_of(table) if case.op in ROWS]:
        outputs, feeds = build_case(case, "full")
        with wf.Session(config=XLA) as session:
            seen |= compound_of(session, outputs, feeds)
        wf.reset_default_graph()
    # Small constants and identities that wait for nothing are gone before, and a first assignment gives a variable its memory.
    assert set(ROWS) - seen == {"AssignVariableOp", "OnesLike", "StopGradient", "ZerosLike"}


_ODD = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.5, 0.5, 2.5, 88.0, -88.0, 300.0], np.float32)
_UNARY: list[Any] = [
    wf.negative, wf.square, wf.abs, wf.sign, wf.sqrt, wf.rsqrt, wf.reciprocal, wf.exp, wf.log, wf.log1p, wf.expm1,
    wf.sin, wf.cos, wf.tanh, wf.sigmoid, wf.floor, wf.ceil, wf.round, wf.nn.relu, wf.nn.relu6, wf.nn.elu, wf.nn.softplus,
    wf.nn.leaky_relu, wf.reduce_max, wf.reduce_min, wf.reduce_sum, wf.reduce_mean, wf.nn.softmax,
]  # fmt: skip
_BINARY: list[Any] = [
    wf.add, wf.subtract, wf.multiply, wf.divide, wf.maximum, wf.minimum, wf.equal, wf.less, wf.greater_equal,
    wf.squared_difference, wf.div_no_nan, wf.pow,
]  # fmt: skip


def test_nan_inf_and_signs_of_zero_are_numpys() -> None:
    x, y = (wf.placeholder(wf.float32, (_ODD.size, 1)) for _ in range(2))
    wide = wf.tile(x, [1, 3])  # long enough for vectors
    fetches = {f.__name__: [f(x), f(wide), f(wf.reshape(x, [-1])[-6:])] for f in _UNARY}
    fetches |= {f.__name__: [f(x, wf.transpose(y))] for f in _BINARY}
    found, wanted = both(fetches, {x: _ODD[:, None], y: _ODD[:, None]})
    for name in fetches:
        for one, other in zip(found[name], wanted[name], strict=True):
            close(one, other, name)


@pytest.mark.filterwarnings("ignore::weft.RaceWarning")
@bounded
@given(recipes(longest=8))  # each step may make the difference of the last bits a few times larger
def test_random_programs_give_what_they_give_without(recipe: list[programs.Step]) -> None:
    wanted = runs(build(recipe), wf.ConfigProto(device_count={"CPU": 3}))
    found = runs(build(recipe), wf.ConfigProto(device_count={"CPU": 3}, backend="xla"))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


@settings(bounded, max_examples=3)
@given(recipes(sorted(programs.PURE), longest=6))
def test_runs_in_one_placement_agree_to_the_bit(recipe: list[programs.Step]) -> None:
    config = wf.ConfigProto(device_count={"CPU": 3}, backend="xla")
    assert programs.same_bits(runs(build(recipe), config), runs(build(recipe), config))


def trained(optimizer: Any, backend: str, steps: int = 5) -> list[Any]:
    """The losses and variables of some steps of a small net."""
    wf.reset_default_graph()
    random = np.random.default_rng(1)
    x, labels = wf.placeholder(wf.float32, [8, 6]), wf.placeholder(wf.int32, [8])
    w = wf.get_variable("w", initializer=random.normal(size=(6, 4)).astype(np.float32))
    b = wf.get_variable("b", initializer=np.zeros(4, np.float32))
    logits = wf.tanh(wf.matmul(x, w) + b)
    loss = wf.reduce_mean(wf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    train = optimizer().minimize(loss)
    feeds = {x: random.normal(size=(8, 6)).astype(np.float32), labels: random.integers(4, size=8)}
    with wf.Session(config=wf.ConfigProto(backend=backend)) as session:
        session.run(wf.global_variables_initializer())
        losses = [session.run([loss, train], feeds)[0] for _ in range(steps)]
        if backend == "xla":
            assert any(name.startswith("ResourceApply") for name in compound_of(session, [loss, train], feeds))
        return [*losses, *session.run(wf.global_variables())]


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: wf.train.GradientDescentOptimizer(0.1),
        lambda: wf.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
        lambda: wf.train.AdamOptimizer(0.01),
        lambda: wf.train.AdagradOptimizer(0.1),
        lambda: wf.train.RMSPropOptimizer(0.01, momentum=0.5),
    ],
    ids=["sgd", "momentum", "adam", "adagrad", "rmsprop"],
)
def test_training_gives_what_it_gives_without(optimizer: Any) -> None:
    for found, wanted in zip(trained(optimizer, "xla"), trained(optimizer, "numpy"), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_an_update_writes_into_the_variables_own_memory() -> None:
    v = wf.get_variable("v", initializer=np.ones(1000, np.float32))
    double = v.assign_add(v * 1.0)
    with wf.Session(config=XLA) as session:
        session.run(v.initializer)
        session.run(double.op)
        engine: Any = session._engine
        slot = engine.state.variables["", "v"]
        before = slot.read().ctypes.data
        session.run(double.op)
        assert slot.read().ctypes.data == before
        np.testing.assert_array_equal(session.run(v), np.full(1000, 4, np.float32))


def test_what_was_fetched_is_the_callers_and_stays_as_it_was() -> None:
    v = wf.get_variable("v", initializer=np.ones(1000, np.float32))
    double = v.assign_add(v * 1.0)
    with wf.Session(config=XLA) as session:
        session.run(v.initializer)
        value, tripled = session.run([v, v * 3.0])
        for _ in range(3):
            session.run(double.op)
        tripled += value  # the caller may write to it
        np.testing.assert_array_equal(value, np.ones(1000, np.float32))
        np.testing.assert_array_equal(tripled, np.full(1000, 4, np.float32))
        np.testing.assert_array_equal(session.run(v), np.full(1000, 8, np.float32))


def test_a_value_read_before_a_write_in_the_same_step_is_the_old_one() -> None:
    v = wf.get_variable("v", initializer=np.arange(8, dtype=np.float32))
    old = wf.identity(v)
    with wf.control_dependencies([old]):
        write = v.assign_add(wf.exp(old))
    with wf.control_dependencies([write]):
        new = v.read_value()
    (found, wanted) = both([old, new, old + new], None, initialize=True)
    for one, other in zip(found, wanted, strict=True):
        close(one, other)


def test_steps_at_once_lose_no_update() -> None:
    v, w = (wf.get_variable(name, initializer=np.zeros(64, np.float32)) for name in "vw")
    steps = [[v.assign_add(wf.ones([64])).op, w.assign_add(wf.ones([64])).op] for _ in range(2)]
    with wf.Session(config=XLA) as session:
        session.run(wf.global_variables_initializer())
        threads = [threading.Thread(target=lambda s=s: [session.run(s) for _ in range(50)]) for s in steps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for value in session.run([v, w]):
            np.testing.assert_array_equal(value, np.full(64, 100, np.float32))


def test_nobody_waits_for_a_variable_while_holding_another() -> None:
    first, second = (VariableSlot(name, wf.float32, ()) for name in "ab")
    with second.writing:
        assert _locked_by_others([first, second]) == [second]
        assert not first.writing.locked()
    _lock([first, second])
    assert first.writing.locked()
    assert second.writing.locked()


def test_errors_name_the_operation_and_the_line() -> None:
    v = wf.get_variable("v", initializer=np.zeros(3, np.float32))
    labels = wf.placeholder(wf.int32, [2])
    logits = wf.ones([2, 3]) * v
    loss = wf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits, name="xent")
    with wf.Session(config=XLA) as session:
        with pytest.raises(wf.errors.FailedPreconditionError, match="uninitialized value v") as uninitialized:
            session.run(loss, {labels: [0, 1]})
        assert uninitialized.value.op is not None
        session.run(v.initializer)
        with pytest.raises(wf.errors.InvalidArgumentError, match=r"label value of 3(.|\n)*test_xla\.py"):
            session.run(loss, {labels: [0, 3]})
        assert "SparseSoftmaxCrossEntropyWithLogits" in compound_of(session, loss, {labels: [0, 1]})


def test_the_users_own_jax_is_left_as_it_is() -> None:
    x = wf.placeholder(wf.float64, [3])
    with wf.Session(config=XLA) as session:
        assert session.run(wf.sqrt(x) + 1.0, {x: [1, 4, 9]}).tolist() == [2, 3, 4]
    assert not jax.config.jax_enable_x64
    assert jax.numpy.ones(2).dtype == np.float32


def test_a_traced_step_and_a_callable_compile_nothing_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    x = wf.placeholder(wf.float32, [4])
    y = wf.tanh(x) * 2.0
    with wf.Session(config=XLA) as session:
        once = session.run(y, {x: np.ones(4)})
        monkeypatch.setattr(jax, "jit", None)
        metadata = wf.RunMetadata()
        traced = session.run(y, {x: np.ones(4)}, wf.RunOptions(trace_level=wf.RunOptions.FULL_TRACE), metadata)
        called = session.make_callable(y, [x])(np.ones(4))
    assert programs.same_bits([traced, called], [once, once])
    assert "compound of 2 operations: Tanh, Mul" in str(metadata.step_stats)


def test_small_steps_are_left_to_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    x = wf.placeholder(wf.float32, [4])
    y = wf.tanh(x) * 2.0
    for _ in range(30):
        z = wf.tanh(y) * 2.0
        y = z
    with wf.Session(config=XLA) as session:
        assert compound_of(session, wf.tanh(x), {x: np.ones(4)}) == set()
        assert compound_of(session, y, {x: np.ones(4)}) == {"Tanh", "Mul", "Const"}


def test_a_compound_does_not_wait_for_what_waits_for_it() -> None:
    """What goes into a queue is computed before what comes out of it is waited for, though both fit into one compound."""
    queue = wf.FIFOQueue(1, wf.float32, shapes=[(3,)])
    x = wf.placeholder(wf.float32, [3])
    put = queue.enqueue(wf.exp(x) * 2.0)
    taken = wf.exp(queue.dequeue() * 0.5) + wf.exp(x)
    with wf.Session(config=wf.ConfigProto(backend="xla", operation_timeout_in_ms=20_000)) as session:
        assert "Exp" in compound_of(session, [taken, put])
        found = session.run([taken, put], {x: np.zeros(3)})[0]
    close(found, np.full(3, np.exp(1.0) + 1.0, np.float32))
