"""The benchmarks of weft alone: steps by hand compute what weft computes, and how steps grow is measured in processes."""

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


def test_growth_is_measured_in_processes_of_their_own() -> None:
    scaling = importlib.import_module("scaling")
    found = scaling.compared({"short": ("chain", 40), "long": ("chain", 4000)}, 2, 0.01)
    assert [len(turns) for turns in found.values()] == [2, 2]
    assert scaling.ratio(found["long"], found["short"]) > 1
