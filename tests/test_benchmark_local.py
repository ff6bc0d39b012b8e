"""The benchmark beside other frameworks: weft does all its workloads, and local.py says what it measured."""

import ast
import importlib
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from tree import ROOT

FOLDER = ROOT / "benchmarks"

LEARNING = ["mlp_small", "mlp_large", "lstm_unrolled", "lstm_loop", "conv", "embedding_sgd", "embedding_adagrad"]
LEARNING += ["transformer", "elementwise", "scalars", "penalty", "pinn", "first_run"]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def case_of(workload: str) -> Any:
    return importlib.import_module("workloads").WORKLOADS[workload].small()


def losses(workload: str, steps: int, mode: str = "run") -> list[float]:
    """Steps of a small workload on its first batch."""
    case = case_of(workload)
    step = importlib.import_module("models_weft").build(workload, case, mode, 1)
    return [float(step(*case.batches[0])) for _ in range(steps)]


@pytest.mark.parametrize("workload", LEARNING)
def test_a_workload_learns(workload: str) -> None:
    found = losses(workload, 12)
    assert np.isfinite(found).all()
    assert found[-1] < found[0]


def test_the_workloads_that_learn_are_all_but_one() -> None:
    workloads = importlib.import_module("workloads").WORKLOADS
    assert set(workloads) == {*LEARNING, "null_step"}
    assert [name for name in workloads if not case_of(name).optimizer] == ["null_step"]


@pytest.mark.parametrize("workload", ["mlp_small", "null_step"])
def test_a_callable_gives_what_run_gives(workload: str) -> None:
    assert losses(workload, 3, "callable") == losses(workload, 3)


def test_a_loop_gives_what_unrolled_steps_give() -> None:
    np.testing.assert_allclose(losses("lstm_loop", 5), losses("lstm_unrolled", 5), rtol=1e-5)


def test_the_first_loss_of_a_chain_is_numpys() -> None:
    case = case_of("elementwise")
    h = x = case.batches[0][0]
    for _ in range(case.length):
        h = np.tanh(h * case.parameters["w"] + x) * np.float32(0.9)
    assert losses("elementwise", 1)[0] == pytest.approx(float(h.mean()), rel=1e-5)


def test_the_loss_of_the_second_order_net_is_that_of_finite_differences() -> None:
    case = case_of("pinn")
    p = {name: value.astype(np.float64) for name, value in case.parameters.items()}
    x = case.batches[0][0].astype(np.float64)

    def u(x: Any) -> Any:
        h = np.tanh(x @ p["w0"] + p["b0"])
        return np.tanh(h @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]

    u_xx = (u(x + 1e-4) - 2 * u(x) + u(x - 1e-4)) / 1e-8
    assert losses("pinn", 1)[0] == pytest.approx(float(np.mean((u_xx + np.sin(x)) ** 2)), rel=1e-4)


@pytest.mark.parametrize("framework", ["graph", "torch", "jax"])
def test_each_framework_has_a_model_for_every_workload(framework: str) -> None:
    workloads = importlib.import_module("workloads")
    wanted = {workloads.MODELS.get(name, name) for name in workloads.WORKLOADS}
    tree = ast.parse((FOLDER / f"models_{framework}.py").read_bytes())
    assert wanted | {"build"} <= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / "local.py"), "--small", "--rounds", "2", "--seconds", "0.01"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=200)


def test_it_prints_a_line_of_json_for_each_contender() -> None:
    done = run(
        "--only",
        "null_step",
        "--threads",
        "1",
        "--clock",
        "cpu",
        "--json",
        "--peers",
        "tf",
        "--python",
        "tf=/nowhere/python",
        "--without",
        "weft xla,weft llvm",
    )
    assert done.returncode == 0, done.stderr
    assert "tf: left out" in done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["workload"], row["contender"]) for row in rows] == [
        ("null_step", "weft"),
        ("null_step", "weft callable"),
    ]
    for row in rows:
        assert 0 < row["least"] <= row["median"] <= row["most"] < row["first_step"]
        assert (row["threads"], row["clock"]) == (1, "cpu")
        assert 0 < row["imported"] <= row["peak"]
        assert row["losses"] == [0.0, 2.0, 4.0, 6.0] * 5
        assert (row["difference"], len(row["rounds"])) == (0.0, 2)


def test_it_prints_tables_and_says_why_a_peer_failed() -> None:
    # This Python has no TensorFlow, and is given as one that has.
    others = "weft callable,weft xla,weft llvm,TF callable"
    done = run("--only", "mlp_small", "--peers", "tf", "--python", f"tf={sys.executable}", "--without", others)
    assert done.returncode == 0, done.stderr
    assert "| time / weft " in done.stdout
    assert "| peak, MB " in done.stdout
    assert "TF, left out of mlp_small: ModuleNotFoundError: No module named 'tensorflow'" in done.stdout


def test_it_refuses_what_it_does_not_know() -> None:
    for option, message in (
        ("--only", "no such workload"),
        ("--peers", "no such peer"),
        ("--without", "no such contender"),
    ):
        done = run(option, "nothing")
        assert done.returncode == 2
        assert f"{message}: nothing" in done.stderr


@pytest.mark.parametrize("option", ["--rounds", "--threads", "--seconds"])
def test_it_refuses_to_measure_for_no_time(option: str) -> None:
    done = run("--only", "null_step", option, "0")
    assert done.returncode == 2
    assert f"Invalid value for '{option}'" in done.stderr


def row(workload: str, contender: str, median: float, difference: float = 0.0) -> dict[str, Any]:
    spread = {"median": median, "least": median * 0.9, "most": median * 1.1, "peak": 5_000_000}
    return {"workload": workload, "contender": contender, "difference": difference, **spread}


def cells(table: str, name: str) -> list[str]:
    """What a table says in the line of that name."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    return next(line[1:] for line in lines if line and line[0] == name)


def test_ratios_are_to_the_first_contender_and_means_leave_out_what_is_no_training_step() -> None:
    report = importlib.import_module("local_report")
    rows = [row("conv", "weft", 1.0), row("conv", "other", 2.0), row("scalars", "weft", 1e-3)]
    rows += [row("scalars", "other", 8e-3), row("null_step", "weft", 1e-6), row("null_step", "other", 1e-3, 0.5)]
    rows += [{"workload": "pinn", "contender": "other", "error": "Error: no"}]
    times, ratios, memory, *notes = report.tables(rows)
    assert cells(times, "scalars") == ["1 ms ±10%", "8 ms ±10%"]
    assert cells(times, "pinn") == ["-", "-"]
    assert cells(ratios, "geometric mean*") == ["1.00", "4.00"]
    assert cells(memory, "conv") == ["5", "5"]
    assert notes == ["null_step, other: LOSSES DIFFER by 5.0e-01", "other, left out of pinn: Error: no"]
