"""`deploy/slurm.sh` on two hosts: with a `srun` and a `scontrol` that do what Slurm's do for it, and Ray as it is."""

import os
import re
import secrets
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import Hosts, hosts, reason_against
from tree import ROOT

pytestmark = pytest.mark.ray_nodes

SCRIPT = ROOT / "deploy" / "slurm.sh"

#: Slurm's part: a process on each node. Each node has process numbers of its own, so that `ray stop` ends its own Ray alone,
#: and a first process that takes leave of what has ended.
SRUN = """#!/bin/bash
shift
for host in {names}; do
    ip netns exec $host unshare --pid --fork --kill-child --mount-proc --uts bash -c 'hostname $0; "$@" & wait $!' $host "$@" &
    started+=($!)
done
for each in "${{started[@]}}"; do wait $each || code=$?; done
exit ${{code:-0}}
"""
#: It says the names one after the other, with time between for whoever would not wait for the next.
SCONTROL = """#!/bin/bash
[[ "$*" == "show hostnames node[1-2]" ]] && for each in {addresses}; do echo $each; sleep 0.2; done
"""
RAY = """#!/bin/bash
exec {python} -P -m ray.scripts.scripts "$@"
"""


def commands(folder: Path, on: Hosts) -> None:
    """A virtual environment of these commands: its `activate` only sets PATH."""
    texts = {
        "srun": SRUN.format(names=" ".join(on.names)),
        "scontrol": SCONTROL.format(addresses=" ".join(on.addresses)),
        "ray": RAY.format(python=on.python),
        "python": f'#!/bin/bash\nexec {on.python} "$@"\n',
        "activate": f'PATH="{folder}/bin:$PATH"\n',
    }
    (folder / "bin").mkdir()
    for name, text in texts.items():
        path = folder / "bin" / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def two() -> Iterator[Hosts]:
    if reason_against():
        pytest.skip(reason_against())
    with hosts(2) as each:
        yield each


def batch(on: Hosts, folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """What Slurm does with the script once it has found nodes."""
    commands(folder, on)
    environment = dict(os.environ) | {
        "VENV": str(folder), "HOME": str(folder), "RAY_TMPDIR": on.folder, "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "SLURM_JOB_ID": str(secrets.randbelow(10000)), "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "2", "RAY_gcs_rpc_server_reconnect_timeout_s": "2",
    }  # fmt: skip
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_MODE"):
        environment.pop(name, None)
    return subprocess.run(
        ["bash", str(SCRIPT), *command],
        env=environment, cwd=ROOT, text=True, timeout=250, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_the_batch_script_runs_a_command_over_all_nodes_and_ends_with_its_code(two: Hosts, tmp_path: Path) -> None:
    job = "python examples/train_digits.py --mode cluster --address auto --steps 20 --checkpoints"
    done = batch(two, tmp_path, "bash", "-c", f"{job} '{tmp_path}/checkpoints' && exit 7")
    assert done.returncode == 7, done.stdout
    assert "accuracy on held-out digits" in done.stdout
    placed = dict(re.findall(r"  (/job:\S+) on (\S+), process", done.stdout))
    assert len(placed) == 3, done.stdout
    assert set(placed.values()) == set(two.names), "each node has a part of it"
    assert (tmp_path / ".ray" / "auth_token").exists(), "the cluster had a token"


def test_the_batch_script_says_what_slurm_must_give_it() -> None:
    text = SCRIPT.read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", text, re.MULTILINE))
    assert options["ntasks-per-node"] == "1", "one Ray a node"
    assert int(options["nodes"]) * int(options["cpus-per-task"]) >= 3, "room for the main job's tasks"
    assert text.index("#SBATCH") < text.index("set -euo"), "Slurm reads options before the first command only"
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0
