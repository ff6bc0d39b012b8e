"""optimize: each rewrite does what it says, touches nothing with effects, and keeps every value bit for bit."""

from collections import Counter

import numpy as np
import weft as wf
from optimizing import check_bits, optimized, types
from weft.graph.ops.sizes import Shape
from weft.runtime.stages.rewrites.constants import FOLD_LIMIT_BYTES


def vector() -> wf.Tensor:
    return wf.placeholder(wf.float32, [None])


# folding


def test_pure_operations_on_constants_become_one_constant() -> None:
    y = wf.exp(wf.constant([1.0, 2.0]) * 3.0) + wf.constant([0.5, 1e-8])
    assert types(optimized(y)) == ["Const"]
    check_bits(y)


def test_a_question_about_a_known_shape_is_a_constant() -> None:
    x = vector()
    size, shape, rank = wf.size(x), wf.shape(x), wf.rank(x)
    assert types(optimized(size, shape, rank, feeds={x: (4,)})) == ["Const"] * 3
    assert types(optimized(size, feeds={x: (None,)})) == ["Feed", "Size"]  # type: ignore[dict-item]


def test_the_shape_of_what_waits_for_an_effect_is_not_folded() -> None:
    """The effect would get lost, but only in runs whose shapes are known."""
    x, v = vector(), wf.Variable(0.0)
    with wf.control_dependencies([v.assign_add(1.0)]):
        size = wf.size(wf.identity(x))
    with wf.Session() as sess:
        sess.run(v.initializer)
        assert sess.run(size, {x: [1.0, 2.0]}) == 2
        assert sess.run(v) == 1.0


def test_what_follows_from_a_feeds_shape_is_folded() -> None:
    x = wf.placeholder(wf.float32, [None, 3])
    y = wf.fill(wf.shape(x)[:1] * 2, 7)
    assert types(optimized(y, feeds={x: (2, 3)})) == ["Const"]
    check_bits(y, feeds={x: np.ones((2, 3), np.float32)})


def test_large_results_are_not_kept_with_the_plan() -> None:
    y = wf.zeros([FOLD_LIMIT_BYTES // 4 + 1]) + 1.0
    assert types(optimized(y))[-1] == "AddV2"
    small = wf.zeros([FOLD_LIMIT_BYTES // 4]) + 1.0
    assert types(optimized(small)) == ["Const"]


def test_what_fails_is_left_for_the_run_to_report() -> None:
    y = wf.floordiv(wf.constant(1), wf.constant(0))
    assert types(optimized(y))[-1] == "FloorDiv"


def test_random_operations_are_neither_folded_nor_shared() -> None:
    x, y = wf.random_uniform([2], seed=1), wf.random_uniform([2], seed=1)
    assert Counter(types(optimized(x, y)))["RandomUniform"] == 2


def test_a_constant_that_waits_for_something_is_not_folded_away() -> None:
    v = wf.Variable(0.0)
    with wf.control_dependencies([v.assign_add(1.0)]):
        y = wf.constant(2.0) * 3.0
    with wf.Session() as sess:
        sess.run(v.initializer)
        assert sess.run(y) == 6.0
        assert sess.run(v) == 1.0


# identities


def test_identities_are_dropped() -> None:
    x = vector()
    y = wf.stop_gradient(wf.identity(x)) + 1.0
    assert "Identity" not in types(optimized(y, feeds={x: (2,)}))
    assert "StopGradient" not in types(optimized(y, feeds={x: (2,)}))
    check_bits(y, feeds={x: np.array([-0.0, 1.0], np.float32)})


def test_an_identity_that_waits_for_something_stays() -> None:
    x, v = vector(), wf.Variable(0.0)
    with wf.control_dependencies([v.initializer]):
        y = wf.identity(x)
    assert "Identity" in types(optimized(y, feeds={x: (2,)}))


def test_reshapes_and_broadcasts_to_the_shape_that_is_there_are_dropped() -> None:
    x = wf.placeholder(wf.float32, [None, 3])
    y = wf.exp(wf.broadcast_to(wf.reshape(x, [-1, 3]), wf.shape(x)))
    assert types(optimized(y, feeds={x: (2, 3)})) == ["Feed", "Exp"]
    assert "Reshape" in types(optimized(y, feeds={x: (None, 3)}))  # type: ignore[dict-item]
    check_bits(y, feeds={x: np.ones((2, 3), np.float32)})


def test_a_gradients_sum_to_the_same_shape_keeps_the_sign_of_zero() -> None:
    x, y = vector(), vector()
    (dx,) = wf.gradients(x + y, x, grad_ys=wf.negative(x))
    fed = {x: np.zeros(3, np.float32), y: np.ones(3, np.float32)}
    assert "SumTo" in {operation.type for operation in dx.graph.get_operations()}
    assert "SumTo" not in types(optimized(dx, feeds={x: (3,), y: (3,)}))
    check_bits(dx, feeds=fed)


def test_a_reshape_to_another_shape_stays() -> None:
    x = vector()
    assert types(optimized(wf.reshape(x, [2, 1]), feeds={x: (2,)})) == ["Feed", "Const", "Reshape"]


# sharing


def test_equal_operations_are_computed_once() -> None:
    x = vector()
    y = wf.exp(x * 2.0) + wf.exp(x * 2.0)
    assert Counter(types(optimized(y, feeds={x: (2,)}))) == Counter(["Feed", "Const", "Mul", "Exp", "AddV2"])
    check_bits(y, feeds={x: np.array([0.1, 0.2], np.float32)})


def test_operations_wanted_on_two_devices_are_not_shared() -> None:
    x = vector()
    made = []
    for device in ("/cpu:0", "/cpu:1"):
        with wf.device(device):
            made.append(wf.exp(x))
    assert types(optimized(*made, feeds={x: (2,)})) == ["Feed", "Exp", "Exp"]


def test_operations_of_other_attributes_or_controls_are_not_shared() -> None:
    x = wf.placeholder(wf.float32, [2, 2])
    sums = [wf.reduce_sum(x, 0), wf.reduce_sum(x, 1)]
    with wf.control_dependencies([wf.Variable(1.0).initializer]):
        later = wf.reduce_sum(x, 0)
    assert Counter(types(optimized(*sums, later, feeds={x: (2, 2)})))["Sum"] == 3


def test_attributes_that_only_compare_equal_are_not_shared() -> None:
    x = vector()
    y, z = wf.nn.leaky_relu(x, 0.0), wf.nn.leaky_relu(x, -0.0)
    assert Counter(types(optimized(y, z, feeds={x: (2,)})))["LeakyRelu"] == 2
    check_bits(y, z, feeds={x: np.array([-1.0, 1.0], np.float32)})


def test_a_product_of_two_equal_matrices_has_the_bits_of_one_with_itself() -> None:
    """NumPy multiplies a matrix with its own transpose by another routine, if it sees that it is the same memory."""
    x = wf.placeholder(wf.float32, [37, 23])
    a, b = wf.exp(x), wf.exp(x)
    fed = {x: np.random.default_rng(0).normal(size=(37, 23)).astype(np.float32)}
    products = [wf.matmul(a, b, transpose_b=True), wf.matmul(a, b, transpose_a=True), wf.matmul(a, a, transpose_b=True)]
    check_bits(*products, feeds=fed)
    stacked = wf.stack([a, a])
    check_bits(
        wf.matmul(stacked, stacked, transpose_b=True), wf.matmul(stacked, wf.stack([b, b]), False, True), feeds=fed
    )


def test_reads_are_not_shared() -> None:
    v = wf.Variable(1.0)
    assert Counter(types(optimized(v.value(), v.value())))["ReadVariableOp"] == 2


def test_targets_survive() -> None:
    v = wf.Variable(1.0)
    program = optimized(v.assign_add(1.0).op, wf.identity(2.0).op)
    assert [program.nodes[target].definition.type for target in program.targets][1] == "Const"
    assert "AssignAddVariableOp" in types(program)


def test_nothing_that_nobody_needs_is_left() -> None:
    x = vector()
    y = wf.reshape(x * 2.0, wf.shape(x) * 1)
    program = optimized(y, feeds={x: (2,)})
    used = {ref.node for node in program.nodes for ref in node.inputs} | {ref.node for ref in program.fetches}
    assert used == set(range(len(program.nodes)))
    assert Shape().type not in types(program)
