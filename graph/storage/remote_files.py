"""Files that URIs name, through the file systems of pyarrow: object stores, HDFS and whatever else it opens.

Two kinds: an object store shows an object when it was written whole, and then replaces the one before; in all others a file is
seen while it is being written, so it is written beside its place and moved.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import unquote

from .. import errors
from .atomic import KINDS, TEMPORARY
from .owners import new_mark
from .places import parts, shown

#: What pyarrow calls object stores, alone or behind `py::fsspec+`.
OBJECT_STORES = frozenset(("s3", "s3a", "gcs", "gs", "abfs", "abfss", "az", "adl", "oss", "oci", "r2"))

#: What the texts of errors without a number say, in lower case, and what it is.
_WORDS: list[tuple[tuple[str, ...], type[errors.OpError]]] = [
    (("access_denied", "access denied", "permission", "http status 403", "http status 401", "forbidden", "signature",
      "invalid_access_key", "credential"), errors.PermissionDeniedError),
    (("no_such_bucket", "not found", "does not exist", "http status 404"), errors.NotFoundError),
    (("network_connection", "curl", "connect", "resolve", "timeout", "timed out", "unavailable", "slow_down"),
     errors.UnavailableError),
    (("quota", "no space"), errors.ResourceExhaustedError),
]  # fmt: skip

#: What errors without a number are by their class.
_RAISED: list[tuple[type[Exception], type[errors.OpError]]] = [
    (FileNotFoundError, errors.NotFoundError), (PermissionError, errors.PermissionDeniedError),
    (NotImplementedError, errors.UnimplementedError),
]  # fmt: skip

#: By scheme, host and query: a file system, and what its own paths begin with.
_opened: dict[tuple[str, str, str], tuple[Any, str]] = {}
_opening = threading.Lock()


class Found(NamedTuple):
    """A file of a folder; `modified` in nanoseconds by the clock of where it is."""

    name: str
    size: int
    modified: int


def _resolve(uri: str) -> tuple[Any, str]:
    """The file system and its path. One is made for all URIs of a host: it holds connections."""
    from pyarrow.fs import FileSystem

    scheme, host, path, query = parts(uri)
    with _opening:
        if (scheme, host, query) not in _opened:
            file_system, probe = FileSystem.from_uri(f"{scheme}://{host}/probe{query}")
            _opened[scheme, host, query] = file_system, probe.removesuffix("probe")
        file_system, root = _opened[scheme, host, query]
    return file_system, (root + unquote(path)).rstrip("/") or root


def _is_object_store(file_system: Any) -> bool:
    return str(file_system.type_name).rpartition("::")[2].rpartition("+")[2] in OBJECT_STORES


@contextmanager
def _said(verb: str, uri: str) -> Iterator[None]:
    """Turns what pyarrow raises into an OpError that names the operation and the place."""
    from pyarrow.lib import ArrowException

    try:
        yield
    except (OSError, ArrowException) as error:
        raise _as_error(f"Cannot {verb} {shown(uri)}", error, uri) from error


def _as_error(what: str, error: Exception, uri: str) -> errors.OpError:
    text = " ".join(str(error).replace(uri, shown(uri)).split())[:600]
    host = parts(uri)[1]
    if "@" in host:
        text = text.replace(host, host.rpartition("@")[2])
    kind: type[errors.OpError] | None = KINDS.get(getattr(error, "errno", None))
    kind = kind or next((kind for raised, kind in _RAISED if isinstance(error, raised)), None)
    if kind is None and "Unrecognized filesystem" in text:
        text += " (what pyarrow.fs.FileSystem.from_uri knows: file, s3, gs, abfs, hdfs)"
        kind = errors.UnimplementedError
    lower = text.lower()
    kind = kind or next((kind for words, kind in _WORDS if any(word in lower for word in words)), errors.UnknownError)
    return kind(None, None, f"{what}: {text}")


# writing


@contextmanager
def creating(uri: str) -> Iterator[Callable[[bytes | memoryview], Any]]:
    """Yields the function that writes a file whose name nobody knows yet: it may be seen while it is being written."""
    with _said("write", uri):
        file_system, path = _resolve(uri)
        try:
            stream = file_system.open_output_stream(path, compression=None)
            try:
                yield stream.write
            finally:
                stream.close()
        except BaseException:
            _delete_quietly(file_system, path)
            raise


@contextmanager
def replacing(uri: str) -> Iterator[Callable[[bytes | memoryview], Any]]:
    """Yields the function that writes; when the block ends well, what it wrote stands at `uri`, whole."""
    written: list[bytes] = []
    yield lambda data: written.append(bytes(data))
    with _said("write", uri):
        file_system, path = _resolve(uri)
        if _is_object_store(file_system):
            _put(file_system, path, b"".join(written))
            return
        folder, slash, name = path.rpartition("/")
        beside = f"{folder}{slash}.{name}.{new_mark()}{TEMPORARY}"
        try:
            _put(file_system, beside, b"".join(written))
            file_system.move(beside, path)
        except BaseException:
            _delete_quietly(file_system, beside)
            raise


def _put(file_system: Any, path: str, data: bytes) -> None:
    with file_system.open_output_stream(path, compression=None) as stream:
        stream.write(data)


def _delete_quietly(file_system: Any, path: str) -> None:
    """Take back what was written. What goes wrong here is not what went wrong first; the next save tries again."""
    with suppress(Exception):
        file_system.delete_file(path)


def make_folder(uri: str) -> None:
    """Make a folder with those above it, where there are any: object stores have none."""
    with _said("make folder", uri):
        file_system, path = _resolve(uri)
        if not _is_object_store(file_system):
            file_system.create_dir(path, recursive=True)


def delete(uri: str) -> None:
    """Delete a file; it may be gone."""
    with _said("delete", uri), suppress(FileNotFoundError):
        file_system, path = _resolve(uri)
        file_system.delete_file(path)


# reading


def kind_of(uri: str) -> str:
    """`file`, `folder` or `none`. In an object store each place may be a folder."""
    from pyarrow.fs import FileType

    with _said("look at", uri):
        file_system, path = _resolve(uri)
        found = file_system.get_file_info([path])[0].type
        if found == FileType.File:
            return "file"
        return "folder" if found == FileType.Directory or _is_object_store(file_system) else "none"


def exists(uri: str) -> bool:
    """Whether there is a file, or a folder that somebody has made; in an object store, files below."""
    from pyarrow.fs import FileType

    with _said("look at", uri):
        file_system, path = _resolve(uri)
        return bool(file_system.get_file_info([path])[0].type != FileType.NotFound)


def modified(uri: str) -> float:
    """When a file was written, in seconds since the epoch."""
    with _said("look at", uri):
        file_system, path = _resolve(uri)
        return (file_system.get_file_info([path])[0].mtime_ns or 0) / 1e9


def found_in(uri: str) -> list[Found]:
    """The files of a folder."""
    from pyarrow.fs import FileSelector, FileType

    with _said("list", uri):
        file_system, path = _resolve(uri)
        found = file_system.get_file_info(FileSelector(path, allow_not_found=True))
    return [Found(i.base_name, i.size or 0, i.mtime_ns or 0) for i in found if i.type == FileType.File]


def read(uri: str) -> bytes:
    """The bytes of a file. Raises NotFoundError when it is not there."""
    with _said("read", uri):
        file_system, path = _resolve(uri)
        with file_system.open_input_file(path) as file:
            data: bytes = file.read()
        return data


class RemoteFile:
    """A file that is read in pieces."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        with _said("read", uri):
            file_system, path = _resolve(uri)
            self._file = file_system.open_input_file(path)
            self.size: int = self._file.size()

    def read_at(self, offset: int, count: int) -> bytes:
        """So many bytes from there; fewer where it ends."""
        with _said("read", self.uri):
            data: bytes = self._file.read_at(count, offset)
        return data
