"""Coordinators, queue runners and input through queues, as TensorFlow 1 programs use them."""

import threading
import time
from collections import Counter
from typing import Any, cast

import numpy as np
import pytest
import weft as wf

DATA = np.arange(10, dtype=np.float32)


def started(session: wf.Session) -> tuple[wf.train.Coordinator, list[threading.Thread]]:
    session.run([wf.global_variables_initializer(), wf.local_variables_initializer()])
    coord = wf.train.Coordinator()
    return coord, wf.train.start_queue_runners(session, coord)


def everything(*fetches: Any) -> list[list[Any]]:
    """All that each fetch gives until its input is at an end."""
    found: list[list[Any]] = []
    with wf.Session() as session:
        coord, threads = started(session)
        for fetch in fetches:
            found.append([])
            try:
                while not coord.should_stop():
                    found[-1].append(session.run(fetch))
            except wf.errors.OutOfRangeError as error:
                assert "is closed and has insufficient elements" in str(error)  # noqa: PT017
        coord.request_stop()
        coord.join(threads, stop_grace_period_secs=60)
        assert not any(thread.is_alive() for thread in threads)
    return found


# coordinators


def test_the_first_error_stops_all_and_is_raised_by_join() -> None:
    coord = wf.train.Coordinator()

    def fail() -> None:
        with coord.stop_on_exception():
            raise ValueError("first")

    def wait() -> None:
        assert coord.wait_for_stop(60)
        coord.request_stop(ValueError("second"))

    threads = [threading.Thread(target=each) for each in (wait, fail)]
    coord.register_thread(threads[0])
    for thread in threads:
        thread.start()
    with pytest.raises(ValueError, match="first"):
        coord.join(threads[1:])
    assert coord.joined
    assert coord.should_stop()
    with pytest.raises(ValueError, match="first"):
        coord.raise_requested_exception()
    with pytest.raises(ValueError, match="late"):
        coord.request_stop(ValueError("late"))
    coord.clear_stop()
    assert not coord.should_stop()
    coord.join()


def test_the_end_of_the_input_is_no_error() -> None:
    coord = wf.train.Coordinator()
    coord.request_stop(wf.errors.OutOfRangeError(None, None, "all read"))
    coord.join()
    strict = wf.train.Coordinator(clean_stop_exception_types=())
    strict.request_stop(wf.errors.OutOfRangeError(None, None, "all read"))
    with pytest.raises(wf.errors.OutOfRangeError):
        strict.join()


def test_threads_that_do_not_end_are_named() -> None:
    coord, go = wf.train.Coordinator(), threading.Event()
    thread = threading.Thread(target=go.wait, name="stubborn")
    thread.start()
    coord.request_stop()
    with pytest.raises(RuntimeError, match="threads still running: stubborn"):
        coord.join([thread], stop_grace_period_secs=0.05)
    coord.join([thread], stop_grace_period_secs=0.05, ignore_live_threads=True)
    go.set()
    thread.join()


def test_a_looper_calls_until_it_is_stopped_or_fails() -> None:
    coord, calls = wf.train.Coordinator(), Counter[str]()

    def count(name: str, most: int) -> None:
        calls[name] += 1
        if calls[name] >= most and calls["timed"]:
            raise KeyError(name)

    looper = wf.train.LooperThread.loop(coord, None, count, ("fast",), {"most": 5})
    timed = wf.train.LooperThread.loop(coord, 0.001, count, ("timed", 10**9))
    with pytest.raises(KeyError, match="fast"):
        coord.join([looper, timed])
    assert calls["fast"] >= 5
    with pytest.raises(ValueError, match="target"):
        wf.train.LooperThread(coord, None, args=(1,))
    with pytest.raises(ValueError, match="Coordinator"):
        wf.train.LooperThread(None, None)  # type: ignore[arg-type]


# queue runners


def test_a_runner_fills_its_queue_and_closes_it_at_the_end() -> None:
    queue = wf.FIFOQueue(3, wf.float32, shapes=[()])
    count = wf.Variable(0.0)
    enqueue = queue.enqueue(wf.train.limit_epochs(count.assign_add(1.0), 7))
    runner = wf.train.QueueRunner(queue, [enqueue, enqueue])
    wf.train.add_queue_runner(runner)
    assert runner.name == queue.name
    assert runner.queue_closed_exception_types == (wf.errors.OutOfRangeError,)
    (found,) = everything(queue.dequeue())
    assert len(found) == 7


def test_a_runner_without_a_coordinator_keeps_its_errors() -> None:
    queue = wf.FIFOQueue(3, wf.float32, shapes=[()])
    runner = wf.train.QueueRunner(queue, [queue.enqueue(wf.check_numerics(wf.constant(np.nan), "bad"))])
    with wf.Session() as session:
        for thread in runner.create_threads(session, start=True):
            thread.join(60)
        assert isinstance(runner.exceptions_raised[0], wf.errors.InvalidArgumentError)
        coord = wf.train.Coordinator()
        threads = runner.create_threads(session, coord, start=True)
        assert len(threads) == 2
        with pytest.raises(wf.errors.InvalidArgumentError, match="bad"):
            coord.join()
        assert runner.exceptions_raised == []


def test_threads_that_run_are_not_made_again() -> None:
    queue = wf.FIFOQueue(1, wf.float32, shapes=[()])
    runner = wf.train.QueueRunner(queue, [queue.enqueue(1.0)])
    with wf.Session() as session:
        coord = wf.train.Coordinator()
        threads = runner.create_threads(session, coord, start=True)
        assert runner.create_threads(session, coord) == []
        coord.request_stop()
        coord.join(threads, stop_grace_period_secs=60)


def test_runners_are_described_and_made_again() -> None:
    queue = wf.FIFOQueue(1, wf.float32, shapes=[()], name="scope/q")
    runner = wf.train.QueueRunner(queue, [queue.enqueue(1.0, name="scope/put")], queue.close(name="scope/c"),
                                  queue.close(True, name="scope/cc"))  # fmt: skip
    described = runner.to_proto()
    assert described is not None
    again = wf.train.QueueRunner.from_proto(described)
    assert (again.enqueue_ops, again.close_op, again.cancel_op) == (
        runner.enqueue_ops,
        runner.close_op,
        runner.cancel_op,
    )
    assert again.name == "scope/q"
    assert runner.to_proto("other") is None
    stripped = runner.to_proto("scope")
    assert stripped is not None
    assert stripped["enqueue_op_name"] == ["put"]
    assert wf.train.QueueRunner(queue_runner_def=stripped, import_scope="scope").name == "scope/q"


def test_wrong_runners_are_refused() -> None:
    queue, not_errors = wf.FIFOQueue(1, wf.float32), cast(Any, (ValueError,))
    for error, build, message in [
        (ValueError, lambda: wf.train.QueueRunner(queue, []), "Must provide queue and enqueue_ops"),
        (
            TypeError,
            lambda: wf.train.QueueRunner(queue, [wf.no_op()], queue_closed_exception_types=not_errors),
            "errors",
        ),
        (ValueError, lambda: wf.train.QueueRunner(queue, [wf.no_op()], queue_runner_def={}), "mutually exclusive"),
        (ValueError, lambda: wf.train.start_queue_runners(), "No default session"),
        (TypeError, lambda: wf.train.start_queue_runners(3), "must be a `wf.Session`"),
    ]:
        with pytest.raises(error, match=message):
            build()  # type: ignore[no-untyped-call]


# input


def test_slices_come_together_and_each_once_an_epoch() -> None:
    x, y = wf.train.slice_input_producer([DATA, DATA * 2], num_epochs=2, seed=3)
    (batches,) = everything(wf.train.batch([x, y], 4, allow_smaller_final_batch=True))
    xs, ys = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert [len(each) for each, _ in batches] == [4, 4, 4, 4, 4]
    np.testing.assert_array_equal(ys, xs * 2)
    assert sorted(xs[:10]) == sorted(xs[10:]) == list(DATA)
    assert list(xs[:10]) != list(DATA)


def test_the_last_batch_may_be_smaller_or_is_dropped() -> None:
    numbers = [wf.train.range_input_producer(10, 1, shuffle=False).dequeue() for _ in range(2)]
    kept, dropped = everything(
        wf.train.batch({"n": numbers[0]}, 4, allow_smaller_final_batch=True), wf.train.batch([numbers[1]], 4)
    )
    assert [list(each["n"]) for each in kept] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [list(each) for each in dropped] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_strings_go_through_queues() -> None:
    found = everything(wf.train.string_input_producer(["a", "b"], num_epochs=2, shuffle=False).dequeue())
    assert found == [[b"a", b"b", b"a", b"b"]]
    with pytest.raises(ValueError, match="requires a non-null input tensor"):
        wf.train.string_input_producer([])


def test_only_what_is_to_be_kept_goes_in() -> None:
    number = wf.train.range_input_producer(10, 1, shuffle=False).dequeue()
    many = wf.train.input_producer(np.arange(12).reshape(3, 4), num_epochs=1, shuffle=False).dequeue()
    one, several = everything(
        wf.train.maybe_batch([number], wf.equal(number % 2, 0), 5),
        wf.train.maybe_batch([many], many > 4, 7, enqueue_many=True),
    )
    assert [list(each) for each in one] == [[0, 2, 4, 6, 8]]
    assert [list(each) for each in several] == [[5, 6, 7, 8, 9, 10, 11]]


def test_several_lists_are_joined_and_shorter_elements_filled_up() -> None:
    wf.set_random_seed(1)
    numbers = [wf.train.range_input_producer(4, 1, shuffle=False).dequeue() for _ in range(2)]
    lists = [[wf.range(number)] for number in numbers]
    (batches,) = everything(wf.train.batch_join(lists, 4, dynamic_pad=True))
    rows = [list(row) for each in batches for row in each]
    assert sorted(sum(row) for row in rows) == [0, 0, 0, 0, 1, 1, 3, 3]


def test_shuffled_batches_have_each_element_once() -> None:
    number = wf.train.range_input_producer(20, 1, shuffle=False).dequeue()
    (batches,) = everything(wf.train.shuffle_batch([number], 5, capacity=12, min_after_dequeue=6, seed=4))
    found = [int(each) for part in batches for each in part]
    assert sorted(found) == list(range(20))
    assert found != sorted(found)


def test_epochs_are_counted() -> None:
    limited = wf.train.limit_epochs(wf.constant(3), 2)
    assert [v.op.name for v in wf.local_variables()] == ["limit_epochs/epochs"]
    with wf.Session() as session:
        session.run(wf.local_variables_initializer())
        assert [session.run(limited) for _ in range(2)] == [3, 3]
        with pytest.raises(wf.errors.OutOfRangeError):
            session.run(limited)
    with pytest.raises(ValueError, match="num_epochs must be > 0"):
        wf.train.limit_epochs(wf.constant(3), 0)


def test_wrong_input_is_refused() -> None:
    unknown = wf.placeholder(wf.float32)
    for error, build, message in [
        (ValueError, lambda: wf.train.input_producer(wf.placeholder(wf.float32, [3, None])), "element_shape"),
        (ValueError, lambda: wf.train.slice_input_producer([]), "at least one tensor"),
        (ValueError, lambda: wf.train.batch([], 3), "at least one tensor"),
        (ValueError, lambda: wf.train.batch([unknown], 3), "Cannot infer Tensor's rank"),
        (ValueError, lambda: wf.train.maybe_batch([wf.constant(1)], [True], 3), "cannot be a vector"),
        (TypeError, lambda: wf.train.batch_join([[wf.constant(1)], [wf.constant(1.0)]], 3), "types to be consistent"),
        (TypeError, lambda: wf.train.batch([wf.SparseTensor([[0]], [1.0], [1])], 3), "Sparse tensors do not go"),
    ]:
        with pytest.raises(error, match=message):
            build()  # type: ignore[no-untyped-call]


def test_stopping_early_ends_all_threads() -> None:
    batch = wf.train.batch([wf.train.range_input_producer(10).dequeue()], 3)
    with wf.Session() as session:
        coord, threads = started(session)
        session.run(batch)
        time.sleep(0.05)
        coord.request_stop()
        coord.join(threads, stop_grace_period_secs=60)
        assert not any(thread.is_alive() for thread in threads)
