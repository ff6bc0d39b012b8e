"""Tests of the gradient by a loop's weights: products of the rows of many iterations at once, whatever the loop looks like."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph import product_sum
from weft.graph.function import functions_of
from weft.graph.ops.product_sums import multiply
from weft.graph.product_sum import ProductSum

Program = Callable[[Any, Any], Any]

X, W = np.linspace(-1.0, 1.2, 6).reshape(2, 3), np.linspace(0.9, -0.7, 9).reshape(3, 3)


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few rows are kept that some are multiplied within each loop."""
    monkeypatch.setattr(product_sum, "ROWS", 5)


def loop(times: Any, step: Callable[..., Any], *start: Any, **options: Any) -> list[Any]:
    """The variables after so many steps, which take the iteration and the variables."""
    found = wf.while_loop(lambda i, *_: i < times, lambda i, *x: [i + 1, *step(i, *x)], [0, *start], **options)
    return list(found)[1:]


def plain(x: Any, w: Any) -> Any:
    return loop(7, lambda i, h: [wf.tanh(h @ w + x)], x)[0]


def first_factor_transposed(x: Any, w: Any) -> Any:
    return loop(4, lambda i, h: [wf.tanh(wf.matmul(h, w, transpose_a=True))], wf.concat([x, x[:1]], 0))[0]


def weights_transposed(x: Any, w: Any) -> Any:
    return loop(4, lambda i, h: [wf.tanh(wf.matmul(h, w, transpose_b=True))], x)[0]


def weights_first(x: Any, w: Any) -> Any:
    def step(i: Any, h: Any) -> list[Any]:
        return [wf.tanh(wf.matmul(w, wf.matmul(w, h), transpose_a=True))]

    return loop(3, step, wf.transpose(x))[0]


def used_twice(x: Any, w: Any) -> Any:
    return loop(4, lambda i, h: [wf.tanh(wf.sin(h @ w) @ w)], x)[0]


def used_otherwise_too(x: Any, w: Any) -> Any:
    return loop(4, lambda i, h: [wf.tanh(h @ w + wf.reduce_sum(w * w, 0))], x)[0]


def used_around_too(x: Any, w: Any) -> Any:
    h, w = loop(4, lambda i, h, w: [wf.tanh(h @ w), w], x, w)
    return h @ wf.sin(w)


def no_iteration(x: Any, w: Any) -> Any:
    return loop(wf.cast(w[0, 0], wf.int32), lambda i, h: [h @ w], x)[0] + w[0]


def more_rows_each_time(x: Any, w: Any) -> Any:
    invariants = [wf.TensorShape([]), wf.TensorShape([None, 3])]
    return loop(4, lambda i, h: [wf.tanh(wf.concat([h, h[:1]], 0) @ w)], x, shape_invariants=invariants)[0]


def fewer_rows_each_time(x: Any, w: Any) -> Any:
    start = wf.concat([x, x * 0.5, x * 0.2], 0)
    invariants = [wf.TensorShape([]), wf.TensorShape([None, 3])]
    return loop(6, lambda i, h: [wf.tanh(h @ w)[1:]], start, shape_invariants=invariants)[0]  # in the end none


def loop_in_loop(x: Any, w: Any) -> Any:
    return loop(3, lambda i, h: [loop(i + 1, lambda j, g: [wf.tanh(g @ w + x)], h)[0] + h @ w], x)[0]


def in_a_branch(x: Any, w: Any) -> Any:
    return loop(4, lambda i, h: [wf.cond(i % 2 < 1, lambda: wf.tanh(h @ w), lambda: h * 0.5)], x)[0]


def loop_in_a_branch(x: Any, w: Any) -> Any:
    return wf.cond(wf.reduce_sum(x) > -100.0, lambda: plain(x, w), lambda: x)


def of_complex_numbers(x: Any, w: Any) -> Any:
    h = loop(3, lambda i, h: [wf.tanh(h @ wf.complex(w, w * 0.3))], wf.complex(x * 0.2, x * 0.1))[0]
    return wf.real(h) + 2.0 * wf.imag(h)


def gradient_inside(x: Any, w: Any) -> Any:
    def step(i: Any, h: Any) -> list[Any]:
        return [wf.tanh(wf.gradients(wf.reduce_sum(wf.sin(h @ w) @ w), h)[0])]

    return loop(2, step, x)[0]


PROGRAMS = [
    plain, first_factor_transposed, weights_transposed, weights_first, used_twice, used_otherwise_too, used_around_too,
    no_iteration, more_rows_each_time, fewer_rows_each_time, loop_in_loop, in_a_branch, loop_in_a_branch,
    of_complex_numbers, gradient_inside,
]  # fmt: skip


def placeholders(rows: int | None = 2) -> list[Any]:
    return [wf.placeholder(wf.float64, [rows, 3]), wf.placeholder(wf.float64, [3, 3])]


def types_in(*tensors: Any) -> set[str]:
    """The types of all operations of the tensors' graph, and of all functions in it."""
    found: set[str] = set()
    waiting = list(tensors[0].graph.get_operations())
    while waiting:
        operation = waiting.pop()
        found.add(operation.type)
        waiting += [each for function in functions_of(operation.definition) for each in function.operations]
    return found


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("rows", [2, None])
def test_two_orders_against_differences(program: Program, rows: int | None) -> None:
    xs = placeholders(rows)
    feeds = dict(zip(xs, (X, W), strict=True))
    value = wf.reduce_sum(program(*xs))
    with wf.Session() as session:
        for order in (1, 2):
            found = wf.gradients(value, xs, unconnected_gradients="zero")
            for x, grad in zip(xs, found, strict=True):
                exact = session.run(wf.convert_to_tensor(grad), feeds)
                expected = differences(session, value, x, feeds)
                np.testing.assert_allclose(exact, expected, rtol=2e-5, atol=1e-6, err_msg=f"order {order}, by {x.name}")
            value = wf.add_n([wf.reduce_sum(wf.sin(grad)) for grad in found])


def differences(session: Any, value: Any, x: Any, feeds: dict[Any, Any]) -> Any:
    at = feeds[x]
    result = np.zeros_like(at)
    for place in np.ndindex(*at.shape):
        sides = []
        for step in (1e-6, -1e-6):
            moved = at.copy()
            moved[place] += step
            sides.append(session.run(value, {**feeds, x: moved}))
        result[place] = (sides[0] - sides[1]) / 2e-6
    return result


@pytest.mark.usefixtures("few_rows")
def test_a_third_order() -> None:
    xs = placeholders()
    feeds = dict(zip(xs, (X, W), strict=True))
    value = wf.reduce_sum(loop(3, lambda i, h: [wf.tanh(h @ xs[1])], xs[0])[0])
    for _ in range(2):
        value = wf.reduce_sum(wf.sin(wf.gradients(value, xs[1])[0]))
    with wf.Session() as session:
        exact = session.run(wf.gradients(value, xs[1])[0], feeds)
        np.testing.assert_allclose(exact, differences(session, value, xs[1], feeds), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("program", [plain, used_otherwise_too, loop_in_loop, more_rows_each_time])
def test_rows_are_collected(program: Program) -> None:
    xs = placeholders()
    grads = wf.gradients(program(*xs), xs[1])
    assert {"ProductSumStart", "ProductSumAdd", "ProductSumTotal"} <= types_in(*grads)


def wide(x: Any, w: Any) -> Any:
    return loop(2, lambda i, h: [wf.tanh(h @ w)], wf.tile(x, [product_sum.ROWS // 2, 1]))[0]


def of_two_bytes(x: Any, w: Any) -> Any:
    half = wf.cast(w, wf.float16)
    return loop(2, lambda i, h: [wf.tanh(h @ half)], wf.cast(x, wf.float16))[0]


@pytest.mark.parametrize("program", [wide, of_two_bytes, in_a_branch])
def test_other_products_are_added_up_one_by_one(program: Program) -> None:
    xs = placeholders()
    grads = wf.gradients(program(*xs), xs[1])
    assert not {"ProductSumStart", "ProductSumAdd", "ProductSumTotal"} & types_in(*grads)


def test_devices_that_products_ask_for_change_no_bits() -> None:
    x, w = (wf.constant(value) for value in (X, W))

    def step(i: Any, h: Any) -> list[Any]:
        with wf.device("/cpu:1"):
            return [wf.tanh(h @ w)]

    y = loop(3, step, x)[0]
    (there,) = wf.gradients(y, w, colocate_gradients_with_ops=True)
    (here,) = wf.gradients(y, w)
    (alone,) = wf.gradients(loop(3, lambda i, h: [wf.tanh(h @ w)], x)[0], w)
    with wf.Session(config=wf.ConfigProto(device_count={"CPU": 2})) as session:
        found = [value.tobytes() for value in session.run([there, here, alone])]
    assert found[0] == found[1] == found[2]


def test_colocation_with_what_asks_for_nothing_collects_rows() -> None:
    xs = placeholders()
    (grad,) = wf.gradients(plain(*xs), xs[1], colocate_gradients_with_ops=True)
    assert "ProductSumAdd" in types_in(grad)


@pytest.fixture
def big() -> tuple[Any, dict[Any, Any]]:
    """The gradients of a loop by its weights, all of whose products two threads share, and what to feed."""
    random = np.random.default_rng(1)
    x, w = wf.placeholder(wf.float32, [32, 96]), wf.placeholder(wf.float32, [96, 160])
    times = wf.placeholder(wf.int32, [])
    y = loop(times, lambda i, h: [wf.tanh(h @ w)[:, 32:128] + x], x)[0]
    feeds = {x: random.standard_normal((32, 96), np.float32), w: random.standard_normal((96, 160), np.float32) / 10}
    return wf.gradients(y, [x, w]), {**feeds, times: 0}


@pytest.mark.parametrize("times", [0, 1, 16, 37])
def test_backends_and_threads_give_the_same_bits(big: Any, times: int) -> None:
    grads, feeds = big
    found = []
    for backend in ("numpy", "llvm"):
        for threads in (1, 2):
            config = wf.ConfigProto(backend=backend, intra_op_parallelism_threads=threads)
            with wf.Session(config=config) as session:
                for _ in range(2):
                    values = session.run(
                        grads, {key: times if key.dtype == wf.int32 else value for key, value in feeds.items()}
                    )
                    found.append(b"".join(value.tobytes() for value in values))
    assert len(set(found)) == 1


def test_rows_are_multiplied_as_they_come_in() -> None:
    """The sum is that of products over as many rows as fit, each written out; bits and all."""
    random = np.random.default_rng(2)
    steps = [[random.standard_normal((30, side), np.float32) for side in (5, 7)] for _ in range(40)]
    held = ProductSum()
    for left, right in steps:
        held = held.add(left, right, multiply, np.empty)
    found = np.empty((5, 7), np.float32)
    assert held.total(multiply, found)
    together = product_sum.capacity(30) // 30
    assert together == 17
    parts = []
    for start in range(0, 40, together):
        left, right = (np.concatenate(rows) for rows in zip(*steps[start : start + together], strict=True))
        parts.append(multiply(left, right, np.empty((5, 7), np.float32)))
    assert found.tobytes() == ((parts[0] + parts[1]) + parts[2]).tobytes()
    again = np.empty_like(found)
    assert held.total(multiply, again)
    assert again.tobytes() == found.tobytes()


def test_many_rows_are_not_kept() -> None:
    left, right = np.ones((product_sum.ROWS, 2)), np.full((product_sum.ROWS, 3), 2.0)
    kept = left.copy()
    held = ProductSum().add(left, right, multiply, np.empty)
    left[:] = np.nan
    total = np.empty((2, 3))
    held.add(kept, right, multiply, np.empty).total(multiply, total)
    assert total.tolist() == [[4.0 * product_sum.ROWS] * 3] * 2


def test_memory_does_not_grow_with_the_iterations() -> None:
    made: list[int] = []

    def new(dims: tuple[int, ...], kind: Any) -> Any:
        made.append(int(np.prod(dims)))
        return np.empty(dims, kind)

    held = ProductSum()
    for _ in range(1000):
        held = held.add(np.ones((20, 3)), np.ones((20, 4)), multiply, new)
    assert sum(made) == 500 * (3 + 4) + 2 * 3 * 4


def test_a_sum_is_used_up_when_something_is_added() -> None:
    empty, one = ProductSum(), np.ones((2, 2))
    first = empty.add(one, one, multiply, np.empty)
    empty.add(one, one, multiply, np.empty)
    first.add(one, one, multiply, np.empty)
    with pytest.raises(wf.errors.InternalError, match="added to twice"):
        first.add(one, one, multiply, np.empty)
    with pytest.raises(wf.errors.InternalError, match="added to twice"):
        first.total(multiply, np.empty((2, 2)))


def test_factors_that_do_not_fit() -> None:
    with pytest.raises(wf.errors.InvalidArgumentError, match="over 2 and 3 rows"):
        ProductSum().add(np.ones((2, 2)), np.ones((3, 2)), multiply, np.empty)
