"""Queues and accumulators in sessions: what a program sees, in threads, on devices, in branches and loops."""

import re
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import weft as wf
from endpoints import in_background
from weft.graph.waiting import current
from weft.runtime.execution.rendezvous import Rendezvous

CPU0, CPU1 = "/device:CPU:0", "/device:CPU:1"
TWO = wf.ConfigProto(device_count={"CPU": 2})
SOON = wf.RunOptions(timeout_in_ms=1000)


def scalars(capacity: int = 10, **more: Any) -> wf.FIFOQueue:
    return wf.FIFOQueue(capacity, wf.int32, shapes=[()], **more)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def waiting(session: wf.Session) -> list[str]:
    """What the session's steps wait for."""
    engine: Any = session._engine
    stoppers = [engine._stopper, *(step.stopper for step in list(engine._running))]
    return [each for stopper in stoppers for each in stopper.ending.described()]


# what a queue is


def test_queues_are_what_tensorflow_says() -> None:
    queue = wf.FIFOQueue(3, [wf.float32, wf.int32], shapes=[(), (2,)], names=["a", "b"], shared_name="s", name="x/qq")
    assert (queue.name, queue.names, queue.dtypes) == ("qq", ["a", "b"], [wf.float32, wf.int32])
    assert queue.shapes == [wf.TensorShape([]), wf.TensorShape([2])]
    assert (queue.queue_ref.op.type, queue.queue_ref.dtype) == ("FIFOQueueV2", wf.resource)
    one, many, up_to = queue.dequeue(), queue.dequeue_many(4), queue.dequeue_up_to(4)
    assert {name: tensor.shape.as_list() for name, tensor in one.items()} == {"a": [], "b": [2]}
    assert {name: tensor.shape.as_list() for name, tensor in many.items()} == {"a": [4], "b": [4, 2]}
    assert {name: tensor.shape.as_list() for name, tensor in up_to.items()} == {"a": [None], "b": [None, 2]}
    assert [one["a"].op.name, many["a"].op.name, up_to["a"].op.name] == [
        "qq_Dequeue",
        "qq_DequeueMany",
        "qq_DequeueUpTo",
    ]
    made = queue.enqueue({"a": 1.0, "b": [1, 2]})
    assert (made.name, made.type) == ("qq_enqueue", "QueueEnqueueV2")
    assert queue.enqueue_many({"a": [1.0], "b": [[1, 2]]}).name == "qq_EnqueueMany"
    assert [queue.size().op.name, queue.close().name, queue.is_closed().dtype] == ["qq_Size", "qq_Close", wf.bool]
    assert wf.queue.FIFOQueue is wf.FIFOQueue
    assert isinstance(queue, wf.QueueBase)
    assert wf.FIFOQueue(3, wf.float32).dequeue().shape.ndims is None


def test_what_is_enqueued_must_be_of_the_queues_components() -> None:
    named = wf.FIFOQueue(3, [wf.float32], names=["a"])
    plain = wf.FIFOQueue(3, [wf.float32, wf.int32], shapes=[(2,), ()])
    for error, build, message in [
        (ValueError, lambda: named.enqueue([1.0]), "must enqueue a dictionary"),
        (ValueError, lambda: named.enqueue({"b": 1.0}), "do not match names of Queue"),
        (ValueError, lambda: plain.enqueue({"a": 1.0}), "must have names"),
        (ValueError, lambda: plain.enqueue([[1.0, 2.0]]), "has 2 components, got 1"),
        (ValueError, lambda: plain.enqueue([[1.0, 2.0, 3.0], 1]), r"Shapes \(3,\) and \(2,\) are incompatible"),
        (ValueError, lambda: plain.enqueue_many([[[1.0, 2.0]], [1, 2]]), "Dimensions 1 and 2 are not compatible"),
        (ValueError, lambda: plain.enqueue_many([1.0, 2]), r"Shapes \(\) and \(2,\) are incompatible"),
        (ValueError, lambda: plain.enqueue([wf.constant([1, 2]), 1]), "requested dtype float32"),
        (TypeError, lambda: plain.enqueue(["s", 1]), "float32"),
        (ValueError, lambda: wf.FIFOQueue(3, [wf.float32], shapes=[(), ()]), r"len\(shapes\)=2, len\(dtypes\)=1"),
        (ValueError, lambda: wf.FIFOQueue(3, [wf.float32], names=["a", "b"]), r"len\(names\)=2,len\(dtypes\)=1"),
        (ValueError, lambda: wf.FIFOQueue(3, [wf.float32], shapes=[(None,)]), "must be fully defined"),
        (ValueError, lambda: wf.PaddingFIFOQueue(3, [wf.float32], shapes=None), "a list of shapes must be provided"),
        (TypeError, lambda: wf.QueueBase.from_list(0, [plain, 1]), "A list of queues expected"),
        (TypeError, lambda: wf.QueueBase.from_list(0, [plain, named]), "matching component dtypes"),
    ]:
        with pytest.raises(error, match=message):
            build()  # type: ignore[no-untyped-call]


def test_all_kinds_of_queues_give_what_went_in() -> None:
    shuffled = wf.RandomShuffleQueue(10, 0, wf.int32, shapes=[()], seed=3)
    padded = wf.PaddingFIFOQueue(10, wf.float32, shapes=[(None,)])
    ordered = wf.PriorityQueue(10, wf.string, shapes=[()])
    row = wf.placeholder(wf.float32, [None])
    with wf.Session() as session:
        session.run(shuffled.enqueue_many([list(range(6))]))
        assert sorted(session.run(shuffled.dequeue_many(6))) == list(range(6))
        for values in ([1.0], [2.0, 3.0]):
            session.run(padded.enqueue([row]), {row: values})
        assert session.run(padded.dequeue_many(2)).tolist() == [[1, 0], [2, 3]]
        session.run(ordered.enqueue_many([[3, 1, 2], ["c", "a", "b"]]))
        keys, words = session.run(ordered.dequeue_many(3))
        assert (keys.tolist(), words.tolist()) == ([1, 2, 3], [b"a", b"b", b"c"])


def test_a_seed_gives_one_order_in_every_session() -> None:
    queue = wf.RandomShuffleQueue(50, 0, wf.int32, shapes=[()], seed=3)
    put, take = queue.enqueue_many([list(range(20))]), queue.dequeue_many(20)

    def order() -> list[int]:
        with wf.Session() as session:
            session.run(put)
            return list(session.run(take))

    first = order()
    assert order() == first
    assert first != sorted(first)


def test_one_of_several_queues_is_chosen_in_each_run() -> None:
    queues = [scalars(name="a"), scalars(name="b")]
    which = wf.placeholder(wf.int32, [])
    chosen = wf.QueueBase.from_list(which, queues)
    assert chosen.shapes == [wf.TensorShape([])]
    with wf.Session() as session:
        session.run(chosen.enqueue(5), {which: 1})
        assert session.run([queue.size() for queue in queues]) == [0, 1]
        with pytest.raises(wf.errors.InvalidArgumentError, match="there are 2 queues"):
            session.run(chosen.size(), {which: 2})


def test_a_shared_name_is_one_queue_and_other_settings_are_refused() -> None:
    first, second = scalars(3, shared_name="s"), scalars(3, shared_name="s", name="other")
    for make, message in [
        (lambda: scalars(4, shared_name="s"), "Shared queue 's' has capacity 3 but requested capacity was 4"),
        (lambda: wf.FIFOQueue(3, wf.float32, shapes=[()], shared_name="s"), "component types int32"),
        (lambda: wf.FIFOQueue(3, wf.int32, shared_name="s"), r"component shapes \[\[\]\]"),
        (lambda: wf.RandomShuffleQueue(3, 0, wf.int32, shapes=[()], shared_name="s"), "Expected a ShuffleQueue"),
    ]:
        with wf.Session() as session:
            session.run(first.enqueue(7))
            with pytest.raises(wf.errors.InvalidArgumentError, match=message):
                session.run(make().size())  # type: ignore[no-untyped-call]
            assert session.run(second.dequeue()) == 7


def test_sessions_of_this_process_have_queues_of_their_own() -> None:
    queue = scalars(shared_name="s")
    with wf.Session() as one, wf.Session() as other:
        one.run(queue.enqueue(1))
        assert (one.run(queue.size()), other.run(queue.size())) == (1, 0)


def test_gradients_stop_at_queues() -> None:
    queue = wf.FIFOQueue(2, wf.float32, shapes=[()])
    x = wf.constant(2.0)
    with wf.control_dependencies([queue.enqueue(x)]):
        y = queue.dequeue() * x
    assert wf.gradients(y, [queue.queue_ref]) == [None]
    with wf.Session() as session:
        assert session.run(wf.gradients(y, [x])) == [2.0]


def test_queues_need_a_graph() -> None:
    wf.reset_default_graph()
    wf.enable_eager_execution()
    with pytest.raises(RuntimeError, match="eager"):
        scalars()
    with pytest.raises(RuntimeError, match="eager"):
        wf.ConditionalAccumulator(wf.float32)


# waiting


def test_a_dequeue_waits_for_another_thread() -> None:
    queue = scalars()
    take, put = queue.dequeue_many(2), queue.enqueue(4)
    with wf.Session() as session:
        result = in_background(session.run, take)
        until(lambda: waiting(session))
        assert "to dequeue 2 elements (in FIFOQueue 'fifo_queue'" in waiting(session)[0]
        session.run(put)
        session.run(put)
        assert result().tolist() == [4, 4]


def test_an_enqueue_waits_for_room() -> None:
    queue = scalars(1)
    put, take = queue.enqueue(4), queue.dequeue()
    with wf.Session() as session:
        session.run(put)
        result = in_background(session.run, put)
        until(lambda: waiting(session))
        assert session.run(take) == 4
        result()
        assert session.run(queue.size()) == 1


@pytest.mark.parametrize("devices", [1, 2])
def test_a_deadline_says_what_was_waited_for(devices: int) -> None:
    with wf.device(CPU0):
        queue = scalars(name="numbers")
        take = queue.dequeue_many(3)
    with wf.device(CPU1 if devices == 2 else CPU0):
        result = wf.identity(take) + 1
    with wf.Session(config=TWO) as session:
        session.run(queue.enqueue_many([[1, 2]]))
        with pytest.raises(wf.errors.DeadlineExceededError, match="to dequeue 3 elements") as caught:
            session.run(result, options=SOON)
        assert "in FIFOQueue 'numbers' are 0 of at most 10 elements" in str(caught.value)
        assert session.run(queue.dequeue_many(2)).tolist() == [1, 2]  # nothing is lost
    short = wf.ConfigProto(operation_timeout_in_ms=1000, device_count={"CPU": 2})
    put = scalars(1).enqueue_many([[1, 2, 3]])
    with (
        wf.Session(config=short) as session,
        pytest.raises(wf.errors.DeadlineExceededError, match="to enqueue 2 elements"),
    ):
        session.run(put)


@pytest.mark.parametrize("devices", [1, 2])
def test_closing_the_session_ends_what_waits(devices: int) -> None:
    with wf.device(CPU0):
        take = scalars().dequeue()
    with wf.device(CPU1 if devices == 2 else CPU0):
        take = take + 1
    session = wf.Session(config=TWO)
    result = in_background(session.run, take)
    until(lambda: waiting(session))
    session.close()
    with pytest.raises(wf.errors.CancelledError, match="Session::Close"):
        result()


def test_the_failure_of_another_device_ends_what_waits() -> None:
    x = wf.placeholder(wf.float32)
    with wf.device(CPU0):
        queue = scalars()
        take = queue.dequeue_many(2)
    with wf.device(CPU1):
        bad = wf.check_numerics(x, "bad")
    with wf.Session(config=TWO) as session:
        session.run(queue.enqueue(1))
        with pytest.raises(wf.errors.InvalidArgumentError, match="bad"):
            session.run([take, bad], {x: np.nan})
        assert session.run(queue.size()) == 1


def test_what_a_failed_step_had_begun_is_given_up() -> None:
    queue, other = scalars(1, name="a"), scalars(1, name="b")
    x = wf.placeholder(wf.float32)
    take, never = queue.dequeue(), other.dequeue()
    bad = wf.check_numerics(x, "bad")
    with wf.Session() as session:
        with pytest.raises(wf.errors.InvalidArgumentError, match="bad"):
            session.run([take, never, bad], {x: np.nan})
        assert current.begun == []
        session.run(queue.enqueue(3))
        assert session.run(queue.size()) == 1  # nobody took it
        assert session.run(take) == 3
        assert current.begun == []


def test_an_interrupt_ends_what_waits() -> None:
    queue = scalars()
    take = queue.dequeue_many(2)
    with wf.Session() as session:
        session.run(queue.enqueue(1))

        def interrupt() -> None:
            until(lambda: waiting(session))
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            session.run(take)
        assert session.run(queue.size()) == 1


# in one step


@pytest.mark.parametrize("seed", [None, *range(8)])
@pytest.mark.parametrize("first", ["put", "take"])
def test_unordered_enqueues_and_dequeues_of_a_step_never_wait_for_each_other(first: str, seed: int | None) -> None:
    """Of a queue that is empty, and of one that is full."""
    queue = scalars(1)
    puts, takes = [], []
    for number in range(4):
        if first == "put":
            puts.append(queue.enqueue(number))
        takes.append(queue.dequeue())
        if first == "take":
            puts.append(queue.enqueue(number))
    extra = queue.enqueue(9)
    with wf.Session(config=wf.ConfigProto(schedule_seed=seed)) as session:
        assert sorted(session.run([takes, puts])[0]) == [0, 1, 2, 3]
        session.run(extra)
        assert sorted([*session.run([takes, puts])[0], session.run(queue.dequeue())]) == [0, 1, 2, 3, 9]


def test_what_others_wait_behind_is_waited_for_first() -> None:
    """The first dequeue needs the enqueue that follows the second."""
    one, other = scalars(name="one"), scalars(name="other")
    first, second = one.dequeue(), other.dequeue()
    put = one.enqueue(second + 1)
    with wf.Session() as session:
        session.run(other.enqueue(4))
        assert session.run([first, put])[0] == 5


def test_what_waits_comes_last() -> None:
    """Another step may wait for what this one does before it may go on."""
    queue, v = scalars(), wf.Variable(0)
    take = queue.dequeue()
    write = v.assign(5)
    with wf.Session() as session:
        session.run(v.initializer)
        result = in_background(session.run, [take, write.op])
        until(lambda: session.run(v) == 5)
        session.run(queue.enqueue(1))
        assert result()[0] == 1


def test_queues_work_in_branches_and_loops() -> None:
    queue = scalars(20)
    flag = wf.placeholder(wf.bool, [])

    def put(number: wf.Tensor, total: wf.Tensor) -> Any:
        with wf.control_dependencies([queue.enqueue(number * number)]):
            return number + 1, total + queue.dequeue()

    _, total = wf.while_loop(lambda number, total: number < 5, put, [wf.constant(0), wf.constant(0)])
    taken = wf.cond(flag, queue.dequeue, lambda: wf.constant(-1))
    with wf.Session() as session:
        assert session.run(total) == 30
        assert session.run(taken, {flag: False}) == -1
        with pytest.raises(wf.errors.DeadlineExceededError, match="to dequeue 1 elements"):
            session.run(taken, {flag: True}, options=SOON)
        session.run(queue.enqueue(8))
        assert session.run(taken, {flag: True}) == 8


def test_a_queue_runs_on_its_own_device() -> None:
    with wf.device(CPU1):
        queue = scalars()
    with wf.device(CPU0):
        put, take = queue.enqueue(wf.constant(3) * 2), queue.dequeue() + 1
    with wf.Session(config=TWO) as session:
        session.run(put)
        assert "CPU:1" in str(session.plan(take).plans[-1].device)
        assert session.run(take) == 7


def test_races_are_not_reported_of_queues() -> None:
    queue = scalars()
    assert wf.find_races([queue.dequeue(), queue.enqueue(1)]) == []


def test_threads_lose_and_double_nothing() -> None:
    queue = scalars(7)
    number = wf.placeholder(wf.int32, [None])
    put, one, many = queue.enqueue_many([number]), queue.dequeue(), queue.dequeue_many(3)
    with wf.Session() as session:
        puts = [in_background(lambda at=at: [session.run(put, {number: range(at + 10 * k, at + 10 * k + 10)}) for k in range(6)])
                for at in (0, 60)]  # fmt: skip
        takes = [in_background(lambda fetch=fetch, n=n: [session.run(fetch) for _ in range(n)])
                 for fetch, n in ((one, 30), (many, 20), (one, 30))]  # fmt: skip
        for result in puts:
            result()
        found = [int(each) for result in takes for value in result() for each in np.atleast_1d(value)]
        assert sorted(found) == list(range(120))


# accumulators


def test_accumulators_are_what_tensorflow_says() -> None:
    dense = wf.ConditionalAccumulator(wf.float32, shape=[2], name="d")
    sparse = wf.SparseConditionalAccumulator(wf.float32, shape=[4, 2])
    assert (dense.name, dense.dtype, dense.accumulator_ref.dtype) == ("d", wf.float32, wf.resource)
    assert dense.take_grad(1).shape.as_list() == [2]
    assert isinstance(sparse, wf.ConditionalAccumulatorBase)
    assert isinstance(sparse.take_indexed_slices_grad(1), wf.IndexedSlices)
    for error, build, message in [
        (TypeError, lambda: wf.ConditionalAccumulator(wf.bool), "not in list of allowed values"),
        (ValueError, lambda: wf.ConditionalAccumulator(wf.float32, reduction_type="MAX"), "MAX"),
        (ValueError, lambda: dense.apply_grad([1.0, 2.0, 3.0]), r"Shapes \(3,\) and \(2,\) are incompatible"),
        (ValueError, lambda: dense.apply_grad(wf.constant([1, 2])), "dtype float32"),
    ]:
        with pytest.raises(error, match=message):
            build()  # type: ignore[no-untyped-call]


def test_gradients_are_gathered_until_there_are_enough() -> None:
    dense = wf.ConditionalAccumulator(wf.float32, shape=[2])
    grad, step = wf.placeholder(wf.float32), wf.placeholder(wf.int64, [])
    apply, take, count = dense.apply_grad(grad, step), dense.take_grad(2), dense.num_accumulated()
    with wf.Session() as session:
        result = in_background(session.run, take)
        until(lambda: waiting(session))
        assert waiting(session)[0].startswith(
            "for 2 gradients (in ConditionalAccumulator 'conditional_accumulator' are 0"
        )
        session.run(apply, {grad: [1, 2], step: 0})
        session.run(apply, {grad: [2, 4], step: 0})
        assert result().tolist() == [1.5, 3]
        session.run(apply, {grad: [1, 2], step: 0})
        assert session.run(count) == 0
        session.run(apply, {grad: [1, 2], step: 1})
        assert session.run(count) == 1
        with pytest.raises(wf.errors.InvalidArgumentError, match=r"Shape mismatch: expected \[2\], got \[3\]"):
            session.run(apply, {grad: [1, 2, 3], step: 1})
        with pytest.raises(wf.errors.DeadlineExceededError, match="it waited for 2 gradients"):
            session.run(take, options=SOON)
        session.run(dense.set_global_step(2))
        with pytest.raises(wf.errors.InvalidArgumentError, match="num_required must be positive, but was 0"):
            session.run(dense.take_grad(0))


def test_rows_are_gathered_too() -> None:
    sparse = wf.SparseConditionalAccumulator(wf.float32, shape=[4, 2])
    slices = wf.IndexedSlices(wf.constant([[4.0, 1.0], [2.0, 2.0]]), wf.constant([2, 3], wf.int64), wf.constant([4, 2]))
    with wf.Session() as session:
        session.run(sparse.apply_grad([0, 2], [[1.0, 1.0], [2.0, 2.0]], [4, 2]))
        session.run(sparse.apply_indexed_slices_grad(slices))
        taken = session.run(sparse.take_grad(2))
        assert taken.indices.tolist() == [0, 2, 3]
        assert taken.values.tolist() == [[1, 1], [3, 1.5], [2, 2]]
        assert taken.shape.tolist() == [4, 2]
        session.run(sparse.apply_grad([1], [[1.0, 1.0]], local_step=1))
        assert session.run(sparse.take_indexed_slices_grad(1)).indices.tolist() == [1]


def test_accumulators_of_one_name_are_one_and_must_agree() -> None:
    first = wf.ConditionalAccumulator(wf.float32, shape=[], shared_name="a")
    second = wf.ConditionalAccumulator(wf.float32, shape=[], shared_name="a")
    other = wf.ConditionalAccumulator(wf.float64, shape=[], shared_name="a")
    with wf.Session() as session:
        session.run(first.apply_grad(3.0))
        assert session.run(second.num_accumulated()) == 1
        with pytest.raises(wf.errors.InvalidArgumentError, match="Shared accumulator 'a' holds float32"):
            session.run(other.num_accumulated())


def test_a_step_of_several_devices_that_takes_too_long_says_who_waits_for_what() -> None:
    with wf.device("/cpu:0"):
        queue = wf.FIFOQueue(3, [wf.float32], [[]], name="q")
        value = queue.dequeue(name="taken")
    with wf.device("/cpu:1"):
        there = value + 1.0
    with wf.Session(config=wf.ConfigProto(device_count={"CPU": 2})) as session:
        session.run(queue.enqueue(1.0))
        assert next(session.run_many(there, [None])) == 2.0  # so that the time is not spent on making the plan
        with pytest.raises(wf.errors.DeadlineExceededError) as caught:
            next(session.run_many(there, [None], options=wf.RunOptions(timeout_in_ms=500)))
    assert "The step took longer than 0.5 s; it waited to dequeue 1 elements (in FIFOQueue 'q'" in caught.value.message
    where = r", for 'taken' of /job:localhost/replica:0/task:0/device:CPU:0 for \d+\.\d s"
    assert re.search(where, caught.value.message)


def test_a_wait_for_an_edge_that_takes_too_long_is_named() -> None:
    waits = Rendezvous(0.1, named=lambda edge: f"'x{edge}' of b")
    with pytest.raises(
        wf.errors.DeadlineExceededError, match=r"than 0\.1 s: it waited for 'x3' of b for (?!0\.0)\d+\.\d s$"
    ):
        waits.receive(3)
