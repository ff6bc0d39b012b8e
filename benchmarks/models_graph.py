"""The workloads as a TensorFlow 1 program: `tf` is weft or tensorflow.compat.v1, and the rest is the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workloads import MODELS, Case

Tensors = dict[str, Any]


def cross_entropy(tf: Any, logits: Any, labels: Any) -> Any:
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))


def mlp(tf: Any, p: Tensors, case: Case, x: Any, labels: Any) -> Any:
    h = tf.nn.relu(tf.matmul(x, p["w0"]) + p["b0"])
    h = tf.nn.relu(tf.matmul(h, p["w1"]) + p["b1"])
    return cross_entropy(tf, tf.matmul(h, p["w2"]) + p["b2"], labels)


def lstm_cell(tf: Any, w: Any, b: Any, x: Any, c: Any, h: Any) -> tuple[Any, Any]:
    i, f, g, o = tf.split(tf.matmul(tf.concat([x, h], 1), w) + b, 4, 1)
    c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
    return c, tf.sigmoid(o) * tf.tanh(c)


def lstm_unrolled(tf: Any, p: Tensors, case: Case, xs: Any, labels: Any) -> Any:
    w, b = tf.convert_to_tensor(p["w"]), tf.convert_to_tensor(p["b"])
    c = h = tf.zeros([labels.shape[0], p["w0"].shape[0]])
    for x in tf.unstack(xs):
        c, h = lstm_cell(tf, w, b, x, c, h)
    return cross_entropy(tf, tf.matmul(h, p["w0"]) + p["b0"], labels)


def lstm_loop(tf: Any, p: Tensors, case: Case, xs: Any, labels: Any) -> Any:
    w, b = tf.convert_to_tensor(p["w"]), tf.convert_to_tensor(p["b"])
    steps = int(xs.shape[0])
    array = tf.TensorArray(tf.float32, size=steps).unstack(xs)
    zeros = tf.zeros([labels.shape[0], p["w0"].shape[0]])

    def body(step: Any, c: Any, h: Any) -> tuple[Any, ...]:
        return step + 1, *lstm_cell(tf, w, b, array.read(step), c, h)

    _, _, h = tf.while_loop(lambda step, c, h: step < steps, body, [tf.constant(0), zeros, zeros])
    return cross_entropy(tf, tf.matmul(h, p["w0"]) + p["b0"], labels)


def conv(tf: Any, p: Tensors, case: Case, images: Any, labels: Any) -> Any:
    h = images
    for i in range(2):
        h = tf.nn.relu(tf.nn.conv2d(h, p[f"k{i}"], strides=[1, 1, 1, 1], padding="SAME") + p[f"c{i}"])
        h = tf.nn.max_pool(h, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME")
    h = tf.reshape(h, [labels.shape[0], -1])
    h = tf.nn.relu(tf.matmul(h, p["w0"]) + p["b0"])
    return cross_entropy(tf, tf.matmul(h, p["w1"]) + p["b1"], labels)


def embedding(tf: Any, p: Tensors, case: Case, ids: Any, targets: Any) -> Any:
    return tf.reduce_mean(tf.square(tf.matmul(tf.nn.embedding_lookup(p["table"], ids), p["w"]) - targets))


def layer_norm(tf: Any, x: Any, gain: Any, bias: Any) -> Any:
    centred = x - tf.reduce_mean(x, -1, keepdims=True)
    return centred * tf.rsqrt(tf.reduce_mean(tf.square(centred), -1, keepdims=True) + 1e-5) * gain + bias


def softmax(tf: Any, x: Any) -> Any:
    raised = tf.exp(x - tf.stop_gradient(tf.reduce_max(x, -1, keepdims=True)))
    return raised / tf.reduce_sum(raised, -1, keepdims=True)


def attention(tf: Any, x: Any, qkv: Any, out: Any, heads: int) -> Any:
    batch, sequence, width = (int(size) for size in x.shape)
    flat = tf.matmul(tf.reshape(x, [-1, width]), qkv)
    split = tf.reshape(flat, [batch, sequence, 3, heads, width // heads])
    q, k, v = tf.unstack(tf.transpose(split, [2, 0, 3, 1, 4]))
    weights = softmax(tf, tf.matmul(q, k, transpose_b=True) * (width // heads) ** -0.5)
    mixed = tf.transpose(tf.matmul(weights, v), [0, 2, 1, 3])
    return tf.reshape(tf.matmul(tf.reshape(mixed, [-1, width]), out), [batch, sequence, width])


def transformer(tf: Any, p: Tensors, case: Case, x: Any, targets: Any) -> Any:
    shape = x.shape
    for i in range(case.length):
        x = layer_norm(tf, x + attention(tf, x, p[f"qkv{i}"], p[f"out{i}"], 4), p[f"ngain{i}"], p[f"nbias{i}"])
        h = tf.nn.relu(tf.matmul(tf.reshape(x, [-1, shape[-1]]), p[f"up{i}"]))
        x = layer_norm(tf, x + tf.reshape(tf.matmul(h, p[f"down{i}"]), shape), p[f"mgain{i}"], p[f"mbias{i}"])
    return tf.reduce_mean(tf.square(x - targets))


def elementwise(tf: Any, p: Tensors, case: Case, x: Any) -> Any:
    h, w = x, tf.convert_to_tensor(p["w"])
    for _ in range(case.length):
        h = tf.tanh(h * w + x) * 0.9
    return tf.reduce_mean(h)


def scalars(tf: Any, p: Tensors, case: Case, x: Any) -> Any:
    h = v = tf.convert_to_tensor(p["v"])
    for _ in range(case.length):
        h = tf.tanh(h * x + v) - 0.1
    return tf.square(h)


def perceptron(tf: Any, p: Tensors, case: Case, x: Any) -> Any:
    """A net with tanh between its layers."""
    for i in range(case.length):
        x = (tf.tanh(x) if i else x) @ p[f"w{i}"] + p[f"b{i}"]
    return x


def penalty(tf: Any, p: Tensors, case: Case, x: Any) -> Any:
    y = perceptron(tf, p, case, x)
    (slope,) = tf.gradients(y, x)
    norm = tf.sqrt(tf.reduce_sum(tf.square(slope), 1))
    return tf.reduce_mean(y) + 10.0 * tf.reduce_mean(tf.square(norm - 1.0))


def pinn(tf: Any, p: Tensors, case: Case, x: Any) -> Any:
    u = perceptron(tf, p, case, x)
    (u_x,) = tf.gradients(u, x)
    (u_xx,) = tf.gradients(u_x, x)
    return tf.reduce_mean(tf.square(u_xx + tf.sin(x)))


def null_step(tf: Any, p: Tensors, case: Case, x: Any) -> Any:
    return x * 2.0


OPTIMIZERS = {"sgd": "GradientDescentOptimizer", "adam": "AdamOptimizer", "adagrad": "AdagradOptimizer"}


def build(tf: Any, name: str, case: Case, mode: str, threads: int, **options: Any) -> Callable[..., Any]:
    """The step of a workload: a function from a batch to the loss, by Session.run or by make_callable.

    `options`: what else the session is configured with.
    """
    with tf.Graph().as_default():
        feeds = [tf.placeholder(array.dtype.name, array.shape) for array in case.batches[0]]
        variables = {
            key: tf.get_variable(key, value.shape, initializer=tf.zeros_initializer())
            for key, value in case.parameters.items()
        }
        fetches = [globals()[MODELS.get(name, name)](tf, variables, case, *feeds)]
        if case.optimizer:
            optimizer = getattr(tf.train, OPTIMIZERS[case.optimizer])(case.rate)
            gradients = optimizer.compute_gradients(fetches[0])
            with tf.control_dependencies(fetches):  # the loss before the update, in either system
                fetches.append(optimizer.apply_gradients(gradients))
        config = tf.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads, **options)
        session = tf.Session(config=config)
        session.run(tf.global_variables_initializer())
    for key, variable in variables.items():
        variable.load(case.parameters[key], session)
    return (_by_callable if mode == "callable" else _by_run)(session, fetches, feeds)


def _by_run(session: Any, fetches: list[Any], feeds: list[Any]) -> Callable[..., Any]:
    return lambda *batch: session.run(fetches, dict(zip(feeds, batch, strict=True)))[0]


def _by_callable(session: Any, fetches: list[Any], feeds: list[Any]) -> Callable[..., Any]:
    step = session.make_callable(fetches, feeds)
    return lambda *batch: step(*batch)[0]
