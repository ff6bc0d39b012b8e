"""The threads of plans: never too few, used again, and gone when closed."""

import threading
from concurrent.futures import Future
from typing import Any

import pytest
import weft as wf
from clustered import soon
from weft.runtime.execution.device_threads import DeviceThreads

pytestmark = pytest.mark.counts


def named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_jobs_that_wait_for_each_other_all_get_a_thread() -> None:
    threads = DeviceThreads("many")
    barrier = threading.Barrier(600)
    futures = [threads.submit(barrier.wait, 100) for _ in range(600)]
    assert sorted(future.result(timeout=100) for future in futures) == list(range(600))
    threads.close()


def test_threads_are_used_again() -> None:
    threads = DeviceThreads("again")
    for number in range(50):
        assert threads.submit(lambda n=number: n + 1).result(timeout=60) == number + 1
        soon(lambda: bool(threads._idle))  # the thread comes to rest
    assert len(named("again")) == 1
    threads.close()


def test_an_error_reaches_whoever_waits_and_the_thread_goes_on() -> None:
    threads = DeviceThreads("failing")
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 / 0).result(timeout=60)
    assert threads.submit(lambda: 3).result(timeout=60) == 3
    threads.close()


def test_closing_ends_threads_at_rest_at_once_and_busy_ones_when_they_are_done() -> None:
    threads = DeviceThreads("closing")
    go = threading.Event()
    busy: Future[Any] = threads.submit(go.wait, 100)
    threads.close()
    threads.close()
    with pytest.raises(RuntimeError, match="closed"):
        threads.submit(print)
    go.set()
    assert busy.result(timeout=60) is True
    for thread in named("closing"):
        thread.join(timeout=60)
    assert not named("closing")


def test_who_waits_before_it_is_closed_hears_of_it() -> None:
    """As when one thread ends a session while another, that was told so, waits until nothing of it runs any more."""
    threads = DeviceThreads("waited for")
    go, waited = threading.Event(), list[bool]()
    threads.submit(go.wait, 100)
    waiter = threading.Thread(target=lambda: waited.append(threads.wait(600)), daemon=True)
    waiter.start()
    soon(lambda: bool(threads._ended._waiters))  # type: ignore[attr-defined]
    go.set()
    soon(lambda: bool(threads._idle))  # all that was begun is done
    assert waiter.is_alive(), "it is not closed yet"
    threads.close()
    waiter.join(60)
    assert waited == [True]


def test_a_step_over_more_devices_than_any_pool_holds_runs_through() -> None:
    count = 300
    x = wf.placeholder(wf.float32, [])
    total = x
    for device in sorted(range(count), key=str, reverse=True):  # those that others wait for are started last
        with wf.device(f"/cpu:{device}"):
            total = total + x
    with wf.Session(config=wf.ConfigProto(device_count={"CPU": count})) as session:
        assert session.run(total, {x: 1.0}) == count + 1
