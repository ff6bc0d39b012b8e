"""The examples in TensorFlow's documentation: what is said there of an operation's result is what comes out here."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import weft as wf

GRID = [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
BLOCK = np.arange(1, 13).reshape(2, 2, 3)
SIX = [[[1, 1, 1], [2, 2, 2]], [[3, 3, 3], [4, 4, 4]], [[5, 5, 5], [6, 6, 6]]]
SAMPLE = [1.0, 0.0, 1.0, 0.0, 0.0]


@pytest.fixture
def session() -> Iterator[wf.Session]:
    with wf.Session() as made:
        yield made


#: What is built, and its value: of several tensors a tuple.
EXAMPLES: dict[str, tuple[Callable[[], Any], Any]] = {
    # slices, gathers, scatters
    "slice one row": (lambda: wf.slice(SIX, [1, 0, 0], [1, 1, 3]), [[[3, 3, 3]]]),
    "slice two rows": (lambda: wf.slice(SIX, [1, 0, 0], [1, 2, 3]), [[[3, 3, 3], [4, 4, 4]]]),
    "slice of two blocks": (lambda: wf.slice(SIX, [1, 0, 0], [2, 1, 3]), [[[3, 3, 3]], [[5, 5, 5]]]),
    "strided_slice": (lambda: wf.strided_slice(SIX, [1, 0, 0], [2, 1, 3], [1, 1, 1]), [[[3, 3, 3]]]),
    "strided_slice backwards": (
        lambda: wf.strided_slice(SIX, [1, -1, 0], [2, -3, 3], [1, -1, 1]),
        [[[4, 4, 4], [3, 3, 3]]],
    ),
    "gather_nd elements": (lambda: wf.gather_nd([["a", "b"], ["c", "d"]], [[0, 0], [1, 1]]), [b"a", b"d"]),
    "gather_nd rows": (lambda: wf.gather_nd([["a", "b"], ["c", "d"]], [[1], [0]]), [[b"c", b"d"], [b"a", b"b"]]),
    "gather_nd of blocks": (
        lambda: wf.gather_nd([[["a0", "b0"], ["c0", "d0"]], [["a1", "b1"], ["c1", "d1"]]], [[0, 1], [1, 0]]),
        [[b"c0", b"d0"], [b"a1", b"b1"]],
    ),
    "gather_nd of batches of indices": (
        lambda: wf.gather_nd([["a", "b"], ["c", "d"]], [[[0, 0]], [[0, 1]]]),
        [[b"a"], [b"b"]],
    ),
    "gather": (lambda: wf.gather(["p0", "p1", "p2", "p3", "p4", "p5"], [2, 0, 2, 5]), [b"p2", b"p0", b"p2", b"p5"]),
    "gather columns": (
        lambda: wf.gather([[0, 1.0, 2.0], [10.0, 11.0, 12.0], [20.0, 21.0, 22.0]], [2, 1], axis=1),
        [[2.0, 1.0], [12.0, 11.0], [22.0, 21.0]],
    ),
    "scatter_nd": (lambda: wf.scatter_nd([[4], [3], [1], [7]], [9, 10, 11, 12], [8]), [0, 11, 0, 10, 9, 0, 0, 12]),
    "scatter_nd adds": (lambda: wf.scatter_nd([[1], [1]], [2, 3], [3]), [0, 5, 0]),
    "boolean_mask": (lambda: wf.boolean_mask([0, 1, 2, 3], [True, False, True, False]), [0, 2]),
    "boolean_mask of rows": (lambda: wf.boolean_mask([[1, 2], [3, 4], [5, 6]], [True, False, True]), [[1, 2], [5, 6]]),
    "where without branches": (lambda: wf.where([[True, False], [True, False]]), [[0, 0], [1, 0]]),
    "where of vectors": (lambda: wf.where([True, False, False, True], [1, 2, 3, 4], [100] * 4), [1, 100, 100, 4]),
    "dynamic_partition by a scalar": (
        lambda: tuple(wf.dynamic_partition([10, 20], 1, 2)),
        (np.zeros((0, 2)), [[10, 20]]),
    ),
    "dynamic_partition by a vector": (
        lambda: tuple(wf.dynamic_partition([10, 20, 30, 40, 50], [0, 0, 1, 1, 0], 2)),
        ([10, 20, 50], [30, 40]),
    ),
    "dynamic_stitch": (
        lambda: wf.dynamic_stitch(
            [6, [4, 1], [[5, 2], [0, 3]]],
            [[61, 62], [[41, 42], [11, 12]], [[[51, 52], [21, 22]], [[1, 2], [31, 32]]]],
        ),
        [[1, 2], [11, 12], [21, 22], [31, 32], [41, 42], [51, 52], [61, 62]],
    ),
    "unique": (lambda: tuple(wf.unique([1, 1, 2, 4, 4, 4, 7, 8, 8])), ([1, 2, 4, 7, 8], [0, 0, 1, 2, 2, 2, 3, 4, 4])),
    "unique_with_counts": (
        lambda: tuple(wf.unique_with_counts([1, 1, 2, 4, 4, 4, 7, 8, 8])),
        ([1, 2, 4, 7, 8], [0, 0, 1, 2, 2, 2, 3, 4, 4], [2, 1, 3, 1, 2]),
    ),
    "invert_permutation": (lambda: wf.invert_permutation([3, 4, 0, 2, 1]), [2, 4, 3, 0, 1]),
    # making and changing shapes
    "fill": (lambda: wf.fill([2, 3], 9), [[9, 9, 9], [9, 9, 9]]),
    "range": (lambda: wf.range(3, 18, 3), [3, 6, 9, 12, 15]),
    "range downwards": (lambda: wf.range(3, 1, -0.5), [3, 2.5, 2, 1.5]),
    "linspace": (lambda: wf.linspace(10.0, 12.0, 3), [10.0, 11.0, 12.0]),
    "eye": (lambda: wf.eye(2), [[1.0, 0.0], [0.0, 1.0]]),
    "meshgrid": (
        lambda: tuple(wf.meshgrid([1, 2, 3], [4, 5, 6])),
        ([[1, 2, 3], [1, 2, 3], [1, 2, 3]], [[4, 4, 4], [5, 5, 5], [6, 6, 6]]),
    ),
    "one_hot": (lambda: wf.one_hot([0, 1, 2], 3), np.eye(3)),
    "one_hot with values": (
        lambda: wf.one_hot([0, 2, -1, 1], 3, on_value=5.0, off_value=0.0, axis=-1),
        [[5.0, 0.0, 0.0], [0.0, 0.0, 5.0], [0.0, 0.0, 0.0], [0.0, 5.0, 0.0]],
    ),
    "one_hot of a matrix": (
        lambda: wf.one_hot([[0, 2], [1, -1]], 3),
        [[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]],
    ),
    "sequence_mask": (
        lambda: wf.sequence_mask([1, 3, 2], 5),
        np.array([[1, 0, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], bool),
    ),
    "sequence_mask of a matrix": (
        lambda: wf.sequence_mask([[1, 3], [2, 0]]),
        np.array([[[1, 0, 0], [1, 1, 1]], [[1, 1, 0], [0, 0, 0]]], bool),
    ),
    "transpose": (lambda: wf.transpose([[1, 2, 3], [4, 5, 6]]), [[1, 4], [2, 5], [3, 6]]),
    "transpose of the last two": (
        lambda: wf.transpose(BLOCK, [0, 2, 1]),
        [[[1, 4], [2, 5], [3, 6]], [[7, 10], [8, 11], [9, 12]]],
    ),
    "pad": (
        lambda: wf.pad([[1, 2, 3], [4, 5, 6]], [[1, 1], [2, 2]]),
        [[0] * 7, [0, 0, 1, 2, 3, 0, 0], [0, 0, 4, 5, 6, 0, 0], [0] * 7],
    ),
    "pad by reflection": (
        lambda: wf.pad([[1, 2, 3], [4, 5, 6]], [[1, 1], [2, 2]], "REFLECT"),
        [[6, 5, 4, 5, 6, 5, 4], [3, 2, 1, 2, 3, 2, 1], [6, 5, 4, 5, 6, 5, 4], [3, 2, 1, 2, 3, 2, 1]],
    ),
    "pad by symmetry": (
        lambda: wf.pad([[1, 2, 3], [4, 5, 6]], [[1, 1], [2, 2]], "SYMMETRIC"),
        [[2, 1, 1, 2, 3, 3, 2], [2, 1, 1, 2, 3, 3, 2], [5, 4, 4, 5, 6, 6, 5], [5, 4, 4, 5, 6, 6, 5]],
    ),
    "concat rows": (
        lambda: wf.concat([[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]], 0),
        [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]],
    ),
    "concat columns": (
        lambda: wf.concat([[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]], 1),
        [[1, 2, 3, 7, 8, 9], [4, 5, 6, 10, 11, 12]],
    ),
    "concat from the end": (
        lambda: wf.concat([[[[1, 2], [2, 3]], [[4, 4], [5, 3]]], [[[7, 4], [8, 4]], [[2, 10], [15, 11]]]], -1),
        [[[1, 2, 7, 4], [2, 3, 8, 4]], [[4, 4, 2, 10], [5, 3, 15, 11]]],
    ),
    "stack": (lambda: wf.stack([[1, 4], [2, 5], [3, 6]]), [[1, 4], [2, 5], [3, 6]]),
    "stack along axis 1": (lambda: wf.stack([[1, 4], [2, 5], [3, 6]], axis=1), [[1, 2, 3], [4, 5, 6]]),
    "reverse_sequence": (
        lambda: wf.reverse_sequence(
            [[1, 2, 3, 0], [4, 5, 0, 0], [6, 0, 0, 0], [7, 8, 9, 10]], [3, 2, 1, 4], seq_axis=1, batch_axis=0
        ),
        [[3, 2, 1, 0], [5, 4, 0, 0], [6, 0, 0, 0], [10, 9, 8, 7]],
    ),
    "reverse": (lambda: wf.reverse([GRID], [-2]), [GRID[::-1]]),
    "roll": (lambda: wf.roll([0, 1, 2, 3, 4], 2, 0), [3, 4, 0, 1, 2]),
    "roll of both axes": (
        lambda: wf.roll([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]], [1, -2], [0, 1]),
        [[7, 8, 9, 5, 6], [2, 3, 4, 0, 1]],
    ),
    "space_to_depth": (lambda: wf.space_to_depth([[[[1], [2]], [[3], [4]]]], 2), [[[[1, 2, 3, 4]]]]),
    "space_to_depth of four blocks": (
        lambda: wf.space_to_depth(
            [[[[1], [2], [5], [6]], [[3], [4], [7], [8]], [[9], [10], [13], [14]], [[11], [12], [15], [16]]]], 2
        ),
        [[[[1, 2, 3, 4], [5, 6, 7, 8]], [[9, 10, 11, 12], [13, 14, 15, 16]]]],
    ),
    "depth_to_space": (lambda: wf.depth_to_space([[[[1, 2, 3, 4]]]], 2), [[[[1], [2]], [[3], [4]]]]),
    "diag": (lambda: wf.diag([1, 2, 3, 4]), np.diag([1, 2, 3, 4])),
    "diag_part": (lambda: wf.diag_part(np.diag([1, 2, 3, 4])), [1, 2, 3, 4]),
    "matrix_diag": (
        lambda: wf.matrix_diag([[1, 2, 3, 4], [5, 6, 7, 8]]),
        [np.diag([1, 2, 3, 4]), np.diag([5, 6, 7, 8])],
    ),
    "matrix_set_diag": (
        lambda: wf.matrix_set_diag([[7, 7, 7, 7]] * 3, [1, 2, 3]),
        [[1, 7, 7, 7], [7, 2, 7, 7], [7, 7, 3, 7]],
    ),
    # segments
    "segment_sum": (
        lambda: wf.segment_sum([[1, 2, 3, 4], [4, 3, 2, 1], [5, 6, 7, 8]], [0, 0, 1]),
        [[5] * 4, [5, 6, 7, 8]],
    ),
    "unsorted_segment_sum": (
        lambda: wf.unsorted_segment_sum([[1, 2, 3, 4], [5, 6, 7, 8], [4, 3, 2, 1]], [0, 1, 0], 2),
        [[5] * 4, [5, 6, 7, 8]],
    ),
    # reductions and scans
    "reduce_sum": (lambda: wf.reduce_sum([[1, 1, 1], [1, 1, 1]]), 6),
    "reduce_sum keeps": (lambda: wf.reduce_sum([[1, 1, 1], [1, 1, 1]], 1, keepdims=True), [[3], [3]]),
    "reduce_mean": (lambda: wf.reduce_mean([[1.0, 1.0], [2.0, 2.0]], 0), [1.5, 1.5]),
    "reduce_mean of ints": (lambda: wf.reduce_mean([1, 0, 1, 0]), 0),
    "reduce_mean of the ints as floats": (lambda: wf.reduce_mean(wf.constant([1, 0, 1, 0], wf.float32)), 0.5),
    "reduce_all": (lambda: wf.reduce_all([[True, True], [False, False]], 0), [False, False]),
    "reduce_any": (lambda: wf.reduce_any([[True, True], [False, False]], 1), [True, False]),
    "reduce_logsumexp": (lambda: wf.reduce_logsumexp([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], 0), np.log([2, 2, 2])),
    "count_nonzero": (lambda: wf.count_nonzero([[0, 1, 0], [1, 1, 0]], 0), [1, 2, 0]),
    "count_nonzero of strings": (lambda: wf.count_nonzero(["", "a", "  ", "b", ""]), 3),
    "cumsum": (lambda: wf.cumsum([2, 4, 6, 8]), [2, 6, 12, 20]),
    "cumsum exclusive": (lambda: wf.cumsum([2, 4, 6, 8], exclusive=True), [0, 2, 6, 12]),
    "cumsum reversed": (lambda: wf.cumsum([2, 4, 6, 8], reverse=True), [20, 18, 14, 8]),
    "cumsum both": (lambda: wf.cumsum([2, 4, 6, 8], exclusive=True, reverse=True), [18, 14, 8, 0]),
    "cumprod": (lambda: wf.cumprod([2.0, 3.0, 4.0]), [2.0, 6.0, 24.0]),
    "cumprod both": (lambda: wf.cumprod([2.0, 3.0, 4.0], exclusive=True, reverse=True), [12.0, 4.0, 1.0]),
    "trace": (lambda: wf.trace([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), 15),
    "trace of matrices": (
        lambda: wf.trace([[[1, 2, 3], [4, 5, 6], [7, 8, 9]], [[-1, -2, -3], [-4, -5, -6], [-7, -8, -9]]]),
        [15, -15],
    ),
    "add_n": (lambda: wf.add_n([[[3, 5], [4, 8]], [[1, 6], [2, 9]], [[3, 5], [4, 8]]]), [[7, 16], [10, 25]]),
    # arithmetic
    "abs of complex": (lambda: wf.abs([[-2.25 + 4.75j], [-3.25 + 5.75j]]), [[5.25594901], [6.60492240]]),
    "cast": (lambda: wf.cast([1.8, 2.2], wf.int32), [1, 2]),
    "round": (lambda: wf.round([0.9, 2.5, 2.3, 1.5, -4.5]), [1.0, 2.0, 2.0, 2.0, -4.0]),
    "rint": (lambda: wf.rint([-1.7, -1.5, -0.2, 0.2, 1.5, 1.7, 2.0]), [-2.0, -2.0, -0.0, 0.0, 2.0, 2.0, 2.0]),
    "pow": (lambda: wf.pow([[2, 2], [3, 3]], [[8, 16], [2, 3]]), [[256, 65536], [9, 27]]),
    "complex": (lambda: wf.complex([2.25, 3.25], [4.75, 5.75]), [2.25 + 4.75j, 3.25 + 5.75j]),
    "real": (lambda: wf.real([-2.25 + 4.75j, 3.25 + 5.75j]), [-2.25, 3.25]),
    "conj": (lambda: wf.conj([-2.25 + 4.75j, 3.25 + 5.75j]), [-2.25 - 4.75j, 3.25 - 5.75j]),
    "matmul": (
        lambda: wf.matmul(np.arange(1, 7).reshape(2, 3), np.arange(7, 13).reshape(3, 2)),
        [[58, 64], [139, 154]],
    ),
    "matmul of batches": (
        lambda: wf.matmul(BLOCK, np.arange(13, 25).reshape(2, 3, 2)),
        [[[94, 100], [229, 244]], [[508, 532], [697, 730]]],
    ),
    "tensordot of a matrix with itself": (
        lambda: wf.tensordot([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 4.0]], 1),
        [[7.0, 10.0], [15.0, 22.0]],
    ),
    "clip_by_value": (
        lambda: wf.clip_by_value([[-10.0, -1.0, 0.0], [0.0, 2.0, 10.0]], -1.0, 1.0),
        [[-1.0, -1.0, 0.0], [0.0, 1.0, 1.0]],
    ),
    "saturate_cast": (lambda: wf.saturate_cast([-1.0, 300.0], wf.uint8), [0, 255]),
    # neural networks
    "dropout keeps all": (lambda: wf.nn.dropout([1.0, 2.0], 1.0), [1.0, 2.0]),
    "sigmoid_cross_entropy_with_logits": (
        lambda: wf.nn.sigmoid_cross_entropy_with_logits(labels=SAMPLE, logits=[1.0, -1.0, 0.0, 1.0, -1.0]),
        [0.3132617, 0.3132617, 0.6931472, 1.3132616, 0.3132617],
    ),
    "softmax_cross_entropy_with_logits": (
        lambda: wf.nn.softmax_cross_entropy_with_logits_v2(
            labels=[[1.0, 0.0, 0.0], [0.0, 0.8, 0.2]], logits=[[4.0, 2.0, 1.0], [0.0, 5.0, 1.0]]
        ),
        [0.16984604, 0.82474494],
    ),
    "sparse_softmax_cross_entropy_with_logits": (
        lambda: wf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=[0, 3, 1], logits=[[2.0, -5.0, 0.5, -0.1], [0.0, 0.0, 1.9, 1.4], [-100.0, 100.0, -100.0, -100.0]]
        ),
        [0.29750752, 1.1448325, 0.0],
    ),
    "l2_loss": (lambda: wf.nn.l2_loss([3.0, 4.0]), 12.5),
    "zero_fraction": (lambda: wf.nn.zero_fraction([0.0, 0.0, 1.0, 2.0]), 0.5),
    "in_top_k": (lambda: wf.nn.in_top_k([[0.1, 0.9], [0.8, 0.2]], [1, 1], 1), [True, False]),
    # functions of functions
    "foldl": (lambda: wf.foldl(lambda a, x: a + x, wf.constant([1, 2, 3, 4, 5, 6])), 21),
    "foldr": (lambda: wf.foldr(lambda a, x: a + x, wf.constant([1, 2, 3, 4, 5, 6])), 21),
    "scan": (lambda: wf.scan(lambda a, x: a + x, np.array([1, 2, 3, 4, 5, 6])), [1, 3, 6, 10, 15, 21]),
    "scan backwards": (
        lambda: wf.scan(lambda a, x: a + x, np.array([1, 2, 3, 4, 5, 6]), reverse=True),
        [21, 20, 18, 15, 11, 6],
    ),
    "scan of pairs": (
        lambda: wf.scan(
            lambda a, x: x[0] - x[1] + a, (np.array([1, 2, 3, 4, 5, 6]), np.array([-1, 2, -3, 4, -5, 6])), np.int64(0)
        ),
        [2, 2, 8, 8, 18, 18],
    ),
    "scan to Fibonacci's numbers": (
        lambda: wf.scan(lambda a, _: (a[1], a[0] + a[1]), np.zeros(10), (np.array(0), np.array(1))),
        ([1, 1, 2, 3, 5, 8, 13, 21, 34, 55], [1, 2, 3, 5, 8, 13, 21, 34, 55, 89]),
    ),
    "map_fn": (lambda: wf.map_fn(lambda x: x * x, np.array([1, 2, 3, 4, 5, 6])), [1, 4, 9, 16, 25, 36]),
    "map_fn of pairs": (
        lambda: wf.map_fn(lambda x: x[0] * x[1], (np.array([1, 2, 3]), np.array([-1, 1, -1])), dtype=wf.int64),
        [-1, 2, -3],
    ),
    "map_fn to pairs": (
        lambda: wf.map_fn(lambda x: (x, -x), np.array([1, 2, 3]), dtype=(wf.int64, wf.int64)),
        ([1, 2, 3], [-1, -2, -3]),
    ),
    "while_loop": (lambda: wf.while_loop(lambda i: wf.less(i, 10), lambda i: wf.add(i, 1), [wf.constant(0)]), 10),
    "while_loop whose variable grows": (
        lambda: wf.while_loop(
            lambda i, _: i < 3,
            lambda i, m: (i + 1, wf.concat([m, m], axis=0)),
            [wf.constant(0), wf.ones([2, 2])],
            [wf.TensorShape([]), wf.TensorShape([None, 2])],
        )[1],
        np.ones((16, 2)),
    ),
    "case": (
        lambda: wf.case([(wf.constant(1) < wf.constant(2), lambda: wf.constant(17))], lambda: wf.constant(23)),
        17,
    ),
    "switch_case": (
        lambda: wf.switch_case(wf.constant(7), [lambda: 17, lambda: 31], default=lambda: -1),
        -1,
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_value(name: str, session: wf.Session) -> None:
    build, expected = EXAMPLES[name]
    found = session.run(build())
    if not isinstance(expected, tuple):
        found, expected = (found,), (expected,)
    assert len(found) == len(expected)
    for value, wanted in zip(found, expected, strict=True):
        assert np.shape(value) == np.shape(wanted)
        if np.asarray(value).dtype.kind in "fc":
            np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-7)
        else:
            np.testing.assert_array_equal(value, wanted)
