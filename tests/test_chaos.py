"""A short form of the fault matrix (`make chaos` has all of it), and that its judge would notice what must not be."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import chaos_left
import chaos_matrix as chaos
import fuzzing
import pytest
from chaos_jobs import FAULTS, TRANSPORTS, Job
from hosts import reason_against

BY_NAME = {fault.name: fault for fault in FAULTS}


@pytest.mark.parametrize(
    ("mode", "fault"),
    [
        ("in-graph", "kill ps"),
        ("in-graph", "truncated"),
        ("between-graph", "kill driver"),
        ("between-graph", "kill worker"),
        ("between-graph", "corrupted tensor"),
    ],
)
def test_a_disturbed_training_ends_with_the_bits_of_an_undisturbed_one(mode: str, fault: str) -> None:
    ((_, verdict, _),) = chaos.matrix([(mode, "shm", BY_NAME[fault])], quiet=True)
    assert verdict == "same bits"


@pytest.mark.parametrize("fault", ["kill worker", "kill ps"])
def test_so_does_one_whose_tasks_compile(fault: str) -> None:
    pytest.importorskip("llvmlite", reason="the backend 'llvm' needs llvmlite: pip install 'weft[llvm]'")
    with chaos.with_backend("llvm"):
        ((_, verdict, _),) = chaos.matrix([("in-graph", "shm", BY_NAME[fault])], quiet=True)
    assert verdict == "same bits"


@pytest.mark.skipif(bool(reason_against()), reason=reason_against())
@pytest.mark.parametrize("fault", ["kill ps", "kill worker"])
def test_so_does_one_of_servers_on_three_hosts_that_speak_flight(fault: str) -> None:
    ((_, verdict, _),) = chaos.matrix([("between-graph", "flight", BY_NAME[fault])], quiet=True)
    assert verdict == "same bits"


@pytest.mark.skipif(bool(reason_against()), reason=reason_against())
def test_a_full_disk_is_one_clear_error_and_leaves_a_whole_checkpoint() -> None:
    ((_, verdict, _),) = chaos.matrix([("in-graph", "shm", BY_NAME["disk full"])], quiet=True)
    # Which file found no room first is chance: a task's, which the error names, or one that the session writes itself.
    shard = r"task /job:ps/replica:0/task:0 \(process .+\): Cannot write \S+\.safetensors"
    of_session = r"Cannot write \S+(\.json|/checkpoint)\S*"
    assert re.fullmatch(f"driver0: ResourceExhaustedError: ({shard}|{of_session}): No space left on device", verdict)


def test_the_judge_tells_right_from_wrong() -> None:
    undisturbed, other = {"w": b"1"}, {"w": b"2"}
    assert chaos.judge(chaos.Outcome(1.0, dict(undisturbed)), undisturbed) == "same bits"
    assert chaos.judge(chaos.Outcome(1.0, other), undisturbed) == "WRONG: other bits"
    assert chaos.judge(chaos.Outcome(1.0, other, error="driver0: why"), undisturbed) == "driver0: why"
    assert chaos.judge(chaos.Outcome(1.0, dict(undisturbed), wrong="it hangs"), undisturbed) == "WRONG: it hangs"
    lost = chaos.Outcome(1.0, {"no checkpoint": b"gone"}, error="driver0: why")
    assert chaos.judge(lost, undisturbed).startswith("WRONG: no checkpoint is left")


def test_what_a_job_leaves_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaos_left, "_SECONDS", 0.0)
    job = Job("between-graph", BY_NAME["nothing"], tmp_path, None)
    assert not job.left()
    port = int(job.cluster["ps"][0].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        assert job.left() == f"it is still listened on {port}"
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=os.environ | {"MARK": job.mark}
    ) as process:
        assert "input()" in job.left()
        assert chaos_left.alive([process.pid]) == [process.pid]
        process.communicate(b"\n")
    assert not job.left()
    assert not chaos_left.alive([process.pid])
    name = f"weft-{job.mark}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        assert f"@{name}" in chaos_left.listeners()
    assert f"@{name}" not in chaos_left.listeners()
    before = chaos_left.shared_memory()
    file = Path("/dev/shm", name)
    try:
        with file.open("w"):
            assert name not in chaos_left.left_in_shared_memory(before)
        assert name in chaos_left.left_in_shared_memory(before)
    finally:
        file.unlink()
    assert name not in chaos_left.left_in_shared_memory(before)


def test_every_graph_is_disturbed_over_every_transport_and_cables_are_cut_between_hosts() -> None:
    cells = {(mode, over, fault.name) for mode in chaos.MODES for over in TRANSPORTS for fault in FAULTS
             if chaos.exists(over, fault)}  # fmt: skip
    assert len(cells) == 9 * len(FAULTS) - 3
    assert {over for _, over, fault in cells if fault == "cut link"} == {"tcp", "flight"}


def test_parsers_get_the_same_time_and_no_more_inputs_than_they_are_to() -> None:
    quick, slow = fuzzing.Parser("quick", tried=1000, seconds=1.0), fuzzing.Parser("slow", tried=1000, seconds=50.0)
    assert fuzzing.next_of([slow, quick]) is quick
    assert slow.piece() < quick.piece()
    quick.busy = True
    assert fuzzing.next_of([slow, quick]) is slow
    done, begun = fuzzing.Parser("done", wanted=300, asked=300), fuzzing.Parser("begun", wanted=300, asked=100)
    assert begun.piece() == 200
    assert fuzzing.next_of([done]) is None
    assert fuzzing.counted("  - 498 passing, 2 failing, and 7 invalid test cases") == 500
