"""Rows for the operations that everything leans on, from graph/ops/constant.py to fills.py, and the first of arithmetic.py."""

import numpy as np
from case import Case, floats, ints
from weft.graph import ir
from weft.graph.ops import arithmetic, broadcasting, constant, convert, fills, identity, placeholders, reshaping, sizes


def after_a_no_op(x: ir.Tensor) -> ir.Tensor:
    with x.graph.control_dependencies([identity.no_op()]):
        return identity.identity(x)


X, Y, ROW = floats(2, 3), floats(2, 3, seed=1), floats(3)

CASES = [
    Case("Const", lambda: constant.constant([1.0, 2.0]), expected=lambda: np.array([1, 2], np.float32)),
    Case("Placeholder", lambda x: placeholders.placeholder("float32"), (X,), order=0, label="unfed"),
    Case(
        "PlaceholderWithDefault", lambda x: placeholders.placeholder_with_default(x, [None, 3]), (X,), exact_shape=False
    ),
    Case("Pack", lambda x, y: convert.stack([x, y], axis=1), (X, Y), expected=lambda x, y: np.stack([x, y], 1)),
    Case("Unpack", lambda x: convert.unstack(x, 3, axis=1), (X,), expected=lambda x: [x[:, 0], x[:, 1], x[:, 2]]),
    Case("Unpack", convert.unstack, (X[:1],), label="one", needs_shapes=True, expected=lambda x: x[0]),
    Case("Unpack", lambda x: convert.unstack(x, 1, axis=-1), (floats(1),), label="one scalar", expected=lambda x: x[0]),
    Case("NoOp", after_a_no_op, (X,), expected=lambda x: x),
    Case("Identity", identity.identity, (X,), expected=lambda x: x),
    Case("IdentityN", lambda x, y: identity.identity_n([x, y]), (X, ROW), expected=lambda x, y: [x, y]),
    Case("IdentityN", lambda x: identity.identity_n([x]), (X,), label="one", expected=lambda x: x),
    Case("PreventGradient", lambda x: identity.prevent_gradient(x, "why"), (X,), expected=lambda x: x, order=0),
    Case("StopGradient", identity.stop_gradient, (X,), expected=lambda x: x, order=0),
    Case("Shape", lambda x: sizes.Shape()(x), (X,), expected=lambda x: np.array([2, 3]), order=0),
    Case("Size", sizes.size, (X,), expected=lambda x: np.array(6), order=0),
    Case("Rank", sizes.rank, (X,), expected=lambda x: np.array(2), order=0),
    Case("Reshape", lambda x: reshaping.reshape(x, [3, -1]), (X,), expected=lambda x: x.reshape(3, 2)),
    Case("ExpandDims", lambda x: reshaping.expand_dims(x, 1), (X,), expected=lambda x: x[:, None]),
    Case("Squeeze", lambda x: reshaping.squeeze(x, [1]), (X[:, None],), expected=lambda x: x[:, 0]),
    Case("Transpose", reshaping.transpose, (X,), expected=lambda x: x.T),
    Case("Transpose", lambda x: reshaping.transpose(x, [2, 0, 1]), (floats(2, 3, 4),), label="perm"),
    Case("Fill", lambda v: fills.fill([2, 2], v), (np.array(1.5),), expected=lambda v: np.full((2, 2), 1.5)),
    Case("ZerosLike", fills.zeros_like, (X,), expected=np.zeros_like, order=0),
    Case("OnesLike", fills.ones_like, (X,), expected=np.ones_like, order=0),
    Case("BroadcastTo", lambda x: broadcasting.broadcast_to(x, [2, 3]), (ROW,), expected=lambda x: np.stack([x, x])),
    Case("Sum", broadcasting.reduce_sum, (X,), expected=np.sum),
    Case("Sum", lambda x: broadcasting.reduce_sum(x, [-1], keepdims=True), (X,), label="keepdims"),
    Case(
        "SumTo", lambda x: broadcasting.SumTo()(x, constant.constant([1, 3])), (X,), expected=lambda x: x.sum(0)[None]
    ),
    Case("KeptShape", lambda x: broadcasting.KeptShape((1,))(x), (X,), expected=lambda x: np.array([2, 1]), order=0),
    Case("AddV2", arithmetic.add, (X, Y), expected=lambda x, y: x + y),
    Case("AddV2", arithmetic.add, (X, ROW), label="broadcast", expected=lambda x, y: x + y),
    Case("AddV2", arithmetic.add, (ints(3), ints(3, seed=1)), label="ints", expected=lambda x, y: x + y),
    Case("Sub", arithmetic.subtract, (ROW, X), expected=lambda x, y: x - y),
    Case("Mul", arithmetic.multiply, (X, ROW), expected=lambda x, y: x * y),
    Case("Neg", arithmetic.negative, (X,), expected=lambda x: -x),
    Case("AddN", lambda x, y: arithmetic.add_n([x, y, x]), (X, Y), expected=lambda x, y: x + y + x),
]
