"""The life of sessions: closing while a step runs, resetting, nesting, threads that build and run, and thread limits."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import weft as wf
from clustered import soon
from spying import spy
from weft.graph import context
from weft.runtime import session as session_module
from weft.runtime.execution.interrupt import Stopper, current_stopper, interrupt
from weft.runtime.execution.threads import kernel_threads, limit_kernel_threads

CANCELLED = "Step was cancelled by an explicit call to `Session::Close\\(\\)`"


class Gate:
    """Sigmoids that wait: `entered` is set when the first begins; each goes on when `go` is set."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        self.count, self.lock = 0, threading.Lock()

    def wait(self) -> None:
        with self.lock:
            self.count += 1
        self.entered.set()
        assert self.go.wait(60)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Is set when a step has been told that its time is up, or that its session is closed."""
    stop, stopped = Stopper.stop, threading.Event()

    def noted(self: Stopper, error: Exception) -> None:
        stop(self, error)
        stopped.set()

    monkeypatch.setattr(Stopper, "stop", noted)
    return stopped


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    spy(monkeypatch, lambda _: gate.wait())
    return gate


def sigmoids(count: int) -> tuple[wf.Tensor, wf.Tensor]:
    x = wf.placeholder(wf.float32, [], "x")
    y = x
    for _ in range(count):
        y = wf.sigmoid(y)
    return x, y


def close_while_running(sess: wf.Session, gate: Gate, run: Callable[[], Any]) -> BaseException | None:
    """What the run raises when the session is closed while its first sigmoid computes."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        assert gate.entered.wait(60)
        sess.close()
        gate.go.set()
        return running.exception(60)


# closing


def test_a_step_on_one_device_ends_after_the_kernel_that_runs(gate: Gate) -> None:
    x, y = sigmoids(5)
    sess = wf.Session()
    failure = close_while_running(sess, gate, lambda: sess.run(y, {x: 0.0}))
    with pytest.raises(wf.errors.CancelledError, match=CANCELLED):
        raise failure or AssertionError("it ran to its end")
    assert gate.count == 1


def test_a_step_whose_last_kernel_runs_is_cancelled_too(gate: Gate) -> None:
    x, y = sigmoids(1)
    sess = wf.Session()
    failure = close_while_running(sess, gate, lambda: sess.run(y, {x: 0.0}))
    assert isinstance(failure, wf.errors.CancelledError)


def test_steps_over_several_devices(gate: Gate) -> None:
    with wf.device("/cpu:1"):
        x, y = sigmoids(3)
    with wf.device("/cpu:0"):
        z = wf.sigmoid(y)
    sess = wf.Session(config=wf.ConfigProto(device_count={"CPU": 2}))
    failure = close_while_running(sess, gate, lambda: sess.run(z, {x: 0.0}))
    assert isinstance(failure, wf.errors.CancelledError)
    assert gate.count == 1


def test_callables_partial_runs_and_traces(gate: Gate) -> None:
    x, y = sigmoids(3)
    runs: list[Callable[[wf.Session], Callable[[], Any]]] = [
        lambda sess: lambda: sess.make_callable(y, [x])(0.0),
        lambda sess: lambda: sess.partial_run(sess.partial_run_setup(y, [x]), y, {x: 0.0}),
        lambda sess: lambda: sess.run(y, {x: 0.0}, wf.RunOptions(trace_level=3), wf.RunMetadata()),
        lambda sess: lambda: sess.run(y, {x: 0.0}, wf.RunOptions(timeout_in_ms=60_000)),
    ]
    for make in runs:
        gate.entered.clear()
        gate.go.clear()
        gate.count = 0
        sess = wf.Session()
        assert isinstance(close_while_running(sess, gate, make(sess)), wf.errors.CancelledError)
        assert gate.count == 1


def test_closing_twice_and_from_several_threads() -> None:
    sess = wf.Session()
    sess.run(wf.random_uniform([]))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: sess.close(), range(8)))
    sess.close()
    with pytest.raises(RuntimeError, match="Attempted to use a closed Session"):
        sess.run(wf.random_uniform([]))
    with pytest.raises(RuntimeError, match="Attempted to use a closed Session"):
        sess.make_callable(wf.random_uniform([]))


def test_a_callable_of_a_closed_session() -> None:
    sess = wf.Session()
    call = sess.make_callable(wf.random_uniform([]))
    call()
    sess.close()
    with pytest.raises(RuntimeError, match="Attempted to use a closed Session"):
        call()


def test_many_threads_run_while_one_closes() -> None:
    x = wf.placeholder(wf.float32, [64, 64])
    y = x
    for _ in range(30):
        y = wf.matmul(y, x)
    sess = wf.Session()
    fed = {x: np.eye(64)}
    sess.run(y, fed)

    def run(_: int) -> str:
        try:
            for _ in range(100_000):
                sess.run(y, fed)
        except (wf.errors.CancelledError, RuntimeError) as error:
            return type(error).__name__
        return "never ended"

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(run, number) for number in range(4)]
        time.sleep(0.05)
        sess.close()
        assert {future.result(60) for future in running} <= {"CancelledError", "RuntimeError"}


# timeouts


def test_a_timeout_ends_a_step_after_the_kernel_that_runs(gate: Gate, stopped: threading.Event) -> None:
    x, y = sigmoids(5)
    with wf.Session() as sess, ThreadPoolExecutor(1) as pool:
        running = pool.submit(sess.run, y, {x: 0.0}, wf.RunOptions(timeout_in_ms=500))
        assert gate.entered.wait(60)
        assert stopped.wait(60)
        gate.go.set()
        with pytest.raises(wf.errors.DeadlineExceededError, match=r"longer than 0\.5 s"):
            running.result(60)
        assert gate.count == 1
        assert 0.5 < sess.run(y, {x: 0.0}) < 1.0
        assert gate.count == 6


def test_a_timeout_ends_one_step_and_not_another_of_the_same_plan(gate: Gate, stopped: threading.Event) -> None:
    x, y = sigmoids(3)
    with wf.Session() as sess, ThreadPoolExecutor(2) as pool:
        short = pool.submit(sess.run, y, {x: 0.0}, wf.RunOptions(timeout_in_ms=500))
        long = pool.submit(sess.run, y, {x: 0.0})
        soon(lambda: gate.count == 2)  # both run
        assert stopped.wait(60)
        gate.go.set()
        assert isinstance(short.exception(60), wf.errors.DeadlineExceededError)
        assert 0.5 < long.result(60) < 1.0


def function_over(kernel: Callable[[int], Any]) -> Callable[[], Any]:
    """As the function of a plan: it finds its kernel in globals of its own."""
    step: Callable[[], Any] = eval("lambda: [kernel(1), kernel(2)]", {"kernel": kernel})
    return step


def test_what_is_interrupted_stays_so() -> None:
    calls: list[int] = []
    step = function_over(calls.append)
    step()
    interrupt(step, wf.errors.CancelledError(None, None, "enough"))
    with pytest.raises(wf.errors.CancelledError, match="enough"):
        step()
    assert calls == [1, 2]


def test_a_stopper_ends_what_runs_and_what_comes_but_not_what_has_ended() -> None:
    def make() -> Callable[[], Any]:
        return function_over(abs)

    before, during, later = make(), make(), make()
    stopper = Stopper()
    stopper.begin(before)
    assert stopper.end(before)
    stopper.begin(during)
    stopper.stop(ValueError("stop"))
    stopper.begin(later)
    assert before() == [1, 2]
    for frame in (during, later):
        with pytest.raises(ValueError, match="stop"):
            frame()
        assert not stopper.end(frame)


def test_kernels_know_what_ends_their_step(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    spy(monkeypatch, lambda _: seen.append(current_stopper()))
    x, y = sigmoids(1)
    with wf.Session() as sess:
        sess.run(y, {x: 0.0})
        sess.run(y, {x: 0.0}, wf.RunOptions(timeout_in_ms=10_000))
        assert current_stopper() is None
    assert all(isinstance(stopper, Stopper) for stopper in seen)
    assert seen[0] is not seen[1]


# resetting


def test_reset_ends_all_sessions_of_this_process() -> None:
    v = wf.Variable(1.0)
    one, two = wf.Session(), wf.Session()
    call = two.make_callable(v.read_value())
    for sess in (one, two):
        sess.run(v.initializer)
    wf.Session.reset("", ["a container"])
    for sess in (one, two):
        with pytest.raises(wf.errors.CancelledError, match=r"Session has been closed\."):
            sess.run(v)
    with pytest.raises(wf.errors.CancelledError, match=r"Session has been closed\."):
        call()
    one.close()
    with pytest.raises(RuntimeError, match="closed Session"):
        one.run(v)
    with wf.Session() as new, pytest.raises(wf.errors.FailedPreconditionError, match="uninitialized value"):
        new.run(v)


def test_reset_of_other_targets() -> None:
    with wf.Session() as sess:
        with pytest.raises(wf.errors.NotFoundError, match="No session factory for target 'nobody://here'"):
            wf.Session.reset("nobody://here")
        assert sess.run(wf.constant(1.0)) == 1.0


def test_sessions_that_are_gone_are_forgotten() -> None:
    sess = wf.Session()
    assert sess in session_module._open
    del sess
    assert not [s for s in session_module._open if s.graph is wf.get_default_graph()]


# nesting


def test_a_session_is_entered_once_at_a_time() -> None:
    x = wf.constant(1.0)
    with wf.Session() as sess:
        with pytest.raises(RuntimeError, match="Session context managers are not re-entrant"):
            sess.__enter__()
        assert sess.run(x) == 1.0
        assert context.get_default_session() is sess
    with sess, pytest.raises(RuntimeError, match="closed Session"):
        sess.run(x)
    assert context.get_default_session() is None


def test_as_default_nests_in_any_way() -> None:
    one, two = wf.Session(), wf.Session()
    with one.as_default(), two.as_default():
        with one.as_default():
            assert context.get_default_session() is one
        assert context.get_default_session() is two
        with one.as_default(), one.as_default():
            pass
        assert context.get_default_session() is two
    one.close()
    two.close()


def test_closing_inside_the_block() -> None:
    with wf.Session() as sess:
        sess.close()
    sess.close()
    assert context.get_default_session() is None


def test_interactive_sessions_end_in_any_order() -> None:
    first, second = wf.Graph(), wf.Graph()
    one = wf.InteractiveSession(graph=first)
    with pytest.warns(UserWarning, match="An interactive session is already active"):
        two = wf.InteractiveSession(graph=second)
    assert wf.get_default_graph() is second
    one.close()
    assert wf.get_default_graph() is second
    assert context.get_default_session() is two
    two.close()
    two.close()
    assert context.get_default_session() is None
    assert wf.get_default_graph() not in (first, second)


# threads


def test_threads_build_and_run_in_one_graph_at_once() -> None:
    graph = wf.get_default_graph()
    x = wf.placeholder(wf.float32, [], "x")
    with wf.Session() as sess:

        def work(number: int) -> list[float]:
            found = []
            with graph.as_default():
                y = x
                for step in range(15):
                    y = y + float(number)
                    found.append(sess.run(y, {x: float(step)}))
            return found

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(work, range(16)))
    assert results == [[step + number * (step + 1.0) for step in range(15)] for number in range(16)]
    names = [operation.name for operation in graph.get_operations()]
    assert len(set(names)) == len(names)


def test_a_long_plan_in_the_making_keeps_no_other_run_waiting(gate: Gate) -> None:
    """Sigmoid of a constant is folded, so making its plan waits at the gate."""
    folded = wf.sigmoid(wf.constant(1.0))
    x = wf.placeholder(wf.float32, [])
    y = x + 1.0
    with wf.Session() as sess, ThreadPoolExecutor(1) as pool:
        assert sess.run(y, {x: 1.0}) == 2.0
        making = pool.submit(sess.run, folded)
        assert gate.entered.wait(60)
        assert sess.run(y, {x: 2.0}) == 3.0
        assert not making.done()
        gate.go.set()
        assert making.result(60) == pytest.approx(0.7310586)


def test_the_same_first_run_in_many_threads_makes_one_plan() -> None:
    x = wf.placeholder(wf.float32, [None])
    y = wf.reduce_sum(x * 2.0)
    with wf.Session() as sess, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: sess.run(y, {x: [1.0, 2.0]}), range(32))) == [6.0] * 32
        (prepared,) = sess._prepared.values()
        assert len(prepared.loaded) == 1


# calls that were seen before


def test_equal_looking_fetches_are_told_apart() -> None:
    x = wf.constant(2.0) + wf.random_uniform([]) * 0.0
    with wf.Session() as sess:
        for fetches in ([x], (x,), [[x]], {"a": x}, {1: x}, {True: x}, {1.0: x}, [x, x], x.name, x):
            for _ in range(2):
                found = sess.run(fetches)
                assert repr(found) == repr(_with_values(fetches))
        assert len(sess._calls) == 10
        assert len(sess._prepared) == 1


def _with_values(fetches: Any) -> Any:
    if isinstance(fetches, dict):
        return {key: _with_values(value) for key, value in fetches.items()}
    if isinstance(fetches, (list, tuple)):
        return type(fetches)(_with_values(value) for value in fetches)
    return np.float32(2.0)


def test_a_list_that_changes_between_runs() -> None:
    a, b = wf.random_uniform([]) * 0.0, wf.random_uniform([]) * 0.0 + 1.0
    fetches, feeds = [a], {a: 5.0}
    with wf.Session() as sess:
        assert sess.run(fetches) == [0.0]
        fetches.append(b)
        assert sess.run(fetches) == [0.0, 1.0]
        assert sess.run(fetches, feeds) == [5.0, 1.0]
        feeds[b] = 7.0
        assert sess.run(fetches, feeds) == [5.0, 7.0]
        assert sess.run(fetches, dict(reversed(feeds.items()))) == [5.0, 7.0]


def test_a_feed_is_checked_at_every_run() -> None:
    x = wf.placeholder(wf.float32, [])
    y = x + 1.0
    with wf.Session() as sess:
        for _ in range(2):
            assert sess.run(y, {x: 1.0}) == 2.0
            with pytest.raises(ValueError, match="Cannot feed value of shape"):
                sess.run(y, {x: [1.0]})
            with pytest.raises(TypeError, match=r"cannot be a wf\.Tensor"):
                sess.run(y, {x: y})


@pytest.mark.parametrize("value", [1e39, -1e39, float("inf"), float("nan"), 1e-50, 3.4e38, 0.1])
@pytest.mark.parametrize("dtype", [wf.float32, wf.float64, wf.float16], ids=str)
def test_single_numbers_are_rounded_as_arrays_are(value: float, dtype: Any) -> None:
    x = wf.placeholder(dtype, [])
    with wf.Session() as sess:
        found = sess.run(x + 0.0, {x: value})
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(found, np.array([value]).astype(dtype.np)[0])
        assert found.dtype == dtype.np


def test_more_requests_than_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "REQUESTS_KEPT", 4)
    x = wf.placeholder(wf.float32, [])
    ys = [x + float(number) for number in range(12)]
    with wf.Session() as sess:
        for _ in range(2):
            for number, y in enumerate(ys):
                assert sess.run(y, {x: 1.0}) == number + 1.0
        assert len(sess._prepared) == 4
        assert len(sess._calls) <= 4


# callables


def test_the_forms_of_feed_lists() -> None:
    a, b = wf.placeholder(wf.float32, [], "a"), wf.placeholder(wf.float32, [2], "b")
    y = a * b
    with wf.Session() as sess:
        assert sess.make_callable({"y": [y], "a": a}, [a, "b:0"])(2.0, [1.0, 2.0])["y"][0].tolist() == [2.0, 4.0]
        assert sess.make_callable(y, (b, a))([1.0, 2.0], 3.0).tolist() == [3.0, 6.0]
        assert sess.make_callable(y.op, [a, b])(1.0, [0.0, 0.0]) is None
        assert sess.make_callable([a, b], [a, b])(1.0, [0.0, 0.0])[0] == 1.0
        assert sess.make_callable(y.name, [y])([5.0, 6.0]).tolist() == [5.0, 6.0]
        assert sess.make_callable(wf.constant(3.0))() == 3.0


def test_callables_that_do_not_fit() -> None:
    a = wf.placeholder(wf.float32, [2], "a")
    y = a + 1.0
    with wf.Session() as sess:
        with pytest.raises(TypeError, match="`feed_list` must be a list or tuple"):
            sess.make_callable(y, a)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="Cannot interpret feed_dict key as Tensor"):
            sess.make_callable(y, ["nothing:0"])
        with pytest.raises(TypeError, match="this callable takes 1 feeds, got 2"):
            sess.make_callable(y, [a])(1.0, 2.0)
        with pytest.raises(ValueError, match="Cannot feed value of shape"):
            sess.make_callable(y, [a])([1.0, 2.0, 3.0])
        with pytest.raises(wf.errors.InvalidArgumentError, match="You must feed a value for placeholder tensor 'a'"):
            sess.make_callable(y)()


# the threads of kernels


@pytest.fixture
def same_threads_afterwards() -> Iterator[int]:
    before = kernel_threads()
    yield before
    limit_kernel_threads(before)


@pytest.mark.skipif(kernel_threads() < 2, reason="there is one core here")
def test_the_limit_of_kernel_threads_is_the_processs(same_threads_afterwards: int) -> None:
    with wf.Session(config=wf.ConfigProto(intra_op_parallelism_threads=1)):
        assert kernel_threads() == 1
        with wf.Session():
            assert kernel_threads() == 1
    assert kernel_threads() == 1
    with wf.Session(config=wf.ConfigProto(intra_op_parallelism_threads=same_threads_afterwards)):
        assert kernel_threads() == same_threads_afterwards


def test_no_limit_changes_nothing(same_threads_afterwards: int) -> None:
    with wf.Session(config=wf.ConfigProto(intra_op_parallelism_threads=0, inter_op_parallelism_threads=7)):
        assert kernel_threads() == same_threads_afterwards
