"""Checkpoint files: variables by name in the safetensors format, each with a checksum; written atomically, read with care.

Every variable is one safetensors tensor. What that format does not know is stored as something else: complex128 as pairs of
float64 in a last axis of 2, strings as uint8: n + 1 offsets (int64, little-endian), then the bytes they divide.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import errors
from ..dtypes import DType, as_dtype, complex128, string
from . import files
from .atomic import file_error
from .places import add, join, local_path, shown
from .remote_tensors import RemoteTensors

Array = np.ndarray[Any, Any]

#: What the names of checkpoint files end in, after the prefix that programs know them by.
SUFFIX = ".safetensors"
#: What the name of the file ends in that names the shards of a checkpoint which has several.
MANIFEST = SUFFIX + ".index.json"
#: The version of what is described here.
FORMAT = 1

#: The one entry of the file's metadata, in JSON.
INDEX = "weft"
#: What safetensors reads at most, in bytes: some hundred thousand variables.
LARGEST_HEADER = 100_000_000

_STORED_NAMES = {
    "bool": "BOOL", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64", "uint8": "U8", "uint16": "U16",
    "uint32": "U32", "uint64": "U64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
    "complex64": "C64", "complex128": "F64", "string": "U8",
}  # fmt: skip


#: The types as they are stored, by their names in the format.
_TYPES = {stored: name for name, stored in _STORED_NAMES.items() if name not in ("complex128", "string")}

#: So many bytes are written before somebody looks whether they are still wanted.
AT_ONCE = 16 << 20
#: Raises when what is being done is not wanted any more.
GoOn = Callable[[], None]

#: What reading an index of another form raises.
DAMAGE = (KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError)


class Entry(NamedTuple):
    """What the index says of a variable; `sha256` is that of the bytes as they are stored."""

    dtype: DType
    shape: tuple[int, ...]
    sha256: str

    @staticmethod
    def of(item: Mapping[str, Any]) -> Entry:
        """From what stands in an index. Raises one of DAMAGE."""
        sha256 = item["sha256"]
        if not isinstance(sha256, str):
            raise TypeError("a checksum is no text")
        return Entry(as_dtype(item["dtype"]), tuple(map(int, item["shape"])), sha256)

    @staticmethod
    def parse(text: bytes) -> Entry:
        """From `text()`. Raises DataLossError."""
        try:
            entry = Entry.of(json.loads(text))
            if entry.text() != text:
                raise ValueError("it has more in it")
        except DAMAGE as error:
            what = f"expected what an index says of a variable, got {text[:200]!r}: {error}"
            raise errors.DataLossError(None, None, what) from None
        return entry

    def item(self) -> dict[str, Any]:
        """What stands in an index."""
        return {"dtype": self.dtype.name, "shape": list(self.shape), "sha256": self.sha256}

    def text(self) -> bytes:
        """As tasks and sessions tell each other."""
        return json.dumps(self.item(), sort_keys=True).encode()


def existing_file(path: str) -> str | None:
    """The file of a checkpoint, named by its prefix or by the file's own name; None when there is none."""
    own = [path] if path.partition("?")[0].endswith((SUFFIX, MANIFEST)) else []
    return next((name for name in (add(path, MANIFEST), add(path, SUFFIX), *own) if files.is_file(name)), None)


# writing


def stored_size(value: Array) -> int:
    """How many bytes of a file a value takes, about."""
    return sum(map(len, value.reshape(-1).tolist())) if value.dtype.hasobject else value.nbytes


def _nothing() -> None:
    pass


def write_checkpoint(path: str, values: Mapping[str, Array], go_on: GoOn = _nothing) -> dict[str, Any]:
    """Write variables by name into the file `path`, which is replaced only by a whole new one; returns what its index says
    of each.

    `go_on` is called every so many bytes and before the file is put in its place, and may raise: nothing is left then. Raises
    ResourceExhaustedError when the disk is full, PermissionDeniedError, UnknownError for what else the system refuses,
    InvalidArgumentError for more variables than a safetensors file can hold.
    """
    stored = {name: _encode(value) for name, value in values.items()}
    index = _index(values, stored, go_on)
    _write_safetensors(path, stored, index, go_on)
    return dict(json.loads(index)["variables"])


def write_files(
    folder: str, files_of: Mapping[str, str], values: Mapping[str, Array], go_on: GoOn = _nothing
) -> dict[str, Entry]:
    """Write variables into several files of a folder, by the file of each, one after the other: what an index says of each.

    Raises as `write_checkpoint`; files that were written before stay.
    """
    pieces: dict[str, dict[str, Array]] = {}
    for name, value in values.items():
        pieces.setdefault(files_of[name], {})[name] = value
    entries: dict[str, Any] = {}
    for file, piece in pieces.items():
        entries |= write_checkpoint(join(folder, file), piece, go_on)
    return {name: Entry.of(item) for name, item in entries.items()}


def _write_safetensors(path: str, stored: Mapping[str, Array], index: str, go_on: GoOn = _nothing) -> None:
    """The library's own writer makes, syncs and names files in its own way; what it would write is this, in this order."""
    header: dict[str, Any] = {"__metadata__": {INDEX: index}}
    ordered = sorted(stored, key=lambda name: (-stored[name].itemsize, name))  # so each is aligned
    end = 0
    for name in ordered:
        array, start = stored[name], end
        end += array.nbytes
        kind = _STORED_NAMES[array.dtype.name]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LARGEST_HEADER:
        what = f"Cannot write {shown(path)}: {len(stored)} variables are too many"
        raise errors.InvalidArgumentError(None, None, what)
    with files.creating(path) as write:
        write(len(text).to_bytes(8, "little") + text)
        for name in ordered:
            data = _bytes(stored[name])
            for start in range(0, len(data), AT_ONCE):
                go_on()
                write(data[start : start + AT_ONCE])
        go_on()


def _index(values: Mapping[str, Array], stored: Mapping[str, Array], go_on: GoOn = _nothing) -> str:
    variables = {
        name: Entry(as_dtype(value.dtype), value.shape, _sha256(stored[name], go_on)).item()
        for name, value in values.items()
    }
    return json.dumps(sealed({"variables": variables}), sort_keys=True)


def sealed(index: dict[str, Any]) -> dict[str, Any]:
    """An index with the format, the version that wrote it and its checksum."""
    from importlib.metadata import version  # it reads files: not before a checkpoint is written

    index = {"format": FORMAT, "weft": version("weft"), **index}
    return index | {"sha256": digest(index)}


def digest(index: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()


def _sha256(stored: Array, go_on: GoOn = _nothing) -> str:
    data, found = _bytes(stored), hashlib.sha256()
    for start in range(0, len(data), AT_ONCE):
        go_on()
        found.update(data[start : start + AT_ONCE])
    return found.hexdigest()


def _bytes(stored: Array) -> memoryview:
    return stored.reshape(-1).view(np.uint8).data


def _encode(value: Array) -> Array:
    """The array to store; it may be the same memory."""
    if value.dtype.hasobject:
        return _pack(value)
    array = np.asarray(value, order="C")
    if array.dtype == np.complex128:
        return array.reshape(-1).view(np.float64).reshape(*array.shape, 2)
    return array


def _pack(strings: Array) -> Array:
    parts: list[bytes] = strings.reshape(-1).tolist()
    offsets = np.zeros(len(parts) + 1, "<i8")
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    return np.frombuffer(offsets.tobytes() + b"".join(parts), np.uint8)


# reading


class CheckpointReader:
    """A checkpoint file by its name: what it holds is known at once, a variable's bytes are read when it is asked for.

    `path` is the file's own name. Raises NotFoundError when the file is not there, DataLossError when it is
    truncated, corrupt, or no checkpoint of weft, UnimplementedError for one of a later format.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = _open(path)
        try:
            self._entries = _read_index(self._file, path)
        except DAMAGE as error:
            raise corrupt(path, f"{error}") from error

    @property
    def path(self) -> str:
        """The file."""
        return self._path

    @property
    def entries(self) -> Mapping[str, Entry]:
        """What its index says, by the variables' names."""
        return self._entries

    def has_tensor(self, tensor_str: str) -> bool:
        """Whether it holds a variable of that name."""
        return tensor_str in self._entries

    def get_variable_to_shape_map(self) -> dict[str, list[int]]:
        """The shapes, by the variables' names."""
        return {name: list(entry.shape) for name, entry in self._entries.items()}

    def get_variable_to_dtype_map(self) -> dict[str, DType]:
        """The types, by the variables' names."""
        return {name: entry.dtype for name, entry in self._entries.items()}

    def get_tensor(self, tensor_str: str) -> Array:
        """The value of a variable. Raises NotFoundError for another name, DataLossError when its bytes have changed."""
        from safetensors import SafetensorError

        entry = self._entry(tensor_str)
        try:
            stored: Array = self._file.get_tensor(tensor_str)
        except (OSError, ValueError, SafetensorError) as error:
            raise corrupt(self._path, f"{tensor_str} cannot be read: {error}") from error
        if _sha256(stored) != entry.sha256:
            raise corrupt(self._path, f"the bytes of {tensor_str} do not have the checksum they were written with")
        try:
            return _decode(stored, entry)
        except (ValueError, OverflowError) as error:
            raise corrupt(self._path, f"{tensor_str}: {error}") from error

    def _entry(self, name: str) -> Entry:
        if name not in self._entries:
            raise errors.NotFoundError(None, None, f"Key {name} not found in checkpoint {shown(self._path)}")
        return self._entries[name]


def corrupt(path: str, why: str) -> errors.DataLossError:
    return errors.DataLossError(None, None, f"Checkpoint {shown(path)} is truncated, corrupt, or none of weft's: {why}")


def _open(path: str) -> Any:
    """The file, its header checked. It is not mapped: a file that shrinks would then kill the process."""
    from safetensors import SafetensorError, safe_open

    local = local_path(path)
    try:
        if local is None:
            return RemoteTensors(path, _TYPES, LARGEST_HEADER)
        return safe_open(local, framework="np", backend="pread")
    except SafetensorError as error:
        raise corrupt(path, str(error)) from error
    except (FileNotFoundError, errors.NotFoundError) as error:
        raise errors.NotFoundError(None, None, f"There is no checkpoint {shown(path)}") from error
    except DAMAGE as error:
        raise corrupt(path, str(error)) from error
    except OSError as error:
        raise file_error(f"Cannot read checkpoint {shown(path)}", error) from error


def _read_index(file: Any, path: str) -> dict[str, Entry]:
    """What the file holds. Raises ValueError, or what Python raises for an index of another form, when it is damaged."""
    text = (file.metadata() or {}).get(INDEX)
    if text is None:
        raise ValueError("it has no index")
    entries = entries_of(json.loads(text), path)
    if set(file.keys()) != set(entries):
        raise ValueError("its index names other variables than it holds")
    for name, entry in entries.items():
        _check_stored(file.get_slice(name), name, entry)
    return entries


def entries_of(index: dict[str, Any], path: str) -> dict[str, Entry]:
    """What an index says. Raises as `_read_index`, and UnimplementedError for one of another format."""
    if index.pop("sha256") != digest(index):
        raise ValueError("its index does not have the checksum it was written with")
    if index["format"] != FORMAT:
        text = f"format {index['format']}, written by weft {index['weft']}; this weft reads format {FORMAT}"
        raise errors.UnimplementedError(None, None, f"Checkpoint {shown(path)} is of {text}")
    return {name: Entry.of(item) for name, item in index["variables"].items()}


def _check_stored(stored: Any, name: str, entry: Entry) -> None:
    shape = list(entry.shape) + [2] * (entry.dtype is complex128)
    right = min(shape, default=0) >= 0 if entry.dtype is string else stored.get_shape() == shape
    if not right or stored.get_dtype() != _STORED_NAMES[entry.dtype.name]:
        raise ValueError(f"{name} is not stored as its index says")


def _decode(stored: Array, entry: Entry) -> Array:
    if entry.dtype is string:
        return _unpack(stored, entry.shape)
    if entry.dtype is complex128:
        return stored.reshape(-1).view(np.complex128).reshape(entry.shape)
    return stored


def _unpack(stored: Array, shape: tuple[int, ...]) -> Array:
    """The strings. Raises ValueError for offsets that do not divide the bytes."""
    count = math.prod(shape)
    start = 8 * (count + 1)
    if stored.size < start:
        raise ValueError(f"{count} strings need more than {stored.size} bytes")
    offsets = stored[:start].view("<i8")
    data = stored[start:].tobytes()
    if offsets[0] != 0 or offsets[-1] != len(data) or (np.diff(offsets) < 0).any():
        raise ValueError("the offsets do not divide the bytes")
    bounds = offsets.tolist()
    strings = np.empty(count, object)
    strings[:] = [data[a:b] for a, b in itertools.pairwise(bounds)]
    return strings.reshape(shape)
