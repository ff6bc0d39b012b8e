"""The benchmark of building graphs runs, and counts what it says."""

import json
import subprocess
import sys

from tree import ROOT


def test_it_measures_the_sizes_it_is_given() -> None:
    command = [sys.executable, "-P", str(ROOT / "benchmarks" / "build_graph.py"), "--rounds", "1", "--json"]
    done = subprocess.run([*command, "--size", "40", "--size", "60000"], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    small, large = json.loads(done.stdout)["sizes"]
    assert (small["operations"], small["bytes"], large["operations"]) == (40, None, 60000)
    assert 0 < large["build"]["median"] < large["gradients"]["median"]
    assert large["bytes"] > 100
