"""Tests of map_fn, scan, foldl, foldr and TensorArray: values, gradients of two orders, structures and errors."""

from typing import Any

import numpy as np
import pytest
import weft as wf

X = np.arange(1.0, 7.0).reshape(3, 2)


@pytest.fixture(params=["known", "unknown"])
def rows(request: pytest.FixtureRequest) -> Any:
    """Three rows of two numbers, whose number is known when the graph is built, or not."""
    return wf.placeholder(wf.float64, [3 if request.param == "known" else None, 2])


def run(fetches: Any, feeds: Any = None) -> Any:
    with wf.Session() as session:
        return session.run(fetches, feeds)


def test_map_fn(rows: Any) -> None:
    y = wf.map_fn(lambda row: wf.reduce_sum(row**3.0), rows)
    grad = wf.gradients(y, rows)[0]
    value, first, second = run([y, grad, wf.gradients(grad, rows)[0]], {rows: X})
    np.testing.assert_allclose(value, (X**3).sum(1))
    np.testing.assert_allclose(first, 3 * X**2)
    np.testing.assert_allclose(second, 6 * X)
    assert y.shape.as_list() == [rows.shape.as_list()[0]]


def test_map_fn_of_structures_and_other_types() -> None:
    elems = {"a": wf.constant([1.0, 2.0]), "b": wf.constant([3, 4])}
    found = wf.map_fn(lambda e: (e["b"] * 2, e["a"] > 1.5), elems, dtype=(wf.int32, wf.bool))
    assert [value.tolist() for value in run(found)] == [[6, 8], [False, True]]


def test_map_fn_of_no_rows() -> None:
    x = wf.placeholder(wf.float32, [None, 2])
    y = wf.map_fn(lambda row: row * 2.0, x)
    assert run([y, wf.gradients(y, x)[0]], {x: np.zeros((0, 2))})[0].shape == (0, 2)


def test_a_map_inside_a_map() -> None:
    x = wf.placeholder(wf.float64, [3, 2])
    y = wf.map_fn(lambda row: wf.map_fn(lambda number: number * number * row[0], row), x)
    value, grad = run([y, wf.gradients(y, x)[0]], {x: X})
    np.testing.assert_allclose(value, X**2 * X[:, :1])
    np.testing.assert_allclose(grad, np.stack([3 * X[:, 0] ** 2 + X[:, 1] ** 2, 2 * X[:, 0] * X[:, 1]], 1))


def test_scan(rows: Any) -> None:
    for reverse in (False, True):
        y = wf.scan(lambda a, row: a * row, rows, reverse=reverse)
        weights = np.arange(1.0, 7.0).reshape(3, 2)
        (grad,) = wf.gradients(y, rows, grad_ys=wf.constant(weights))
        value, first = run([y, grad], {rows: X})
        order = slice(None, None, -1) if reverse else slice(None)
        expected = np.cumprod(X[order], 0)[order]
        np.testing.assert_allclose(value, expected)
        below = np.cumsum((weights * expected)[order][::-1], 0)[::-1][order]
        np.testing.assert_allclose(first, below / X)


def test_scan_with_an_initializer_of_another_structure() -> None:
    x = wf.constant([1.0, 2.0, 3.0])
    count, total = wf.scan(lambda a, e: (a[0] + 1, a[1] + e), x, initializer=(0, wf.constant(10.0)))
    values = run([count, total, *wf.gradients(total, x)])
    assert [value.tolist() for value in values] == [[1, 2, 3], [11.0, 13.0, 16.0], [3.0, 2.0, 1.0]]


def test_folds(rows: Any) -> None:
    start = wf.constant([1.0, 1.0], wf.float64)
    left = wf.foldl(lambda a, row: a * 2.0 + row, rows)
    right = wf.foldr(lambda a, row: a * 2.0 + row, rows, initializer=start)
    values = run([left, right, *wf.gradients(left, rows), *wf.gradients(right, [rows, start])], {rows: X})
    expected = [
        [15.0, 22.0],
        [35.0, 42.0],
        [[4.0, 4.0], [2.0, 2.0], [1.0, 1.0]],
        [[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]],
        [8.0, 8.0],
    ]
    assert [value.tolist() for value in values] == expected


@pytest.mark.parametrize("function", [wf.map_fn, wf.scan, wf.foldl, wf.foldr])
def test_what_cannot_be_mapped(function: Any) -> None:
    with pytest.raises(TypeError, match="not callable"):
        function(3, wf.constant([1.0]))
    with pytest.raises(ValueError, match="at least 1 dimension"):
        function(lambda *a: a[0], wf.constant(1.0))


def test_in_eager_execution() -> None:
    wf.enable_eager_execution()
    x = wf.constant([1.0, 2.0, 3.0])
    assert wf.map_fn(lambda e: e * 2.0, x).numpy().tolist() == [2.0, 4.0, 6.0]
    assert wf.scan(lambda a, e: a + e, x).numpy().tolist() == [1.0, 3.0, 6.0]
    assert wf.scan(lambda a, e: a + e, x, reverse=True).numpy().tolist() == [6.0, 5.0, 3.0]
    assert wf.foldl(lambda a, e: a * 2.0 + e, x).numpy() == 11.0
    assert wf.foldr(lambda a, e: a * 2.0 + e, x, wf.constant(0.0)).numpy() == 17.0
    with pytest.raises(RuntimeError, match="graph"):
        wf.TensorArray(wf.float32, 3)


# TensorArray


def test_elements_are_written_and_read() -> None:
    array = wf.TensorArray(wf.float32, 3)
    array = array.write(2, [1.0, 2.0]).write(0, [3.0, 4.0])
    assert array.element_shape.as_list() == [2]
    found = run([array.read(2), array.read(1), array.stack(), array.gather([2, 0]), array.size()])
    assert [value.tolist() for value in found] == [
        [1.0, 2.0], [0.0, 0.0], [[3.0, 4.0], [0.0, 0.0], [1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]], 3,
    ]  # fmt: skip
    assert array.stack().shape.as_list() == [3, 2]


def test_rows_and_pieces() -> None:
    x = wf.constant(np.arange(6.0))
    array = wf.TensorArray(wf.float64, 3, infer_shape=False).split(x, [1, 2, 3])
    assert run([array.read(2), array.concat()])[0].tolist() == [3.0, 4.0, 5.0]
    assert run(wf.gradients(array.concat() * array.read(0)[0], x)[0]).tolist() == [15.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    y = wf.constant(X)
    scattered = wf.TensorArray(wf.float64, 5).scatter([4, 0, 1], y)
    assert run(scattered.gather([4, 1])).tolist() == [[1.0, 2.0], [5.0, 6.0]]
    assert run(wf.gradients(scattered.read(1), y)[0]).tolist() == [[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]


def test_a_dynamic_array_grows() -> None:
    array = wf.TensorArray(wf.int32, 0, dynamic_size=True)
    _, array = wf.while_loop(lambda i, _: i < 4, lambda i, a: (i + 1, a.write(i, i * i)), (0, array))
    assert run([array.stack(), array.size()])[0].tolist() == [0, 1, 4, 9]


def test_elements_that_depend_on_earlier_ones() -> None:
    x = wf.placeholder(wf.float64, ())
    array = wf.TensorArray(wf.float64, 8).write(0, x).write(1, x)

    def body(i: Any, array: Any) -> Any:
        return i + 1, array.write(i, array.read(i - 1) * array.read(i - 2))

    _, array = wf.while_loop(lambda i, _: i < 8, body, (2, array))
    ys = [array.read(7)]  # x**21
    ys += wf.gradients(ys[0], x)
    ys += wf.gradients(ys[1], x)
    np.testing.assert_allclose(run(ys, {x: 1.1}), [1.1**21, 21 * 1.1**20, 420 * 1.1**19])


def test_an_array_that_a_branch_writes() -> None:
    x, p = wf.placeholder(wf.float64, ()), wf.placeholder(wf.bool, ())
    array = wf.TensorArray(wf.float64, 2).write(0, x)
    array = wf.cond(p, lambda: array.write(1, x * x), lambda: array.write(1, x * 5.0))
    y = array.read(0) * array.read(1)
    for chosen, expected in [(True, [8.0, 12.0]), (False, [20.0, 20.0])]:
        assert run([y, *wf.gradients(y, x)], {x: 2.0, p: chosen}) == expected


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: wf.TensorArray(wf.float32), ValueError, "Size must be provided"),
        (lambda: wf.TensorArray(wf.float32, 2).write(0, wf.constant(1)), ValueError, "dtype"),
        (lambda: wf.TensorArray(wf.float32, 2).write(0, 1.0).write(1, [1.0]), ValueError, "Inconsistent shapes"),
        (lambda: run(wf.TensorArray(wf.float32, 2).write(2, 1.0).stack()), wf.errors.InvalidArgumentError, "size is: 2"),
        (lambda: run(wf.TensorArray(wf.float32, 2).write(0, 1.0).read(5)), wf.errors.InvalidArgumentError, "size is: 2"),
        (
            lambda: run(wf.TensorArray(wf.float32, 2).write(0, 1.0).write(0, 1.0).stack()),
            wf.errors.InvalidArgumentError, "already been written",
        ),
        (
            lambda: run(wf.TensorArray(wf.float32, 2, infer_shape=False).read(0)),
            wf.errors.InvalidArgumentError, "never written",
        ),
    ],
)  # fmt: skip
def test_what_a_tensor_array_refuses(build: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        build()
