"""File systems of the tests' own behind URIs: one that shows files while they are written, one that shows whole objects."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow
from pyarrow.fs import FileInfo, FileSelector, FileSystemHandler, FileType, PyFileSystem
from weft.graph.storage import remote_files


class Killed(BaseException):
    """What ends a process in the midst of a save; whoever cleans up meets it again."""


class Memory(FileSystemHandler):  # type: ignore[misc]
    """Files in memory. `disk`: they are seen while they are written, and moving one replaces another at once.

    Otherwise it is an object store: an object is seen when it was closed, and nothing is moved. Each byte written and each
    other change is one point of `fatal`'s life: at the last one everything ends.
    """

    def __init__(self, disk: bool, files: dict[str, bytes] | None = None, fatal: int | None = None) -> None:
        super().__init__()
        self.disk = disk
        self.files: dict[str, bytes] = dict(files or {})
        self.times: dict[str, int] = dict.fromkeys(self.files, 0)
        self.clock = 0
        self.points = 0
        self.fatal = fatal
        self.calls: list[tuple[str, str]] = []
        #: Is called before each operation, and may raise.
        self.before: Callable[[str, str], None] = lambda operation, path: None

    def step(self, wanted: int = 1) -> int:
        """How many of these points are lived through. Raises Killed when there are none left."""
        if self.fatal is None:
            self.points += wanted
            return wanted
        lived = min(wanted, self.fatal - self.points)
        self.points += lived
        if lived == 0:
            raise Killed
        return lived

    def note(self, operation: str, path: str) -> None:
        self.calls.append((operation, path))
        self.before(operation, path)
        if self.fatal is not None and self.points >= self.fatal:
            raise Killed

    def put(self, path: str, data: bytes) -> None:
        self.clock += 1
        self.times[path] = self.clock
        self.files[path] = data

    # what pyarrow calls

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def get_type_name(self) -> str:
        return "disk" if self.disk else "fsspec+s3"

    def normalize_path(self, path: str) -> str:
        return path

    def info(self, path: str) -> FileInfo:
        data = self.files.get(path)
        if data is not None:
            return FileInfo(path, FileType.File, size=len(data), mtime=self.times[path] / 1e9)
        folder = path == "" or any(name.startswith(f"{path}/") for name in list(self.files))
        return FileInfo(path, FileType.Directory if folder else FileType.NotFound)

    def get_file_info(self, paths: list[str]) -> list[FileInfo]:
        for path in paths:
            self.note("look at", path)
        return [self.info(path) for path in paths]

    def get_file_info_selector(self, selector: FileSelector) -> list[FileInfo]:
        self.note("list", selector.base_dir)
        return [self.info(path) for path in list(self.files) if path.rpartition("/")[0] == selector.base_dir]

    def create_dir(self, path: str, recursive: bool) -> None:
        self.note("make folder", path)
        if not self.disk:
            raise OSError("an object store has no folders")
        self.put(f"{path}/.keep", b"")

    def delete_file(self, path: str) -> None:
        self.note("delete", path)
        if path not in self.files:
            raise FileNotFoundError(path)
        self.step()
        del self.files[path]

    def move(self, src: str, dest: str) -> None:
        self.note("move", dest)
        if not self.disk:
            raise AssertionError("moving is a copy in an object store")
        self.step()
        self.put(dest, self.files.pop(src))

    def open_input_file(self, path: str) -> Any:
        self.note("read", path)
        if path not in self.files:
            raise FileNotFoundError(path)
        return pyarrow.PythonFile(io.BytesIO(self.files[path]), mode="r")

    open_input_stream = open_input_file

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        self.note("write", path)
        return pyarrow.PythonFile(_Writing(self, path), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        raise NotImplementedError

    def copy_file(self, src: str, dest: str) -> None:
        raise NotImplementedError

    def delete_dir(self, path: str) -> None:
        raise NotImplementedError

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        raise NotImplementedError

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError


class _Writing(io.RawIOBase):
    """A file that is being written."""

    def __init__(self, memory: Memory, path: str) -> None:
        super().__init__()
        self._memory, self._path, self._data = memory, path, b""
        if memory.disk:
            memory.step()
            memory.put(path, b"")

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._memory.note("write to", self._path)
        wanted = bytes(data)
        lived = self._memory.step(len(wanted)) if wanted else 0
        self._data += wanted[:lived]
        if self._memory.disk:
            self._memory.put(self._path, self._data)
        if lived < len(wanted):
            raise Killed
        return lived

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._memory.note("close", self._path)
            if not self._memory.disk:
                self._memory.step()
                self._memory.put(self._path, self._data)


#: What there is: see Memory.
KINDS = ["disk", "object store"]


def empty(kind: str) -> Memory:
    """A file system with the folder `runs`, and no files that anybody looks for."""
    memory = Memory(kind == "disk")
    memory.put("runs/.keep", b"")
    return memory


@contextmanager
def mounted(memory: Memory, scheme: str = "test") -> Iterator[str]:
    """The URI of a folder in it."""
    key = (scheme, "here", "")
    before = remote_files._opened.get(key)
    remote_files._opened[key] = PyFileSystem(memory), ""
    try:
        yield f"{scheme}://here/runs"
    finally:
        del remote_files._opened[key]
        if before is not None:
            remote_files._opened[key] = before
