"""Candidate samplers, nce_loss and sampled_softmax_loss: how often classes come, values against NumPy, errors."""

from typing import Any

import numpy as np
import pytest
import weft as wf

random = np.random.default_rng(3)
W, B, X = random.normal(size=(10, 4)), random.normal(size=10), random.normal(size=(3, 4))
LABELS = np.array([[1, 2], [9, 0], [4, 4]])
DRAWN = np.array([2, 7, 4])
EXPECTED = (random.uniform(0.1, 1, (3, 2)).astype(np.float32), random.uniform(0.1, 1, 3).astype(np.float32))


def run(fetches: Any) -> Any:
    with wf.Session() as session:
        return session.run(fetches)


@pytest.mark.parametrize("sampler", [wf.nn.log_uniform_candidate_sampler, wf.nn.uniform_candidate_sampler])
def test_repeated_draws_come_as_often_as_expected(sampler: Any) -> None:
    classes = wf.constant(np.arange(8)[:, None])
    drawn, expected, of_drawn = run(sampler(classes, 1, 20000, False, 8, seed=1))
    counts = np.bincount(drawn, minlength=8)
    np.testing.assert_allclose(expected.sum(), 20000, rtol=1e-5)
    np.testing.assert_allclose(counts, expected[:, 0], rtol=0.1)
    np.testing.assert_array_equal(of_drawn, expected[drawn, 0])


@pytest.mark.parametrize("sampler", [wf.nn.log_uniform_candidate_sampler, wf.nn.uniform_candidate_sampler])
def test_unique_draws_differ_and_expect_at_most_one_of_each(sampler: Any) -> None:
    drawn, expected, of_drawn = run(sampler(wf.constant([[0], [9]], wf.int64), 1, 10, True, 10, seed=1))
    assert sorted(drawn) == list(range(10))
    assert ((expected > 0) & (expected <= 1)).all()
    assert of_drawn.shape == (10,)


def test_a_range_that_is_too_small_and_other_errors() -> None:
    with pytest.raises(wf.errors.InvalidArgumentError, match="range is too small"):
        run(wf.nn.uniform_candidate_sampler(wf.constant([[0]], wf.int64), 1, 3, True, 2)[0])
    with pytest.raises(ValueError, match="at least 1"):
        wf.nn.uniform_candidate_sampler(wf.constant([[0]], wf.int64), 1, 0, True, 2)


def by_hand(remove: bool) -> tuple[Any, Any]:
    true = (X[:, None] * W[LABELS]).sum(2) + B[LABELS] - np.log(EXPECTED[0])
    drawn = X @ W[DRAWN].T + B[DRAWN]
    if remove:
        drawn[(LABELS[:, :, None] == DRAWN).any(1)] = -np.inf
    logits = np.concatenate([true, drawn - np.log(EXPECTED[1])], 1)
    return logits, np.concatenate([np.full((3, 2), 0.5), np.zeros((3, 3))], 1)


@pytest.mark.parametrize("remove", [False, True])
def test_nce_loss(remove: bool) -> None:
    loss = wf.nn.nce_loss(W, B, LABELS, X, 3, 10, 2, (DRAWN, *EXPECTED), remove)
    logits, targets = by_hand(remove)
    softplus = np.logaddexp(0, logits)
    each = np.where(targets > 0, softplus - targets * np.where(targets > 0, logits, 0), softplus)
    np.testing.assert_allclose(run(loss), each.sum(1), rtol=1e-6)


@pytest.mark.parametrize("remove", [False, True])
def test_sampled_softmax_loss(remove: bool) -> None:
    loss = wf.nn.sampled_softmax_loss(W, B, LABELS, X, 3, 10, 2, (DRAWN, *EXPECTED), remove)
    logits, _ = by_hand(remove)
    highest = logits.max(1, keepdims=True)
    total = highest + np.log(np.exp(logits - highest).sum(1, keepdims=True))
    np.testing.assert_allclose(run(loss), (total - logits[:, :2]).mean(1), rtol=1e-6)


def test_training_touches_only_rows_of_the_classes_that_were_drawn() -> None:
    table = wf.Variable(W)
    loss = wf.nn.nce_loss(table, wf.constant(B), [[1], [1], [3]], X, 2, 10)
    (grad,) = wf.gradients(loss, [table])
    assert isinstance(grad, wf.IndexedSlices)
    assert wf.nn.nce_loss(table, B, [[1], [1], [3]], X, 2, 10).shape.as_list() == [3]
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        assert len(set(session.run(grad.indices))) <= 4
