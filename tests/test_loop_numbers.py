"""Loops over single numbers: statements on NumPy's scalars, with the bits, the errors and the ends that kernels have."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import weft as wf
from hypothesis import HealthCheck, example, given, settings, strategies as st
from weft.graph.context import reset_default_graph
from weft.graph.dtypes import variant
from weft.graph.opdef import Spec
from weft.graph.ops.tapes import TapeRead
from weft.graph.tape import Tape
from weft.runtime.backends.cpu import CPU
from weft.runtime.execution import writer
from weft.runtime.execution.pieces import LENGTH
from weft.runtime.loops import numbers

VECTOR = np.array([0.5, -1.5, 2.0])

#: What a variable becomes, of two others and a number from outside.
CHANGES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "same": lambda a, b, c: wf.identity(a),
    "turned": lambda a, b, c: b,
    "outside": lambda a, b, c: c,
    "constant": lambda a, b, c: wf.constant(1.25, wf.float64),
    "sum": lambda a, b, c: a + b * c,
    "ratio": lambda a, b, c: a / (b - c),
    "wave": lambda a, b, c: wf.sin(a) * wf.tanh(b) - c,
    "chosen": lambda a, b, c: wf.where(wf.logical_or(a < b, wf.logical_not(a > c)), a * 0.5, b),
    "by_vector": lambda a, b, c: wf.reduce_sum(a * VECTOR) + b,
    "branch": lambda a, b, c: wf.cond(a < c, lambda: a * b, lambda: b - a),
    "inner": lambda a, b, c: wf.while_loop(lambda i, _: i < 2, lambda i, x: (i + 1, x * b + c), (0, a))[1],
    "counted": lambda a, b, c: wf.gather(VECTOR, wf.where(a < b, 1, 2)) * b,
}
CHANGE = st.tuples(st.sampled_from([*CHANGES]), st.integers(0, 2), st.integers(0, 2))


def outcome(changes: Sequence[Any], times: int) -> list[Any]:
    """What a loop gives for two calls: its variables, and their gradients."""
    reset_default_graph()
    start = [wf.placeholder(wf.float64, ()) for _ in range(4)]

    def body(i: Any, *now: Any) -> Any:
        return i + 1, *(CHANGES[kind](now[a % len(now)], now[b % len(now)], start[3]) for kind, a, b in changes)

    ys = wf.while_loop(lambda i, *_: i < times, body, (0, *start[: len(changes)]))
    slopes = wf.gradients(ys[1:], start, unconnected_gradients="zero")
    with wf.Session() as session:
        call, both = session.make_callable(ys, start), session.make_callable([*ys, *slopes], start)
        found = [run(*feeds) for run in (call, both) for feeds in ([0.3, -0.7, 1.1, 0.9], [2.0, 0.5, -0.1, 0.5])]
    return [value for values in found for value in values]


def same_bits(first: Sequence[Any], second: Sequence[Any]) -> None:
    """Bit by bit, but for the sign of a NaN, which depends on the order in which a processor takes two of them."""
    for mine, other in zip(first, second, strict=True):
        assert type(mine) is type(other)
        a, b = np.asarray(mine), np.asarray(other)
        assert a.dtype == b.dtype
        assert np.where(a != a, np.abs(a), a).tobytes() == np.where(b != b, np.abs(b), b).tobytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(changes=[("same", 0, 0), ("ratio", 0, 0), ("branch", 1, 1)], times=1)  # a gradient's zero is only given away
@given(changes=st.lists(CHANGE, min_size=1, max_size=3), times=st.integers(0, 3))
def test_statements_have_the_bits_of_kernels(monkeypatch: pytest.MonkeyPatch, changes: Any, times: int) -> None:
    found = outcome(changes, times)
    with monkeypatch.context() as patch:
        patch.setattr(numbers, "statement_of", lambda run, backend: None)
        same_bits(found, outcome(changes, times))


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.float64])
@pytest.mark.filterwarnings("error")
def test_numbers_that_overflow(monkeypatch: pytest.MonkeyPatch, dtype: Any) -> None:
    def run() -> Any:
        reset_default_graph()
        x = wf.placeholder(dtype, ())
        ys = wf.while_loop(
            lambda a, b, i: wf.logical_and(i < 40, wf.not_equal(i, -1)),
            lambda a, b, i: (a * b + a, -b - a * a, i + 1),
            (x, x, 0),
        )
        with wf.Session() as session:
            return session.run(ys, {x: 7})

    found = run()
    monkeypatch.setattr(numbers, "statement_of", lambda run, backend: None)
    same_bits(found, run())


# what is an array when


@pytest.fixture
def arrays(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The numbers that functions of loops make arrays of."""
    seen: list[Any] = []

    def note(make: Callable[..., Any], value: Any, *more: Any) -> Any:
        seen.append(value)
        return make(value, *more)

    monkeypatch.setitem(writer._HELPERS, "array", partial(note, np.asarray))
    monkeypatch.setitem(writer._HELPERS, "empty", partial(note, np.empty))
    return seen


def test_numbers_become_arrays_after_the_loop(arrays: list[Any]) -> None:
    x, limit = wf.placeholder(wf.float32, ()), wf.placeholder(wf.int32, ())
    ys = wf.while_loop(lambda i, a, b: i < limit, lambda i, a, b: (i + 1, b, wf.sin(a) * x + b), (0, x, x))
    slope = wf.gradients(ys[2], x)
    with wf.Session() as session:
        session.run([ys, slope], {x: 0.5, limit: 3})
        few = len(arrays)
        session.run([ys, slope], {x: 0.5, limit: 50})
    assert 3 < few < 10
    assert len(arrays) == 2 * few


def test_a_number_is_an_array_for_whom_needs_one(arrays: list[Any]) -> None:
    x = wf.placeholder(wf.float64, ())
    y = wf.while_loop(lambda i, _: i < 3, lambda i, a: (i + 1, a * wf.reduce_sum(VECTOR * a)), (0, x))[1]
    with wf.Session() as session:
        assert session.run([y, wf.gradients(y, x)[0]], {x: 0.5}) == [0.5**8, 8 * 0.5**7]
        assert any(value.dtype == np.float64 for value in arrays if isinstance(value, np.generic))


def test_what_a_kernel_reads_of_a_tape_is_an_array() -> None:
    """Whatever the loop kept: its scalars, or arrays."""
    for dims in ((), None):
        read = TapeRead("a", wf.float64, dims)
        tape, place = Spec(variant, (), None, ("a",)), Spec(wf.int32, ())
        kernel = CPU.kernel(read, (tape, place), (read.infer(tape, place),))
        assert kernel is not None
        for kept in ([np.float64(1.5)], [np.array(1.5)], {0: np.float64(1.5)}):
            found = kernel.function(Tape({"a": kept}, 1), np.array(0))
            assert isinstance(found, np.ndarray)
            assert found == 1.5


def test_what_is_fixed_stays_an_array_where_a_kernel_needs_one(arrays: list[Any]) -> None:
    x, k = wf.placeholder(wf.float64, ()), wf.placeholder(wf.float64, ())
    y = wf.while_loop(lambda i, _: i < 3, lambda i, a: (i + 1, a * k + wf.gather(VECTOR, i) * wf.sin(k)), (0, x))[1]
    z = wf.while_loop(lambda i, _: i < 3, lambda i, a: (i + 1, a * k + wf.reduce_max(VECTOR * a * k)), (0, x))[1]
    with wf.Session() as session:
        session.run([y, z], {x: 0.5, k: 0.75})
    assert not any(value == 0.75 for value in arrays)


def test_kernels_share_the_array_of_a_number(arrays: list[Any]) -> None:
    x = wf.placeholder(wf.float64, ())

    def body(i: Any, a: Any) -> Any:
        return i + 1, a * 0.5 + wf.reduce_sum(VECTOR * a) - wf.reduce_sum(wf.maximum(VECTOR, a)) / a

    y = wf.while_loop(lambda i, _: i < 5, body, (0, x))[1]
    expected = np.float64(0.5)
    for _ in range(5):
        expected = expected * 0.5 + np.sum(VECTOR * expected) - np.sum(np.maximum(VECTOR, expected)) / expected
    with wf.Session() as session:
        assert session.run(y, {x: 0.5}) == expected
    assert sum(isinstance(value, np.float64) for value in arrays) == 6  # one an iteration, and one after the last


def test_a_variable_that_only_becomes_a_number(arrays: list[Any]) -> None:
    """Its first value has another shape, so it is an array all the time."""
    x = wf.placeholder(wf.float64, (3,))
    y = wf.while_loop(
        lambda i, _: i < 3,
        lambda i, a: (i + 1, wf.sin(wf.reduce_sum(a)) + 1.0),
        (0, x),
        shape_invariants=[wf.TensorShape(()), wf.TensorShape(None)],
    )[1]
    slope = wf.gradients(y, x)[0]
    with wf.Session() as session:
        session.run(y, {x: [0.1, 0.2, 0.3]})
        assert sum(isinstance(value, np.float64) for value in arrays) == 3
        found, rows = session.run([y, slope], {x: [0.1, 0.2, 0.3]})
    inner = np.sin(0.6) + 1
    assert found == np.sin(np.sin(inner) + 1) + 1
    expected = np.cos(np.sin(inner) + 1) * np.cos(inner) * np.cos(0.6)
    np.testing.assert_allclose(rows, np.full(3, expected), rtol=1e-12)


def test_a_body_too_long_for_one_function_has_the_same_bits() -> None:
    """Its regions stay, for the plan that is called."""
    x = wf.placeholder(wf.float64, ())

    def body(i: Any, a: Any) -> Any:
        for _ in range(LENGTH):
            a = wf.sin(a) * 1.5 + 0.25
        return i + 1, a

    y = wf.while_loop(lambda i, _: i < 3, body, (0, x))[1]
    expected = np.array(0.5)
    for _ in range(3 * LENGTH):
        expected = np.sin(expected) * 1.5 + 0.25
    with wf.Session() as session:
        assert session.run([y, wf.gradients(y, x)[0]], {x: 0.5})[0] == expected


# errors and ends


def fails(_: Any) -> Any:
    raise ArithmeticError("no root today")


@pytest.mark.parametrize("where", ["condition", "body", "way back"])
def test_an_error_names_the_operation_of_the_statement(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    of = numbers.statement_of
    monkeypatch.setattr(
        numbers,
        "statement_of",
        lambda run, backend: ("{k}({0})", fails) if run.name.endswith("root") else of(run, backend),
    )

    @wf.custom_gradient
    def half(a: Any) -> Any:
        return a * 0.5, lambda dy: wf.sqrt(dy, name="root") * 0.5

    x = wf.placeholder(wf.float64, ())
    y = wf.while_loop(
        lambda i, a: (wf.sqrt(a, name="root") if where == "condition" else a) < 9.0,
        lambda i, a: (i + 1, (wf.sqrt(a + 4.0, name="root") if where == "body" else half(a)) + 7.0),
        (0, x),
    )[1]
    with wf.Session() as session, pytest.raises(wf.errors.InvalidArgumentError, match="no root today") as caught:
        session.run(wf.gradients(y, x), {x: 1.0})
    assert caught.value.op.name.endswith("root")
    assert "test_loop_numbers.py" in str(caught.value)


@pytest.mark.parametrize("body", [lambda a: a * 0.5 + 0.25, lambda a: wf.tanh(a) * 0.5], ids=["operators", "functions"])
def test_a_loop_of_statements_can_be_ended(body: Callable[[Any], Any]) -> None:
    x = wf.placeholder(wf.float32, ())
    endless = wf.while_loop(lambda a: a < 9.0, lambda a: body(a), [x])
    with wf.Session() as session:
        for _ in range(2):
            with pytest.raises(wf.errors.DeadlineExceededError):
                session.run(endless, {x: 1.0}, wf.RunOptions(timeout_in_ms=50))
