"""The workloads in JAX: one jitted step, whose parameters and optimizer state are donated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from workloads import MODELS, Array, Case

VERSION = jax.__version__

Arrays = dict[str, jax.Array]


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1))


def mlp(p: Arrays, case: Case, x: jax.Array, labels: jax.Array) -> jax.Array:
    h = jax.nn.relu(x @ p["w0"] + p["b0"])
    h = jax.nn.relu(h @ p["w1"] + p["b1"])
    return cross_entropy(h @ p["w2"] + p["b2"], labels)


def lstm_cell(p: Arrays, state: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
    c, h = state
    i, f, g, o = jnp.split(jnp.concatenate([x, h], 1) @ p["w"] + p["b"], 4, 1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return (c, jax.nn.sigmoid(o) * jnp.tanh(c)), None


def lstm_unrolled(p: Arrays, case: Case, xs: jax.Array, labels: jax.Array) -> jax.Array:
    zeros = jnp.zeros((len(labels), len(p["w0"])))
    state = zeros, zeros
    for x in xs:
        state, _ = lstm_cell(p, state, x)
    return cross_entropy(state[1] @ p["w0"] + p["b0"], labels)


def lstm_loop(p: Arrays, case: Case, xs: jax.Array, labels: jax.Array) -> jax.Array:
    zeros = jnp.zeros((len(labels), len(p["w0"])))
    (_, h), _ = lax.scan(lambda state, x: lstm_cell(p, state, x), (zeros, zeros), xs)
    return cross_entropy(h @ p["w0"] + p["b0"], labels)


def conv(p: Arrays, case: Case, images: jax.Array, labels: jax.Array) -> jax.Array:
    h = images
    for i in range(2):
        h = lax.conv_general_dilated(h, p[f"k{i}"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        h = lax.reduce_window(jax.nn.relu(h + p[f"c{i}"]), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
    h = jax.nn.relu(h.reshape(len(labels), -1) @ p["w0"] + p["b0"])
    return cross_entropy(h @ p["w1"] + p["b1"], labels)


def embedding(p: Arrays, case: Case, rows: jax.Array, targets: jax.Array) -> jax.Array:
    """Of the rows that were looked up: `sparse_step` does that, so that only they have gradients."""
    return jnp.mean((rows @ p["w"] - targets) ** 2)


def layer_norm(x: jax.Array, gain: jax.Array, bias: jax.Array) -> jax.Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-5) * gain + bias


def softmax(x: jax.Array) -> jax.Array:
    raised = jnp.exp(x - lax.stop_gradient(x.max(-1, keepdims=True)))
    return raised / raised.sum(-1, keepdims=True)


def attention(x: jax.Array, qkv: jax.Array, out: jax.Array, heads: int) -> jax.Array:
    batch, sequence, width = x.shape
    split = (x @ qkv).reshape(batch, sequence, 3, heads, width // heads)
    q, k, v = split.transpose(2, 0, 3, 1, 4)
    weights = softmax(q @ k.swapaxes(-1, -2) * (width // heads) ** -0.5)
    return (weights @ v).transpose(0, 2, 1, 3).reshape(batch, sequence, width) @ out


def transformer(p: Arrays, case: Case, x: jax.Array, targets: jax.Array) -> jax.Array:
    for i in range(case.length):
        x = layer_norm(x + attention(x, p[f"qkv{i}"], p[f"out{i}"], 4), p[f"ngain{i}"], p[f"nbias{i}"])
        x = layer_norm(x + jax.nn.relu(x @ p[f"up{i}"]) @ p[f"down{i}"], p[f"mgain{i}"], p[f"mbias{i}"])
    return jnp.mean((x - targets) ** 2)


def elementwise(p: Arrays, case: Case, x: jax.Array) -> jax.Array:
    h, w = x, p["w"]
    for _ in range(case.length):
        h = jnp.tanh(h * w + x) * 0.9
    return h.mean()


def scalars(p: Arrays, case: Case, x: jax.Array) -> jax.Array:
    h = v = p["v"]
    for _ in range(case.length):
        h = jnp.tanh(h * x + v) - 0.1
    return h**2


def perceptron(p: Arrays, case: Case, x: jax.Array) -> jax.Array:
    """A net with tanh between its layers."""
    for i in range(case.length):
        x = (jnp.tanh(x) if i else x) @ p[f"w{i}"] + p[f"b{i}"]
    return x


def penalty(p: Arrays, case: Case, x: jax.Array) -> jax.Array:
    y, back = jax.vjp(lambda x: perceptron(p, case, x), x)
    (slope,) = back(jnp.ones_like(y))
    return y.mean() + 10.0 * jnp.mean((jnp.sqrt(jnp.sum(slope**2, 1)) - 1.0) ** 2)


def pinn(p: Arrays, case: Case, x: jax.Array) -> jax.Array:
    u_x = jax.grad(lambda x: perceptron(p, case, x).sum())
    u_xx = jax.grad(lambda x: u_x(x).sum())(x)
    return jnp.mean((u_xx + jnp.sin(x)) ** 2)


def null_step(p: Arrays, case: Case, x: jax.Array) -> jax.Array:
    return x * 2.0


def updated(case: Case, p: Arrays, state: Any, grads: Arrays) -> tuple[Arrays, Any]:
    """The parameters and the optimizer's state after one step."""
    if case.optimizer == "sgd":
        return jax.tree.map(lambda p, g: p - case.rate * g, p, grads), state
    step, m, v = state[0] + 1, state[1], state[2]
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
    rate = case.rate * jnp.sqrt(1 - 0.999**step) / (1 - 0.9**step)
    return jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), p, m, v), (step, m, v)


def first_state(case: Case, p: Arrays) -> Any:
    if case.optimizer == "adam":
        return jnp.float32(0), jax.tree.map(jnp.zeros_like, p), jax.tree.map(jnp.zeros_like, p)
    return jax.tree.map(lambda x: jnp.full_like(x, 0.1), p) if case.optimizer == "adagrad" else ()


def dense_step(loss_of: Callable[..., Any], case: Case) -> Callable[..., Any]:
    def step(p: Arrays, state: Any, *batch: jax.Array) -> tuple[Arrays, Any, jax.Array]:
        if not case.optimizer:
            return p, state, loss_of(p, case, *batch)
        loss, grads = jax.value_and_grad(loss_of)(p, case, *batch)
        return *updated(case, p, state, grads), loss

    return step


def sparse_step(case: Case) -> Callable[..., Any]:
    """The step of the embedding: JAX has no sparse gradients, so they are taken by rows and added by hand."""

    def change(x: jax.Array, square: Any, at: Any, g: jax.Array) -> tuple[jax.Array, Any]:
        if case.optimizer == "sgd":
            return x.at[at].add(-case.rate * g), square
        square = square.at[at].add(g * g)
        return x.at[at].add(-case.rate * g * lax.rsqrt(square[at])), square

    def step(p: Arrays, state: Any, ids: jax.Array, targets: jax.Array) -> tuple[Arrays, Any, jax.Array]:
        inputs = {"w": p["w"], "rows": p["table"][ids]}
        loss, grads = jax.value_and_grad(lambda q: embedding(q, case, q["rows"], targets))(inputs)
        rows = grads["rows"]
        if case.optimizer == "adagrad":  # a row that came twice takes the square of the sum
            ids, places = jnp.unique(ids, return_inverse=True, size=len(ids), fill_value=len(p["table"]))
            rows = jnp.zeros_like(rows).at[places].add(rows)
        w, w_square = change(p["w"], state and state["w"], ..., grads["w"])
        table, table_square = change(p["table"], state and state["table"], ids, rows)
        return {"table": table, "w": w}, state and {"table": table_square, "w": w_square}, loss

    return step


def build(name: str, case: Case, mode: str, threads: int) -> Callable[..., Any]:
    """The step of a workload: a function from a batch to the loss."""
    model = MODELS.get(name, name)
    function = sparse_step(case) if model == "embedding" else dense_step(globals()[model], case)
    jitted = jax.jit(function, donate_argnums=(0, 1))
    p = {key: jnp.array(value) for key, value in case.parameters.items()}
    state = first_state(case, p)

    def step(*batch: Array) -> float:
        nonlocal p, state
        p, state, loss = jitted(p, state, *batch)
        return float(loss)

    return step
