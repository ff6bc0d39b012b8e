"""Files in several parts, of a store, and of costs, fed with what somebody has changed: documented errors, and nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from hostile import as_json, changed, changed_json, fuzzed, survives
from hypothesis import given, strategies as st
from stores import Memory, mounted
from weft.graph import errors
from weft.graph.storage.checkpoint import MANIFEST, SUFFIX, digest, write_checkpoint
from weft.train.shards import open_checkpoint, write_shards

MIB = 1 << 20
VALUES = {"v": np.arange(5.0), "s": np.array([b"abc", b"d"], object), "c": np.array(1 + 2j), "e": np.ones(0)}
REFUSED = (errors.DataLossError, errors.UnimplementedError)


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A folder of a store with a checkpoint in shards and one in a file, and what its files are."""
    memory = Memory(disk=False)
    with mounted(memory, "hostile") as folder:
        write_shards(f"{folder}/m", [VALUES], 30)
        write_checkpoint(f"{folder}/whole{SUFFIX}", VALUES)
        yield folder, memory.files


def read(path: str) -> None:
    reader = open_checkpoint(path)
    for name in reader.get_variable_to_shape_map():
        reader.get_tensor(name)


@fuzzed(150)
@given(data=st.data())
def test_files_of_a_checkpoint_in_shards(data: st.DataObject, store: tuple[str, dict[str, bytes]]) -> None:
    folder, files = store
    name = data.draw(st.sampled_from(sorted(name for name in files if name.startswith("runs/m."))))
    whole = files[name]
    files[name] = data.draw(changed([whole]))
    try:
        survives(lambda: read(f"{folder}/m{MANIFEST}"), REFUSED, 4 * MIB)
    finally:
        files[name] = whole


@fuzzed(150)
@given(data=st.data())
def test_manifests_that_somebody_else_wrote(data: st.DataObject, store: tuple[str, dict[str, bytes]]) -> None:
    """Their checksums are right: they tell of damage, not of lies."""
    folder, files = store
    index = json.loads(files[f"runs/m{MANIFEST}"])["weft"]
    del index["sha256"]
    forged = data.draw(changed_json([index]))
    if isinstance(forged, dict):
        forged["sha256"] = digest(forged)
    files[f"runs/forged{MANIFEST}"] = as_json({"weft": forged}).replace(b'"m.', b'"forged.')
    survives(lambda: read(f"{folder}/forged{MANIFEST}"), REFUSED, 4 * MIB)


@fuzzed(200)
@given(data=st.data())
def test_headers_of_files_in_a_store(data: st.DataObject, store: tuple[str, dict[str, bytes]]) -> None:
    folder, files = store
    whole = files[f"runs/whole{SUFFIX}"]
    length = int.from_bytes(whole[:8], "little")
    if data.draw(st.booleans()):
        came = data.draw(changed([whole]))
    else:
        header = as_json(data.draw(changed_json([json.loads(whole[8 : 8 + length])])))
        came = len(header).to_bytes(8, "little") + header + whole[8 + length :]
    files[f"runs/changed{SUFFIX}"] = came
    survives(lambda: read(f"{folder}/changed{SUFFIX}"), REFUSED, 4 * MIB)


def costs() -> Any:
    link = {"latency": 1e-5, "byte_seconds": 1e-9, "joint": 0, "light": 1, "heavy": 2, "spread": 0, "others": 0}
    client = {"latency": 1e-5, "feed_byte_seconds": 0, "fetch_byte_seconds": 0}
    step = {"fetches": ["y:0"], "targets": [], "feeds": [["x:0", [2, 3]]], "seconds": 1e-3}
    return {
        "weft_cost_model": 2, "between": 1e-6, "costs": {"Sin() float32[2]": [1e-6, 3, 16, 0]},
        "links": {"/cpu:0|/cpu:1": link}, "clients": {"/cpu:0": client}, "steps": [step],
    }  # fmt: skip


@fuzzed(200)
@given(came=changed([as_json(costs())]) | changed_json([costs()]).map(as_json))
def test_cost_models(tmp_path_factory: pytest.TempPathFactory, came: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "costs.json"
    path.write_bytes(came)

    def shown() -> str:
        return str(wf.CostModel.load(path))

    survives(shown, (errors.DataLossError,), MIB)


def test_what_is_changed_here_is_read_as_it_is(store: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    folder, _ = store
    for name in (f"{folder}/m{MANIFEST}", f"{folder}/whole{SUFFIX}"):
        assert open_checkpoint(name).get_tensor("v").tolist() == [0, 1, 2, 3, 4]
    (tmp_path / "costs.json").write_bytes(as_json(costs()))
    assert "0.001 ms" in str(wf.CostModel.load(tmp_path / "costs.json"))
