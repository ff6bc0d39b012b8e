"""The between-graph example and the benchmark of servers run as their documentation says."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from tree import ROOT


def run(program: str, *arguments: str, home: Path) -> str:
    """What a program prints."""
    done = subprocess.run(
        [sys.executable, str(ROOT / program), *arguments],
        capture_output=True, text=True, timeout=200, env={**os.environ, "XDG_CACHE_HOME": str(home)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_workers_train_variables_of_a_ps_together(tmp_path: Path) -> None:
    said = run("examples/between_graph.py", "--local", "--steps=300", home=tmp_path)
    found = re.findall(r"worker (\d): (\d+) steps of its own, loss [\d.]+, accuracy ([\d.]+)%", said)
    assert [worker for worker, _, _ in sorted(found)] == ["0", "1"]
    assert sum(int(steps) for _, steps, _ in found) >= 300
    assert min(float(accuracy) for _, _, accuracy in found) > 80


def test_the_benchmark_of_servers_measures_what_it_is_asked(tmp_path: Path) -> None:
    said = run("benchmarks/cluster.py", "--only", "1 MB", "--rounds=1", "--seconds=0.1", "--json", home=tmp_path)
    rows = json.loads(said)
    assert [row["workload"] for row in rows] == ["hop 1 MB", "training step 1 MB"]
    assert [row["bare"] for row in rows] == [None, None]
    assert all(0 < row["weft"]["least"] <= row["weft"]["median"] <= row["weft"]["most"] for row in rows)


def test_the_control_plane_is_measured_by_the_number_of_tasks(tmp_path: Path) -> None:
    picture = tmp_path / "steps.svg"
    drawn = [f"--plot={picture}"] if find_spec("matplotlib") else []
    arguments = ["--tasks=2,30", "--seconds=0.1", "--json", *drawn]
    rows = json.loads(run("benchmarks/control_plane.py", *arguments, home=tmp_path))
    assert [row["tasks"] for row in rows] == [2, 30]
    assert picture.exists() == bool(drawn)
    assert all(min(row[what] for what in ("open", "load", "step", "processor")) > 0 for row in rows)


def test_flight_does_the_same_work_beside(tmp_path: Path) -> None:
    arguments = ["--peers=flight", "--only=hop 4 KB,training step 1 MB", "--rounds=1", "--seconds=0.1", "--json"]
    rows = json.loads(run("benchmarks/cluster.py", *arguments, home=tmp_path))
    assert [row["workload"] for row in rows] == ["hop 4 KB", "training step 1 MB"]
    assert all(row["flight"]["median"] > 0 for row in rows)
