"""Queues and accumulators as objects: what goes in comes out, in order, whoever waits and whoever gives up."""

import threading
from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from weft.graph import errors
from weft.graph.accumulator_state import Accumulator, SparseAccumulator
from weft.graph.dtypes import DType, float32, int32, int64, string
from weft.graph.queue_state import ElementQueue, OrderedQueue, PaddingQueue, ShuffleQueue
from weft.graph.waiting import Attempt, Ending, current

CANCELLED = errors.CancelledError(None, None, "given up")


def fifo(capacity: int = 3, dtypes: tuple[DType, ...] = (int32,), dims: Any = None) -> ElementQueue:
    return ElementQueue("q", capacity, dtypes, dims)


def put(queue: ElementQueue, *numbers: int) -> Attempt:
    return queue.enqueue_many([np.array(numbers, np.int32)])


def taken(attempt: Attempt) -> list[int]:
    assert attempt.is_over
    return [int(element[0]) for element in attempt.wait()]


def is_over(attempt: Attempt) -> bool:
    return attempt.is_over


# what waits


def test_a_dequeue_that_came_first_gets_what_is_enqueued_later() -> None:
    queue = fifo()
    first, second = queue.dequeue(), queue.dequeue()
    put(queue, 1)
    assert taken(first) == [1]
    assert not second.is_over
    put(queue, 2)
    assert taken(second) == [2]


def test_an_enqueue_waits_for_room_and_goes_in_bit_by_bit() -> None:
    queue = fifo(capacity=2)
    attempt = put(queue, 1, 2, 3, 4)
    assert (queue.size(), attempt.is_over) == (2, False)
    assert taken(queue.dequeue_many(2)) == [1, 2]
    assert (queue.size(), attempt.is_over) == (2, True)


def test_more_than_the_capacity_can_be_taken_at_once() -> None:
    queue = fifo(capacity=2)
    many = queue.dequeue_many(5)
    put(queue, 1, 2, 3)
    assert not many.is_over
    put(queue, 4, 5, 6)
    assert taken(many) == [1, 2, 3, 4, 5]
    assert taken(queue.dequeue()) == [6]


def test_what_an_unfinished_dequeue_had_taken_goes_back_to_the_front() -> None:
    queue = fifo(capacity=2)
    many = queue.dequeue_many(5)
    next_one = queue.dequeue()
    put(queue, 1, 2, 3)
    many.cancel(CANCELLED)
    assert many.describe().startswith("to dequeue 5 elements (2 more) (in FIFOQueue 'q' are 0")
    assert taken(next_one) == [1]
    assert taken(queue.dequeue_many(2)) == [2, 3]
    with pytest.raises(errors.CancelledError, match="Dequeue operation was cancelled: given up"):
        many.wait()


def test_what_an_unfinished_enqueue_had_put_in_stays_in() -> None:
    queue = fifo(capacity=2)
    attempt = put(queue, 1, 2, 3)
    attempt.cancel(CANCELLED)
    with pytest.raises(errors.CancelledError, match="Enqueue operation was cancelled"):
        attempt.wait()
    put(queue, 4)
    assert taken(queue.dequeue_many(2)) == [1, 2]
    assert queue.size() == 1


def test_cancelling_what_is_over_changes_nothing() -> None:
    queue = fifo()
    put(queue, 1)
    attempt = queue.dequeue()
    attempt.cancel(CANCELLED)
    assert taken(attempt) == [1]


def test_who_waits_is_woken_by_the_end_of_its_step_and_says_what_for() -> None:
    queue, ending, found = fifo(), Ending(), []

    def wait() -> None:
        current.ending = ending
        try:
            queue.dequeue_many(2).wait()
        except errors.DeadlineExceededError as error:
            found.append(str(error))

    put(queue, 1)
    thread = threading.Thread(target=wait)
    thread.start()
    while not ending.described():
        pass
    assert ending.described()[0].startswith(
        "to dequeue 2 elements (1 more) (in FIFOQueue 'q' are 0 of at most 3 elements)"
    )
    ending.end(errors.DeadlineExceededError(None, None, "The step took longer than 1 s"))
    thread.join(60)
    assert found[0].startswith(
        "The step took longer than 1 s: it waited to dequeue 2 elements (1 more) (in FIFOQueue 'q'"
    )
    assert queue.size() == 1
    assert ending.described()[0].startswith("to dequeue 2 elements")  # for whoever tells of the step's end later


def test_a_step_that_has_ended_does_not_begin_to_wait() -> None:
    ending = Ending()
    ending.end(CANCELLED)
    current.ending = ending
    try:
        with pytest.raises(errors.CancelledError):
            fifo().dequeue().wait()
    finally:
        current.ending = None


# closing


def test_a_closed_queue_gives_what_is_left_and_takes_nothing() -> None:
    queue = fifo()
    put(queue, 1, 2)
    queue.close(False).wait()
    assert queue.is_closed
    with pytest.raises(errors.CancelledError, match="FIFOQueue 'q' is closed"):
        put(queue, 3).wait()
    with pytest.raises(errors.OutOfRangeError, match=r"insufficient elements \(requested 3, current size 2\)"):
        queue.dequeue_many(3).wait()
    assert taken(queue.dequeue_many(3, all_or_error=False)) == [1, 2]
    with pytest.raises(errors.OutOfRangeError, match=r"is closed and has insufficient elements"):
        queue.dequeue_many(3, all_or_error=False).wait()
    with pytest.raises(errors.CancelledError, match="Queue 'q' is already closed"):
        queue.close(False).wait()
    queue.close(True).wait()


def test_nothing_can_be_put_into_and_taken_out_of_a_closed_queue() -> None:
    queue = fifo()
    queue.close(False).wait()
    put(queue).wait()
    assert taken(queue.dequeue_many(0)) == []


def test_closing_waits_for_the_enqueues_before_it() -> None:
    queue = fifo(capacity=1)
    waiting = put(queue, 1, 2)
    closing = queue.close(False)
    assert not is_over(closing)
    assert taken(queue.dequeue()) == [1]
    assert [waiting.is_over, closing.is_over] == [True, True]
    assert taken(queue.dequeue()) == [2]


def test_closing_at_once_cancels_them() -> None:
    queue = fifo(capacity=1)
    waiting = put(queue, 1, 2)
    queue.close(True).wait()
    with pytest.raises(errors.CancelledError, match="Enqueue operation was cancelled"):
        waiting.wait()
    assert taken(queue.dequeue()) == [1]


def test_closing_ends_dequeues_that_wait_and_gives_back_what_they_had() -> None:
    queue = fifo(capacity=1)
    many, up_to = queue.dequeue_many(3), queue.dequeue_many(3, all_or_error=False)
    put(queue, 1, 2)
    queue.close(False).wait()
    with pytest.raises(errors.OutOfRangeError):
        many.wait()
    assert taken(up_to) == [1, 2]


# shapes and types


def test_elements_are_copies() -> None:
    queue, array = fifo(dtypes=(float32,)), np.ones(3, np.float32)
    queue.enqueue([array])
    array[:] = 7
    assert queue.dequeue().wait()[0][0].tolist() == [1, 1, 1]


def test_shapes_are_checked() -> None:
    queue = fifo(dtypes=(float32, int32), dims=((2,), ()))
    with pytest.raises(errors.InvalidArgumentError, match=r"tuple component 0. Expected \[2\], got \[3\]"):
        queue.enqueue([np.ones(3), 1])
    with pytest.raises(errors.InvalidArgumentError, match=r"tuple component 1. Expected \[3\], got \[1\]"):
        queue.enqueue_many([np.ones((3, 2)), [1]])
    with pytest.raises(errors.InvalidArgumentError, match=r"Shape mismatch in tuple component 0"):
        queue.enqueue_many([np.float32(1), 1])
    with pytest.raises(errors.InvalidArgumentError, match="DequeueManyOp requested -1 < 0 elements"):
        queue.dequeue_many(-1)
    assert [part.shape for part in queue.batch([])] == [(0, 2), (0,)]


def test_elements_of_different_shapes_make_no_batch() -> None:
    queue = fifo(dtypes=(float32,))
    queue.enqueue([np.ones(2)])
    queue.enqueue([np.ones(3)])
    elements = queue.dequeue_many(2).wait()
    with pytest.raises(errors.InvalidArgumentError, match=r"of shapes \[2\] and \[3\]"):
        queue.batch(elements)


def test_padding_fills_up_to_the_longest() -> None:
    queue = PaddingQueue("p", 5, (int32, string), ((None, 2), (None,)))
    queue.enqueue([np.ones((1, 2), np.int32), np.array([b"a"], object)])
    queue.enqueue([np.ones((2, 2), np.int32), np.array([], object)])
    numbers, words = queue.batch(queue.dequeue_many(2).wait())
    assert numbers.tolist() == [[[1, 1], [0, 0]], [[1, 1], [1, 1]]]
    assert words.tolist() == [[b"a"], [b""]]


# other orders


def test_a_shuffled_queue_keeps_some_until_it_is_closed() -> None:
    queue = ShuffleQueue("s", 10, (int32,), None, 3, key=1)
    put(queue, *range(5))
    assert len(taken(queue.dequeue_many(2))) == 2
    waiting = queue.dequeue()
    assert not is_over(waiting)
    queue.close(False).wait()
    assert is_over(waiting)
    assert len(taken(queue.dequeue_many(2))) == 2


def test_a_seed_gives_one_order() -> None:
    def order(key: int) -> list[int]:
        queue = ShuffleQueue("s", -1, (int32,), None, 0, key)
        put(queue, *range(50))
        return taken(queue.dequeue_many(50))

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert sorted(order(1)) == list(range(50))


def test_a_queue_cannot_keep_all_that_it_holds() -> None:
    with pytest.raises(errors.InvalidArgumentError, match="min_after_dequeue 5 must be < capacity 5"):
        ShuffleQueue("s", 5, (int32,), None, 5, 1)


def test_priorities_go_first_and_equal_ones_in_order() -> None:
    queue = OrderedQueue("o", 10, (int64, int32), None)
    queue.enqueue_many([np.array([2, 1, 2, 1]), np.arange(4)])
    assert [int(element[1]) for element in queue.dequeue_many(4).wait()] == [1, 3, 0, 2]


def test_the_smallest_of_many_are_taken_together() -> None:
    queue = OrderedQueue("o", 10, (int64, int32), None)
    queue.enqueue([np.int64(5), np.int32(5)])
    attempt = queue.dequeue_many(2)
    assert queue.size() == 1
    queue.enqueue([np.int64(1), np.int32(1)])
    assert [int(element[1]) for element in attempt.wait()] == [1, 5]


# a model

ACTIONS = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 4)),
    st.tuples(st.just("take"), st.integers(0, 4)),
    st.tuples(st.just("up to"), st.integers(0, 4)),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("close"), st.booleans()),
)


@given(st.integers(-1, 4), st.lists(ACTIONS, max_size=30))
def test_whatever_happens_elements_are_neither_lost_nor_doubled_nor_reordered(
    capacity: int, actions: list[tuple[str, int]]
) -> None:
    """The model is the list of the numbers that went in. What came out, what is in, and what waits are always all of it."""
    queue, number = fifo(capacity), 0
    puts: deque[tuple[Attempt, list[int]]] = deque()
    takes: list[Attempt] = []
    cancelled: list[int] = []
    for action, argument in actions:
        match action:
            case "put":
                numbers = list(range(number, number + argument))
                number += argument
                puts.append((put(queue, *numbers), numbers))
            case "cancel":
                everything = [*takes, *(attempt for attempt, _ in puts)]
                if argument < len(everything):
                    everything[argument].cancel(CANCELLED)
            case "close":
                queue.close(bool(argument))
            case _:
                takes.append(queue.dequeue_many(argument, action == "take"))
        if capacity >= 0 and not any(attempt.error for attempt in takes):
            assert queue.size() <= capacity
    for attempt, numbers in puts:
        waiting = len(attempt.elements)  # type: ignore[attr-defined]
        cancelled += numbers[len(numbers) - waiting :]
    out = [int(element[0]) for attempt in takes if attempt.is_over and not attempt.error for element in attempt.value]
    out += [int(element[0]) for attempt in takes if not attempt.is_over for element in attempt.taken]  # type: ignore[attr-defined]
    inside = [int(element[0]) for element in queue._elements]
    assert sorted(out + inside + cancelled) == list(range(number))
    if not any(attempt.error for attempt in takes):
        assert out + inside == sorted(out + inside)


# accumulators


def accumulator(reduction: str = "MEAN", dims: Any = (2,)) -> Accumulator:
    return Accumulator("a", float32, dims, reduction)


def test_the_mean_is_taken_once_there_are_enough() -> None:
    each = accumulator()
    attempt = each.take(2)
    each.apply(0, np.array([1, 2], np.float32))
    assert not attempt.is_over
    each.apply(0, np.array([3, 5], np.float32))
    assert attempt.wait().tolist() == [2, 3.5]
    assert (each.count(), each.global_step) == (0, 1)


def test_all_that_came_is_in_the_mean_and_in_the_sum() -> None:
    for reduction, wanted in (("MEAN", [2, 2]), ("SUM", [6, 6])):
        each = accumulator(reduction)
        for value in (1, 2, 3):
            each.apply(0, np.full(2, value, np.float32))
        assert each.take(1).wait().tolist() == wanted


def test_what_is_too_old_is_dropped() -> None:
    each = accumulator()
    each.set_global_step(3)
    each.apply(2, np.ones(2, np.float32))
    assert each.count() == 0
    each.apply(3, np.ones(2, np.float32))
    each.apply(4, np.ones(2, np.float32))
    assert each.count() == 2


@pytest.mark.parametrize("same", [0, 80, 2999])
def test_the_bits_of_a_mean_do_not_depend_on_who_came_first(same: int) -> None:
    values = np.random.default_rng(1).normal(size=(5, 3000)).astype(np.float32)
    values[:, :same] = 0
    found = set()
    for seed in range(20):
        each = accumulator(dims=None)
        for at in np.random.default_rng(seed).permutation(5):
            each.apply(0, values[at])
        found.add(each.take(5).wait().tobytes())
    assert len(found) == 1


def test_two_who_wait_get_a_step_each() -> None:
    each = accumulator()
    first, second = each.take(1), each.take(1)
    each.apply(0, np.ones(2, np.float32))
    assert first.is_over
    each.apply(0, np.ones(2, np.float32))
    assert not second.is_over
    each.apply(1, np.ones(2, np.float32))
    assert second.is_over


def test_accumulators_refuse_what_does_not_fit() -> None:
    each = accumulator(dims=None)
    each.apply(0, np.ones(3, np.float32))
    with pytest.raises(errors.InvalidArgumentError, match=r"Shape mismatch: expected \[3\], got \[2\]"):
        each.apply(0, np.ones(2, np.float32))
    with pytest.raises(errors.InvalidArgumentError, match="num_required must be positive, but was 0"):
        each.take(0)


def test_taking_can_be_stopped_until_the_step_is_set() -> None:
    each = accumulator()
    waiting = each.take(1)
    each.stop_taking()
    for attempt in (waiting, each.take(1)):
        with pytest.raises(errors.CancelledError, match="TakeGrad operation was cancelled"):
            attempt.wait()
    each.set_global_step(0)
    assert not each.take(1).is_over


def test_rows_are_averaged_over_the_gradients_that_have_them() -> None:
    each = SparseAccumulator("s", float32, (4, 2), "MEAN")
    each.apply_rows(0, [0, 2], np.array([[1, 1], [2, 2]], np.float32), [4, 2], True)
    each.apply_rows(0, [3, 2, 3], np.array([[5, 5], [4, 1], [1, 1]], np.float32), [4, 2], True)
    indices, values, whole = each.take(2).wait()
    assert indices.tolist() == [0, 2, 3]
    assert values.tolist() == [[1, 1], [3, 1.5], [6, 6]]
    assert whole.tolist() == [4, 2]


def test_rows_of_another_shape_are_refused() -> None:
    each = SparseAccumulator("s", float32, (4, 2), "MEAN")
    row = np.ones((1, 2), np.float32)
    for indices, values, whole, message in [
        ([3], np.ones((1, 3), np.float32), [4, 2], "expected values dim 1 to be 2, got 3"),
        ([3], row, [5, 2], "expected shape"),
        ([7], row, [4, 2], "index is 7 exceeded 4"),
        ([1, 2], row, [4, 2], "Expected 2 non-empty input values, got 1"),
        ([1], row, [], "expected shape rank"),
    ]:
        with pytest.raises(errors.InvalidArgumentError, match=message):
            each.apply_rows(0, indices, values, whole, True)
    assert each.count() == 0
