"""Rows for graph/ops/queues.py and accumulators.py: each puts something in, and takes it or asks about it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from case import Case, floats
from weft.graph.dtypes import float64, int64
from weft.graph.ir import Operation, Tensor
from weft.graph.ops import accumulators, queues, sync
from weft.graph.ops.constant import constant

X, Y = floats(3, 2), floats(3, 2, seed=1)
KEYS = np.array([3, 1, 2], np.int64)


def after(operation: Operation, build: Callable[[], Any]) -> Any:
    with operation.graph.control_dependencies([operation]):
        return build()


def through(queue: Any, put: Any, take: Callable[[Tensor], Any]) -> Callable[..., Any]:
    """Builds: put the inputs in, and then what `take(handle)` gives."""

    def build(*values: Tensor) -> Any:
        handle = queue()
        return after(put.node(handle, *values), lambda: take(handle))

    return build


def fifo(*dtypes: Any, capacity: int = 10) -> Any:
    return queues.FIFOQueueV2(dtypes, (), capacity)


ONE, MANY = queues.QueueEnqueueV2(), queues.QueueEnqueueManyV2()


def next_of(*dtypes: Any) -> Callable[[Tensor], Any]:
    return lambda handle: list(queues.QueueDequeueV2(dtypes).outputs(handle))


def many(count: int, *dtypes: Any) -> Callable[[Tensor], Any]:
    return lambda handle: list(queues.QueueDequeueManyV2(dtypes).outputs(handle, constant(count)))


def up_to(count: int, *dtypes: Any) -> Callable[[Tensor], Any]:
    return lambda handle: list(queues.QueueDequeueUpToV2(dtypes).outputs(handle, constant(count)))


def _chosen(value: Tensor) -> Any:
    first, second = fifo(float64)(), fifo(float64)(name="second")
    chosen = queues.QueueFromList()(constant(1), first, second)
    return after(ONE.node(chosen, value), lambda: next_of(float64)(second))


def _closed() -> Any:
    handle = fifo(float64)()  # nothing is put in: a row is run twice
    return after(queues.QueueCloseV2(True).node(handle), lambda: queues.QueueIsClosedV2()(handle))


def accumulated(take: Callable[[Tensor], Any], *more: Any) -> Callable[..., Any]:
    """Builds: add both inputs, and then what `take(handle)` gives."""

    def build(*values: Tensor) -> Any:
        handle = accumulators.ResourceConditionalAccumulator(float64, None, *more)()
        apply = accumulators.ResourceAccumulatorApplyGradient()
        step = constant(2, int64)  # a row is run twice
        with handle.graph.control_dependencies([apply.node(handle, step, each) for each in values]):
            return take(handle)

    return build


def mean(handle: Tensor) -> Tensor:
    return accumulators.ResourceAccumulatorTakeGradient(float64)(handle, constant(2))


def count_after(operation: Any) -> Callable[[Tensor], Tensor]:
    """What is accumulated after an operation on the handle, and then one more that is new, and one that is too old."""

    def take(handle: Tensor) -> Tensor:
        apply = accumulators.ResourceAccumulatorApplyGradient()

        def more() -> list[Operation]:
            return [apply.node(handle, constant(step, int64), constant(np.ones(2))) for step in (6, 4)]

        with handle.graph.control_dependencies(after(operation(handle), more)):
            return accumulators.ResourceAccumulatorNumAccumulated()(handle)

    return take


def _set_step(handle: Tensor) -> Operation:
    return accumulators.ResourceAccumulatorSetGlobalStep().node(handle, constant(5, int64))


def _stop(handle: Tensor) -> Operation:
    return accumulators.AccumulatorStopTaking().node(handle)


def _sparse(first: Tensor, second: Tensor) -> Any:
    handle = accumulators.SparseConditionalAccumulator(float64, (5, 2))()
    apply = accumulators.SparseAccumulatorApplyGradient(True)
    step, whole = constant(2, int64), constant(np.array([5, 2]))
    rows = [constant(np.array(each)) for each in ([0, 2, 4], [2, 3, 4])]
    added = [apply.node(handle, step, each, value, whole) for each, value in zip(rows, (first, second), strict=True)]
    with handle.graph.control_dependencies(added):
        return list(accumulators.SparseAccumulatorTakeGradient(float64).outputs(handle, constant(2)))


def _sparse_expected(first: Any, second: Any) -> Any:
    rows = [first[0], (first[1] + second[0]) / 2, second[1], (first[2] + second[2]) / 2]
    return [np.array([0, 2, 3, 4]), np.stack(rows), np.array([5, 2])]


MEMBER = [2, 7, 11, 13]  # a worker at step 2 of epoch 7


def _tokens(build: Callable[[Tensor, Tensor], Any]) -> Callable[..., Any]:
    """Builds: begin epoch 7 at step 2, and then what `build(handle, the fed step)` gives."""

    def built(step: Tensor) -> Any:
        handle = sync.SyncTokens()()
        return after(
            sync.SyncTokensBegin().node(handle, constant(2, int64), constant(7, int64)), lambda: build(handle, step)
        )

    return built


def _next(handle: Tensor, member: Any = tuple(MEMBER)) -> Tensor:
    return sync.SyncTokensTake()(handle, constant(np.array(member)))


def _put(handle: Tensor, step: Tensor) -> Any:
    return after(sync.SyncTokensPut().node(handle, step), lambda: _next(handle))


def _left(handle: Tensor, step: Tensor) -> Any:
    leave = sync.SyncTokensLeave().node(handle, constant(np.array([2, 7, 1, 1])))
    return after(leave, lambda: _next(handle))


def _ended(handle: Tensor, step: Tensor) -> Any:
    put = sync.SyncTokensPut().node(handle, step)
    return after(after(put, lambda: sync.SyncTokensClose().node(handle)), lambda: _next(handle))


def _synced(first: Tensor, second: Tensor) -> Any:
    """The mean of two workers' gradients; the second brings two, of which the first was before it was started again."""
    handle = accumulators.ResourceConditionalAccumulator(float64, (3, 2))()
    begin = sync.AccumulatorBeginEpoch().node(handle, constant(2, int64), constant(7, int64))
    given = [
        (MEMBER, first),
        ([2, 7, 12, 1], first),
        ([2, 7, 12, 2], second),
        ([2, 6, 15, 1], first),
        ([1, 7, 15, 1], first),
    ]
    done = begin
    for member, value in given:
        with handle.graph.control_dependencies([done]):
            done = sync.SyncApplyGradient().node(handle, constant(np.array(member)), value)
    return after(done, lambda: sync.SyncTakeGradient(float64)(handle, constant(2)))


def _synced_rows(first: Tensor, second: Tensor) -> Any:
    handle = accumulators.SparseConditionalAccumulator(float64, (5, 2))()
    done = sync.AccumulatorBeginEpoch().node(handle, constant(2, int64), constant(7, int64))
    rows = zip(([0, 2, 4], [2, 3, 4]), (first, second), ([2, 7, 1, 1], [2, 7, 2, 1]), strict=True)
    for indices, value, member in rows:
        with handle.graph.control_dependencies([done]):
            done = sync.SyncApplyRows(True).node(
                handle, constant(np.array(member)), constant(np.array(indices)), value, constant(np.array([5, 2]))
            )
    return after(done, lambda: list(sync.SyncTakeRows(float64).outputs(handle, constant(2))))


def row(op: str, build: Callable[..., Any], inputs: tuple[Any, ...], expected: Any, label: str = "") -> Case:
    return Case(op, build, inputs, label, expected=expected, order=0, exact_shape=False)


PAIR = (X, KEYS)
SHUFFLED = queues.RandomShuffleQueueV2((float64,), (), 10, "", "", 1, 7, 8)

CASES = [
    row("FIFOQueueV2", through(fifo(float64), ONE, next_of(float64)), (X,), lambda x: x),
    row("QueueEnqueueV2", through(fifo(float64, int64), ONE, next_of(float64, int64)), PAIR, lambda x, k: [x, k]),
    row("QueueEnqueueManyV2", through(fifo(float64), MANY, next_of(float64)), (X,), lambda x: x[0]),
    row("QueueDequeueV2", through(fifo(float64), MANY, next_of(float64)), (X,), lambda x: x[0]),
    row("QueueDequeueV2", through(fifo(float64, int64), MANY, next_of(float64, int64)), PAIR,
        lambda x, k: [x[0], k[0]], "two"),
    row("QueueDequeueManyV2", through(fifo(float64), MANY, many(2, float64)), (X,), lambda x: x[:2]),
    row("QueueDequeueManyV2", through(fifo(float64, int64), MANY, many(2, float64, int64)), PAIR,
        lambda x, k: [x[:2], k[:2]], "two"),
    row("QueueDequeueUpToV2", through(fifo(float64), MANY, up_to(3, float64)), (X,), lambda x: x),
    row("QueueDequeueUpToV2", through(fifo(float64, int64), MANY, up_to(3, float64, int64)), PAIR,
        lambda x, k: [x, k], "two"),
    row("PaddingFIFOQueueV2", through(queues.PaddingFIFOQueueV2((float64,), ((None,),), 10), MANY, many(3, float64)),
        (X,), lambda x: x),
    row("PriorityQueueV2", through(queues.PriorityQueueV2((float64,), ((2,),), 10), MANY, many(3, int64, float64)),
        (KEYS, X), lambda k, x: [k[[1, 2, 0]], x[[1, 2, 0]]]),
    row("RandomShuffleQueueV2", through(SHUFFLED, MANY, lambda handle: many(2, float64)(handle)[0]), (X,), None),
    row("QueueCloseV2", _closed, (), lambda: True),
    row("QueueIsClosedV2", through(fifo(float64), ONE, lambda handle: queues.QueueIsClosedV2()(handle)), (X,),
        lambda x: False),
    row("QueueSizeV2", through(fifo(float64), MANY, lambda handle: queues.QueueSizeV2()(handle)), (X,), lambda x: 3),
    row("QueueFromList", _chosen, (X,), lambda x: x),
    row("ResourceConditionalAccumulator", accumulated(mean), (X, Y), lambda x, y: (x + y) / 2),
    row("ResourceAccumulatorApplyGradient", accumulated(mean, "", "", "SUM"), (X, Y), lambda x, y: x + y),
    row("ResourceAccumulatorTakeGradient", accumulated(mean), (X, Y), lambda x, y: (x + y) / 2),
    row("ResourceAccumulatorNumAccumulated",
        accumulated(lambda handle: accumulators.ResourceAccumulatorNumAccumulated()(handle)), (X, Y), lambda x, y: 2),
    row("ResourceAccumulatorSetGlobalStep", accumulated(count_after(_set_step)), (X[0], Y[0]), lambda x, y: 3),
    row("AccumulatorStopTaking", accumulated(count_after(_stop)), (X[0], Y[0]), lambda x, y: 4),
    *(row(op, _sparse, (X, Y), _sparse_expected)
      for op in ("SparseConditionalAccumulator", "SparseAccumulatorApplyGradient", "SparseAccumulatorTakeGradient")),
    row("WorkerNumbers", lambda: sync.WorkerNumbers()() > 0, (), lambda: [True, True]),
    *(row(op, _tokens(lambda handle, step: _next(handle, (0, 6, 11, 13))), (np.array([5]),), lambda step: MEMBER)
      for op in ("SyncTokens", "SyncTokensBegin", "SyncTokensTake")),
    row("SyncEpoch", _tokens(lambda handle, step: sync.SyncEpoch()(handle)), (np.array([5]),), lambda step: 7),
    row("SyncTokensPut", _tokens(_put), (np.array([5]),), lambda step: [5, *MEMBER[1:]]),
    row("SyncTokensLeave", _tokens(_left), (np.array([5]),), lambda step: MEMBER),
    row("SyncTokensClose", _tokens(_ended), (np.array([5]),), lambda step: [5, *MEMBER[1:]]),
    *(row(op, _synced, (X, Y), lambda x, y: (x + y) / 2)
      for op in ("AccumulatorBeginEpoch", "SyncApplyGradient", "SyncTakeGradient")),
    *(row(op, _synced_rows, (X, Y), _sparse_expected) for op in ("SyncApplyRows", "SyncTakeRows")),
]  # fmt: skip
