"""Checkpoints in an object store that is really spoken to: credentials from the environment, objects of several parts."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
import weft as wf
from s3_server import Bucket, bucket
from test_remote_checkpoints import train_for
from test_saver import started
from weft import train
from weft.graph import errors
from weft.graph.storage import remote_files
from weft.graph.storage.checkpoint import MANIFEST


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with bucket() as server:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield server


@pytest.fixture
def folder(store: Bucket) -> Iterator[str]:
    port = store.server_address[1]
    query = f"?region=us-east-1&scheme=http&endpoint_override=127.0.0.1%3A{port}"
    yield f"s3://bucket/runs/one{query}"
    for key in [key for key in remote_files._opened if str(port) in key[2]]:
        del remote_files._opened[key]


def test_a_training_goes_on_from_an_object_store(folder: str, store: Bucket) -> None:
    assert train_for(folder, 2) == [2.0] * 3
    assert train_for(folder, 6) == [8.0] * 3
    newest = train.latest_checkpoint(folder)
    assert newest is not None
    assert newest.startswith("s3://bucket/runs/one/model.ckpt-8?region=")
    assert train.load_variable(folder, "v").tolist() == [8.0] * 3
    kept = sorted(key for key in store.objects if key.endswith(MANIFEST))
    assert kept == sorted(f"runs/one/model.ckpt-{step}{MANIFEST}" for step in range(4, 9))
    named = {f"runs/one/{name}" for key in kept for name in json.loads(store.objects[key])["weight_map"].values()}
    assert named == {key for key in store.objects if key.endswith(".safetensors")}
    assert b"s3://" not in store.objects["runs/one/checkpoint"]
    assert b"something" not in b"".join(store.objects.values())


def test_what_is_larger_than_a_part_is_put_together(
    folder: str, store: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weft.graph.storage.remote_tensors.WHOLE", 0)
    value = np.arange(3 << 20, dtype=np.float64)  # 24 MiB
    v = wf.Variable(value, name="v")
    saver = train.Saver()
    with started() as session:
        path = saver.save(session, train_place(folder, "m"), 1, write_meta_graph=False)
        session.run(v.assign(np.zeros_like(value)).op)
        saver.restore(session, path)
        assert (session.run(v) == value).all()
    assert any(request.endswith("?uploads") for request in store.asked)
    assert not store.uploads


def train_place(folder: str, name: str) -> str:
    return folder.replace("/one?", f"/one/{name}?")


@pytest.mark.parametrize("part", ["safetensors.index.json", "checkpoint", "m-2."])
def test_a_refused_request_leaves_the_checkpoint_before(part: str, folder: str, store: Bucket) -> None:
    v = wf.Variable(1.0, name="v")
    saver = train.Saver()
    with started() as session:
        path = saver.save(session, train_place(folder, "m"), 1)
        session.run(v.assign(2.0))
        name = "m-2.safetensors.index.json" if part == "safetensors.index.json" else part
        store.refused = (f"PUT runs/one/{name}", f"POST runs/one/{name}")
        with pytest.raises(errors.PermissionDeniedError, match=r"Cannot write s3://bucket/runs/one/.*ACCESS_DENIED"):
            saver.save(session, train_place(folder, "m"), 2)
        store.refused = ()
        assert train.latest_checkpoint(folder) == path
        saver.restore(session, path)
        assert session.run(v) == 1.0


def test_a_store_that_cannot_be_reached() -> None:
    """The port is nobody's. The error comes after a few tries, and names the place."""
    wf.Variable(1.0, name="v")
    query = "?region=us-east-1&scheme=http&endpoint_override=127.0.0.1%3A9"
    with (
        started() as session,
        pytest.raises(errors.UnavailableError, match=r"Cannot .* s3://me:\*\*\*@bucket/runs: ") as caught,
    ):
        train.Saver().save(session, f"s3://me:secret@bucket/runs/m{query}", 1)
    assert "secret" not in str(caught.value)
