"""A short form of the fault matrix (`make chaos` has all of it), and that its judge would notice what must not be."""

import chaos_matrix as chaos
import pytest
from hosts import reason_against

FAULTS = {fault.name: fault for fault in chaos.FAULTS}


@pytest.mark.parametrize(
    ("mode", "fault"),
    [
        ("in-graph", "kill ps"),
        ("in-graph", "dropped"),
        ("between-graph", "kill driver"),
        ("between-graph", "kill worker"),
        ("between-graph", "corrupted tensor"),
    ],
)
def test_a_disturbed_training_ends_with_the_bits_of_an_undisturbed_one(mode: str, fault: str) -> None:
    ((_, verdict, _),) = chaos.matrix([(mode, "shm", FAULTS[fault])], quiet=True)
    assert verdict == "same bits"


@pytest.mark.skipif(bool(reason_against()), reason=reason_against())
def test_a_full_disk_is_one_clear_error_and_leaves_a_whole_checkpoint() -> None:
    ((_, verdict, _),) = chaos.matrix([("in-graph", "shm", FAULTS["disk full"])], quiet=True)
    assert verdict.startswith("driver0: ResourceExhaustedError: Cannot write ")
    assert verdict.endswith("No space left on device")


def test_the_judge_tells_right_from_wrong() -> None:
    undisturbed, other = {"w": b"1"}, {"w": b"2"}
    assert chaos.judge(chaos.Outcome(1.0, dict(undisturbed)), undisturbed) == "same bits"
    assert chaos.judge(chaos.Outcome(1.0, other), undisturbed) == "WRONG: other bits"
    assert chaos.judge(chaos.Outcome(1.0, other, error="driver0: why"), undisturbed) == "driver0: why"
    assert chaos.judge(chaos.Outcome(1.0, dict(undisturbed), wrong="it hangs"), undisturbed) == "WRONG: it hangs"
    lost = chaos.Outcome(1.0, {"no checkpoint": b"gone"}, error="driver0: why")
    assert chaos.judge(lost, undisturbed).startswith("WRONG: no checkpoint is left")
