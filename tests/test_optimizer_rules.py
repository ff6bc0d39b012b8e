"""The rules of the optimizers against NumPy over several steps, dense and sparse."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import weft as wf

Array = np.ndarray[Any, Any]
Rule = Callable[[Array, Array, dict[str, Any]], Any]

STEPS = 4
INDICES = np.array([[2, 0, 2], [1, 1, 1], [0, 3, 2], [3, 3, 0]])


@pytest.fixture
def session() -> Iterator[wf.Session]:
    with wf.Session() as made:
        yield made


# the rules, as they are written down; `kept` is what lives from step to step


def descent(value: Array, grad: Array, kept: dict[str, Any]) -> Any:
    return value - 0.3 * grad


def momentum(value: Array, grad: Array, kept: dict[str, Any]) -> Any:
    kept["a"] = 0.9 * kept.get("a", 0.0) + grad
    return value - 0.3 * kept["a"]


def nesterov(value: Array, grad: Array, kept: dict[str, Any]) -> Any:
    kept["a"] = 0.9 * kept.get("a", 0.0) + grad
    return value - 0.3 * (grad + 0.9 * kept["a"])


def adagrad(value: Array, grad: Array, kept: dict[str, Any]) -> Any:
    kept["a"] = kept.get("a", 0.1) + grad**2
    return value - 0.3 * grad / np.sqrt(kept["a"])


def rmsprop(value: Array, grad: Array, kept: dict[str, Any]) -> Any:
    kept["ms"] = 0.8 * kept.get("ms", 1.0) + 0.2 * grad**2
    kept["mom"] = 0.5 * kept.get("mom", 0.0) + 0.3 * grad / np.sqrt(kept["ms"] + 1e-3)
    return value - kept["mom"]


def centered(value: Array, grad: Array, kept: dict[str, Any]) -> Any:
    kept["mg"] = 0.8 * kept.get("mg", 0.0) + 0.2 * grad
    kept["ms"] = 0.8 * kept.get("ms", 1.0) + 0.2 * grad**2
    kept["mom"] = 0.5 * kept.get("mom", 0.0) + 0.3 * grad / np.sqrt(kept["ms"] - kept["mg"] ** 2 + 1e-3)
    return value - kept["mom"]


def adam(value: Array, grad: Array, kept: dict[str, Any]) -> Any:
    kept["t"] = kept.get("t", 0) + 1
    kept["m"] = 0.8 * kept.get("m", 0.0) + 0.2 * grad
    kept["v"] = 0.95 * kept.get("v", 0.0) + 0.05 * grad**2
    rate = 0.3 * np.sqrt(1 - 0.95 ** kept["t"]) / (1 - 0.8 ** kept["t"])
    return value - rate * kept["m"] / (np.sqrt(kept["v"]) + 1e-3)


RULES: dict[str, tuple[Callable[[], Any], Rule]] = {
    "descent": (lambda: wf.train.GradientDescentOptimizer(0.3), descent),
    "momentum": (lambda: wf.train.MomentumOptimizer(0.3, 0.9), momentum),
    "nesterov": (lambda: wf.train.MomentumOptimizer(0.3, 0.9, use_nesterov=True), nesterov),
    "adagrad": (lambda: wf.train.AdagradOptimizer(0.3), adagrad),
    "rmsprop": (lambda: wf.train.RMSPropOptimizer(0.3, 0.8, 0.5, 1e-3), rmsprop),
    "centered": (lambda: wf.train.RMSPropOptimizer(0.3, 0.8, 0.5, 1e-3, centered=True), centered),
    "adam": (lambda: wf.train.AdamOptimizer(0.3, 0.8, 0.95, 1e-3), adam),
}


def tolerance(dtype: str) -> float:
    # Adam's powers are float32 for every type of variable, as in TF.
    return {"float16": 2e-2, "bfloat16": 1e-1, "float32": 1e-5, "float64": 1e-6}[dtype]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
def test_dense_steps(rule: str, dtype: str, session: wf.Session) -> None:
    make, step = RULES[rule]
    grads = np.random.default_rng(0).normal(size=(STEPS, 3, 2))
    var = wf.Variable(np.ones((3, 2)), dtype=dtype)
    fed = wf.placeholder(dtype, [3, 2])
    update = make().apply_gradients([(fed, var)])
    session.run(wf.global_variables_initializer())
    expected, kept = np.ones((3, 2)), dict[str, Any]()
    for grad in grads:
        session.run(update, {fed: grad.astype(var.dtype.np)})
        expected = step(expected, grad, kept)
        np.testing.assert_allclose(
            session.run(var).astype("float64"), expected, rtol=tolerance(dtype), atol=tolerance(dtype)
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
def test_sparse_steps_with_repeated_rows(rule: str, dtype: str, session: wf.Session) -> None:
    make, step = RULES[rule]
    rows = np.random.default_rng(0).normal(size=(STEPS, 3, 2)).astype(dtype)
    var = wf.Variable(np.ones((5, 2)), dtype=dtype)
    values, indices = wf.placeholder(dtype, [None, 2]), wf.placeholder(wf.int64, [None])
    update = make().apply_gradients([(wf.IndexedSlices(values, indices), var)])
    session.run(wf.global_variables_initializer())
    expected = np.ones((5, 2))
    kept: list[dict[str, Any]] = [{} for _ in range(5)]
    for where, grad in zip(INDICES, rows, strict=True):
        session.run(update, {values: grad, indices: where})
        for row in range(5):
            # Adam takes rows without a gradient along, the others leave them and their slots alone.
            if row in where or rule == "adam":
                expected[row] = step(expected[row], grad[where == row].sum(axis=0), kept[row])
        np.testing.assert_allclose(session.run(var), expected, rtol=tolerance(dtype), atol=tolerance(dtype))


def test_sparse_adam_gives_the_bits_of_dense_adam(session: wf.Session) -> None:
    dense, sparse = wf.Variable(np.ones((50_000, 2), np.float32)), wf.Variable(np.ones((50_000, 2), np.float32))
    rows, indices = wf.placeholder(wf.float32, [3, 2]), wf.constant([7, 3, 49_999])
    whole = wf.scatter_nd(wf.expand_dims(indices, 1), rows, [50_000, 2])
    updates = [
        wf.train.AdamOptimizer().apply_gradients([(whole, dense)]),
        wf.train.AdamOptimizer().apply_gradients([(wf.IndexedSlices(rows, indices), sparse)]),
    ]
    session.run(wf.global_variables_initializer())
    for seed in range(3):
        session.run(updates, {rows: np.random.default_rng(seed).normal(size=(3, 2))})
    np.testing.assert_array_equal(*session.run([dense, sparse]))


def test_a_gradient_that_is_a_view_of_the_variable(session: wf.Session) -> None:
    """Longer than one block of the kernel, and read backwards."""
    value = np.arange(100_000, dtype=np.float64)
    var = wf.Variable(value)
    update = wf.train.GradientDescentOptimizer(0.5).apply_gradients([(var[::-1], var)])
    session.run(wf.global_variables_initializer())
    session.run(update)
    np.testing.assert_array_equal(session.run(var), value - 0.5 * value[::-1])
