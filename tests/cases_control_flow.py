"""Rows for branches, loops, tapes and TensorArrays: graph/ops/branching.py, looping.py, tapes.py, array_tapes.py."""

from typing import Any

import numpy as np
from case import Case, floats
from weft.autodiff.gradients import gradients
from weft.graph.dtypes import float64
from weft.graph.ir import Tensor
from weft.graph.ops import (
    compare,
    conditions,
    functional,
    loops,
    product_sums,
    reordering,
    tapes,
    tensor_array,
    transcendental,
)
from weft.graph.ops.broadcasting import reduce_sum

X, Y, S = floats(2, 3), floats(2, 3, seed=1), floats(3, seed=2)


def either(x: Tensor, y: Tensor) -> Any:
    """exp(x) * y or x: by a predicate that the data decide."""
    pred = compare.greater(reduce_sum(x), reduce_sum(y))
    return conditions.cond(pred, lambda: transcendental.exp(x) * y, lambda: x * x)


def either_value(x: Any, y: Any) -> Any:
    return np.exp(x) * y if x.sum() > y.sum() else x * x


def powers(x: Tensor, y: Tensor) -> Any:
    """x -> x * y + x, three times: with what came before kept, and a variable that nothing depends on."""

    def body(i: Tensor, a: Tensor, b: Tensor) -> Any:
        return i + 1, a * y + x, b * a

    return loops.while_loop(lambda i, *_: i < 3, body, (0, x, y))[1:]


def powers_value(x: Any, y: Any) -> Any:
    a, b = x, y
    for _ in range(3):
        a, b = a * y + x, b * a
    return [a, b]


def branch_in_loop(x: Tensor) -> Any:
    def body(i: Tensor, a: Tensor) -> Any:
        return i + 1, conditions.cond(compare.equal(i % 2, 0), lambda: transcendental.sin(a) * x, lambda: a * a)

    return loops.while_loop(lambda i, _: i < 4, body, (0, x))[1]


def branch_in_loop_value(x: Any) -> Any:
    a = x
    for i in range(4):
        a = np.sin(a) * x if i % 2 == 0 else a * a
    return a


def loop_in_branch(x: Tensor, y: Tensor) -> Any:
    def loop() -> Any:
        return loops.while_loop(lambda i, _: i < 3, lambda i, a: (i + 1, a * y * x), (0, x))[1]

    return conditions.cond(compare.less(reduce_sum(x), 1e9), loop, lambda: y)


def loop_in_loop(x: Tensor) -> Any:
    def outer(i: Tensor, a: Tensor) -> Any:
        return i + 1, loops.while_loop(lambda j, _: j < 2, lambda j, b: (j + 1, b * a + x), (0, x))[1]

    return loops.while_loop(lambda i, _: i < 2, outer, (0, x))[1]


def loop_in_loop_value(x: Any) -> Any:
    a = x
    for _ in range(2):
        b = x
        for _ in range(2):
            b = b * a + x
        a = b
    return a


def gradient_of_loop(x: Tensor) -> Any:
    return gradients(loops.while_loop(lambda i, _: i < 3, lambda i, a: (i + 1, a * a), (0, x))[1], [x])


def through_tape(x: Tensor) -> Any:
    return tapes.TapeRead("a", float64, (2, 3))(tapes.TapeWrite("a")(x * x))


def through_sum(x: Tensor, y: Tensor) -> Any:
    both = tapes.TapeSum()(tapes.TapeWrite("a")(x * y), tapes.TapeWrite("a")(x))
    return tapes.TapeRead("a", float64, (2, 3))(both)


def tape_beside_an_empty_one(x: Tensor) -> Any:
    both = tapes.TapeSum()(tapes.EmptyTape()(), tapes.TapeWrite("a")(x * x))
    return tapes.TapeRead("a", float64, (2, 3))(both)


def added_products(x: Tensor, y: Tensor) -> Any:
    held = product_sums.ProductSumAdd(False, True, float64, (2, 2))(product_sums.ProductSumStart()(), x, y)
    held = product_sums.ProductSumAdd(True, False, float64, (2, 2))(held, y[:, :2], transcendental.exp(x[:, :2]))
    return product_sums.ProductSumTotal(float64, (2, 2))(held, x[:, 1:])


def added_products_value(x: Any, y: Any) -> Any:
    return x @ y.T + y[:, :2].T @ np.exp(x[:, :2]) + x[:, 1:]


def written(x: Tensor, y: Tensor) -> Any:
    array = tensor_array.TensorArray(float64, 3).write(0, x * y).write(2, y).write(1, x)
    return [array.stack(), array.read(0) * array.read(2)]


def unstacked(x: Tensor) -> Any:
    array = tensor_array.TensorArray(float64, 3).unstack(x * x)
    return array.read(1) * array.gather([0, 2, 2])


def added_up(x: Tensor, y: Tensor) -> Any:
    grads = tensor_array.TensorArray(float64, 2).write(0, x).grad("source")
    return grads.write(0, x * y).write(0, x).write(1, y).stack()


def pieces(x: Tensor) -> Any:
    array = tensor_array.TensorArray(float64, 3, infer_shape=False, element_shape=(None,)).split(x * x, [2, 1, 3])
    return array.concat() * reordering.reverse(array.read(0), [0])[0]


CASES = [
    Case("If", either, (X, Y), expected=either_value),
    Case("If", either, (Y, X), label="other", expected=either_value),
    Case("If", loop_in_branch, (X, Y), label="loop", expected=lambda x, y: x * (x * y) ** 3),
    Case("While", powers, (X, Y), expected=powers_value),
    Case("While", branch_in_loop, (X,), label="branch", expected=branch_in_loop_value),
    Case("While", loop_in_loop, (S * 0.5,), label="loop", expected=loop_in_loop_value, order=3),
    Case("While", lambda x: functional.map_fn(lambda r: r * r, x), (X,), label="map_fn", expected=np.square),
    Case("TapeLength", gradient_of_loop, (S,), order=1),
    Case("TapeRead", through_tape, (X,), expected=np.square),
    Case("TapeWrite", through_tape, (X,), label="write", expected=np.square),
    Case("TapeSum", through_sum, (X, Y), expected=lambda x, y: x * y + x),
    Case("EmptyTape", tape_beside_an_empty_one, (X,), expected=np.square),
    *(
        Case(op, added_products, (X, Y), label="sum", expected=added_products_value)
        for op in ("ProductSumStart", "ProductSumAdd", "ProductSumTotal")
    ),
    Case("TensorArrayV3", lambda x: tensor_array.TensorArray(float64, 1).write(0, x).stack(), (X,), expected=lambda x: x[None]),
    Case("TensorArrayWriteV3", written, (X, Y), expected=lambda x, y: [np.stack([x * y, x, y]), x * y * y]),
    Case("TensorArrayReadV3", unstacked, (S,), expected=lambda x: x[1] ** 2 * x[[0, 2, 2]] ** 2),
    Case("TensorArrayGatherV3", unstacked, (S,), label="gather"),
    Case("TensorArrayScatterV3", unstacked, (S,), label="scatter"),
    Case("TensorArrayGradV3", added_up, (X, Y), expected=lambda x, y: np.stack([x * y + x, y])),
    Case("TensorArraySplitV3", pieces, (floats(6),), expected=lambda x: x * x * x[1] ** 2, exact_shape=False),
    Case("TensorArrayConcatV3", pieces, (floats(6),), label="concat", exact_shape=False),
]  # fmt: skip
