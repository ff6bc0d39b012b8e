"""What a saver leaves behind when the disk is full, and when its process is killed at any point of a save."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import weft as wf
from dying import dies
from test_checkpoint import disk_of
from test_saver import names, started
from weft import train
from weft.graph import errors


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return str(tmp_path / "model")


def test_a_full_disk_leaves_the_last_checkpoint(prefix: str, tmp_path: Path) -> None:
    big = wf.Variable(np.zeros(1 << 15))
    saver = train.Saver(max_to_keep=1)
    with started() as session:
        path = saver.save(session, prefix, 1)
        session.run(big.assign(np.ones(1 << 15)))
        with disk_of(1 << 16), pytest.raises(errors.ResourceExhaustedError, match="model-2"):
            saver.save(session, prefix, 2)
        assert names(tmp_path) == ["model-1"]
        assert train.latest_checkpoint(str(tmp_path)) == path
        saver.restore(session, path)
        assert not session.run(big).any()
        assert saver.save(session, prefix, 2) == f"{prefix}-2"
    assert names(tmp_path) == ["model-2"]


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A file system of that size, mounted on the folder for the block."""
    folder.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "weft-test", str(folder)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=200)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk of its own can be mounted: {getattr(error, 'stderr', None) or error}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=200)


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("free", [0, 32, 68])
def test_no_space_left_leaves_the_last_checkpoint(free: int, sharded: bool, tmp_path: Path) -> None:
    """So many KiB are left for a checkpoint of 64: too few for the values, or for the files after them."""
    big = wf.Variable(np.zeros(1 << 13), name="v")
    wf.Variable(0, name="w")
    saver = train.Saver(sharded=sharded, max_shard_bytes=100)
    folder = tmp_path / "disk"
    with started() as session, small_disk(folder, 1 << 20):
        path = saver.save(session, f"{folder}/model", 1)
        session.run(big.assign(np.ones(1 << 13)).op)
        held = sorted(os.listdir(folder))
        status = os.statvfs(folder)
        (folder / "other").write_bytes(bytes(status.f_bavail * status.f_frsize - (free << 10)))
        with pytest.raises(errors.ResourceExhaustedError, match=rf"Cannot write {folder}/.*: No space left on device"):
            saver.save(session, f"{folder}/model", 2)
        assert train.latest_checkpoint(str(folder)) == path
        (folder / "other").unlink()
        left = [name for name in os.listdir(folder) if name not in held]
        assert not [name for name in left if name.startswith(".")]
        assert free == 68 or left == []  # with more, the values are whole
        saver.restore(session, path)
        assert not session.run(big).any()
        saver.save(session, f"{folder}/model", 2)
        assert train.latest_checkpoint(str(folder)) == f"{folder}/model-2"


def test_a_state_file_that_cannot_be_written_names_what_it_named(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def only_checkpoints(source: str, target: str) -> None:
        if target.endswith("checkpoint"):
            raise OSError(28, os.strerror(28))
        replace(source, target)

    wf.Variable(1.0)
    saver = train.Saver(max_to_keep=1)
    with started() as session:
        saver.save(session, prefix, 1)
        monkeypatch.setattr(os, "replace", only_checkpoints)
        with pytest.raises(errors.ResourceExhaustedError, match="checkpoint"):
            saver.save(session, prefix, 2)
    assert names(tmp_path) == ["model-1", "model-2"]
    assert train.latest_checkpoint(str(tmp_path)) == f"{prefix}-1"
    assert saver.last_checkpoints == [f"{prefix}-1"]


DIES = """
v = wf.Variable(np.zeros(1000), name="v")
saver = wf.train.Saver(max_to_keep=1)
with wf.Session() as session:
    session.run(v.initializer)
    saver.save(session, place, 1)
    session.run(v.assign(np.ones(1000)))
    die()
    saver.save(session, place, 2)
"""

#: The n-th call of a function of the system, in one save, and the checkpoint that is the last one after dying there.
#: A save writes a header and the values, the meta graph, the state; of each file it syncs it and then the folder.
DEATHS = [
    ("write", 1, 1), ("write", 2, 1), ("fsync", 1, 1), ("replace", 1, 1), ("fsync", 2, 1), ("write", 3, 1), ("fsync", 3, 1),
    ("replace", 2, 1), ("fsync", 4, 1), ("write", 4, 1), ("fsync", 5, 1), ("replace", 3, 1), ("fsync", 6, 2),
    ("unlink", 1, 2), ("unlink", 2, 2),
]  # fmt: skip


@pytest.mark.parametrize(("call", "count", "last"), DEATHS)
def test_being_killed_while_saving_leaves_the_last_checkpoint(
    call: str, count: int, last: int, prefix: str, tmp_path: Path
) -> None:
    dies(DIES, prefix, call, count)
    v = wf.Variable(np.full(1000, 9.0), name="v")
    saver = train.Saver(max_to_keep=1)
    path = train.latest_checkpoint(str(tmp_path))
    assert path == f"{prefix}-{last}"
    with wf.Session() as session:
        saver.restore(session, path)
        assert session.run(v).tolist() == [last - 1.0] * 1000
        saver.save(session, prefix, 3)
    assert names(tmp_path)[-1] == "model-3"  # and nothing half-written is left


SHARDED_DIES = """
v, w = wf.Variable(np.zeros(1000), name="v"), wf.Variable(np.zeros(1000), name="w")
saver = wf.train.Saver(sharded=True, max_shard_bytes=8000, max_to_keep=1)
with wf.Session() as session:
    session.run([v.initializer, w.initializer])
    saver.save(session, place, 1)
    session.run([v.assign(np.ones(1000)), w.assign(np.ones(1000))])
    die()
    saver.save(session, place, 2)
"""


@pytest.mark.parametrize(
    ("call", "count", "last"),
    [
        ("write", 1, 1), ("write", 4, 1), ("replace", 2, 1), ("write", 5, 1), ("replace", 3, 1), ("fsync", 6, 1),
        ("replace", 5, 1), ("fsync", 10, 2), ("unlink", 1, 2), ("unlink", 2, 2), ("unlink", 3, 2),
    ],
)  # fmt: skip
def test_being_killed_while_saving_shards_leaves_the_last_checkpoint(
    call: str, count: int, last: int, prefix: str, tmp_path: Path
) -> None:
    """A shard is a file as any other; then come the manifest, the meta graph and the state."""
    dies(SHARDED_DIES, prefix, call, count)
    variables = [wf.Variable(np.full(1000, 9.0), name=name) for name in ("v", "w")]
    saver = train.Saver(sharded=True, max_to_keep=1, max_shard_bytes=8000)
    path = train.latest_checkpoint(str(tmp_path))
    assert path == f"{prefix}-{last}"
    with wf.Session() as session:
        saver.restore(session, path)
        assert [value.tolist() for value in session.run(variables)] == [[last - 1.0] * 1000] * 2
        saver.recover_last_checkpoints([f"{prefix}-1", f"{prefix}-2"])
        saver.save(session, prefix, 3)
    kinds = sorted({name.split(".")[0] + os.path.splitext(name)[1] for name in os.listdir(tmp_path)})
    assert len(os.listdir(tmp_path)) == 5
    assert kinds == ["checkpoint", "model-3.json", "model-3.meta", "model-3.safetensors"]  # and nothing is left over


LOOPS = """
import sys
import numpy as np
import weft as wf

v = wf.Variable(np.zeros(100_000), name="v")
step = wf.train.create_global_step()
saver = wf.train.Saver(max_to_keep=2)
with wf.Session() as session:
    session.run(wf.global_variables_initializer())
    while True:
        session.run([v.assign_add(np.ones(100_000)), step.assign_add(1)])
        saver.save(session, sys.argv[1], step)
        print("saved", flush=True)
"""


def test_being_killed_at_any_time_leaves_a_checkpoint_that_can_be_restored(prefix: str, tmp_path: Path) -> None:
    v, step = wf.Variable(np.zeros(100_000), name="v"), train.create_global_step()
    saver = train.Saver()
    for pause in (0.0, 0.0111, 0.0222):
        with subprocess.Popen([sys.executable, "-P", "-c", LOOPS, prefix], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"saved\n"
            time.sleep(pause)
            process.kill()
        path = train.latest_checkpoint(str(tmp_path))
        with wf.Session() as session:
            saver.restore(session, path)
            values, number = session.run([v, step])
        assert path == f"{prefix}-{number}"
        assert (values == number).all()
