"""SparseTensor: how it is made, fetched and fed, and what the functions on it give and refuse."""

from typing import Any

import numpy as np
import pytest
import weft as wf

VALUE = wf.SparseTensorValue(np.array([[0, 1], [2, 0]]), np.array([1.0, 2.0], np.float32), np.array([3, 4]))
DENSE = [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0]]


def sparse(indices: Any = ((0, 1), (2, 0)), values: Any = (1.0, 2.0), dims: Any = (3, 4)) -> wf.SparseTensor:
    return wf.SparseTensor(indices, values, dims)


def run(fetches: Any, feed_dict: Any = None) -> Any:
    with wf.Session() as sess:
        return sess.run(fetches, feed_dict)


def lists(value: Any) -> tuple[Any, Any, Any]:
    assert isinstance(value, wf.SparseTensorValue)
    return value.indices.tolist(), value.values.tolist(), value.dense_shape.tolist()


# what it is


def test_its_parts() -> None:
    x = sparse()
    assert (x.dtype, x.indices.dtype, x.dense_shape.dtype) == (wf.float32, wf.int64, wf.int64)
    assert x.shape.as_list() == x.get_shape().as_list() == [3, 4]
    assert (x.op, x.graph) == (x.values.op, wf.get_default_graph())
    assert repr(x).startswith("SparseTensor(indices=Tensor(")


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        (([1, 2], [1.0, 2.0], [3, 4]), ValueError, "must have rank 2"),
        (([[0, 1]], [[1.0]], [3, 4]), ValueError, "must have rank 1"),
        (([[0, 1]], [1.0], [[1]]), ValueError, "must have rank 1"),
        (([[0, 1], [2, 0]], [1.0, 2.0, 3.0], [3, 4]), ValueError, "Dimensions 2 and 3 are not compatible"),
        (([[0, 1]], [1.0], [3]), ValueError, "Dimensions 2 and 1 are not compatible"),
        (([[0.0, 1.0]], [1.0], [3, 4]), TypeError, "int64"),
        (([[0, 1]], [1.0], None), ValueError, "None values not supported"),
    ],
)
def test_parts_that_do_not_go_together(parts: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wf.SparseTensor(*parts)


def test_indices_of_another_type() -> None:
    with pytest.raises(ValueError, match="requested dtype int64"):
        sparse(wf.constant([[0, 1], [2, 0]]))
    assert lists(run(sparse(np.array([[0, 1], [2, 0]], np.int32))))[0] == [[0, 1], [2, 0]]


def test_from_value() -> None:
    x = wf.SparseTensor.from_value(VALUE)
    assert lists(run(x)) == lists(VALUE)
    assert wf.SparseTensor.from_value(x) is x
    with pytest.raises(TypeError, match="neither a SparseTensor nor SparseTensorValue"):
        wf.SparseTensor.from_value(3)


def test_it_is_no_dense_tensor() -> None:
    with pytest.raises(TypeError):
        wf.convert_to_tensor(sparse())


# fetching and feeding


def test_fetched_in_structures() -> None:
    value = run({"a": [sparse(), wf.constant(3.0)]})["a"]
    assert (lists(value[0]), value[1]) == (lists(VALUE), 3.0)


def test_eval() -> None:
    x = sparse()
    with wf.Session():
        assert lists(x.eval()) == lists(VALUE)
    with pytest.raises(ValueError, match="No default session"):
        x.eval()


@pytest.mark.parametrize("value", [VALUE, tuple(VALUE), ([[0, 1], [2, 0]], [1.0, 2.0], [3, 4])])
@pytest.mark.parametrize("dims", [None, [3, 4], [None, 4]])
def test_a_placeholder_is_fed_and_fetched(value: Any, dims: Any) -> None:
    x = wf.sparse_placeholder(wf.float32, dims)
    fetched, dense = run([x, wf.sparse.to_dense(x)], {x: value})
    assert (lists(fetched), dense.tolist()) == (lists(VALUE), DENSE)


def test_a_placeholders_parts() -> None:
    x = wf.sparse.placeholder(wf.float32, [None, 4], name="x")
    assert (x.values.name, x.indices.name, x.dense_shape.name) == ("x/values:0", "x/indices:0", "x/shape:0")
    assert (x.shape.as_list(), x.indices.shape.as_list()) == ([None, 4], [None, 2])
    assert wf.sparse.to_dense(x).shape.as_list() == [None, 4]
    unknown = wf.sparse_placeholder(wf.float32)
    assert (unknown.shape.ndims, unknown.indices.shape.as_list()) == (None, [None, None])


def test_feeding_what_is_not_sparse() -> None:
    x = wf.sparse_placeholder(wf.float32)
    with pytest.raises(TypeError, match="SparseTensor is fed a tuple or SparseTensorValue"):
        run(x, {x: 5})
    with pytest.raises(wf.errors.InvalidArgumentError, match="You must feed a value for placeholder tensor"):
        run(x)


def test_a_computed_one_is_fed_instead() -> None:
    x = sparse()
    assert run(wf.sparse.reduce_sum(x), {x: ([[1, 1], [2, 2]], [7.0, 1.0], [3, 4])}) == 8.0


def test_callables() -> None:
    x = wf.sparse_placeholder(wf.float32)
    y = wf.placeholder(wf.float32)
    with wf.Session() as sess:
        both = sess.make_callable([x, wf.sparse_tensor_to_dense(x) * y], [x, y])
        fetched, dense = both(VALUE, 2.0)
        assert (lists(fetched), dense.tolist()) == (lists(VALUE), (2 * np.array(DENSE)).tolist())
        with pytest.raises(TypeError, match="takes 2 feeds, got 1"):
            both(VALUE)


def test_partial_runs() -> None:
    x, y = wf.sparse_placeholder(wf.float32), wf.placeholder(wf.float32)
    total = wf.sparse.reduce_sum(x)
    scaled = wf.sparse.to_dense(x) * y
    with wf.Session() as sess:
        handle = sess.partial_run_setup([total, scaled], [x, y])
        assert sess.partial_run(handle, total, {x: VALUE}) == 3.0
        assert sess.partial_run(handle, scaled, {y: 2.0}).sum() == 6.0


def test_in_branches_and_loops() -> None:
    pred = wf.placeholder(wf.bool)
    x = wf.cond(pred, sparse, lambda: sparse(values=[3.0, 4.0]))
    _, y = wf.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2.0), [wf.constant(0), sparse()])
    fetched = run([x, y], {pred: False})
    assert [lists(value)[1] for value in fetched] == [[3.0, 4.0], [8.0, 16.0]]


# functions


def test_to_dense() -> None:
    assert run(wf.sparse_tensor_to_dense(sparse())).tolist() == DENSE
    assert run(wf.sparse_tensor_to_dense(sparse(), -1.0)).sum() == 3.0 - 10
    words = run(wf.sparse_tensor_to_dense(sparse(values=["a", "b"]))).tolist()
    assert words[0] == [b"", b"a", b"", b""]


@pytest.mark.parametrize(
    ("indices", "message"),
    [([[2, 0], [0, 1]], "out of order"), ([[0, 1], [0, 1]], "is repeated"), ([[0, 1], [5, 1]], "does not index into")],
)
def test_indices_that_are_wrong_in_a_run(indices: Any, message: str) -> None:
    with pytest.raises(wf.errors.InvalidArgumentError, match=message):
        run(wf.sparse_tensor_to_dense(sparse(indices)))


def test_indices_that_are_not_validated() -> None:
    dense = wf.sparse_tensor_to_dense(sparse([[0, 1], [0, 1]]), validate_indices=False)
    assert run(dense).tolist() == [[0.0, 2.0, 0.0, 0.0], [0.0] * 4, [0.0] * 4]


def test_sparse_to_dense_takes_vectors_and_single_values() -> None:
    assert run(wf.sparse_to_dense([1, 3], [5], 1.0, 0.5)).tolist() == [0.5, 1.0, 0.5, 1.0, 0.5]
    assert run(wf.sparse_to_dense(1, [3], 2)).tolist() == [0, 2, 0]
    with pytest.raises(wf.errors.InvalidArgumentError, match="sparse_values has incorrect shape"):
        run(wf.sparse_to_dense([[0, 1]], [2, 2], [1, 2, 3]))
    with pytest.raises(wf.errors.InvalidArgumentError, match="output_shape has 1 elements"):
        run(wf.sparse_to_dense([[0, 1]], [2], [1]))


def test_products_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="Dimensions must be equal, but are 4 and 3"):
        wf.sparse_tensor_dense_matmul(sparse(), np.ones((3, 2)))
    with pytest.raises(TypeError, match="does not match type float32 of argument 'a_values'"):
        wf.sparse.matmul(sparse(), wf.ones([4, 2], wf.float64))
    with pytest.raises(ValueError, match="must be rank 2 but is rank 3"):
        wf.sparse.matmul(sparse([[0, 1, 1]], [1.0], [3, 4, 5]), np.ones((4, 2)))
    b = wf.placeholder(wf.float32)
    with pytest.raises(wf.errors.InvalidArgumentError, match="Dimensions must be equal, but are 4 and 3"):
        run(wf.sparse.matmul(sparse(), b), {b: np.ones((3, 2))})


def test_complex_products_conjugate_what_is_adjoint() -> None:
    values = np.array([1 + 2j, 3 - 1j], np.complex64)
    a = np.zeros((3, 4), np.complex64)
    a[0, 1], a[2, 0] = values
    b = (np.arange(6) * (1 + 1j)).astype(np.complex64).reshape(2, 3)
    x = wf.constant(values)
    product = wf.sparse.matmul(sparse(values=x), wf.constant(b), adjoint_a=True, adjoint_b=True)
    assert run(product).tolist() == (a.conj().T @ b.conj().T).tolist()


def test_sums_of_sparse_and_dense() -> None:
    other = sparse([[0, 1], [1, 1]], [-1.0, 7.0])
    assert lists(run(wf.sparse_add(sparse(), other))) == ([[0, 1], [1, 1], [2, 0]], [0.0, 7.0, 2.0], [3, 4])
    assert lists(run(wf.sparse_add(sparse(), other, 0.5))) == ([[1, 1], [2, 0]], [7.0, 2.0], [3, 4])
    ones = np.ones((3, 4), np.float32)
    for total in (wf.sparse_add(sparse(), ones), wf.sparse_add(ones, sparse())):
        assert run(total).tolist() == (np.array(DENSE) + 1).tolist()
    with pytest.raises(TypeError, match="At least one input should be SparseTensor"):
        wf.sparse_add(ones, ones)
    with pytest.raises(ValueError, match=r"not compatible|incompatible"):
        wf.sparse_add(sparse(), sparse(dims=(3, 5)))


def test_operators_with_dense_tensors() -> None:
    assert lists(run(sparse() * 3.0))[1] == [3.0, 6.0]
    assert lists(run(sparse() * np.arange(4.0, dtype=np.float32)))[1] == [1.0, 0.0]
    assert lists(run(sparse() / wf.constant(2.0)))[1] == [0.5, 1.0]


def test_rearranged() -> None:
    assert lists(run(wf.sparse_reorder(sparse([[2, 0], [0, 1]])))) == ([[0, 1], [2, 0]], [2.0, 1.0], [3, 4])
    assert lists(run(wf.sparse_transpose(sparse()))) == ([[0, 2], [1, 0]], [2.0, 1.0], [4, 3])
    assert lists(run(wf.sparse_retain(sparse(), [True, False]))) == ([[0, 1]], [1.0], [3, 4])
    beside = wf.sparse_concat(1, [sparse(), sparse()])
    assert lists(run(beside)) == ([[0, 1], [0, 5], [2, 0], [2, 4]], [1.0, 1.0, 2.0, 2.0], [3, 8])
    larger = wf.sparse_concat(0, [sparse(), sparse(dims=(3, 6))], expand_nonconcat_dim=True)
    assert lists(run(larger))[2] == [6, 6]
    assert lists(run(wf.sparse.from_dense(DENSE)))[:2] == ([[0, 1], [2, 0]], [1.0, 2.0])
    with pytest.raises(ValueError, match="Dimensions must be equal"):
        wf.sparse_concat(0, [sparse(), sparse(dims=(3, 6))])
    with pytest.raises(ValueError, match=r"not compatible|incompatible"):
        wf.sparse_retain(sparse(), [True, False, True])


@pytest.mark.parametrize("function", [wf.sparse_tensor_to_dense, wf.sparse_reduce_sum, wf.sparse_reorder])
def test_functions_refuse_dense_tensors(function: Any) -> None:
    with pytest.raises(TypeError, match="must be a SparseTensor"):
        function(wf.constant([1.0]))


def test_gradients_flow_through_the_values() -> None:
    values = wf.constant([1.0, 2.0])
    x = sparse(values=values * 3.0)
    y = wf.sparse_tensor_to_dense(wf.sparse_reorder(wf.sparse_transpose(x))) * np.arange(12.0).reshape(4, 3)
    assert run(wf.gradients(y, values)[0]).tolist() == [9.0, 6.0]


def test_gradients_are_those_of_the_values() -> None:
    x, y = sparse(), wf.constant(1.0)
    for ys, xs, grad_ys in ((y, [x], None), (x, y, None), (y, y, [x])):
        with pytest.raises(
            ValueError, match="Type SparseTensor is not supported as a gradient source or gradient target"
        ):
            wf.gradients(ys, xs, grad_ys)


# embeddings

TABLE = np.arange(10, dtype=np.float32).reshape(5, 2)
ROWS = [[0, 0], [0, 1], [1, 0], [2, 0]]


def ids() -> wf.SparseTensor:
    return wf.SparseTensor(ROWS, wf.constant([1, 3, 0, 1], wf.int64), [3, 2])


def weights() -> wf.SparseTensor:
    return wf.SparseTensor(ROWS, [2.0, 0.5, 1.0, 3.0], [3, 2])


@pytest.mark.parametrize(
    ("combiner", "weighted", "expected"),
    [
        ("sum", False, [[8, 10], [0, 1], [2, 3]]),
        ("sum", True, [[7, 9.5], [0, 1], [6, 9]]),
        ("mean", False, [[4, 5], [0, 1], [2, 3]]),
        ("mean", True, [[2.8, 3.8], [0, 1], [2, 3]]),
        ("sqrtn", False, [[5.656854, 7.071068], [0, 1], [2, 3]]),
        ("sqrtn", True, [[3.3954988, 4.608177], [0, 1], [2, 3]]),
        (None, True, [[2.8, 3.8], [0, 1], [2, 3]]),
    ],
)
def test_combined_embeddings(combiner: Any, weighted: bool, expected: Any) -> None:
    found = wf.nn.embedding_lookup_sparse(TABLE, ids(), weights() if weighted else None, combiner=combiner)
    np.testing.assert_allclose(run(found), expected, rtol=1e-6)


def test_a_row_without_ids_is_zero() -> None:
    some = wf.SparseTensor([[0, 0], [2, 0]], wf.constant([1, 3], wf.int64), [3, 2])
    for combiner in ("sum", "mean", "sqrtn"):
        assert run(wf.nn.embedding_lookup_sparse(TABLE, some, None, combiner=combiner))[1].tolist() == [0.0, 0.0]


def test_the_gradient_of_combined_embeddings() -> None:
    table = wf.Variable(TABLE)
    found = wf.nn.embedding_lookup_sparse(table, ids(), weights(), combiner="mean")
    gradient = wf.gradients(found, table)[0]
    assert isinstance(gradient, wf.IndexedSlices)
    with wf.Session() as sess:
        sess.run(table.initializer)
        dense = sess.run(wf.convert_to_tensor(gradient))
    np.testing.assert_allclose(dense[:, 0], [1.0, 1.8, 0.0, 0.2, 0.0], rtol=1e-6)


def test_embeddings_of_what_is_not_sparse() -> None:
    with pytest.raises(TypeError, match="sp_ids must be SparseTensor"):
        wf.nn.embedding_lookup_sparse(TABLE, wf.constant([1]), None)
    with pytest.raises(TypeError, match="sp_weights must be either None or SparseTensor"):
        wf.nn.embedding_lookup_sparse(TABLE, ids(), wf.constant([1.0]))
    with pytest.raises(ValueError, match="combiner must be one of"):
        wf.nn.embedding_lookup_sparse(TABLE, ids(), None, combiner="max")
