"""Savers whose tasks are servers: killed in the midst of a save, on disks of their own, started anew."""

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from clustered import SERVE, Program, local_cluster, programs, soon
from weft import train
from weft.graph import errors
from weft.graph.storage.owners import is_gone

#: A ps that is killed in the midst of what it writes, once there is a file `kill` in the folder.
DIES = """
import os, signal
real = os.write

def dying(descriptor, data):
    if os.path.exists({kill!r}):
        real(descriptor, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return real(descriptor, data)

os.write = dying
"""
#: A chief that saves twice, and is killed when it moves the manifest of the second one into its place, or before that, when its
#: tasks have written.
CHIEF = """
import os, signal
variables = []
for task in range(2):
    with wf.device(f"/job:ps/task:{{task}}"):
        variables.append(wf.Variable(np.full(1000, 1.0), name=f"v{{task}}"))
saver = wf.train.Saver(sharded=True)
with wf.Session(f"weft://{{cluster['ps'][0]}}") as session:
    session.run([v.initializer for v in variables])
    saver.save(session, {place!r}, 1, write_meta_graph=False)
    session.run([v.assign_add(np.ones(1000)) for v in variables])
    os.{call} = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
    saver.save(session, {place!r}, 2, write_meta_graph=False)
"""


@pytest.fixture
def start() -> Iterator[Callable[..., Program]]:
    with programs() as starter:
        yield starter


def served(start: Callable[..., Program], cluster: Mapping[str, Any], *before: str) -> list[Program]:
    """Two ps tasks; a text is what one does before it serves."""
    made = []
    for index in range(2):
        text = before[index] if index < len(before) else ""
        made.append(start(text + SERVE.format(grace=120), cluster, "ps", index))
    for each in made:
        each.says("up")
    return made


def model(cluster: Mapping[str, Any]) -> tuple[list[Any], Any, str]:
    found = []
    for task in range(2):
        with wf.device(f"/job:ps/task:{task}"):
            found.append(wf.Variable(np.full(1000, 1.0), name=f"v{task}"))
    return found, wf.group(*[v.assign_add(np.ones(1000)).op for v in found]), f"weft://{cluster['ps'][0]}"


def test_a_task_that_is_killed_while_it_writes_leaves_the_checkpoint_before(
    start: Callable[..., Program], tmp_path: Path
) -> None:
    folder, kill = tmp_path / "saved", str(tmp_path / "kill")
    folder.mkdir()
    cluster = local_cluster(ps=2)
    served(start, cluster, "", DIES.format(kill=kill))
    found, add, target = model(cluster)
    saver = train.Saver(sharded=True, max_to_keep=1)
    with wf.Session(target) as session:
        session.run([v.initializer for v in found])
        path = saver.save(session, str(folder / "m"), 1, write_meta_graph=False)
        there = sorted(os.listdir(folder))
        session.run(add)
        Path(kill).touch()
        with pytest.raises(errors.UnavailableError, match=r"Task /job:ps/replica:0/task:1 on .* is gone"):
            saver.save(session, str(folder / "m"), 2, write_meta_graph=False)
    os.unlink(kill)
    assert train.latest_checkpoint(str(folder)) == path
    left = set(os.listdir(folder)) - set(there)
    assert all(
        name.endswith(".weft-tmp") for name in left
    )  # what the killed task was at; the session has taken back the rest
    again = local_cluster(ps=2)  # the job goes on on tasks that are started again
    served(start, again)
    with wf.Session(f"weft://{again['ps'][1]}") as session:
        saver.restore(session, path)
        assert [value.tolist() for value in session.run(found)] == [[1.0] * 1000] * 2
        saver.save(session, str(folder / "m"), 3, write_meta_graph=False)
    assert len(os.listdir(folder)) == len(there)
    assert {name.split(".")[0] for name in os.listdir(folder)} == {"checkpoint", "m-3"}


@pytest.mark.parametrize("call", ["replace", "scandir"])
def test_a_chief_that_is_killed_before_the_manifest_leaves_the_checkpoint_before(
    call: str, start: Callable[..., Program], tmp_path: Path
) -> None:
    """Its tasks have written their shards by then, and live on; the next chief sweeps these away."""
    cluster = local_cluster(ps=2)
    served(start, cluster)
    place = str(tmp_path / "m")
    chief = start(CHIEF.format(place=place, call=call), cluster, "chief", 0)
    assert chief.end()[0] == -9
    assert train.latest_checkpoint(str(tmp_path)) == f"{place}-1"
    lost = [name for name in os.listdir(tmp_path) if name.startswith("m-2.")]
    assert len(lost) == 2
    assert all(is_gone(name.split(".")[1].rsplit("-", 3)[0]) for name in lost)
    found, _, target = model(cluster)
    saver = train.Saver(sharded=True)
    with wf.Session(target) as session:
        saver.restore(session, f"{place}-1")
        assert [value.tolist() for value in session.run(found)] == [[1.0] * 1000] * 2
        saver.save(session, place, 3, write_meta_graph=False)
    names = {name.split(".")[0] for name in os.listdir(tmp_path)}
    assert names == {"checkpoint", "m-1", "m-3"}


def test_a_task_on_a_host_with_another_disk_lets_the_session_write(
    start: Callable[..., Program], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What such a task wrote would be nowhere where the next session looks."""
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "weft-test", str(tmp_path)]
    done = subprocess.run(probe, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        pytest.skip(f"no mounts of its own can be made: {done.stderr.strip()}")
    elsewhere = f"""
import os, subprocess
os.unshare(os.CLONE_NEWNS) if hasattr(os, "unshare") else __import__("ctypes").CDLL(None, use_errno=True).unshare(0x20000)
subprocess.run(["mount", "--make-rprivate", "/"], check=True)
subprocess.run(["mount", "-t", "tmpfs", "weft-test", {str(tmp_path)!r}], check=True)
"""
    cluster = local_cluster(ps=2)
    served(start, cluster, "", elsewhere)
    found, _, target = model(cluster)
    saver = train.Saver(sharded=True)
    with wf.Session(target) as session:
        session.run([v.initializer for v in found])
        path = saver.save(session, str(tmp_path / "m"), 1, write_meta_graph=False)
        (told,) = [record.message for record in caplog.records if "writes them itself" in record.message]
        assert "task /job:ps/replica:0/task:1 (process" in told
        assert "there is no file" in told
        saver.restore(session, path)
    assert [train.load_variable(str(path), f"v{i}").tolist() for i in range(2)] == [[1.0] * 1000] * 2


def trained(folder: str, target: str, last: int, lose: Callable[[int], None], **hook: Any) -> None:
    with wf.Graph().as_default():
        with wf.device("/job:ps/task:0"):
            step = train.create_global_step()
        with wf.device("/job:ps/task:1"):
            v = wf.Variable(np.zeros(200_000), name="v")
            both = wf.group(v.assign_add(np.ones(200_000)).op, step.assign_add(1).op)
        saves = train.CheckpointSaverHook(folder, save_steps=1, saver=train.Saver(sharded=True, max_to_keep=2), **hook)
        wf.add_to_collection(wf.GraphKeys.SAVERS, saves._saver)
        with train.MonitoredTrainingSession(
            target, checkpoint_dir=folder, chief_only_hooks=[saves, train.StopAtStepHook(last_step=last)],
            save_checkpoint_secs=None, save_checkpoint_steps=None, save_summaries_steps=None, log_step_count_steps=None,
            recovery=train.RecoveryPolicy(backoff_secs=0.1),
        ) as session:  # fmt: skip
            while not session.should_stop():
                lose(int(session.run(both) or 0))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_training_goes_on_from_what_its_tasks_wrote_before_one_was_killed(
    asynchronous: bool, start: Callable[..., Program], tmp_path: Path
) -> None:
    cluster = local_cluster(ps=2)
    made = served(start, cluster)
    count = iter(range(1000))

    def lose(_: int) -> None:
        if next(count) == 3:
            made[1].kill()
            made.append(start(SERVE.format(grace=120), cluster, "ps", 1))
            made[-1].says("up")

    trained(str(tmp_path), f"weft://{cluster['ps'][0]}", 8, lose, asynchronous=asynchronous)
    path = train.latest_checkpoint(str(tmp_path))
    assert path == f"{tmp_path}/model.ckpt-8"
    assert train.load_variable(path, "v").tolist() == [8.0] * 200_000
    soon(lambda: not [name for name in os.listdir(tmp_path) if name.endswith(".weft-tmp")])
