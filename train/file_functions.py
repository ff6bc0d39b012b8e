"""What `wf.gfile` offers: files by path or URI, read and written, listed, copied, deleted; errors as of sessions."""

from __future__ import annotations

import glob
import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

from ..graph import errors
from ..graph.storage import files, remote_files
from ..graph.storage.atomic import file_error
from ..graph.storage.places import local_path, shown

_MODES = ("r", "w", "a", "r+", "w+", "a+")


class FileStatistics(NamedTuple):
    """What `Stat` tells of a file or folder. Source: what `tf.gfile.Stat` gives."""

    length: int
    mtime_nsec: int
    is_directory: bool


class GFile:
    """A file, opened when it is first used; a context manager that closes it, and an iterator of its lines.

    `name`: a path, or a URI as docs/checkpoints.md has them, which is read and written whole: what was written is there once
    the file is closed, unless the block fails, and there is no "a" and no "+". `mode`: "r", "w" or "a", with a "+" to read and
    write; with a "b" reads give bytes, else text in UTF-8. Both are written in either mode. Lines end with a line feed.

    Source: `tf.gfile.GFile`. Raises errors.InvalidArgumentError for another mode, errors.UnimplementedError for one that a URI
    does not have; when it is used, errors.NotFoundError where it is not there, errors.PermissionDeniedError where the mode
    does not allow it or the system does not, errors.OpError for what else is refused.
    """

    def __init__(self, name: Any, mode: str = "r") -> None:
        self._name, self._mode = os.fspath(name), mode
        self._plain = mode.replace("b", "")
        if self._plain not in _MODES:
            raise errors.InvalidArgumentError(
                None, None, f"mode must be one of {_MODES}, with a b or without, got {mode!r}"
            )
        self._path = local_path(self._name)
        if self._path is None and self._plain not in ("r", "w"):
            text = f"{shown(self._name)} is read or written whole: mode {mode!r} is for files of this machine"
            raise errors.UnimplementedError(None, None, text)
        self._opened: IO[bytes] | None = None

    @property
    def name(self) -> str:
        """Where it is."""
        return str(self._name)

    @property
    def mode(self) -> str:
        """How it was opened."""
        return self._mode

    @property
    def _file(self) -> IO[bytes]:
        if self._opened is None:
            if self._path is not None:
                with _said("open", self._path):
                    self._opened = open(self._path, self._plain[0] + "b" + self._plain[1:])  # noqa: SIM115 - close() does
            else:
                self._opened = io.BytesIO(files.read(self._name) if self._plain == "r" else b"")
        return self._opened

    def _may(self, what: str, allowed: bool) -> None:
        if not allowed:
            raise errors.PermissionDeniedError(None, None, f"{shown(self.name)} was not opened for {what}")

    def _given(self, data: bytes) -> Any:
        return data if "b" in self._mode else data.decode()

    def read(self, n: int = -1) -> Any:
        """The next `n` bytes (of text, too), or all that are left. Source: `tf.gfile.GFile.read`."""
        self._may("reading", self._plain != "w" and self._plain != "a")
        with _said("read", self.name):
            return self._given(self._file.read(n))

    def readline(self) -> Any:
        """The next line with its end; "" at the end of the file. Source: `tf.gfile.GFile.readline`."""
        self._may("reading", self._plain != "w" and self._plain != "a")
        with _said("read", self.name):
            return self._given(self._file.readline())

    def readlines(self) -> list[Any]:
        """All lines that are left. Source: `tf.gfile.GFile.readlines`."""
        return list(self)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    next = __next__

    def write(self, file_content: str | bytes) -> None:
        """Write at the end of what was written. Source: `tf.gfile.GFile.write`."""
        self._may("writing", self._plain != "r")
        with _said("write", self.name):
            self._file.write(file_content.encode() if isinstance(file_content, str) else file_content)

    def size(self) -> int:
        """How many bytes it has. Source: `tf.gfile.GFile.size`."""
        if self._opened is not None and self._plain != "r":
            self.flush()
        return Stat(self.name).length

    def tell(self) -> int:
        """Where it is read or written next. Source: `tf.gfile.GFile.tell`."""
        return self._file.tell()

    def seekable(self) -> bool:
        """True. Source: `tf.gfile.GFile.seekable`."""
        return True

    def seek(self, offset: int = 0, whence: int = 0) -> None:
        """Go to a place: from the start (`whence` 0), from where it is (1), from the end (2). Source: `tf.gfile.GFile.seek`."""
        with _said("read", self.name):
            self._file.seek(offset, whence)

    def flush(self) -> None:
        """Bring what was written to the system; a URI's file when it is closed. Source: `tf.gfile.GFile.flush`."""
        if self._opened is not None:
            with _said("write", self.name):
                self._opened.flush()

    def close(self) -> None:
        """Close it; it is opened again when it is used again. Source: `tf.gfile.GFile.close`."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        if isinstance(opened, io.BytesIO) and self._plain == "w":
            files.write_whole(self.name, opened.getvalue())
        with _said("write", self.name):
            opened.close()

    def __del__(self) -> None:
        """Close a file of this machine that nobody has any more, as programs leave it to be done."""
        opened = self.__dict__.get("_opened")  # not there when it was refused
        if opened is not None and self._path is not None:
            opened.close()

    def __enter__(self) -> GFile:
        return self

    def __exit__(self, *failure: Any) -> None:
        if failure[0] is not None and self._path is None:
            self._opened = None  # what is written whole is not written in part
        self.close()


Open = FastGFile = GFile


@contextmanager
def _said(verb: str, place: str) -> Iterator[None]:
    """Turns what the system refuses into an OpError that names the place."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise errors.NotFoundError(None, None, f"{shown(place)}: {error.strerror}") from error
    except FileExistsError as error:
        raise errors.AlreadyExistsError(None, None, f"{shown(place)}: {error.strerror}") from error
    except IsADirectoryError as error:
        raise errors.FailedPreconditionError(None, None, f"{shown(place)}: {error.strerror}") from error
    except OSError as error:
        raise file_error(f"Cannot {verb} {shown(place)}", error) from error


def _must_be_new(place: str, overwrite: bool) -> None:
    if not overwrite and Exists(place):
        raise errors.AlreadyExistsError(None, None, f"{shown(place)}: file already exists")


def Exists(filename: Any) -> bool:
    """Whether there is a file or folder; in an object store, a file or one below. Source: `tf.gfile.Exists`."""
    path = local_path(filename)
    return remote_files.exists(filename) if path is None else os.path.exists(path)


def IsDirectory(dirname: Any) -> bool:
    """Whether there is a folder: in an object store, each place where no file is. Source: `tf.gfile.IsDirectory`."""
    return files.is_folder(dirname)


def ListDirectory(dirname: Any) -> list[str]:
    """The names of what is in a folder, of a URI those of its files. Source: `tf.gfile.ListDirectory`.

    Raises errors.NotFoundError where there is no such folder.
    """
    if not IsDirectory(dirname):
        raise errors.NotFoundError(None, None, f"There is no folder {shown(os.fspath(dirname))}")
    path = local_path(dirname)
    return [found.name for found in files.found_in(dirname)] if path is None else os.listdir(path)


def MkDir(dirname: Any) -> None:
    """Make a folder, unless it is there. Source: `tf.gfile.MkDir`.

    Raises errors.NotFoundError where it would be in none, errors.AlreadyExistsError where a file is.
    """
    path = local_path(dirname)
    if path is None:
        files.make_folder(dirname)
    elif not os.path.isdir(path):
        with _said("make", path):
            os.mkdir(path)


def MakeDirs(dirname: Any) -> None:
    """Make a folder and those that it is in, as far as they are not there. Source: `tf.gfile.MakeDirs`."""
    with _said("make", os.fspath(dirname)):
        files.make_folder(dirname)


def Remove(filename: Any) -> None:
    """Delete a file. Source: `tf.gfile.Remove`.

    Raises errors.NotFoundError where there is none, errors.FailedPreconditionError for a folder.
    """
    path = local_path(filename)
    if path is None:
        if not files.is_file(filename):
            raise errors.NotFoundError(None, None, f"There is no file {shown(os.fspath(filename))}")
        files.delete(filename)
        return
    with _said("delete", path):
        os.unlink(path)


def DeleteRecursively(dirname: Any) -> None:
    """Delete a folder of this machine with all that is in it, or a file. Source: `tf.gfile.DeleteRecursively`.

    Raises errors.NotFoundError where there is none.
    """
    path = files.only_local(dirname, "What is deleted with all that is in it")
    with _said("delete", path):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def Copy(oldpath: Any, newpath: Any, overwrite: bool = False) -> None:
    """Copy a file. Source: `tf.gfile.Copy`.

    Raises errors.NotFoundError where there is none, errors.AlreadyExistsError where one is already, unless `overwrite`.
    """
    with _said("copy", os.fspath(oldpath)):
        data = files.read(oldpath)
    _must_be_new(newpath, overwrite)
    files.write_whole(newpath, data)


def Rename(oldname: Any, newname: Any, overwrite: bool = False) -> None:
    """Move a file or folder of this machine. Source: `tf.gfile.Rename`.

    Raises errors.NotFoundError where there is none, errors.AlreadyExistsError where one is already, unless `overwrite`.
    """
    old, new = (files.only_local(place, "What is renamed") for place in (oldname, newname))
    _must_be_new(new, overwrite)
    with _said("rename", old):
        os.replace(old, new)


def Glob(filename: str | Sequence[str]) -> list[str]:
    """What there is on this machine of names that fit a pattern, or one of several: *, ? and [...]. Source: `tf.gfile.Glob`."""
    patterns = [filename] if isinstance(filename, str | os.PathLike) else filename
    return [name for each in patterns for name in sorted(glob.glob(files.only_local(each, "What is looked for")))]


def Stat(filename: Any) -> FileStatistics:
    """How long a file is, when it was written, whether it is a folder. Source: `tf.gfile.Stat`.

    Raises errors.NotFoundError where there is none.
    """
    path = local_path(filename)
    if path is None:
        return FileStatistics(
            remote_files.RemoteFile(filename).size, round(files.modified(filename) * 1e9), is_directory=False
        )
    with _said("look at", path):
        found = os.stat(path)
    return FileStatistics(found.st_size, found.st_mtime_ns, os.path.isdir(path))


def Walk(top: Any, in_order: bool = True) -> Iterator[tuple[str, list[str], list[str]]]:
    """Each folder below one of this machine, the names of the folders in it, and of the files. Source: `tf.gfile.Walk`.

    `in_order`: a folder comes before those in it, else after them. Nothing where there is none.
    """
    return os.walk(files.only_local(top, "What is walked through"), topdown=in_order)
