"""Saver: the graph that is written beside the values."""

import os
from pathlib import Path
from typing import Any

import pytest
import weft as wf
from test_saver import started
from weft import train
from weft.train import meta_graph_export


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return str(tmp_path / "model")


def test_the_graph_is_written_beside_the_values_and_goes_with_them(prefix: str, tmp_path: Path) -> None:
    v = wf.Variable([1.0, 2.0], name="v")
    wf.multiply(v, 3.0, name="tripled")
    saver = train.Saver(max_to_keep=1)
    with started() as session:
        for step in (1, 2):
            path = saver.save(session, prefix, step)
        saver.save(session, f"{prefix}-other", 3, meta_graph_suffix="graph", write_state=False)
    assert sorted(os.listdir(tmp_path)) == [
        "checkpoint", "model-2.meta", "model-2.safetensors", "model-other-3.graph", "model-other-3.safetensors",
    ]  # fmt: skip
    with wf.Graph().as_default() as graph:
        again = train.import_meta_graph(f"{path}.meta")
        assert again is not None
        with wf.Session(graph=graph) as session:
            again.restore(session, path)
            assert session.run("tripled:0").tolist() == [3.0, 6.0]


def test_the_graph_that_is_written_is_the_one_there_is_now(prefix: str) -> None:
    v = wf.Variable(1.0, name="v")
    saver = train.Saver()
    with started() as session:
        saver.save(session, prefix, 1)
        wf.add_to_collection("mine", wf.identity(v, name="later"))
        saver.save(session, prefix, 2)
    for step, there in ((1, False), (2, True)):
        with wf.Graph().as_default() as graph:
            train.import_meta_graph(f"{prefix}-{step}.meta")
            assert bool(graph.get_collection("mine")) is there


def test_without_tensorboardx_values_are_saved_and_a_warning_says_what_is_not(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(**_: Any) -> None:
        raise ImportError("no tensorboardX")

    monkeypatch.setattr("weft.train.meta_graph_export.export_meta_graph", missing)
    meta_graph_export._warn_once.cache_clear()
    wf.Variable(1.0)
    with started() as session:
        for step in (1, 2):  # by savers of their own
            train.Saver().save(session, prefix, step)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "model-1.safetensors", "model-2.safetensors"]
    assert [record.message for record in caplog.records] == [
        "Checkpoints are written without a meta graph: no tensorboardX"
    ]
