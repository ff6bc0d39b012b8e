"""Checkpoint files: every bit comes back, damage is noticed, a crash or a full disk leaves the old file."""

import errno
import fcntl
import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings, strategies as st
from safetensors import safe_open
from weft.graph import dtypes, errors
from weft.graph.storage import atomic, checkpoint
from weft.graph.storage.checkpoint import CheckpointReader, write_checkpoint
from weft.train import checkpoint_state

pytestmark = pytest.mark.counts

Array = np.ndarray[Any, Any]

NUMERIC = [dtype for dtype in dtypes.ALL if dtype.name not in ("string", "resource", "variant")]

#: Bytes that are, in one floating type or another: NaNs with payloads (quiet and signalling), -0.0, denormals, infinities.
ODD = np.array(
    [
        0x7FF0000000000001, 0xFFF8DEADBEEF0001, 0x8000000000000000, 0x0000000000000001, 0x7FF0000000000000,
        0x7F8000017FC0ABCD, 0x80000000_00000001, 0xFF80000080000000, 0x7C01FE01_80000001, 0x7F81FFC1_00010000,
        0x7FF0000000000002, 0x8000000000000001,
    ],
    np.uint64,
)  # fmt: skip


def odd(dtype: dtypes.DType) -> Array:
    """An array of the type with all the odd bit patterns."""
    return np.array([False, True, True]) if dtype.is_bool else ODD.view(dtype.np).reshape(2, -1)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "model.safetensors")


def strings(*values: bytes) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array


# what comes back


@pytest.mark.parametrize("dtype", NUMERIC, ids=lambda dtype: dtype.name)
def test_every_bit_of_every_type_comes_back(dtype: dtypes.DType, path: str) -> None:
    one = np.asarray(odd(dtype).reshape(-1)[1])
    values = {"many": odd(dtype), "one": one, "none": np.zeros((3, 0, 2), dtype.np)}
    write_checkpoint(path, values)
    reader = CheckpointReader(path)
    for name, value in values.items():
        found = reader.get_tensor(name)
        assert (found.dtype, found.shape, found.tobytes()) == (dtype.np, value.shape, value.tobytes())
    assert reader.get_variable_to_dtype_map() == dict.fromkeys(values, dtype)


def test_strings_come_back_with_their_zeros(path: str) -> None:
    values = {
        "some": strings(b"a\0", b"", b"\xff\n", b"\0").reshape(2, 2),
        "one": strings(b"x\0y\0").reshape(()),
        "none": strings().reshape(0, 5),
    }
    write_checkpoint(path, values)
    reader = CheckpointReader(path)
    for name, value in values.items():
        found = reader.get_tensor(name)
        assert (found.dtype, found.shape, found.tolist()) == (np.dtype(object), value.shape, value.tolist())
    assert reader.get_variable_to_dtype_map()["some"] is dtypes.string


def test_an_array_that_is_not_contiguous_is_written_in_order(path: str) -> None:
    value = np.arange(12.0).reshape(3, 4).T[::2]
    write_checkpoint(path, {"v": value, "c": value * 1j})
    assert (CheckpointReader(path).get_tensor("v") == value).all()
    assert (CheckpointReader(path).get_tensor("c") == value * 1j).all()


def test_names_may_be_anything_that_text_can_be(path: str) -> None:
    names = ["a/b", "ä", "", 'q"\\', "n\nl"]
    write_checkpoint(path, {name: np.array(i) for i, name in enumerate(names)})
    assert [int(CheckpointReader(path).get_tensor(name)) for name in names] == [0, 1, 2, 3, 4]


def test_the_same_values_make_the_same_file(path: str) -> None:
    values: dict[str, Array] = {"a": np.ones(3), "b": np.zeros(2, np.int8), "c": strings(b"x")}
    write_checkpoint(path, values)
    first = Path(path).read_bytes()
    write_checkpoint(path, values)
    assert Path(path).read_bytes() == first


def test_other_programs_read_it_as_safetensors(path: str) -> None:
    value = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_checkpoint(path, {"v": value, "z": np.array([1 + 2j])})
    found = safetensors.numpy.load_file(path)
    assert (found["v"] == value).all()
    assert found["z"].tolist() == [[1.0, 2.0]]


def test_a_reader_says_what_there_is(path: str) -> None:
    write_checkpoint(path, {"v": np.zeros((2, 3)), "s": strings(b"x")})
    reader = CheckpointReader(path)
    assert reader.path == path
    assert reader.get_variable_to_shape_map() == {"v": [2, 3], "s": [1]}
    assert reader.has_tensor("v")
    assert not reader.has_tensor("w")
    with pytest.raises(errors.NotFoundError, match=r"Key w not found in checkpoint .*model\.safetensors"):
        reader.get_tensor("w")


# damage


def damaged(path: str) -> str:
    """What the reader says of the file, be it at opening or at reading."""
    with pytest.raises(errors.DataLossError) as caught:
        read_all(path)
    return str(caught.value)


def read_all(path: str) -> dict[str, bytes]:
    reader = CheckpointReader(path)
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    return {name: repr(v.tolist()).encode() if v.dtype.hasobject else v.tobytes() for name, v in values.items()}


VALUES = {
    "v": np.arange(5.0),
    "w": np.arange(5.0) + 1,
    "s": strings(b"abc", b"d"),
    "c": np.array(1 + 2j),
    "e": np.ones(0),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "model.safetensors"
    write_checkpoint(str(path), VALUES)
    return path.read_bytes()


on_damaged_files = settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@on_damaged_files
@given(data=st.data())
def test_a_truncated_file_is_noticed_wherever_it_ends(data: Any, whole: bytes, path: str) -> None:
    Path(path).write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert path in damaged(path)


@on_damaged_files
@given(data=st.data())
def test_a_changed_byte_is_noticed_or_changes_nothing(data: Any, whole: bytes, path: str) -> None:
    where, change = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255))
    Path(path).write_bytes(whole[:where] + bytes([whole[where] ^ change]) + whole[where + 1 :])
    try:
        assert read_all(path) == original(whole, path)
    except errors.DataLossError as error:
        assert path in str(error)  # noqa: PT017


def original(whole: bytes, path: str) -> dict[str, bytes]:
    good = f"{path}.good"
    Path(good).write_bytes(whole)
    return read_all(good)


def test_every_changed_byte_of_the_values_is_noticed(whole: bytes, path: str) -> None:
    start = 8 + int.from_bytes(whole[:8], "little")
    assert len(whole) - start == sum(v.nbytes for v in VALUES.values() if not v.dtype.hasobject) + 3 * 8 + 4
    for where in range(start, len(whole)):
        Path(path).write_bytes(whole[:where] + bytes([whole[where] ^ 16]) + whole[where + 1 :])
        assert "do not have the checksum" in damaged(path)


@on_damaged_files
@given(content=st.binary(max_size=300))
def test_what_is_no_checkpoint_is_refused(content: bytes, path: str) -> None:
    Path(path).write_bytes(content)
    assert path in damaged(path)


@pytest.mark.parametrize(
    "header",
    [b'{"a":{"dtype":"F64","shape":[4611686018427387904,8],"data_offsets":[0,0]}}', b"[" * 50_000, b'{"a":' * 50_000],
    ids=["absurd shape", "deep list", "deep dict"],
)
def test_an_absurd_header_is_refused(header: bytes, path: str) -> None:
    Path(path).write_bytes(len(header).to_bytes(8, "little") + header)
    damaged(path)


@pytest.mark.parametrize("length", [99_000_000, 2**40, 2**64 - 1])
def test_a_header_that_claims_to_be_long_takes_no_memory(length: int, path: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    Path(path).write_bytes(length.to_bytes(8, "little") + b"{}")
    damaged(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


def test_two_values_that_changed_places_are_noticed(whole: bytes, path: str) -> None:
    v, w = b', "v": {"dtype": "F64"', b', "w": {"dtype": "F64"'
    assert whole.count(v) == whole.count(w) == 1
    Path(path).write_bytes(whole.replace(v, b"<>").replace(w, v).replace(b"<>", w))
    assert "checksum" in damaged(path)


def test_a_safetensors_file_of_another_program_is_refused(path: str) -> None:
    safetensors.numpy.save_file({"v": np.ones(3)}, path)
    assert "it has no index" in damaged(path)


def test_a_file_of_a_later_format_is_refused(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    write_checkpoint(path, {"v": np.ones(3)})
    monkeypatch.undo()
    with pytest.raises(errors.UnimplementedError, match=r"model\.safetensors is of format 2, .* reads format 1"):
        CheckpointReader(path)


def forged(path: str, stored: dict[str, Array], **variables: dict[str, Any]) -> None:
    """Write a file whose index has the right checksums and says something else than the truth."""
    for name, entry in variables.items():
        entry.setdefault("sha256", checkpoint._sha256(stored[name]) if name in stored else "")
    index = {"format": checkpoint.FORMAT, "weft": "0", "variables": variables}
    text = json.dumps(index | {"sha256": checkpoint.digest(index)})
    checkpoint._write_safetensors(path, stored, text)


RAW = np.zeros(16, np.uint8)


@pytest.mark.parametrize(
    ("stored", "variables"),
    [
        ({"v": np.ones(3)}, {"w": {"dtype": "float64", "shape": [3]}}),
        ({"v": np.ones(3)}, {"v": {"dtype": "float64", "shape": [1, 3]}}),
        ({"v": np.ones(3)}, {"v": {"dtype": "int64", "shape": [3]}}),
        ({"v": np.ones(3)}, {"v": {"dtype": "complex128", "shape": [3]}}),
        ({"v": np.ones(3)}, {"v": {"dtype": "resource", "shape": [3]}}),
        ({"v": np.ones(3)}, {"v": {"dtype": "nothing", "shape": [3]}}),
        ({"v": np.ones(3)}, {"v": {"dtype": "float64", "shape": None}}),
        ({"v": RAW}, {"v": {"dtype": "string", "shape": [-1]}}),
        ({"v": RAW}, {"v": {"dtype": "string", "shape": [3]}}),
        ({"v": RAW}, {"v": {"dtype": "string", "shape": [2**62, 2**62]}}),
        ({"v": RAW[:8]}, {"v": {"dtype": "string", "shape": [0, 2**70]}}),
        ({"v": RAW + 1}, {"v": {"dtype": "string", "shape": [1]}}),
        ({"v": np.array([0, 9, 1, 0], np.int64).view(np.uint8)[:25]}, {"v": {"dtype": "string", "shape": [2]}}),
    ],
)  # fmt: skip
def test_an_index_that_lies_is_refused(stored: dict[str, Array], variables: dict[str, Any], path: str) -> None:
    forged(path, stored, **{name: dict(entry) for name, entry in variables.items()})
    damaged(path)


def test_a_file_that_shrinks_while_it_is_read_is_noticed(whole: bytes, path: str) -> None:
    Path(path).write_bytes(whole)
    reader = CheckpointReader(path)
    os.truncate(path, len(whole) - 100)
    with pytest.raises(errors.DataLossError, match="cannot be read"):
        reader.get_tensor("v")


def test_a_file_that_is_not_there_or_not_to_be_read(tmp_path: Path) -> None:
    with pytest.raises(errors.NotFoundError, match="There is no checkpoint"):
        CheckpointReader(str(tmp_path / "m.safetensors"))
    with pytest.raises(errors.OpError, match="Cannot read checkpoint"):
        CheckpointReader(str(tmp_path))


# writing


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file can become larger than this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_old_file_and_nothing_else(path: str, tmp_path: Path) -> None:
    write_checkpoint(path, {"v": np.ones(3)})
    with disk_of(1 << 16), pytest.raises(errors.ResourceExhaustedError, match=r"Cannot write .*model\.safetensors: "):
        write_checkpoint(path, {"v": np.zeros(1 << 16)})
    assert os.listdir(tmp_path) == ["model.safetensors"]
    assert CheckpointReader(path).get_tensor("v").tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, errors.ResourceExhaustedError),
        (errno.EDQUOT, errors.ResourceExhaustedError),
        (errno.EROFS, errors.PermissionDeniedError),
        (errno.EACCES, errors.PermissionDeniedError),
        (errno.EIO, errors.DataLossError),
        (errno.EBUSY, errors.UnknownError),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_what_the_system_refuses_leaves_the_old_file(
    call: str, number: int, kind: type[errors.OpError], path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    write_checkpoint(path, {"v": np.ones(3)})
    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(kind, match=os.strerror(number)) as caught:
        write_checkpoint(path, {"v": np.zeros(3)})
    monkeypatch.undo()
    assert type(caught.value) is kind
    assert os.listdir(tmp_path) == ["model.safetensors"]
    assert CheckpointReader(path).get_tensor("v").tolist() == [1.0, 1.0, 1.0]


def test_an_interrupted_write_leaves_nothing(path: str, tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), atomic.replacing(path) as write:
        write(b"half")
        assert len(os.listdir(tmp_path)) == 1
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_what_the_system_writes_in_pieces_is_written_whole(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:100]))
    write_checkpoint(path, {"v": np.arange(999.0)})
    monkeypatch.undo()
    assert (CheckpointReader(path).get_tensor("v") == np.arange(999.0)).all()


def test_more_variables_than_can_be_read_are_not_written(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "LARGEST_HEADER", 1000)
    with pytest.raises(errors.InvalidArgumentError, match="9 variables are too many"):
        write_checkpoint(path, {f"v{i}": np.ones(1) for i in range(9)})
    assert os.listdir(tmp_path) == []


def test_a_new_file_has_the_permissions_of_any_other(path: str, tmp_path: Path) -> None:
    write_checkpoint(path, {"v": np.ones(3)})
    (tmp_path / "other").touch()
    assert os.stat(path).st_mode == os.stat(tmp_path / "other").st_mode


def test_what_killed_writers_left_is_removed_and_what_others_write_is_not(path: str, tmp_path: Path) -> None:
    dead, busy, foreign = (tmp_path / name for name in (f".dead{atomic.TEMPORARY}", f".busy{atomic.TEMPORARY}", ".tmp"))
    for file in (dead, busy, foreign):
        file.write_bytes(b"half")
    with busy.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write_checkpoint(path, {"v": np.ones(3)})
    assert sorted(os.listdir(tmp_path)) == sorted(["model.safetensors", busy.name, foreign.name])


def test_two_writers_at_once_do_not_take_each_others_files(tmp_path: Path) -> None:
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    with atomic.replacing(first) as write_first:
        write_first(b"1")
        with atomic.replacing(second) as write_second:
            write_second(b"2")
    assert (Path(first).read_bytes(), Path(second).read_bytes()) == (b"1", b"2")


def test_a_temporary_file_swept_away_before_it_was_locked_is_made_anew(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    swept: list[str] = []

    def sweep_first(descriptor: int, how: int) -> None:
        if not swept:
            swept.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            os.unlink(swept[0])
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    write_checkpoint(path, {"v": np.ones(3)})
    assert len(swept) == 1
    assert CheckpointReader(path).get_tensor("v").tolist() == [1.0, 1.0, 1.0]


# the state file


def test_the_state_file_is_as_tensorflow_writes_it(tmp_path: Path) -> None:
    checkpoint_state.update_checkpoint_state(str(tmp_path), "/a/m-2", ["/a/m-1", "/a/m-2"])
    assert (tmp_path / "checkpoint").read_text() == (
        'model_checkpoint_path: "/a/m-2"\nall_model_checkpoint_paths: "/a/m-1"\nall_model_checkpoint_paths: "/a/m-2"\n'
    )


@pytest.mark.parametrize("name", ["m-1", 'q"\\1', "ä b", "n\nl", os.fsdecode(b"\xff")])
def test_any_name_comes_back_from_the_state_file(name: str, tmp_path: Path) -> None:
    folder = str(tmp_path)
    checkpoint_state.update_checkpoint_state(folder, os.path.join(folder, name))
    state = checkpoint_state.get_checkpoint_state(folder)
    assert state == checkpoint_state.CheckpointState(os.path.join(folder, name), (os.path.join(folder, name),))


def test_the_newest_is_listed_last_even_when_it_is_not_among_all(tmp_path: Path) -> None:
    checkpoint_state.update_checkpoint_state(str(tmp_path), "m-1", ["m-1", "m-3"])
    state = checkpoint_state.get_checkpoint_state(str(tmp_path))
    assert state is not None
    assert [os.path.basename(path) for path in state.all_model_checkpoint_paths] == ["m-3", "m-1"]


def test_a_state_file_of_tensorflow_is_understood(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text(
        'model_checkpoint_path: "\\303\\244\\x41\\t\\""\n\n'
        'all_model_checkpoint_paths: "/abs/m"\nall_model_checkpoint_timestamps: 1700000000.25\nlast_preserved_timestamp: 1e9\n'
    )
    state = checkpoint_state.get_checkpoint_state(str(tmp_path))
    assert state == checkpoint_state.CheckpointState(str(tmp_path / 'äA\t"'), ("/abs/m",))


@pytest.mark.parametrize("text", ["", "x", 'model_checkpoint_path: "m', 'all_model_checkpoint_paths: "m"\n', '\0"'])
def test_a_damaged_state_file_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text(text)
    with pytest.raises(errors.DataLossError, match=r"checkpoint is damaged"):
        checkpoint_state.get_checkpoint_state(str(tmp_path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(content=st.binary(max_size=120))
def test_a_state_file_of_any_bytes_is_a_state_or_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_bytes(b'model_checkpoint_path: "m"\n' + content)
    try:
        assert checkpoint_state.get_checkpoint_state(str(tmp_path)) is not None
    except errors.DataLossError as error:
        assert "is damaged" in str(error)  # noqa: PT017


def test_a_state_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(errors.OpError, match=r"Cannot read .*checkpoint: Is a directory"):
        checkpoint_state.latest_checkpoint(str(tmp_path))


def test_where_nothing_was_saved(tmp_path: Path) -> None:
    for folder in (str(tmp_path), str(tmp_path / "none")):
        assert checkpoint_state.get_checkpoint_state(folder) is None
        assert checkpoint_state.latest_checkpoint(folder) is None
        assert not checkpoint_state.checkpoint_exists(folder)
    with pytest.raises(ValueError, match="Couldn't find 'checkpoint' file or checkpoints in given directory"):
        checkpoint_state.load_checkpoint(str(tmp_path))
    readers: list[Callable[[str], Any]] = [checkpoint_state.load_checkpoint, checkpoint_state.NewCheckpointReader]
    for read in [*readers, checkpoint_state.list_variables]:
        with pytest.raises(errors.NotFoundError, match="Failed to find any matching files for"):
            read(str(tmp_path / "none"))


def test_a_checkpoint_that_the_state_names_and_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint_state.update_checkpoint_state(str(tmp_path), str(tmp_path / "m-1"))
    assert checkpoint_state.latest_checkpoint(str(tmp_path)) is None
    assert "names a checkpoint that is not there" in caplog.text


def test_checkpoints_are_found_by_folder_prefix_and_file(tmp_path: Path) -> None:
    prefix = str(tmp_path / "m-1")
    write_checkpoint(f"{prefix}.safetensors", {"b": np.ones(2), "a": np.array(3)})
    checkpoint_state.update_checkpoint_state(str(tmp_path), prefix)
    for name in (str(tmp_path), prefix, f"{prefix}.safetensors"):
        assert checkpoint_state.list_variables(name) == [("a", []), ("b", [2])]
        assert checkpoint_state.load_variable(name, "a") == 3
    assert checkpoint_state.load_variable(prefix, "a:0") == 3
    assert checkpoint_state.checkpoint_exists(prefix)


def test_safetensors_is_not_loaded_before_it_is_needed() -> None:
    code = "import sys, weft; print({'safetensors', 'pyarrow', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=200)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_the_checksum_stands_in_the_metadata(path: str) -> None:
    write_checkpoint(path, {"v": np.arange(3.0)})
    with safe_open(path, "np") as file:
        index = json.loads(file.metadata()["weft"])
    assert index["variables"]["v"]["sha256"] == hashlib.sha256(np.arange(3.0).tobytes()).hexdigest()
    assert (index["format"], bool(index["weft"])) == (1, True)
