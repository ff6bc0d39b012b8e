"""The steps written by hand, which the benchmark measures weft's overhead against, compute what weft computes."""

import importlib
from typing import Any

import pytest
from tree import ROOT


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


TITLES = [
    "mlp_small", "lstm_unrolled", "lstm_unrolled, one product", "embedding_sgd", "embedding_adagrad", "scalars",
    "scalars, NumPy's numbers",
]  # fmt: skip


def overhead() -> Any:
    return importlib.import_module("overhead")


def test_all_that_is_measured_is_tested() -> None:
    assert list(importlib.import_module("by_hand").BY_HAND) == TITLES


@pytest.mark.parametrize("title", TITLES)
def test_twenty_steps_by_hand_have_the_losses_of_weft(title: str) -> None:
    steps, batches = overhead().contenders(title, "small")
    assert max(overhead().differences(steps, batches).values()) < 1e-5
