"""Coordinator and LooperThread: threads stop together, and the first failure is the one that is told."""

import re
import sys
import threading
import time
from typing import Any

import pytest
from weft.graph import errors
from weft.train import Coordinator, LooperThread


def started(function: Any, *args: Any) -> threading.Thread:
    thread = threading.Thread(target=function, args=args, daemon=True)
    thread.start()
    return thread


def test_all_stop_when_one_asks() -> None:
    coord = Coordinator()
    assert not coord.should_stop()
    threads = [started(coord.wait_for_stop) for _ in range(3)]
    started(coord.request_stop)
    coord.join(threads)
    assert coord.should_stop()
    assert coord.joined
    assert not any(thread.is_alive() for thread in threads)


def test_join_raises_the_first_failure() -> None:
    coord = Coordinator()

    def fails(text: str) -> None:
        with coord.stop_on_exception():
            raise ValueError(text)

    first = started(fails, "first")
    first.join()
    second = started(fails, "second")
    with pytest.raises(ValueError, match="first"):
        coord.raise_requested_exception()
    with pytest.raises(ValueError, match="first"):
        coord.join([first, second])


@pytest.mark.parametrize("as_tuple", [False, True])
def test_a_failure_is_given_as_an_exception_or_as_the_interpreter_tells_it(as_tuple: bool) -> None:
    coord = Coordinator()
    try:
        raise KeyError("k")
    except KeyError as error:
        coord.request_stop(sys.exc_info() if as_tuple else error)
    with pytest.raises(KeyError):
        coord.join()


def test_what_is_no_exception_is_told_so() -> None:
    coord = Coordinator()
    coord.request_stop("broken")
    with pytest.raises(ValueError, match="must be an exception"):
        coord.join()


def test_the_end_of_the_input_is_no_failure() -> None:
    coord = Coordinator()
    coord.request_stop(errors.OutOfRangeError(None, None, "end"))
    coord.join()
    assert coord.should_stop()
    strict = Coordinator(clean_stop_exception_types=())
    strict.request_stop(errors.OutOfRangeError(None, None, "end"))
    with pytest.raises(errors.OutOfRangeError):
        strict.join()


def test_after_join_a_failure_is_raised_at_once() -> None:
    coord = Coordinator()
    coord.request_stop()
    coord.join()
    with pytest.raises(ValueError, match="late"):
        coord.request_stop(ValueError("late"))
    coord.request_stop()


def test_clear_stop_begins_anew() -> None:
    coord = Coordinator()
    coord.request_stop(ValueError("old"))
    coord.clear_stop()
    assert not coord.should_stop()
    coord.raise_requested_exception()
    coord.request_stop()
    coord.join()


def test_threads_that_do_not_stop_are_named(caplog: pytest.LogCaptureFixture) -> None:
    coord, end = Coordinator(), threading.Event()
    thread = started(end.wait)
    coord.register_thread(thread)
    coord.request_stop()
    with pytest.raises(RuntimeError, match=re.escape(f"still running: {thread.name}")):
        coord.join(stop_grace_period_secs=0.01)
    with caplog.at_level("INFO", "weft"):
        coord.join([thread], stop_grace_period_secs=0.01, ignore_live_threads=True)
    assert f"still running: {thread.name}" in caplog.text
    end.set()
    thread.join()


def test_join_waits_for_threads_that_end_by_themselves() -> None:
    coord, done = Coordinator(), []

    def work() -> None:
        time.sleep(0.05)
        done.append(1)

    coord.join([started(work)])
    assert done == [1]
    assert not coord.should_stop()


def test_a_looper_calls_until_it_stops() -> None:
    coord, calls = Coordinator(), []

    def call(first: int, second: int = 0) -> None:
        calls.append((first, second))
        if len(calls) == 3:
            coord.request_stop()

    looper = LooperThread.loop(coord, None, call, args=(1,), kwargs={"second": 2})
    coord.join()
    assert not looper.is_alive()
    assert calls == [(1, 2)] * 3


def test_a_looper_on_a_timer_begins_at_once() -> None:
    coord, called = Coordinator(), threading.Event()
    looper = LooperThread(coord, 1000.0, target=called.set)
    looper.start()
    assert called.wait(60)
    coord.request_stop()
    coord.join()
    assert not looper.is_alive()


def test_a_loopers_failure_stops_the_others() -> None:
    coord = Coordinator()

    class Fails(LooperThread):
        def start_loop(self) -> None:
            self.rounds = 0

        def run_loop(self) -> None:
            self.rounds += 1
            if self.rounds == 2:
                raise ArithmeticError("second round")

    Fails(coord, 0.001).start()
    other = started(coord.wait_for_stop)
    with pytest.raises(ArithmeticError, match="second round"):
        coord.join([other])


def test_a_looper_that_was_not_started_keeps_nobody_waiting() -> None:
    coord = Coordinator()
    LooperThread(coord, None, target=coord.request_stop)
    coord.request_stop()
    coord.join()


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="must be a Coordinator"):
        LooperThread(threading, 1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="require that you also pass 'target'"):
        LooperThread(Coordinator(), 1.0, args=(1,))
