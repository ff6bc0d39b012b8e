"""Files by path or URI: written whole or not at all, read, listed, deleted; each function asks whose files they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from .. import errors
from . import atomic, remote_files
from .atomic import TEMPORARY, file_error
from .owners import new_mark
from .places import join, local_path, shown
from .remote_files import Found

Write = Callable[[bytes | memoryview], Any]


def replacing(place: str) -> AbstractContextManager[Write]:
    """Gives the function that writes; when the block ends well, what it wrote stands at `place`, and is there to stay.

    When it does not, what was there is there. Raises an OpError that names the place for what is refused.
    """
    path = local_path(place)
    return remote_files.replacing(place) if path is None else atomic.replacing(path)


def creating(place: str) -> AbstractContextManager[Write]:
    """As `replacing`, for a big file of a new name that nobody looks for before it is there."""
    path = local_path(place)
    return remote_files.creating(place) if path is None else atomic.replacing(path)


@contextmanager
def witness(folder: str) -> Iterator[str]:
    """The place of a file that is in a folder for the time of the block, for others to say whether they see it there."""
    path = local_path(folder)
    if path is not None:
        with atomic.witness(path) as place:
            yield place
        return
    place = join(folder, f".witness.{new_mark()}{TEMPORARY}")
    write_whole(place, b"")
    try:
        yield place
    finally:
        with suppress(errors.OpError):
            delete(place)


def unseen(place: str, to_write: bool) -> str:
    """Why this process cannot read a file, or, if it is to, write beside it; "" when it can."""
    try:
        if not is_file(place):
            return f"there is no file {shown(place)}"
    except errors.OpError as error:
        return error.message
    path = local_path(place)
    if path is not None and not os.access(path, os.R_OK):
        return f"it may not read {path}"
    if path is not None and to_write and not os.access(os.path.dirname(path) or os.curdir, os.W_OK | os.X_OK):
        return f"it may not write in {os.path.dirname(path)}"
    return ""


def write_whole(place: str, data: bytes) -> None:
    """Write a file that is there whole or not at all."""
    with replacing(place) as write:
        write(data)


def read(place: str) -> bytes:
    """The bytes of a file. Raises NotFoundError when it is not there, an OpError for what else is refused."""
    path = local_path(place)
    if path is None:
        return remote_files.read(place)
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise errors.NotFoundError(None, None, f"There is no file {path}") from error
    except OSError as error:
        raise file_error(f"Cannot read {path}", error) from error


def is_file(place: str) -> bool:
    """Whether there is a file."""
    path = local_path(place)
    return remote_files.kind_of(place) == "file" if path is None else os.path.isfile(path)


def is_folder(place: str) -> bool:
    """Whether files can be made in it: in an object store, in each place where no file is."""
    path = local_path(place)
    return remote_files.kind_of(place) == "folder" if path is None else os.path.isdir(path)


def make_folder(place: str) -> None:
    """Make a folder, with those above it, unless it is there."""
    path = local_path(place)
    if path is None:
        remote_files.make_folder(place)
    else:
        os.makedirs(path, exist_ok=True)


def delete(place: str) -> None:
    """Delete a file; it may be gone. Raises an OpError for what is refused."""
    path = local_path(place)
    if path is None:
        remote_files.delete(place)
        return
    try:
        with suppress(FileNotFoundError):
            os.unlink(path)
    except OSError as error:
        raise file_error(f"Cannot delete {path}", error) from error


def modified(place: str) -> float:
    """When a file was written, in seconds since the epoch."""
    path = local_path(place)
    return remote_files.modified(place) if path is None else os.stat(path).st_mtime


def found_in(folder: str) -> list[Found]:
    """The files of a folder."""
    path = local_path(folder)
    if path is None:
        return remote_files.found_in(folder)
    found = []
    with os.scandir(path or os.curdir) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # gone meanwhile
                if entry.is_file(follow_symlinks=False):
                    stat = entry.stat(follow_symlinks=False)
                    found.append(Found(entry.name, stat.st_size, stat.st_mtime_ns))
    return found


def only_local(place: Any, what: str) -> str:
    """The path of this machine. Raises UnimplementedError for a URI of another place, as `what` cannot be there."""
    path = local_path(place)
    if path is None:
        raise errors.UnimplementedError(None, None, f"{what} must be on this machine, not at {shown(place)}")
    return path
