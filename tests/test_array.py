"""What the case table cannot show of the array operations: errors, static shapes and values, types, order of summation."""

import re
import warnings
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from weft.autodiff.gradients import gradients
from weft.graph.errors import InvalidArgumentError
from weft.graph.indexed_slices import IndexedSlices
from weft.graph.ops.array import concat, meshgrid, split, tile
from weft.graph.ops.broadcasting import reduce_sum
from weft.graph.ops.constant import constant
from weft.graph.ops.convert import convert_to_tensor
from weft.graph.ops.gathering import gather, gather_nd, one_hot, scatter_nd
from weft.graph.ops.padding import pad
from weft.graph.ops.partitioning import dynamic_partition, dynamic_stitch
from weft.graph.ops.placeholders import placeholder
from weft.graph.ops.ranges import linspace, range_, sequence_mask
from weft.graph.ops.reordering import invert_permutation, reverse, reverse_sequence, roll, space_to_depth
from weft.graph.ops.rows import add_rows
from weft.graph.ops.segments import segment_sum, unique, unique_with_counts, unsorted_segment_sum
from weft.graph.ops.selecting import boolean_mask, in_top_k, top_k, where, where_v2
from weft.graph.ops.sizes import shape
from weft.graph.ops.slicing import slice_, strided_slice
from weft.runtime.interpret import interpret

C = np.arange(12.0, dtype=np.float32).reshape(3, 4)
T, F = True, False


def run(tensor: Any) -> Any:
    return interpret([tensor], {})[0]


BUILD_ERRORS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "concat axis": (lambda: concat([[1], [2]], 1), ValueError, "axis 1 is out of range"),
    "concat dims": (lambda: concat([[[1]], [[2, 3]]], 0), ValueError, "not compatible"),
    "concat scalars": (lambda: concat([1, 2], 0), ValueError, "Can't concatenate scalars"),
    "concat types": (lambda: concat([constant([1.0]), constant([2])], 0), TypeError, "float32, int32"),
    "concat nothing": (lambda: concat([], 0), ValueError, "shorter than minimum length"),
    "concat in TF0 order": (lambda: concat(0, [C, C]), ValueError, "must be a scalar"),
    "split uneven": (lambda: split(C, 5, 1), ValueError, "evenly divi"),
    "split into none": (lambda: split(C, 0), ValueError, "must be positive"),
    "split sizes": (lambda: split(C, [1, 1]), ValueError, "can't split axis of size 3 into pieces of size [1, 1]"),
    "split unknown": (lambda: split(C, placeholder("int32")), ValueError, "Cannot infer argument `num`"),
    "tile rank": (lambda: tile([[1, 2]], [2]), ValueError, "Shape must be rank 1 but is rank 2"),
    "meshgrid": (lambda: meshgrid([1], indexing="xx"), ValueError, "must be either 'xy' or 'ij', got 'xx'"),
    "pad mode": (lambda: pad([1], [[1, 1]], "FOO"), ValueError, "expected to be one of"),
    "pad negative": (lambda: pad([1], [[-1, 1]]), ValueError, "Paddings must be non-negative"),
    "pad rank": (lambda: pad([1], [[1, 1], [1, 1]]), ValueError, "a pair for each"),
    "pad shape": (lambda: pad([1], [1, 1]), ValueError, "[rank, 2]"),
    "reverse range": (lambda: reverse(C, [2]), ValueError, "axis 2 is out of range"),
    "reverse twice": (lambda: reverse(C, [0, -2]), ValueError, "axis 0 specified more than once"),
    "reverse_sequence axes": (lambda: reverse_sequence(C, [1, 1, 1], 0, 0), ValueError, "must differ"),
    "reverse_sequence batch": (lambda: reverse_sequence(C, [1, 1], 1, 0), ValueError, "not compatible"),
    "roll": (lambda: roll(C, [1, 2], [0]), ValueError, "same size"),
    "space_to_depth": (
        lambda: space_to_depth(np.zeros((1, 3, 4, 1)), 2),
        ValueError,
        "height 3 must be divisible by 2",
    ),
    "slice rank": (lambda: slice_(C, [1], [1]), ValueError, "Shape must be rank 1 but is rank 2"),
    "strided lengths": (lambda: strided_slice(C, [0, 1], [2], [1]), ValueError, "not compatible"),
    "strided backward": (lambda: strided_slice(C, [1], [0], [-1], shrink_axis_mask=1), ValueError, "only stride 1"),
    "strided scalar": (lambda: strided_slice(C, constant(1), constant(2)), ValueError, "must be vectors"),
    "gather scalar": (lambda: gather(1.0, 0), ValueError, "at least rank 1 but is rank 0"),
    "gather axis": (lambda: gather(C, [1], axis=2), ValueError, "axis 2 is out of range"),
    "gather type": (lambda: gather(C, [1.0]), TypeError, "not in list of allowed values: int16, int32, int64"),
    "gather batch": (lambda: gather(C, [[1]], batch_dims=1), NotImplementedError, "batch_dims"),
    "gather_nd deep": (lambda: gather_nd(C, [[0, 1, 1]]), ValueError, "must be <= params.rank"),
    "scatter_nd shape": (lambda: scatter_nd([[1], [1]], [1.0, 2.0, 3.0], [3]), ValueError, "must match"),
    "one_hot values": (lambda: one_hot([0], 3, 1.0, 0), TypeError, "does not match"),
    "one_hot dtype": (lambda: one_hot([0], 3, 1.0, dtype="int32"), TypeError, "does not match dtype"),
    "one_hot string": (lambda: one_hot([0], 3, dtype="string"), TypeError, "needs on_value and off_value"),
    "one_hot depth": (lambda: one_hot([0], -2), ValueError, "non-negative but is -2"),
    "one_hot axis": (lambda: one_hot([[0]], 2, axis=-2), ValueError, "axis must be >= -1"),
    "where one": (lambda: where([T], [1]), ValueError, "x and y must both be"),
    "where rows": (lambda: where([T, F], [1, 2, 3], [3, 4, 5]), ValueError, "Dimension 0 must be equal"),
    "where shapes": (lambda: where([T, F], [1, 2], [[3, 4]]), ValueError, "not compatible"),
    "where types": (lambda: where([T], constant([1]), constant([1.0])), TypeError, "does not match type"),
    "where number": (lambda: where([1], [1], [2]), TypeError, "must be bool"),
    "top_k short": (lambda: top_k([1.0, 2.0], 3), ValueError, "input must have last dimension >= k = 3 but is 2"),
    "top_k scalar": (lambda: top_k(1.0, 1), ValueError, "at least rank 1"),
    "top_k negative": (lambda: top_k([1.0], -1), ValueError, "non-negative but is -1"),
    "in_top_k type": (lambda: in_top_k(C.astype(np.float64), [0, 1, 2], 1), TypeError, "must be float32"),
    "mask scalar": (lambda: boolean_mask(C, T), ValueError, "mask cannot be scalar"),
    "mask shape": (lambda: boolean_mask(C, [T, F]), ValueError, "not compatible"),
    "mask unknown": (lambda: boolean_mask(C, placeholder("bool")), ValueError, "Number of mask dimensions"),
    "segments shape": (lambda: unsorted_segment_sum(C, [0, 1], 2), ValueError, "Dimensions must be equal"),
    "dynamic_partition": (lambda: dynamic_partition(C, [0, 1], 2), ValueError, "does not begin with the shape"),
    "dynamic_stitch": (
        lambda: dynamic_stitch([[0, 1]], [[[1], [2], [3]]]),
        ValueError,
        "does not begin with the shape",
    ),
    "dynamic_stitch lists": (lambda: dynamic_stitch([[0]], []), ValueError, "equally many"),
    "range still": (lambda: range_(0, 3, 0), ValueError, "Requires delta != 0"),
    "range backward": (lambda: range_(3, 1), ValueError, "Requires start <= limit when delta > 0: 3/1"),
    "range type": (lambda: range_(constant(3, "int16")), TypeError, "range takes int32"),
    "linspace": (lambda: linspace(0.0, 1.0, 0), ValueError, "Requires num > 0: 0"),
    "linspace type": (lambda: linspace(constant(0), constant(1), 3), TypeError, "must be floats"),
    "sequence_mask": (lambda: sequence_mask([1], [2]), ValueError, "maxlen must be scalar"),
}


@pytest.mark.parametrize("name", BUILD_ERRORS)
def test_what_does_not_fit_is_an_error_when_it_is_built(name: str) -> None:
    build, kind, message = BUILD_ERRORS[name]
    with pytest.raises(kind, match=re.escape(message)):
        build()


RUN_ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "gather": (lambda: gather(C, [[0], [3]]), "indices[1,0] = 3 is not in [0, 3)"),
    "gather below": (lambda: gather(C, -1), "indices = -1 is not in [0, 3)"),
    "gather axis": (lambda: gather(C, [4], axis=1), "indices[0] = 4 is not in [0, 4)"),
    "gather_nd": (lambda: gather_nd(C, [[0, 1], [2, 4]]), "indices[1] = [2, 4] does not index into shape [3, 4]"),
    "scatter_nd": (lambda: scatter_nd([[1], [3]], [1.0, 2.0], [3]), "indices[1] = [3] does not index into shape [3]"),
    "segment too large": (lambda: unsorted_segment_sum([1.0, 2.0], [0, 4], 4), "segment_ids[1] = 4 is not in [0, 4)"),
    "segments fall": (lambda: segment_sum([1.0, 2.0, 3.0], [0, 2, 1]), "must not fall"),
    "segments length": (lambda: segment_sum([1.0, 2.0], [1]), "same size"),
    "reflect": (lambda: pad([1, 2, 3], [[3, 1]], "REFLECT"), "less than the dimension size"),
    "symmetric": (lambda: pad([1, 2, 3], [[4, 1]], "SYMMETRIC"), "no greater than the dimension size"),
    "tile": (lambda: tile([1, 2], [-1]), "Expected multiples[i] >= 0"),
    "slice begin": (lambda: slice_(C, [-1, 1], [1, 2]), "Expected begin[0] in [0, 3], but got -1"),
    "slice size": (lambda: slice_(C, [1, 1], [3, 2]), "Expected size[0] in [0, 2], but got 3"),
    "dynamic_partition": (lambda: dynamic_partition([1, 2], [0, 2], 2)[0], "partitions[1] = 2 is not in [0, 2)"),
    "dynamic_stitch": (lambda: dynamic_stitch([[0, -1]], [[1, 2]]), "indices[1] = -1 is not in [0, 1)"),
    "no permutation": (lambda: invert_permutation([2, 0, 0]), "no permutation"),
    "reverse_sequence": (lambda: reverse_sequence(C, [5, 1, 1], 1, 0), "seq_lengths[0] = 5"),
}


@pytest.mark.parametrize("name", RUN_ERRORS)
def test_values_that_do_not_fit_are_errors_of_the_run(name: str) -> None:
    build, message = RUN_ERRORS[name]
    with pytest.raises(InvalidArgumentError, match=re.escape(message)):
        run(build())


def test_static_shapes_with_unknown_parts_are_tfs() -> None:
    p, q, u = placeholder("float32", [3, 4]), placeholder("float32", [None, 4]), placeholder("float32")
    assert concat([q, p], 0).dims == (None, 4)
    assert concat([u, p], 0).dims == (None, 4)
    assert concat([u, p], 1).dims == (3, None)
    assert [part.dims for part in split(q, 3)] == [(None, 4)] * 3
    assert [part.dims for part in split(p, placeholder("int32", [2]))] == [(None, 4)] * 2
    assert pad(q, [[1, 1], [2, 2]]).dims == (None, 8)
    assert tile(q, [2, 2]).dims == (None, 8)
    assert slice_(q, [1, 0], [-1, 2]).dims == (None, 2)
    assert slice_(p, placeholder("int32", [2]), [1, -1]).dims == (1, None)
    assert gather(q, [[1, 2]]).dims == (1, 2, 4)
    assert where(placeholder("bool", [2, None])).dims == (None, 2)
    assert segment_sum(q, [0, 0]).dims == (None, 4)
    assert boolean_mask(constant(C), [T, F, T, T], axis=1).dims == (3, None)
    assert range_(0.0, 1.0, 0.25).dims == (4,)
    assert range_(placeholder("int32", [])).dims == (None,)


def test_known_integers_travel_through_shape_arithmetic() -> None:
    size = shape(placeholder("float32", [2, None, 5]))
    assert concat([size[:1], [-1], size[2:]], 0).known == (2, -1, 5)
    assert concat([size, shape(placeholder("float32", [None]))], 0).known == (2, None, 5, None)
    assert range_(1, 7, 2).known == (1, 3, 5)
    assert gather([4, 5, 6], 1).known == 5
    assert slice_(size, [1], [2]).known == (None, 5)
    assert invert_permutation([2, 0, 1]).known == (1, 2, 0)


def test_python_values_adopt_the_type_of_a_tensor() -> None:
    assert concat([[1, 2], constant([1.0], "float64")], 0).dtype.name == "float64"
    assert pad(constant([1.0], "float64"), [[1, 1]], constant_values=3).dtype.name == "float64"
    assert where_v2([T], constant([1.0], "float64"), 0).dtype.name == "float64"
    assert range_(1, 3.5).dtype.name == "float32"
    assert range_(constant(3), dtype="float64").dtype.name == "float64"


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.complex64, np.int8])
def test_small_types_keep_their_type_in_every_kernel(dtype: Any) -> None:
    x = constant(np.array([[1, 2], [3, 4]]).astype(dtype))
    ids = [1, 1]
    for tensor, wanted in [
        (concat([x, x], 0), [[1, 2], [3, 4], [1, 2], [3, 4]]), (tile(x, [1, 2]), [[1, 2, 1, 2], [3, 4, 3, 4]]),
        (pad(x, [[0, 0], [1, 0]]), [[0, 1, 2], [0, 3, 4]]), (gather(x, ids), [[3, 4], [3, 4]]),
        (unsorted_segment_sum(x, ids, 2), [[0, 0], [4, 6]]), (scatter_nd([[0], [0]], x, [1, 2]), [[4, 6]]),
        (where(constant([T, F]), x, -x if dtype is not np.int8 else x), [[1, 2], [-3, -4] if dtype is not np.int8 else [3, 4]]),
        (one_hot(ids, 2, constant(np.array(1).astype(dtype)), constant(np.array(0).astype(dtype))), [[0, 1], [0, 1]]),
    ]:  # fmt: skip
        value = run(tensor)
        assert value.dtype == dtype
        np.testing.assert_array_equal(value, np.array(wanted).astype(dtype))


def test_strings_are_moved_too() -> None:
    words = constant([["a", "b"], ["c", "d"]])
    assert run(concat([words, words], 1)).tolist() == [[b"a", b"b"] * 2, [b"c", b"d"] * 2]
    assert run(pad(words, [[1, 0], [0, 0]])).tolist() == [[b"", b""], [b"a", b"b"], [b"c", b"d"]]
    assert run(gather(words, 1)[0]).tolist() == b"c"
    assert run(gather(words[0], 1)).dtype == object
    assert run(gather(words, [1])).tolist() == [[b"c", b"d"]]
    assert run(where([T, F], words, words[::-1])).tolist() == [[b"a", b"b"], [b"a", b"b"]]
    assert run(one_hot([1], 2, "on", "off")).tolist() == [[b"off", b"on"]]


def test_rows_are_added_in_the_order_of_the_indices() -> None:
    rng = np.random.default_rng(7)
    ids, rows = rng.integers(0, 5, 300), rng.standard_normal((300, 3)).astype(np.float32)
    expected = np.zeros((5, 3), np.float32)
    for i, row in zip(ids, rows, strict=True):
        expected[i] += row
    np.testing.assert_array_equal(add_rows(np.zeros((5, 3), np.float32), ids, rows), expected)


def test_top_k_orders_ties_and_nan_as_tf() -> None:
    values = top_k([1.0, float("nan"), 3.0, 3.0], 4)
    assert run(values.indices).tolist() == [2, 3, 0, 1]
    smallest = np.array([-128, 127, 0], np.int8)
    assert run(top_k(constant(smallest), 3).values).tolist() == [127, 0, -128]
    tied = np.zeros((2, 64), np.float32)
    assert run(top_k(constant(tied), 3).indices).tolist() == [[0, 1, 2]] * 2
    assert not run(in_top_k([[1.0, float("nan")], [float("inf"), 1.0]], [0, 0], 1)).any()


def test_the_gradient_of_a_gather_of_rows_is_sparse() -> None:
    x, i = placeholder("float32", [None, 2]), placeholder("int32", [None, 2])
    (gradient,) = gradients(gather(x, i), [x])
    assert isinstance(gradient, IndexedSlices)
    assert gradient.values.dims == (None, 2)
    indices = np.array([[0, 2], [2, 2]], np.int32)
    dense = convert_to_tensor(gradient)
    value = interpret([dense], {x: np.zeros((3, 2), np.float32), i: indices})[0]
    np.testing.assert_array_equal(value, [[1, 1], [0, 0], [3, 3]])


def test_indexed_slices_become_dense_where_a_tensor_is_wanted() -> None:
    values = placeholder("float64", [2])
    slices = IndexedSlices(values, constant([0, 0]), constant([3]))
    assert convert_to_tensor(slices).dims == (3,)
    assert interpret([reduce_sum(slices)], {values: np.array([1.0, 2.0])})[0] == 3.0
    doubled = constant([1.0, 1.0, 1.0], "float64") * slices
    assert interpret([doubled], {values: np.array([1.0, 2.0])})[0].tolist() == [3, 0, 0]
    with pytest.raises(ValueError, match="float32"):
        convert_to_tensor(slices, "float32")
    with pytest.raises(ValueError, match="without dense_shape"):
        convert_to_tensor(IndexedSlices(values, constant([0, 0])))


def test_densifying_warns_only_when_it_is_large() -> None:
    rows, index = constant([[1.0]]), constant([0])
    with pytest.warns(UserWarning, match="dense Tensor with 100000000 elements"):
        convert_to_tensor(IndexedSlices(rows, index, constant([100_000_000, 1])))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert_to_tensor(IndexedSlices(rows, index, constant([99_999_999, 1])))
        convert_to_tensor(IndexedSlices(rows, index, placeholder("int32", [2])))


def test_unique_gives_its_results_by_tensorflows_names() -> None:
    counted = unique_with_counts([7, 7, 1])
    assert run(unique([7, 7, 1]).idx).tolist() == [0, 0, 1]
    assert [run(each).tolist() for each in (counted.y, counted.idx, counted.count)] == [[7, 1], [0, 0, 1], [2, 1]]
