"""The example and the benchmark of replicas without a parameter server run as their documentation says."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tree import ROOT

pytestmark = pytest.mark.ray_nodes


def run(program: str, *arguments: str) -> str:
    """What a program prints."""
    done = subprocess.run(
        [sys.executable, str(ROOT / program), *arguments], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("where", ["--local", "--cluster"])
def test_replicas_learn_digits_and_end_with_the_bits_of_a_parameter_server(where: str) -> None:
    said = run("examples/mirrored_digits.py", where, "--compare", "--replicas=2", "--steps=150")
    accuracies = re.findall(r"accuracy on held-out digits ([\d.]+)%", said)
    assert len(set(accuracies)) == 1
    assert float(accuracies[0]) > 90
    assert "The 19,210 weights trained with and without a parameter server are identical, bit for bit." in said


def test_the_benchmark_measures_both_and_draws_them(tmp_path: Path) -> None:
    picture = tmp_path / "steps.svg"
    arguments = ["--megabytes=1", "--workers=2", "--rounds=1", "--seconds=0.1", "--variables=3", "--json"]
    drawn = [f"--plot={picture}"] if find_spec("matplotlib") else []
    (row,) = json.loads(run("benchmarks/allreduce.py", *arguments, *drawn))
    assert (row["megabytes"], row["workers"]) == (1.0, 2)
    for kind in ("ps", "all-reduce"):
        assert 0 < row[kind]["least"] <= row[kind]["median"] <= row[kind]["most"]
    assert picture.exists() == bool(drawn)
