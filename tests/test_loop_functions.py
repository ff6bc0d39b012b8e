"""Loops as functions: where their variables live, that no iteration's value leaks into another, errors, interrupts, threads."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import weft as wf
from hypothesis import HealthCheck, given, settings, strategies as st
from spying import spy
from weft.graph.context import reset_default_graph
from weft.runtime.execution import writer
from weft.runtime.execution.pieces import LENGTH
from weft.runtime.loops import carried, loop as loops
from weft.runtime.memory.recycling import Recycler

STEPS = 4

#: What a variable becomes: an operation, and which variables it takes.
PLACES = st.integers(0, 3)
CHANGES = st.tuples(
    st.sampled_from(["same", "add", "mul", "sin", "less", "flip", "turn", "twice", "fixed", "kept", "apart"]),
    PLACES,
    PLACES,
)


def changed(change: tuple[str, int, int], now: Sequence[Any], fixed: Any) -> Any:
    kind, first, second = change
    a, b = now[first % len(now)], now[second % len(now)]
    match kind:
        case "same":
            return wf.identity(a)
        case "add":
            return a + b
        case "mul":
            return a * b * 0.5
        case "sin":
            return wf.sin(b)
        case "less":
            return wf.where(a < b, a, b)
        case "flip":
            return wf.reverse(a, [0]) if a.shape.ndims else a - 1.0
        case "turn":
            return wf.transpose(a)
        case "twice":
            return a * 2.0 + wf.tanh(a)
        case "fixed":
            return fixed
        case "apart":
            return a + wf.sin(fixed * 2.0) * fixed
    return a + fixed * 0.5


def repeated(changes: Sequence[Any], values: Sequence[Any], fixed: Any) -> list[Any]:
    """The changes, `STEPS` times, in a loop."""

    def body(i: Any, *now: Any) -> Any:
        return (i + 1, *(changed(change, now, fixed) for change in changes))

    return list(wf.while_loop(lambda i, *_: i < STEPS, body, (0, *values))[1:])


def unrolled(changes: Sequence[Any], values: Sequence[Any], fixed: Any) -> list[Any]:
    now = list(values)
    for _ in range(STEPS):
        now = [changed(change, now, fixed) for change in changes]
    return now


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(CHANGES, min_size=1, max_size=4), size=st.sampled_from([0, 1, 3]), big=st.booleans())
def test_a_loop_has_the_bits_of_its_operations_unrolled(
    monkeypatch: pytest.MonkeyPatch, changes: Any, size: int, big: bool
) -> None:
    shape = (size, size) if size else ()
    random = np.random.default_rng(0)
    first, second = ([random.uniform(-1, 1, shape) for _ in range(len(changes) + 1)] for _ in range(2))
    reset_default_graph()
    with monkeypatch.context() as patch:
        for module in (carried, loops, writer) if big else ():
            patch.setattr(module, "SMALLEST", 8)
        given = [wf.placeholder(wf.float64, shape) for _ in first]
        fetches, wanted = (
            [*ys, *wf.gradients(ys, given, unconnected_gradients="zero")]
            for ys in (build(changes, given[1:], given[0]) for build in (repeated, unrolled))
        )
        plain = len(changes)
        with wf.Session() as session:
            values = session.make_callable(fetches[:plain], given)
            both = session.make_callable(fetches, given)
            expected = session.make_callable(wanted, given)
            held: list[tuple[Any, Any]] = []
            for feeds in (first, second, first):
                found, right = [values(*feeds), both(*feeds)], expected(*feeds)
                held += [(found[0], right[:plain]), (found[1], right)]
            for mine, others in held:  # also the first ones, whose memory no later run may have written to
                for value, other in zip(mine[:plain], others[:plain], strict=True):
                    np.testing.assert_array_equal(value, other)
                for value, other in zip(mine[plain:], others[plain:], strict=False):
                    np.testing.assert_allclose(value, other, rtol=1e-12, atol=1e-12)


# where the variables live


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How big the blocks of memory are that are asked for."""
    asked: list[int] = []
    array = Recycler.array

    def noting(self: Any, dtype: Any, dims: Any, nbytes: int) -> Any:
        asked.append(nbytes)
        return array(self, dtype, dims, nbytes)

    monkeypatch.setattr(Recycler, "array", noting)
    return asked


def run_over(size: int, body: Callable[[Any], Any], gradient: bool = False) -> Any:
    x = wf.placeholder(wf.float32, (size,))
    y = wf.while_loop(lambda i, _: i < 10, lambda i, a: (i + 1, body(a)), (0, x))[1]
    fetched = wf.gradients(y, x)[0] if gradient else y
    with wf.Session() as session:
        return session.run(fetched, {x: np.full(size, 0.5, np.float32)})


def test_a_big_variable_is_written_over(blocks: list[int]) -> None:
    found = run_over(1 << 16, lambda a: a * 0.5 + 1.0)
    assert blocks == [1 << 18]
    assert found[0] == np.float32(2 - 1.5 * 0.5**10)


def test_what_reads_the_old_value_later_gets_the_old_value(blocks: list[int]) -> None:
    """The first result of the body is there before the second one reads what it takes the place of."""
    size = 1 << 16
    x = wf.placeholder(wf.float32, (size,))

    def body(i: Any, a: Any, b: Any) -> Any:
        after = wf.sqrt(a)
        with wf.control_dependencies([after]):
            return i + 1, after, wf.reduce_sum(wf.identity(a)) + b

    a, b = wf.while_loop(lambda i, *_: i < 3, body, (0, x, 0.0))[1:]
    with wf.Session() as session:
        found = session.run([a, b], {x: np.full(size, 256.0, np.float32)})
    assert found[0][0] == 2.0
    assert found[1] == size * (256 + 16 + 4)
    assert len(blocks) == 3  # old and new value in turns


def test_a_tape_holds_a_value_of_each_iteration(blocks: list[int]) -> None:
    found = run_over(1 << 16, lambda a: a * a + 0.25, gradient=True)  # 0.5 stays 0.5, and so does its gradient
    assert len(blocks) >= 10
    assert set(found) == {1.0}


@pytest.mark.parametrize("times", [0, 1, 2, 3])
def test_results_are_the_callers(times: int) -> None:
    """However often a loop ran: neither what was fed nor a later run shares memory with what it gave."""
    x = wf.placeholder(wf.float64, (2,))
    n = wf.placeholder(wf.int32, ())
    outputs = wf.while_loop(lambda i, *_: i < n, lambda i, a, b, c: (i + 1, b, a, c + a), (0, x, x * 2.0, x))
    with wf.Session() as session:
        call = session.make_callable(outputs, [x, n])
        feed = np.array([1.0, 2.0])
        found = call(feed, times)
        kept = [np.array(value) for value in found]
        for value in found[1:]:
            value += 1.0
        assert feed.tolist() == [1.0, 2.0]
        for value, other in zip(call(feed, times), kept, strict=True):
            np.testing.assert_array_equal(value, other)


def test_a_tape_outlives_the_memory_that_the_first_value_lay_in() -> None:
    x = wf.placeholder(wf.float64, (3,))
    y = wf.while_loop(lambda i, _: i < 2, lambda i, a: (i + 1, a * a), (0, x + 0.5))[1]
    z = wf.sin(y * 2.0) * 3.0  # computed where x + 0.5 was
    feed = np.array([0.1, 0.2, 0.3])
    with wf.Session() as session:
        (found,) = session.run(wf.gradients(z, x), {x: feed})
    start = feed + 0.5
    np.testing.assert_allclose(found, 6 * np.cos(2 * start**4) * 4 * start**3, rtol=1e-12)


# what is the same in each iteration


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What sigmoids were computed of."""
    seen: list[Any] = []
    spy(monkeypatch, lambda x: seen.append(np.array(x)))
    return seen


@pytest.mark.parametrize("times", [0, 1, 5])
def test_the_body_computes_once_what_does_not_change(calls: list[Any], times: int) -> None:
    x, n = wf.placeholder(wf.float64, (2,)), wf.placeholder(wf.int32, ())

    def body(i: Any, a: Any, same: Any) -> Any:
        return i + 1, a + wf.sigmoid(x + 1.0) * wf.sigmoid(same), same

    y = wf.while_loop(lambda i, *_: i < n, body, (0, x, x * 2.0))[1]
    feed = np.array([0.1, 0.2])
    with wf.Session() as session:
        found = session.run(y, {x: feed, n: times})
        text = session.plan(y, {x: feed, n: times}).explain()
    assert len(calls) == 2 * bool(times)
    assert "hoist, 4 operations: Loops compute once what is the same in each iteration." in text
    expected = feed
    for _ in range(times):
        expected = expected + 1 / (1 + np.exp(-(feed + 1))) * (1 / (1 + np.exp(-feed * 2)))
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_the_condition_and_the_way_back_compute_once_what_does_not_change(calls: list[Any]) -> None:
    x = wf.placeholder(wf.float64, ())
    zero = wf.constant(0.0, wf.float64)
    y = wf.while_loop(lambda i, _: i < 4.0 * wf.sigmoid(x), lambda i, a: (i + 1.0, a * wf.sigmoid(x)), (zero, x))[1]
    (slope,) = wf.gradients(y, x)
    with wf.Session() as session:
        found = session.run([y, slope], {x: 2.0})
    assert len(calls) == 2  # four iterations, each with a test
    s = 1 / (1 + np.exp(-2.0))
    np.testing.assert_allclose(found, [2 * s**4, s**4 + 2 * 4 * s**3 * s * (1 - s)], rtol=1e-12)


def test_much_that_does_not_change(calls: list[Any]) -> None:
    x = wf.placeholder(wf.float64, ())

    def long(a: Any) -> Any:
        for _ in range(2 * LENGTH):
            a = wf.sin(a)
        return wf.sigmoid(a)

    y = wf.while_loop(lambda a, _: a < long(x) * 3.0, lambda a, b: (a + long(x + 1.0), wf.cos(b)), (x, x))[0]
    with wf.Session() as session:
        found = session.run(y, {x: 0.0})
    assert len(calls) == 2
    assert 1.5 <= found < 2.1


def test_what_has_an_effect_or_waits_for_one_is_not_moved() -> None:
    v, x = wf.Variable(0.0), wf.placeholder(wf.float32, ())

    def body(i: Any, a: Any, last: Any, changes: Any) -> Any:
        early = wf.exp(x)
        with wf.control_dependencies([v.assign_add(1.0)]):
            late = early * 2.0
        drawn = wf.random_uniform(())
        return i + 1, a + late, drawn, changes + wf.cast(wf.not_equal(drawn, last), wf.float32)

    _, a, _, changes = wf.while_loop(lambda i, *_: i < 3, body, (0, 0.0, -1.0, 0.0))
    with wf.Session() as session:
        session.run(v.initializer)
        assert session.run([a, changes], {x: 0.0}) == [6.0, 3.0]
        assert session.run(v) == 3.0


def test_what_cannot_be_computed_fails_where_it_is_needed() -> None:
    x, n = wf.placeholder(wf.int32, ()), wf.placeholder(wf.int32, ())
    y = wf.while_loop(lambda i, _: i < n, lambda i, a: (i + 1, a + wf.floordiv(6, x, name="divided")), (0, 0))[1]
    with wf.Session() as session:
        assert session.run(y, {x: 0, n: 0}) == 0
        assert session.run(y, {x: 2, n: 3}) == 9
        with pytest.raises(wf.errors.InvalidArgumentError) as caught:
            session.run(y, {x: 0, n: 3})
    assert caught.value.op.name == "while/divided"


def test_results_that_are_one_value_are_two_arrays() -> None:
    x = wf.placeholder(wf.float64, (2,))

    def body(i: Any, *_: Any) -> Any:
        same = wf.exp(x)
        return i + 1, same, same, wf.constant([1.0, 2.0], wf.float64)

    y = wf.while_loop(lambda i, *_: i < 2, body, (0, x, x, x))
    with wf.Session() as session:
        _, a, b, c = session.run(y, {x: np.zeros(2)})
    for value in (a, b, c):
        value += 1.0
    assert [a.tolist(), b.tolist(), c.tolist()] == [[2.0, 2.0], [2.0, 2.0], [2.0, 3.0]]


# errors


def divided(where: str, extra: int = 0) -> Any:
    """A loop in which an integer division fails in the third iteration."""

    def condition(i: Any, _: Any) -> Any:
        return wf.floordiv(6, 2 - i, name="tested") > -9 if where == "condition" else i < 5

    def body(i: Any, a: Any) -> Any:
        if where == "body":
            a = a + wf.cast(wf.floordiv(6, 2 - i, name="divided"), wf.float32)
        for _ in range(extra):
            a = wf.sin(a)
        return i + 1, a

    return wf.while_loop(condition, body, (wf.placeholder_with_default(0, ()), 1.0))[1]


@pytest.mark.parametrize("extra", [0, 2 * LENGTH])
@pytest.mark.parametrize(("where", "name"), [("condition", "while/tested"), ("body", "while/divided")])
def test_an_error_names_the_operation_of_the_condition_or_the_body(where: str, name: str, extra: int) -> None:
    y = divided(where, extra)
    with wf.Session() as session:
        for _ in range(2):  # and a loop that failed can run again
            with pytest.raises(wf.errors.InvalidArgumentError, match="ivision by zero") as caught:
                session.run(y)
            assert caught.value.op.name == name
            assert "test_loop_functions.py" in str(caught.value)


def test_an_error_on_the_way_back_names_the_forward_operation() -> None:
    x = wf.placeholder(wf.float32, ())

    @wf.custom_gradient
    def poisoned(a: Any) -> Any:
        return a * 2.0, lambda dy: wf.check_numerics(dy / 0.0, "not finite", name="checked")

    y = wf.while_loop(lambda i, _: i < 3, lambda i, a: (i + 1, poisoned(a)), (0, x))[1]
    with wf.Session() as session, pytest.raises(wf.errors.InvalidArgumentError, match="not finite") as caught:
        session.run(wf.gradients(y, x), {x: 1.0})
    assert "checked" in caught.value.op.name


# ends from outside


@pytest.mark.parametrize("extra", [0, 2 * LENGTH])
def test_close_ends_a_loop(monkeypatch: pytest.MonkeyPatch, extra: int) -> None:
    entered = threading.Event()
    spy(monkeypatch, lambda x: entered.set())

    def body(a: Any) -> Any:
        a = wf.sigmoid(a)
        for _ in range(extra):
            a = wf.sin(a)
        return a

    y = wf.while_loop(lambda a: a < 9.0, body, [wf.placeholder_with_default(0.5, ())])
    session = wf.Session()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(session.run, y)
        assert entered.wait(60)
        session.close()
        with pytest.raises(wf.errors.CancelledError, match="cancelled by an explicit call"):
            running.result(60)


def test_a_loop_that_computes_nothing_can_be_ended() -> None:
    x, y = wf.placeholder(wf.float32, ()), wf.placeholder(wf.bool, ())
    endless = wf.while_loop(lambda a, b: y, lambda a, b: (b, a), (x, x))
    with wf.Session() as session, pytest.raises(wf.errors.DeadlineExceededError):
        session.run(endless, {x: 1.0, y: True}, wf.RunOptions(timeout_in_ms=50))


# several threads


def test_threads_run_a_loop_at_once_each_in_memory_of_its_own() -> None:
    x = wf.placeholder(wf.float64, (50,))
    y = wf.while_loop(lambda i, _: i < 30, lambda i, a: (i + 1, wf.sin(a) + wf.tanh(a)), (0, x))[1]
    (slope,) = wf.gradients(y, x)
    feeds = [np.linspace(0, 1 + k, 50) for k in range(8)]
    with wf.Session() as session:
        call = session.make_callable([y, slope], [x])
        expected = [call(feed) for feed in feeds]
        with ThreadPoolExecutor(4) as pool:
            for _ in range(10):
                for found, right in zip(pool.map(call, feeds), expected, strict=True):
                    np.testing.assert_array_equal(found[0], right[0])
                    np.testing.assert_array_equal(found[1], right[1])
