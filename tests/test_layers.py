"""Layers and embeddings: names as in TF 1, values as in NumPy."""

from collections.abc import Iterator

import numpy as np
import pytest
import weft as wf


@pytest.fixture
def session() -> Iterator[wf.Session]:
    with wf.Session() as made:
        yield made


def started(session: wf.Session) -> wf.Session:
    session.run(wf.global_variables_initializer())
    return session


def names() -> list[str]:
    return [variable.name for variable in wf.global_variables()]


def test_dense(session: wf.Session) -> None:
    x = wf.placeholder(wf.float32, [None, 3])
    first = wf.layers.dense(x, 2, wf.nn.relu)
    second = wf.layers.dense(first, 4, use_bias=False)
    shared = [wf.layers.dense(x, 2, name="named", reuse=reuse) for reuse in (None, True)]
    assert names() == ["dense/kernel:0", "dense/bias:0", "dense_1/kernel:0", "named/kernel:0", "named/bias:0"]
    assert (first.name, first.shape.as_list(), second.shape.as_list()) == ("dense/Relu:0", [None, 2], [None, 4])
    value = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    kernel, bias, made, again, out = started(session).run([*wf.global_variables()[:2], *shared, first], {x: value})
    np.testing.assert_array_equal(made, again)
    np.testing.assert_allclose(out, np.maximum(value @ kernel + bias, 0), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="last dimension"):
        wf.layers.dense(wf.placeholder(wf.float32, [3, None]), 2)


def test_dense_on_more_dimensions(session: wf.Session) -> None:
    value = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    x = wf.placeholder(wf.float32, [None, 3, 4])
    out = wf.layers.dense(x, 5, activity_regularizer=wf.reduce_sum)
    (loss,) = wf.losses.get_regularization_losses()
    kernel, got, activity = started(session).run([wf.global_variables()[0], out, loss], {x: value})
    np.testing.assert_allclose(got, value @ kernel, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(activity, got.sum(), rtol=1e-5)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_convolutional_net(data_format: str, session: wf.Session) -> None:
    """With a kernel of ones each output is the sum of its window."""
    images = np.random.default_rng(0).normal(size=(2, 6, 7, 3)).astype(np.float32)
    last = data_format == "channels_last"
    x = wf.constant(images if last else images.transpose(0, 3, 1, 2))
    ones = wf.ones_initializer()
    conv = wf.layers.conv2d(x, 4, (2, 3), kernel_initializer=ones, bias_initializer=ones, data_format=data_format)
    pooled = wf.layers.max_pooling2d(conv, 2, 2, data_format=data_format)
    mean = wf.layers.average_pooling2d(conv, (2, 2), (1, 1), data_format=data_format)
    flat = wf.layers.flatten(pooled)
    assert names() == ["conv2d/kernel:0", "conv2d/bias:0"]
    assert wf.global_variables()[0].shape.as_list() == [2, 3, 3, 4]
    windows = np.lib.stride_tricks.sliding_window_view(images.sum(-1), (2, 3), axis=(1, 2)).sum((-1, -2)) + 1
    parts = np.lib.stride_tricks.sliding_window_view(windows, (2, 2), axis=(1, 2))
    got, most, average, row = started(session).run([conv, pooled, mean, flat])
    channel = (..., 0) if last else (slice(None), 0)
    np.testing.assert_allclose(got[channel], windows, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(most[channel], parts[:, ::2, ::2].max((-1, -2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(average[channel], parts.mean((-1, -2)), rtol=1e-4, atol=1e-5)
    assert row.shape == (2, 2 * 2 * 4)
    np.testing.assert_array_equal(row, most.reshape(2, -1))


def test_errors_of_layers() -> None:
    images = wf.placeholder(wf.float32, [None, 4, 4, None])
    with pytest.raises(ValueError, match="channel dimension"):
        wf.layers.conv2d(images, 2, 3)
    with pytest.raises(ValueError, match="`data_format`"):
        wf.layers.max_pooling2d(images, 2, 2, data_format="NHWC")
    with pytest.raises(ValueError, match="`pool_size` argument must be a tuple of 2"):
        wf.layers.average_pooling2d(images, (2, 2, 2), 2)
    with pytest.raises(ValueError, match="flatten"):
        wf.layers.flatten(images)


def test_dropout_is_for_training(session: wf.Session) -> None:
    x, training = wf.ones([1000]), wf.placeholder("bool", [])
    assert session.run(wf.layers.dropout(x, 0.75)).tolist() == [1] * 1000
    dropped = session.run(wf.layers.dropout(x, 0.75, seed=1, training=True))
    assert set(dropped.tolist()) == {0.0, 4.0}
    assert 150 < np.count_nonzero(dropped) < 350
    by_tensor = wf.layers.dropout(x, 0.75, seed=1, training=training)
    assert set(session.run(by_tensor, {training: True}).tolist()) == {0.0, 4.0}
    assert session.run(by_tensor, {training: False}).tolist() == [1] * 1000


# embeddings


@pytest.mark.parametrize("strategy", ["mod", "div"])
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_embedding_lookup_in_parts(parts: int, strategy: str, session: wf.Session) -> None:
    table = np.arange(14.0, dtype=np.float32).reshape(7, 2)
    pieces = [table[i::parts] for i in range(parts)] if strategy == "mod" else np.array_split(table, parts)
    params = [wf.Variable(piece) for piece in pieces]
    ids = np.array([[6, 0, 3], [3, 5, 1]])
    found = wf.nn.embedding_lookup(params, ids, strategy)
    assert found.shape.as_list() == [2, 3, 2]
    grads = wf.gradients(found, params)
    assert all(isinstance(grad, wf.IndexedSlices) for grad in grads)
    dense = [wf.convert_to_tensor(grad) for grad in grads]
    got, *back = started(session).run([found, *dense])
    np.testing.assert_array_equal(got, table[ids])
    whole = np.zeros((7, 2))
    np.add.at(whole, ids.reshape(-1), 1.0)
    wanted = [whole[i::parts] for i in range(parts)] if strategy == "mod" else np.array_split(whole, parts)
    for one, other in zip(back, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_embedding_lookup_of_a_tensor_with_a_longest_norm(session: wf.Session) -> None:
    table = wf.constant([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    found = wf.nn.embedding_lookup(table, [0, 1, 2], max_norm=1.0)
    np.testing.assert_allclose(session.run(found), [[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]], rtol=1e-6)
    (grad,) = wf.gradients(found, table)
    assert np.isfinite(session.run(wf.convert_to_tensor(grad))).all()


def test_errors_of_embedding_lookup() -> None:
    with pytest.raises(ValueError, match="at least one param"):
        wf.nn.embedding_lookup([], [0])
    with pytest.raises(ValueError, match="partition strategy"):
        wf.nn.embedding_lookup(wf.ones([2, 2]), [0], "hash")
    with pytest.raises(ValueError, match="numbers of rows are known"):
        wf.nn.embedding_lookup([wf.placeholder(wf.float32), wf.ones([2, 2])], [0], "div")
