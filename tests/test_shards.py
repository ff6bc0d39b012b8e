"""Checkpoints in several files: how variables are divided, what is noticed, and that any placement restores them."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import weft as wf
from stores import Memory, mounted
from test_checkpoint import disk_of
from test_saver import started
from weft import train
from weft.graph import errors
from weft.graph.storage.checkpoint import MANIFEST, CheckpointReader, sealed, write_checkpoint
from weft.train.shards import open_checkpoint, write_shards


def shards_of(prefix: str | None) -> dict[str, list[str]]:
    """The variables of each shard, by its number and count."""
    assert prefix is not None
    places = json.loads(Path(prefix + MANIFEST).read_text())["weight_map"]
    found: dict[str, list[str]] = {}
    for name, shard in sorted(places.items()):
        found.setdefault(re.findall(r"\d{5}-of-\d{5}", shard)[0], []).append(name)
    return found


def test_each_task_has_a_shard_of_its_own(tmp_path: Path) -> None:
    for i, device in enumerate(["/job:ps/task:0/cpu:0", "/job:ps/task:1", "/job:ps/task:0/cpu:1", ""]):
        with wf.device(device):
            wf.Variable(np.full(4, float(i)), name=f"v{i}")
    saver = train.Saver(sharded=True)
    with started(wf.ConfigProto(allow_soft_placement=True)) as session:
        path = saver.save(session, str(tmp_path / "m"), 1, write_meta_graph=False)
    assert shards_of(path) == {"00001-of-00003": ["v0", "v2"], "00002-of-00003": ["v1"], "00003-of-00003": ["v3"]}
    assert len(os.listdir(tmp_path)) == 5
    assert [float(train.load_variable(str(tmp_path), f"v{i}")[0]) for i in range(4)] == [0.0, 1.0, 2.0, 3.0]


def test_no_shard_is_larger_than_the_limit_but_for_a_variable_that_is(tmp_path: Path) -> None:
    for i, size in enumerate([10, 10, 10, 100, 5]):
        wf.Variable(np.zeros(size), name=f"v{i}")
    saver = train.Saver(sharded=True, max_shard_bytes=160)
    with started() as session:
        path = saver.save(session, str(tmp_path / "m"))
    assert list(shards_of(path).values()) == [["v0", "v1"], ["v2"], ["v3"], ["v4"]]
    with pytest.raises(ValueError, match="max_shard_bytes must be positive, got 0"):
        train.Saver(max_shard_bytes=0)


def test_other_programs_find_the_variables_in_the_shards(tmp_path: Path) -> None:
    values = {f"v{i}": np.arange(3.0) + i for i in range(3)}
    write_shards(str(tmp_path / "m"), [values], 24)
    manifest = json.loads((tmp_path / f"m{MANIFEST}").read_text())
    assert manifest["metadata"] == {"total_size": 72}
    for name, shard in manifest["weight_map"].items():
        assert (safetensors.numpy.load_file(tmp_path / shard)[name] == values[name]).all()
        assert (CheckpointReader(str(tmp_path / shard)).get_tensor(name) == values[name]).all()


def test_either_form_takes_the_place_of_the_other(tmp_path: Path) -> None:
    v = wf.Variable(0.0, name="v")
    wf.Variable(0.0, name="w")
    with started() as session:
        for value, sharded in enumerate([True, False, True, True]):
            session.run(v.assign(float(value)))
            saver = train.Saver(sharded=sharded, max_shard_bytes=1)
            saver.save(session, str(tmp_path / "m"), write_meta_graph=False)
            assert train.load_variable(str(tmp_path), "v") == value
            assert len(os.listdir(tmp_path)) == 2 + 2 * sharded


def test_one_shard_is_one_file(tmp_path: Path) -> None:
    wf.Variable(0.0, name="v")
    with started() as session:
        train.Saver(sharded=True).save(session, str(tmp_path / "m"), write_meta_graph=False)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "m.safetensors"]


def test_old_ones_are_deleted_with_their_shards(tmp_path: Path) -> None:
    wf.Variable(0.0, name="v")
    wf.Variable(0.0, name="w")
    saver = train.Saver(sharded=True, max_to_keep=1, max_shard_bytes=1)
    with started() as session:
        for step in (1, 2):
            saver.save(session, str(tmp_path / "m"), step)
    assert {name.split(".")[0] for name in os.listdir(tmp_path)} == {"checkpoint", "m-2"}
    assert len(os.listdir(tmp_path)) == 5


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    big = wf.Variable(np.zeros(1 << 15), name="v")
    wf.Variable(1.0, name="a")
    saver = train.Saver(sharded=True, max_shard_bytes=100)
    with started() as session:
        path = saver.save(session, str(tmp_path / "m"))
        held = sorted(os.listdir(tmp_path))
        session.run(big.assign(np.ones(1 << 15)))
        with (
            disk_of(1 << 16),
            pytest.raises(errors.ResourceExhaustedError, match=r"Cannot write .*/m\..*safetensors: "),
        ):
            saver.save(session, str(tmp_path / "m"))
        assert sorted(os.listdir(tmp_path)) == held
        saver.restore(session, path)
        assert not session.run(big).any()


# other placements


def on_tasks(count: int, values: list[Any]) -> list[Any]:
    """Variables of these values, on so many tasks in turn; for 0 in this process."""
    with wf.device(train.replica_device_setter(ps_tasks=count) if count else None):
        return [wf.Variable(value, name=f"v{i}") for i, value in enumerate(values)]


@pytest.mark.ray
def test_any_number_of_tasks_restores_the_same_bits(tmp_path: Path) -> None:
    """Written with the variables on two tasks, restored on one, on three and in this process, and the other way round."""
    rng = np.random.default_rng(3)
    values = [rng.standard_normal(5) for _ in range(5)]
    zeros = [np.zeros(5) for _ in values]
    with wf.cluster.start({"ps": 3}) as cluster:
        for written in (2, 0):
            with wf.Graph().as_default():
                on_tasks(written, values)
                saver = train.Saver(sharded=True)
                with wf.Session(cluster.target if written else "") as session:
                    session.run(wf.global_variables_initializer())
                    path = saver.save(session, str(tmp_path / f"m{written}"))
            assert not written or len(shards_of(path)) == written
            for count in (0, 1, 3):
                with wf.Graph().as_default():
                    restored = on_tasks(count, zeros)
                    saver = train.Saver()
                    with wf.Session(cluster.target if count else "") as session:
                        saver.restore(session, path)
                        found = session.run(restored)
                assert [value.tobytes() for value in found] == [value.tobytes() for value in values]


# damage


@pytest.fixture(params=["path", "uri"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A folder of this machine or of a store, and how to change a file in it."""
    if request.param == "path":

        def change_file(name: str, data: bytes | None) -> bytes:
            before = (tmp_path / name).read_bytes()
            if data is None:
                (tmp_path / name).unlink()
            else:
                (tmp_path / name).write_bytes(data)
            return before

        yield str(tmp_path), lambda: sorted(os.listdir(tmp_path)), change_file
        return
    memory = Memory(disk=False)

    def change_object(name: str, data: bytes | None) -> bytes:
        before = memory.files.pop(f"runs/{name}")
        if data is not None:
            memory.put(f"runs/{name}", data)
        return before

    with mounted(memory) as uri:
        yield uri, lambda: sorted(name.removeprefix("runs/") for name in memory.files), change_object


VALUES = {"a": np.arange(3.0), "b": np.array([7], np.int8), "c": np.array([1 + 2j])}


def everything(prefix: str) -> dict[str, bytes]:
    reader = open_checkpoint(prefix + MANIFEST)
    return {name: reader.get_tensor(name).tobytes() for name in reader.get_variable_to_shape_map()}


def test_a_changed_bit_anywhere_is_noticed_or_changes_nothing(place: Any) -> None:
    folder, names, change = place
    write_shards(f"{folder}/m", [VALUES], 30)
    expected = {name: value.tobytes() for name, value in VALUES.items()}
    assert everything(f"{folder}/m") == expected
    assert len(names()) == 3
    noticed = 0
    for name in names():
        whole = change(name, b"")
        for position in range(len(whole)):
            changed = bytearray(whole)
            changed[position] ^= 1 << position % 8
            change(name, bytes(changed))
            try:
                assert everything(f"{folder}/m") == expected
            except (errors.DataLossError, errors.UnimplementedError):
                noticed += 1
        change(name, whole)
    assert noticed > 1000
    assert everything(f"{folder}/m") == expected


def test_a_file_that_ends_early_is_noticed(place: Any) -> None:
    folder, names, change = place
    write_shards(f"{folder}/m", [VALUES], 30)
    for name in names():
        whole = change(name, b"")
        for end in range(len(whole)):
            change(name, whole[:end])
            with pytest.raises(errors.DataLossError):
                everything(f"{folder}/m")
        change(name, whole + b"x")
        with pytest.raises(errors.DataLossError):
            everything(f"{folder}/m")
        change(name, whole)


def test_a_shard_that_is_gone_or_of_another_checkpoint(place: Any) -> None:
    folder, names, change = place
    write_shards(f"{folder}/m", [VALUES], 30)
    write_shards(f"{folder}/n", [{"a": np.zeros(3)}], 30)
    foreign = next(name for name in names() if name.startswith("n.") and not name.endswith(MANIFEST))
    shard = next(name for name in names() if "m." in name and "00001-of-" in name)
    other = change(foreign, None)
    whole = change(shard, other)
    with pytest.raises(errors.DataLossError, match=rf"its shard {shard} has another a"):
        open_checkpoint(f"{folder}/m{MANIFEST}").get_tensor("a")
    change(shard, None)
    with pytest.raises(errors.DataLossError, match=rf"its shard {shard} is not there"):
        open_checkpoint(f"{folder}/m{MANIFEST}").get_tensor("a")
    assert whole != other


@pytest.mark.parametrize(
    "shard", ["../x.safetensors", "/etc/passwd", "other.safetensors", "s3://b/x", 3, "m.safetensors"], ids=str
)
def test_a_manifest_names_its_own_shards_only(shard: Any, place: Any) -> None:
    """Or a stranger's manifest could have other files read, or deleted as old."""
    folder, _, change = place
    write_shards(f"{folder}/m", [{"a": np.zeros(3)}], 30)
    manifest = json.loads(change(f"m{MANIFEST}", b""))
    variables = manifest["weft"]["variables"]
    text = json.dumps({"weft": sealed({"variables": variables, "weight_map": {"a": shard}})})
    change(f"m{MANIFEST}", text.encode())
    with pytest.raises(errors.DataLossError, match=r"is no name of one of its shards|expected string"):
        open_checkpoint(f"{folder}/m{MANIFEST}")


def test_a_restore_of_a_damaged_shard_changes_no_variable(place: Any) -> None:
    folder, names, change = place
    v, w = wf.Variable(np.zeros(3), name="v"), wf.Variable(0.0, name="w")
    saver = train.Saver(sharded=True, max_shard_bytes=1)
    with started() as session:
        path = saver.save(session, f"{folder}/m")
        shard = next(name for name in names() if "00002-of-00002" in name)
        whole = change(shard, b"")
        change(shard, whole[:-1] + b"x")
        session.run([v.assign(np.ones(3)), w.assign(1.0)])
        with pytest.raises(errors.DataLossError, match="the bytes of w do not have the checksum"):
            saver.restore(session, path)
        assert session.run([v, w])[0].tolist() == [1.0] * 3


#: Files that are no safetensors files; only what is read by safetensors itself and what is read in pieces agree on all.
def _headers() -> dict[str, Callable[[dict[str, Any]], Any]]:
    return {
        "a gap": lambda header: {**header, "b": {**header["b"], "data_offsets": [25, 26]}},
        "an overlap": lambda header: {**header, "b": {**header["b"], "data_offsets": [23, 24]}},
        "backwards": lambda header: {**header, "b": {**header["b"], "data_offsets": [25, 24]}},
        "a type that is none": lambda header: {**header, "b": {**header["b"], "dtype": "I7"}},
        "a negative shape": lambda header: {**header, "b": {**header["b"], "shape": [-1, -1]}},
        "no list": lambda header: {**header, "b": {**header["b"], "data_offsets": 7}},
        "no object": lambda header: [header],
        "no metadata": lambda header: {name: entry for name, entry in header.items() if name != "__metadata__"},
    }


@pytest.mark.parametrize("kind", list(_headers()))
def test_headers_that_lie(kind: str, place: Any, tmp_path: Path) -> None:
    folder, _, change = place
    write_checkpoint(f"{folder}/m.safetensors", {"a": np.arange(3.0), "b": np.array([7], np.int8)})
    data = change("m.safetensors", b"")
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(_headers()[kind](json.loads(data[8 : 8 + length]))).encode()
    change("m.safetensors", len(header).to_bytes(8, "little") + header + data[8 + length :])
    with pytest.raises(errors.DataLossError, match="is truncated, corrupt, or none of weft's"):
        CheckpointReader(f"{folder}/m.safetensors").get_tensor("b")
