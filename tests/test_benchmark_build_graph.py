"""The benchmarks of building graphs and of making plans run, and count what they say."""

import json
import subprocess
import sys

from tree import ROOT


def test_it_measures_the_sizes_it_is_given() -> None:
    command = [sys.executable, "-P", str(ROOT / "benchmarks" / "build_graph.py"), "--rounds", "1", "--json"]
    done = subprocess.run([*command, "--size", "40", "--size", "60000"], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    small, large = json.loads(done.stdout)["sizes"]
    assert (small["operations"], small["bytes"], large["operations"]) == (40, None, 60000)
    assert 0 < large["build"]["median"] < large["gradients"]["median"]
    assert large["bytes"] > 100


def test_plans_are_measured_with_gradients_and_alone() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "plan.py")]
    done = subprocess.run(
        [*command, "--rounds", "1", "--json", "--size", "400"], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    ((row,),) = json.loads(done.stdout).values()
    assert row["operations"] > 2 * 400
    assert 0 < row["step"] < row["median"]
    done = subprocess.run([*command, "--chain", "400"], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"400 operations, {row['operations']} with their gradients")
