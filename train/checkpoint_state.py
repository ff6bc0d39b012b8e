"""The `checkpoint` file of a folder, which names the checkpoints in it, and what is looked up through it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..graph import errors
from ..graph.storage import files
from ..graph.storage.checkpoint import CheckpointReader, existing_file
from ..graph.storage.places import is_uri, join, local_path, shown, split
from .shards import beside, open_checkpoint

_log = logging.getLogger("weft")

_FIELD = re.compile(rb'(\w+): (?:"((?:[^"\\\n]|\\.)*)"|[-+.\w]+)')
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|x[0-9a-fA-F]{1,2}|.)")
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


@dataclass(frozen=True)
class CheckpointState:
    """The newest checkpoint of a folder and all that are kept, oldest first, by their prefixes.

    Source: `tf.train.CheckpointState`.
    """

    model_checkpoint_path: str
    all_model_checkpoint_paths: tuple[str, ...]


def checkpoint_exists(checkpoint_prefix: str) -> bool:
    """Whether there is a checkpoint of that prefix. Source: `tf.train.checkpoint_exists`."""
    return existing_file(os.fspath(checkpoint_prefix)) is not None


def get_checkpoint_state(checkpoint_dir: str, latest_filename: str | None = None) -> CheckpointState | None:
    """What the `checkpoint` file of a folder says, with paths that can be opened from here; None when there is none.

    Source: `tf.train.get_checkpoint_state`. Raises DataLossError when the file is damaged (TensorFlow then warns and
    returns None, so that a job that resumes would begin anew).
    """
    path = _state_file(checkpoint_dir, latest_filename)
    try:
        latest, kept = _parse(files.read(path), path)
    except errors.NotFoundError:
        found = _beside(path)
        if found is None:
            return None
        latest, kept = found
    folder = os.fspath(checkpoint_dir)
    return CheckpointState(join(folder, latest), tuple(join(folder, name) for name in kept))


def _beside(path: str) -> tuple[str, Sequence[str]] | None:
    """What a state file says that is whole and was to be moved to `path`, where there is none: some file systems, such as
    HDFS, delete the old one before they move the new one there, and a process may be killed between."""
    if local_path(path) is not None:
        return None
    folder, name = split(path)
    for other in beside(folder, name):
        with suppress(errors.NotFoundError, errors.DataLossError):
            text = files.read(join(folder, other))
            latest, kept = _parse(text, path)
            if text.endswith(b"\n") and kept[-1] == latest:  # it was written to its end
                return latest, kept
    return None


def latest_checkpoint(checkpoint_dir: str, latest_filename: str | None = None) -> str | None:
    """The prefix of the newest checkpoint in a folder, or None. Source: `tf.train.latest_checkpoint`.

    None also, with a warning in the log of `weft`, when the file that the folder names is not there.
    """
    state = get_checkpoint_state(checkpoint_dir, latest_filename)
    if state is None:
        return None
    if checkpoint_exists(state.model_checkpoint_path):
        return state.model_checkpoint_path
    named = shown(state.model_checkpoint_path)
    _log.warning("%s names a checkpoint that is not there: %s", shown(os.fspath(checkpoint_dir)), named)
    return None


def update_checkpoint_state(
    save_dir: str,
    model_checkpoint_path: str,
    all_model_checkpoint_paths: Iterable[str] | None = None,
    latest_filename: str | None = None,
    save_relative_paths: bool = False,
) -> None:
    """Write the `checkpoint` file of a folder, atomically. Source: `tf.train.update_checkpoint_state`.

    Absolute paths are written as they are, or, with `save_relative_paths`, relative to the folder, which can then be moved.
    Relative ones count from here when `save_dir` is relative, else from the folder. Where `save_dir` is a URI, what is in it is
    written relative to it: so the file holds no credentials.
    """
    kept = [path for path in all_model_checkpoint_paths or () if path != model_checkpoint_path]
    paths = [_written(path, save_dir, save_relative_paths) for path in [*kept, model_checkpoint_path]]
    lines = [_line("model_checkpoint_path", paths[-1]), *(_line("all_model_checkpoint_paths", path) for path in paths)]
    files.write_whole(_state_file(save_dir, latest_filename), b"".join(lines))


def NewCheckpointReader(filepattern: str) -> CheckpointReader:
    """A reader of the checkpoint of that prefix. Source: `tf.train.NewCheckpointReader`.

    Raises NotFoundError when there is none, DataLossError when it is damaged.
    """
    found = existing_file(os.fspath(filepattern))
    if found is None:
        raise errors.NotFoundError(None, None, f"Failed to find any matching files for {shown(os.fspath(filepattern))}")
    return open_checkpoint(found)


def load_checkpoint(ckpt_dir_or_file: str) -> CheckpointReader:
    """A reader of a checkpoint, or of the newest one in a folder. Source: `tf.train.load_checkpoint`.

    Raises ValueError for a folder without checkpoints, and else as NewCheckpointReader.
    """
    path = os.fspath(ckpt_dir_or_file)
    if checkpoint_exists(path) or not files.is_folder(path):
        return NewCheckpointReader(path)
    latest = latest_checkpoint(path)
    if latest is None:
        raise ValueError(f"Couldn't find 'checkpoint' file or checkpoints in given directory {shown(path)}")
    return NewCheckpointReader(latest)


def list_variables(ckpt_dir_or_file: str) -> list[tuple[str, list[int]]]:
    """The names and shapes in a checkpoint, sorted by name. Source: `tf.train.list_variables`; raises as load_checkpoint."""
    return sorted(load_checkpoint(ckpt_dir_or_file).get_variable_to_shape_map().items())


def load_variable(ckpt_dir_or_file: str, name: str) -> Any:
    """The value of one variable in a checkpoint. Source: `tf.train.load_variable`; raises as load_checkpoint, and
    NotFoundError for a name that it does not hold."""
    return load_checkpoint(ckpt_dir_or_file).get_tensor(name.removesuffix(":0"))


def _state_file(folder: str, latest_filename: str | None) -> str:
    return join(folder, latest_filename or "checkpoint")


def _written(path: str, save_dir: str, save_relative_paths: bool) -> str:
    """A path as it is written: one that is not absolute counts from the folder."""
    if is_uri(path) or is_uri(save_dir):
        folder, name = split(path)
        return name if folder.rstrip("/") == save_dir.rstrip("/") else path
    as_it_is = os.path.isabs(save_dir) if not os.path.isabs(path) else not save_relative_paths
    return path if as_it_is else os.path.relpath(path, save_dir or os.curdir)


def _line(field: str, path: str) -> bytes:
    """One line in the text form of protocol buffers: bytes that are not plain ASCII are escaped."""
    quoted = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}" for byte in os.fsencode(path)
    )
    return f'{field}: "{quoted}"\n'.encode()


def _parse(text: bytes, path: str) -> tuple[str, Sequence[str]]:
    """The newest path and all of them; other fields that TensorFlow writes are passed over. Raises DataLossError."""
    found: dict[bytes, list[str]] = {}
    for line in filter(None, map(bytes.strip, text.split(b"\n"))):
        match = _FIELD.fullmatch(line)
        if match is None:
            raise errors.DataLossError(None, None, f"{shown(path)} is damaged: it has the line {line[:80]!r}")
        found.setdefault(match[1], []).append(os.fsdecode(_ESCAPE.sub(_unescape, match[2] or b"")))
    latest = found.get(b"model_checkpoint_path", [""])[-1]
    if not latest:
        raise errors.DataLossError(None, None, f"{shown(path)} is damaged: it has no model_checkpoint_path")
    return latest, found.get(b"all_model_checkpoint_paths", [latest])


def _unescape(match: re.Match[bytes]) -> bytes:
    code = match[1]
    if code[0] in b"01234567":
        return bytes([int(code, 8) & 255])
    if code[:1] == b"x" and len(code) > 1:
        return bytes([int(code[1:], 16)])
    return _LETTERS.get(code, code)
