"""The optimizer's passes one by one: what each makes of a program, what it must leave alone, and the bits it keeps."""

import itertools
from typing import Any

import numpy as np
import pytest
import weft as wf
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from optimizing import check_bits, optimized, types
from weft.runtime.stages.program import Program
from weft.runtime.stages.report import Report

ODD = np.array([0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 1e-45, 3e38], np.float32)


def matrix(rows: int | None = 3, columns: int | None = 4) -> wf.Tensor:
    return wf.placeholder(wf.float32, [rows, columns])


def numbers(*dims: int) -> Any:
    return np.random.default_rng(3).normal(size=dims).astype(np.float32)


def controls(program: Program) -> list[tuple[str, str]]:
    """What waits for what, by name."""
    return [(node.name, program.nodes[control].name) for node in program.nodes for control in node.controls]


# gates


def test_a_gate_of_values_is_opened_and_what_only_it_needed_is_gone() -> None:
    x = matrix()
    first, _ = wf.tuple([wf.exp(x), wf.sin(x)])
    assert types(optimized(first, feeds={x: (3, 4)})) == ["Feed", "Exp"]


def test_a_gate_before_an_effect_stays() -> None:
    x, v = matrix(), wf.Variable(0.0)
    assign = v.assign(1.0, read_value=False)
    first, _ = wf.tuple([wf.exp(x), wf.sin(x)], control_inputs=[assign])
    found = types(optimized(first, feeds={x: (3, 4)}))
    assert "AssignVariableOp" in found
    assert "Sin" in found


def test_a_gate_before_a_check_stays() -> None:
    x = matrix()
    first, _ = wf.tuple([wf.exp(x), wf.check_numerics(x, "odd")])
    with wf.Session() as sess, pytest.raises(wf.errors.InvalidArgumentError, match="odd"):
        sess.run(first, {x: np.full((3, 4), np.nan, np.float32)})


def test_a_write_still_waits_for_the_reads_behind_an_opened_gate() -> None:
    """The second read is nobody's but the gate's partner's, so nothing but the gate put it before the write."""
    v, w = wf.Variable(1.0), wf.Variable(1.0)
    late = v.read_value()
    first, second = wf.tuple([w.read_value() * 2.0, late * 3.0])
    write = v.assign(first, read_value=False)
    program = optimized(second, write)
    assert (write.name, late.op.inputs[0].op.name) in [
        (name, other.rpartition("/")[0]) for name, other in controls(program)
    ] or (write.name, late.op.name) in controls(program)


def test_an_opened_gate_makes_no_race_under_any_schedule() -> None:
    v, w = wf.Variable(1.0), wf.Variable(5.0)
    with wf.control_dependencies([wf.exp(w.read_value())]):
        late = v.read_value()
    first, second = wf.tuple([w.read_value() * 2.0, late * 3.0])
    write = v.assign(first, read_value=False)
    for seed in range(20):
        with wf.Session(config=wf.ConfigProto(schedule_seed=seed, race_check="error")) as sess:
            sess.run([v.initializer, w.initializer])
            assert sess.run([second, write])[0] == 3.0


def test_random_numbers_behind_an_opened_gate_are_drawn_all_the_same() -> None:
    x = matrix()
    drawn = wf.random_uniform([2], seed=7)
    first, second = wf.tuple([wf.exp(x), drawn * 2.0])
    with wf.Session() as sess:
        begin = sess.run(second, {x: numbers(3, 4)})
        sess.run(first, {x: numbers(3, 4)})
        third = sess.run(second, {x: numbers(3, 4)})
    with wf.Session() as sess:
        wanted = [sess.run(second, {x: numbers(3, 4)}) for _ in range(3)]
    assert np.array_equal([begin, third], [wanted[0], wanted[2]])


def test_what_waits_for_a_value_that_nothing_else_needs_goes_on_waiting() -> None:
    """Who asks to wait for more than a gate's neighbours means it: it may take a check, or keep memory down."""
    x = matrix()
    with wf.control_dependencies([wf.sin(x)]):
        y = wf.identity(wf.exp(x))
    assert "Sin" in types(optimized(y, feeds={x: (3, 4)}))


def test_a_constant_does_not_wait_for_what_runs_anyway() -> None:
    x = matrix()
    loss = wf.reduce_sum(x)
    with wf.control_dependencies([loss]):
        y = wf.constant(2.0) * 3.0
    program = optimized(loss, y, feeds={x: (3, 4)})
    assert sorted(types(program)) == ["Const", "Feed", "Sum"]
    assert not controls(program)


# forms


def test_reshapes_of_reshapes_are_one() -> None:
    x = matrix()
    y = wf.reshape(wf.expand_dims(wf.squeeze(wf.reshape(x, [1, 12]), [0]), 1), [2, 6])
    assert types(optimized(y, feeds={x: (3, 4)})) == ["Feed", "Const", "Reshape"]
    assert types(optimized(wf.exp(wf.reshape(wf.reshape(x, [-1]), [3, 4])), feeds={x: (3, 4)})) == ["Feed", "Exp"]
    check_bits(y, wf.reshape(wf.reshape(wf.transpose(x), [-1]), [2, 6]), feeds={x: numbers(3, 4)})


def test_a_reshape_to_a_shape_with_an_effect_stays() -> None:
    x = matrix()
    shape = wf.Print(wf.constant([3, 4]), [wf.constant(1)])
    assert "Print" in types(optimized(wf.reshape(wf.reshape(x, [12]), shape), feeds={x: (3, 4)}))
    assert "Print" in types(optimized(wf.reshape(x, shape), feeds={x: (3, 4)}))


def test_transpositions_of_transpositions_are_one_or_none() -> None:
    x = wf.placeholder(wf.float32, [2, 3, 4])
    turned = wf.transpose(wf.transpose(x, [1, 2, 0]), [1, 2, 0])
    (node,) = [node for node in optimized(turned, feeds={x: (2, 3, 4)}).nodes if node.definition.type == "Transpose"]
    assert node.definition.perm == (2, 0, 1)  # type: ignore[attr-defined]
    back = wf.exp(wf.transpose(wf.transpose(x), [2, 1, 0]))
    assert types(optimized(back, feeds={x: (2, 3, 4)})) == ["Feed", "Exp"]
    check_bits(turned, back, feeds={x: numbers(2, 3, 4)})


def test_what_is_packed_and_transposed_is_transposed_and_packed_once() -> None:
    x, y = (wf.placeholder(wf.float32, [2, 3, 4]) for _ in range(2))
    feeds = {x: numbers(2, 3, 4), y: -numbers(2, 3, 4)}
    for axis in range(-4, 4):
        for perm in itertools.permutations(range(4)):
            turned = wf.transpose(wf.stack([x, y], axis), perm)
            check_bits(turned, wf.exp(turned), feeds=feeds)
    program = optimized(wf.transpose(wf.stack([x, y], 1), [2, 0, 3, 1]), feeds={x: (2, 3, 4), y: (2, 3, 4)})
    *_, last = [node for node in program.nodes if node.definition.type in ("Transpose", "Pack")]
    assert last.definition.type == "Pack"
    assert last.definition.axis == 3  # type: ignore[attr-defined]
    assert last.specs[0].dims == (3, 2, 4, 2)


def test_a_product_keeps_its_transposition() -> None:
    """BLAS may give a product other bits when it is told to transpose than when it is given the transposed matrix."""
    x = matrix(2, 4)
    y = wf.matmul(wf.transpose(x), wf.ones([2, 5]))
    assert "Transpose" in types(optimized(y, feeds={x: (2, 4)}))


@pytest.mark.parametrize("rows", [8, 16, 64])
def test_products_of_few_rows_keep_their_bits_in_whatever_form_they_are_computed(rows: int) -> None:
    x, w = matrix(rows, 256), matrix(320, 256)
    plain, turned = wf.matmul(x, wf.transpose(w)), wf.matmul(x, w, transpose_b=True)
    back = wf.matmul(turned, wf.transpose(wf.transpose(w)))
    check_bits(plain, back, feeds={x: numbers(rows, 256), w: numbers(320, 256)})


def test_arithmetic_repeats_its_inputs_by_itself() -> None:
    x, y = matrix(3, 1), matrix()
    z = wf.broadcast_to(x, [3, 4]) * y
    assert types(optimized(z, feeds={x: (3, 1), y: (3, 4)})) == ["Feed", "Feed", "Mul"]
    check_bits(z, feeds={x: numbers(3, 1), y: numbers(3, 4)})


def test_arithmetic_on_repeated_values_is_done_once() -> None:
    x, y = matrix(3, 1), matrix()
    z = wf.negative(wf.broadcast_to(x, [3, 4]) / 7.0) + y
    program = optimized(z, feeds={x: (3, 1), y: (3, 4)})
    assert "BroadcastTo" not in types(program)
    assert {node.definition.type: node.specs[0].dims for node in program.nodes}["Neg"] == (3, 1)
    check_bits(z, feeds={x: numbers(3, 1), y: numbers(3, 4)})


def test_a_function_that_is_not_exact_keeps_its_repeated_input() -> None:
    x = matrix(3, 1)
    y = wf.exp(wf.broadcast_to(x, [3, 4]))
    program = optimized(y, feeds={x: (3, 1)})
    assert {node.definition.type: node.specs[0].dims for node in program.nodes}["Exp"] == (3, 4)


CASTS = {
    "there and back": (wf.float32, [wf.float64, wf.float32], 0),
    "integers through wider ones": (wf.int32, [wf.int64, wf.float32], 1),
    "integers through a float that holds them": (wf.int32, [wf.float64, wf.int32], 0),
    "through a narrower type": (wf.float32, [wf.float16, wf.float32], 2),
    "through a float that holds fewer bits": (wf.int32, [wf.float32, wf.int32], 2),
    "through an unsigned type": (wf.int32, [wf.uint32, wf.int64], 2),
    "floats on to integers": (wf.float32, [wf.float64, wf.int32], 2),
}


@pytest.mark.parametrize("name", CASTS)
def test_casts_of_casts(name: str) -> None:
    start, types_on_the_way, left = CASTS[name]
    x = wf.placeholder(start, [4])
    y = x
    for dtype in types_on_the_way:
        y = wf.cast(y, dtype)
    y = wf.reverse(y, [0])
    assert types(optimized(y, feeds={x: (4,)})).count("Cast") == left
    check_bits(y, feeds={x: np.array([0, 1, 16777217, 77]).astype(start.as_numpy_dtype)})


# arithmetic


NEUTRAL: dict[str, Any] = {
    "x * 1": (lambda x: x * 1.0, True),
    "1 * x": (lambda x: wf.constant(1.0) * x, True),
    "x * ones": (lambda x: x * wf.ones_like(x), True),
    "x / 1": (lambda x: x / 1.0, True),
    "x - 0": (lambda x: x - 0.0, True),
    "x + -0.0": (lambda x: x + wf.constant(-0.0), True),
    "-(-x)": (lambda x: wf.negative(wf.negative(x)), True),
    "x + 0": (lambda x: x + 0.0, False),
    "x - -0.0": (lambda x: x - wf.constant(-0.0), False),
    "0 - x": (lambda x: 0.0 - x, False),
    "1 / x": (lambda x: 1.0 / x, False),
    "x * -1": (lambda x: x * -1.0, False),
    "x * 0": (lambda x: x * 0.0, False),
}


@pytest.mark.parametrize("name", NEUTRAL)
def test_arithmetic_that_changes_no_bit_is_left_out(name: str) -> None:
    build, gone = NEUTRAL[name]
    x = wf.placeholder(wf.float32, [len(ODD)])
    y = wf.exp(build(x))
    assert (types(optimized(y, feeds={x: (len(ODD),)})) == ["Feed", "Exp"]) is gone
    check_bits(y, feeds={x: ODD})


def test_integers_lose_additions_of_zero_and_complex_numbers_nothing() -> None:
    x, z = wf.placeholder(wf.int32, [3]), wf.placeholder(wf.complex64, [3])
    assert "AddV2" not in types(optimized(wf.reverse(x + 0, [0]), feeds={x: (3,)}))
    assert "Mul" in types(optimized(z * 1.0, feeds={z: (3,)}))


def test_a_product_that_broadcasts_stays() -> None:
    x = matrix(1, 4)
    assert "Mul" in types(optimized(x * wf.ones([3, 4]), feeds={x: (1, 4)}))


def test_what_is_like_a_known_shape_is_a_constant() -> None:
    x = matrix(None)
    ones, zeros = wf.ones_like(x), wf.zeros_like(wf.exp(x))
    assert types(optimized(ones, zeros, feeds={x: (3, 4)})) == ["Const", "Const"]
    check_bits(ones, zeros, feeds={x: numbers(3, 4)})


def test_a_sum_of_two_is_an_addition_only_where_it_cannot_broadcast() -> None:
    x, y = matrix(None, 4), matrix(None, 4)
    total = wf.add_n([x, y])
    assert "AddV2" in types(optimized(total, feeds={x: (3, 4), y: (3, 4)}))
    assert "AddN" in types(optimized(total, feeds={x: (3, 4), y: (1, 4)}))


# memory


@settings(max_examples=20, deadline=None)
@given(hnp.arrays(np.float32, (5, 64), elements=st.floats(-(2.0**90), 2.0**90, width=32)), st.integers(3, 5))
def test_a_sum_of_large_terms_is_made_term_by_term(rows: Any, count: int) -> None:
    wf.reset_default_graph()
    x = wf.placeholder(wf.float32, [5, 64])
    terms = [wf.tile(wf.expand_dims(x[index], 0), [80, 1]) for index in range(count)]
    total = wf.add_n(terms)
    found = types(optimized(total, feeds={x: (5, 64)}))
    assert found.count("AddV2") == count - 1
    assert "AddN" not in found
    check_bits(total, feeds={x: rows})


def test_a_long_sum_takes_the_memory_of_few_terms() -> None:
    x = wf.placeholder(wf.float32, [64, 64])
    total = wf.add_n([wf.exp(wf.sin(x) + float(index)) for index in range(30)])
    with wf.Session() as sess:
        assert sess.plan(total + 1.0).plans[0].arena_bytes <= 4 * 64 * 64 * 4


def test_a_variable_minus_a_multiple_is_one_operation() -> None:
    x, v = matrix(), wf.Variable(wf.zeros([3, 4]))
    rate = wf.constant(0.1)
    for product in (rate * x, x * rate):
        update = v.assign_sub(product, read_value=False)
        assert "ResourceApplyGradientDescent" in types(optimized(update, feeds={x: (3, 4)}))
        with wf.Session() as sess:
            sess.run(v.initializer)
            sess.run(update, {x: numbers(3, 4)})
            assert sess.run(v).tobytes() == (np.float32(0) - np.float32(0.1) * numbers(3, 4)).tobytes()


def test_a_multiple_that_is_used_again_is_computed_once() -> None:
    x, v = matrix(), wf.Variable(wf.zeros([3, 4]))
    step = 0.1 * x
    assert "AssignSubVariableOp" in types(optimized(v.assign_sub(step, read_value=False), step, feeds={x: (3, 4)}))


def test_a_variable_plus_a_value_is_added_to_in_place() -> None:
    x, v = matrix(), wf.Variable(wf.ones([3, 4]))
    for changed, kind in ((v + x, "AssignAddVariableOp"), (v - x, "AssignSubVariableOp")):
        update = v.assign(changed, read_value=False)
        found = types(optimized(update, feeds={x: (3, 4)}))
        assert kind in found
        assert "ReadVariableOp" not in found


def test_a_variable_that_is_written_twice_is_not_added_to_in_place() -> None:
    x, v = matrix(), wf.Variable(wf.ones([3, 4]))
    changed = v + x
    with wf.control_dependencies([changed]):
        first = v.assign(x, read_value=False)
    with wf.control_dependencies([first]):
        update = v.assign(changed, read_value=False)
    with wf.Session() as sess:
        sess.run(v.initializer)
        sess.run(update, {x: numbers(3, 4)})
        assert np.array_equal(sess.run(v), 1 + numbers(3, 4))


def test_a_sum_of_a_variable_and_its_own_transpose_is_taken_before_it_changes() -> None:
    v = wf.Variable(numbers(3, 3))
    update = v.assign(v.read_value() + wf.transpose(v.read_value()), read_value=False)
    with wf.Session() as sess:
        sess.run(v.initializer)
        sess.run(update)
        assert np.array_equal(sess.run(v), numbers(3, 3) + numbers(3, 3).T)


# the report


def test_the_report_counts_what_each_pass_did_and_names_a_few() -> None:
    x = matrix()
    y = x
    for _ in range(5):
        y = wf.exp(y) * 1.0
    report = Report()
    optimized(y, feeds={x: (3, 4)}, report=report)
    assert report.counts["drop neutral arithmetic"] == 5
    assert len(report.examples["drop neutral arithmetic"]) == 3
    assert "mul (Mul)" in report.examples["drop neutral arithmetic"][0]


# pooling


@pytest.mark.parametrize("weight", [1.5, -0.0, np.inf, np.nan])
@pytest.mark.parametrize(
    ("ksize", "stride", "padding"), [(2, 2, "SAME"), (2, 2, "VALID"), (3, 2, "SAME"), (2, 1, "VALID")]
)
def test_a_rectifier_is_passed_before_the_pooling_with_the_same_bits(
    ksize: int, stride: int, padding: str, weight: float
) -> None:
    x, scale = wf.placeholder(wf.float32, [2, 5, 6, 3]), wf.placeholder(wf.float32, [])
    (dx,) = wf.gradients(wf.nn.max_pool(wf.nn.relu(x), ksize, stride, padding) * scale, x)
    program = optimized(dx, feeds={x: (2, 5, 6, 3), scale: ()})
    assert program.nodes[program.fetches[0].node].definition.type == "MaxPoolGrad"
    assert types(program).count("ReluGrad") == types(program).count("MaxPoolGrad") == 1
    images = np.random.default_rng(1).integers(-3, 2, (2, 5, 6, 3)).astype(np.float32)  # many ties, and all below zero
    images[0, :4, :4] = [-0.0, np.nan, np.inf]
    check_bits(dx, feeds={x: images, scale: np.float32(weight)})


def test_a_rectifier_of_something_else_stays_behind_the_pooling() -> None:
    x, other = wf.placeholder(wf.float32, [2, 4, 4, 3]), wf.placeholder(wf.float32, [2, 4, 4, 3])
    (dx,) = wf.gradients(wf.nn.max_pool(x, 2, 2, "SAME"), x)
    (both,) = wf.gradients(wf.nn.relu(other), other, dx)
    program = optimized(both, feeds={x: (2, 4, 4, 3), other: (2, 4, 4, 3)})
    assert program.nodes[program.fetches[0].node].definition.type == "ReluGrad"


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize(("ksize", "stride", "padding"), [(2, 2, "SAME"), (2, 2, "VALID"), (3, 2, "SAME")])
def test_pooling_comes_before_the_rectifier_with_the_same_bits(
    ksize: int, stride: int, padding: str, dtype: str
) -> None:
    x = wf.placeholder(dtype, [2, 5, 6, 3])
    y = wf.nn.max_pool(wf.nn.relu(x), ksize, stride, padding)
    slopes = wf.gradients(y, x) if dtype != "int32" else []
    program = optimized(y, *slopes, feeds={x: (2, 5, 6, 3)})
    assert types(program)[-2:] == ["MaxPool", "Relu"] or "MaxPoolGrad" in types(program)
    assert types(program).count("Relu") == 1
    images = np.random.default_rng(1).integers(-3, 2, (2, 5, 6, 3)).astype(dtype)
    if dtype != "int32":
        images[images == 0] = -0.0
        images[0, :4, :4] = [-0.0, np.nan, np.inf]
        images[1, 0, 0] = 0.0
    check_bits(y, *slopes, feeds={x: images})


def test_a_rectifier_stays_before_pooling_that_leaves_as_many_numbers_and_with_16_bits() -> None:
    for dtype, stride in ((wf.float32, 1), (wf.float16, 2)):
        x = wf.placeholder(dtype, [2, 6, 6, 3])
        y = wf.nn.max_pool(wf.nn.relu(x), 2, stride, "SAME")
        assert types(optimized(y, feeds={x: (2, 6, 6, 3)}))[-2:] == ["Relu", "MaxPool"]


def test_images_that_are_also_used_rectified_have_the_same_gradient() -> None:
    x = wf.placeholder(wf.float32, [2, 6, 6, 3])
    h = wf.nn.relu(x)
    y = wf.reduce_sum(wf.nn.max_pool(h, 2, 2, "SAME")) + wf.reduce_sum(h * h)
    check_bits(y, *wf.gradients(y, x), feeds={x: numbers(2, 6, 6, 3)})
