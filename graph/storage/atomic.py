"""Atomic files: written beside their place and moved into it whole, so that a crash at any moment leaves the old one."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from .. import errors

#: How the names of files that are being written end; they begin with a dot.
TEMPORARY = ".weft-tmp"

#: What the numbers of the system's errors are here.
KINDS: dict[int | None, type[errors.OpError]] = {
    errno.ENOSPC: errors.ResourceExhaustedError,
    errno.EDQUOT: errors.ResourceExhaustedError,
    errno.EFBIG: errors.ResourceExhaustedError,
    errno.ENOMEM: errors.ResourceExhaustedError,
    errno.EMFILE: errors.ResourceExhaustedError,
    errno.EACCES: errors.PermissionDeniedError,
    errno.EPERM: errors.PermissionDeniedError,
    errno.EROFS: errors.PermissionDeniedError,
    errno.ENOENT: errors.NotFoundError,
    errno.EIO: errors.DataLossError,
}


def file_error(what: str, error: OSError) -> errors.OpError:
    """The error to raise for what the system said, such as ResourceExhaustedError when the disk is full."""
    return KINDS.get(error.errno, errors.UnknownError)(None, None, f"{what}: {error.strerror or error}")


@contextmanager
def replacing(path: str) -> Iterator[Callable[[bytes | memoryview], None]]:
    """Yields the function that writes; when the block ends well, what it wrote is on disk and stands at `path`.

    When it does not, `path` is what it was and nothing else is left. Raises an OpError for what the system refuses.
    """
    folder = os.path.dirname(path) or os.curdir
    try:
        _sweep(folder)
        descriptor, temporary = _create(folder)
        try:
            yield partial(_write, descriptor)
            os.fsync(descriptor)
            os.replace(temporary, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        finally:
            os.close(descriptor)
        _sync_folder(folder)
    except OSError as error:
        raise file_error(f"Cannot write {path}", error) from error


@contextmanager
def witness(folder: str) -> Iterator[str]:
    """A file of the folder for the time of the block, which nobody else removes."""
    try:
        descriptor, path = _create(folder or os.curdir)
    except OSError as error:
        raise file_error(f"Cannot write in {folder}", error) from error
    try:
        yield path
    finally:
        with suppress(OSError):
            os.unlink(path)
        os.close(descriptor)


def _write(descriptor: int, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _create(folder: str) -> tuple[int, str]:
    """A new temporary file, locked for as long as it is open."""
    while True:
        path = os.path.join(folder, f".{os.urandom(8).hex()}{TEMPORARY}")
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        with suppress(OSError):  # where files cannot be locked, nobody sweeps either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, path
        os.close(descriptor)  # somebody swept it away before it was locked


def _sweep(folder: str) -> None:
    """Remove what writers that were killed left in the folder: temporary files that nobody holds locked."""
    with os.scandir(folder) as entries:
        left = [entry.path for entry in entries if entry.name.startswith(".") and entry.name.endswith(TEMPORARY)]
    for path in left:
        with suppress(OSError):  # in use, or gone by now
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)
            finally:
                os.close(descriptor)


def _sync_folder(folder: str) -> None:
    """Bring the new name to the disk too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
