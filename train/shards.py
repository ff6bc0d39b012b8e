"""Checkpoints in several files: shards under names of their own, and a manifest that is written last and makes them one.

The manifest, `<prefix>.safetensors.index.json`, names for each variable the shard that holds it, as other programs expect it
(`weight_map`), and says what weft's index says of it, checksum included. A shard,
`<prefix>.<mark>-00001-of-00002.safetensors`, can be read by itself; nobody looks for it but through the manifest. Its mark says
who wrote it, so that what a crashed save left is known from what another is just writing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ..graph import errors
from ..graph.storage import files
from ..graph.storage.atomic import TEMPORARY
from ..graph.storage.checkpoint import (
    DAMAGE,
    MANIFEST,
    SUFFIX,
    CheckpointReader,
    Entry,
    corrupt,
    entries_of,
    sealed,
    stored_size,
    write_files,
)
from ..graph.storage.owners import MARK, is_gone, new_mark
from ..graph.storage.places import add, join, shown, split

Array = np.ndarray[Any, Any]

#: What a writer on another machine left is left over when a file of the folder is so much younger, in nanoseconds.
LEFT_OVER_AFTER = 24 * 3600 * 10**9

#: Writes variables into files of a folder, by the file of each, and returns what an index says of each.
WriteFiles = Callable[[str, Mapping[str, str]], Mapping[str, Entry]]

_SHARD = re.compile(rf"(?s)(.*)\.({MARK})-\d{{5,}}-of-\d{{5,}}{re.escape(SUFFIX)}")
_BESIDE = re.compile(rf"(?s)\.(.*)\.({MARK}){re.escape(TEMPORARY)}")


# writing


def write_shards(prefix: str, groups: Sequence[Mapping[str, Array]], largest: int) -> None:
    """Write the variables of each group into shards of their own, of at most `largest` bytes unless one variable has more.

    Raises as `commit_shards`.
    """
    values = {name: value for group in groups for name, value in group.items()}
    pieces = divided(sizes_of(groups), largest)
    commit_shards(prefix, pieces, new_mark(), lambda folder, files: write_files(folder, files, values))


def commit_shards(prefix: str, pieces: Sequence[Sequence[str]], mark: str, write: WriteFiles) -> None:
    """Have `write` write the variables of each piece into a shard, and then make them the checkpoint of that prefix.

    Until the manifest is written the checkpoint that was there is there; then its files are deleted. Raises an OpError for
    what is refused.
    """
    path = add(prefix, MANIFEST)
    folder, name = split(prefix)
    before = _named_shards(path)
    names = [f"{name}.{mark}-{i + 1:05d}-of-{len(pieces):05d}{SUFFIX}" for i in range(len(pieces))]
    places = {key: shard for shard, piece in zip(names, pieces, strict=True) for key in piece}
    try:
        entries = write(folder, places)
        _check_written(folder, names)
    except BaseException:
        _delete_quietly(folder, names)
        raise
    size = sum(math.prod(entry.shape) * entry.dtype.np.itemsize for entry in entries.values())
    variables = {key: entry.item() for key, entry in entries.items()}
    index = sealed({"variables": variables, "weight_map": places})
    manifest = {"metadata": {"total_size": size}, "weight_map": places, "weft": index}
    _publish(path, json.dumps(manifest, sort_keys=True).encode(), names)
    _delete_quietly(folder, before)
    if files.is_file(add(prefix, SUFFIX)):
        files.delete(add(prefix, SUFFIX))


def sizes_of(groups: Sequence[Mapping[str, Array]]) -> list[dict[str, int]]:
    """The bytes that each variable takes in a checkpoint."""
    return [{name: stored_size(value) for name, value in group.items()} for group in groups]


def divided(groups: Sequence[Mapping[str, int]], largest: int) -> list[list[str]]:
    """The variables of each shard, from the sizes of each group's."""
    return [piece for group in groups for piece in _pieces(group, largest)]


def _pieces(group: Mapping[str, int], largest: int) -> Iterator[list[str]]:
    piece: list[str] = []
    size = 0
    for name, takes in group.items():
        if piece and size + takes > largest:
            yield piece
            piece, size = [], 0
        piece.append(name)
        size += takes
    if piece:
        yield piece


def _check_written(folder: str, names: Sequence[str]) -> None:
    """That nobody took a shard for a left-over of a crash, and that this process sees what tasks have written, a folder that
    it has listed before or not. Raises AbortedError."""
    there = {found.name for found in files.found_in(folder)}
    gone = [name for name in names if name not in there and not files.is_file(join(folder, name))]
    if gone:
        text = f"Cannot save a checkpoint in {shown(folder)}: somebody has deleted {gone[0]} while it was being written"
        raise errors.AbortedError(None, None, text)


def _publish(path: str, data: bytes, names: Sequence[str]) -> None:
    """Write the manifest; where it was not, its shards are deleted.

    That an answer did not come does not say that nothing was written, so this looks. When it cannot, the shards stay: a later
    process knows.
    """
    try:
        files.write_whole(path, data)
    except BaseException as error:
        there: bytes | None = None
        with suppress(errors.OpError):
            there = files.read(path) if files.is_file(path) else b""
        if there == data and isinstance(error, errors.OpError):
            return
        if there is not None and there != data:
            _delete_quietly(split(path)[0], names)
        raise


def _delete_quietly(folder: str, names: Sequence[str]) -> None:
    """Delete what nobody looks for; the sweep of a later process takes what cannot be deleted now."""
    for name in names:
        with suppress(errors.OpError):
            files.delete(join(folder, name))


def remove(prefix: str) -> None:
    """Delete a checkpoint, whichever form it has: its meta graph, then what makes it one, then the rest. Raises an OpError."""
    files.delete(add(prefix, ".meta"))
    if files.is_file(add(prefix, MANIFEST)):
        remove_manifest(prefix)
    files.delete(add(prefix, SUFFIX))


def remove_manifest(prefix: str) -> None:
    """Delete the manifest of a checkpoint, then its shards. Raises an OpError."""
    path = add(prefix, MANIFEST)
    shards = _named_shards(path)
    files.delete(path)
    for name in shards:
        files.delete(join(split(path)[0], name))


def sweep(folder: str, state_name: str, given_up: Collection[str] = ()) -> None:
    """Delete what saves left in a folder that were killed: shards that no manifest names, and files to be moved.

    What another process may still be writing stays: until that process is gone, or a day when it is of another machine. So
    does a state file that was to be moved while there is none in its place. `given_up`: the marks of saves of this process
    that failed, of which a task may have written a shard afterwards.
    """
    found = files.found_in(folder)
    names = {each.name for each in found}
    newest = max((each.modified for each in found), default=0)
    for each in found:
        match = _SHARD.fullmatch(each.name) or _BESIDE.fullmatch(each.name)
        if match is None or not (match[2] in given_up or is_gone(match[2]) or newest - each.modified > LEFT_OVER_AFTER):
            continue
        shard = each.name.endswith(SUFFIX)
        if shard and match[1] + MANIFEST in names:
            with suppress(errors.NotFoundError, errors.DataLossError, errors.UnimplementedError):  # they keep all
                if each.name not in _read_manifest(join(folder, match[1] + MANIFEST))[1].values():
                    files.delete(join(folder, each.name))
        elif shard or match[1] != state_name or state_name in names:
            files.delete(join(folder, each.name))


def beside(folder: str, name: str) -> list[str]:
    """The files that were to be moved to a name and were not, newest first."""
    found = sorted(files.found_in(folder), key=lambda each: each.modified, reverse=True)
    return [each.name for each in found if (match := _BESIDE.fullmatch(each.name)) and match[1] == name]


# reading


def _named_shards(path: str) -> list[str]:
    """The shards of a manifest; none when there is none, or it is damaged, so that nobody knows them."""
    with suppress(errors.NotFoundError, errors.DataLossError, errors.UnimplementedError):
        return sorted(set(_read_manifest(path)[1].values()))
    return []


def _read_manifest(path: str) -> tuple[dict[str, Entry], dict[str, str]]:
    """What a manifest says of the variables, and the shard of each. Raises NotFoundError, DataLossError and
    UnimplementedError."""
    text = files.read(path)
    try:
        index = json.loads(text)["weft"]
        entries = entries_of(index, path)
        places: dict[str, str] = index["weight_map"]
        if set(places) != set(entries):
            raise ValueError("it has no shard for some variables")
        name = split(path)[1].removesuffix(MANIFEST)
        for shard in places.values():
            match = _SHARD.fullmatch(shard)
            if match is None or match[1] != name:  # so it is in this folder, and nothing else is ever deleted
                raise ValueError(f"{shard!r} is no name of one of its shards")
    except DAMAGE as error:
        raise corrupt(path, str(error)) from error
    return entries, places


class ShardedReader(CheckpointReader):
    """A checkpoint in several files. What it holds is known from its manifest; a shard is opened when it is needed."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._entries, self._places = _read_manifest(path)
        except errors.NotFoundError as error:
            raise errors.NotFoundError(None, None, f"There is no checkpoint {shown(path)}") from error
        self._shards: dict[str, CheckpointReader] = {}

    @property
    def places(self) -> Mapping[str, str]:
        """The shard of each variable, by its name in the folder."""
        return self._places

    def get_tensor(self, tensor_str: str) -> Array:
        """The value of a variable. Raises NotFoundError for another name, DataLossError when its bytes have changed or its
        shard is not there."""
        entry = self._entry(tensor_str)
        name = self._places[tensor_str]
        if name not in self._shards:
            try:
                self._shards[name] = CheckpointReader(join(split(self._path)[0], name))
            except errors.NotFoundError as error:
                raise corrupt(self._path, f"its shard {name} is not there") from error
        shard = self._shards[name]
        if shard.entries.get(tensor_str) != entry:
            raise corrupt(self._path, f"its shard {name} has another {tensor_str}")
        return shard.get_tensor(tensor_str)


def open_checkpoint(path: str) -> CheckpointReader:
    """A reader of the file of a checkpoint, be it the only one or a manifest. Raises as CheckpointReader."""
    return ShardedReader(path) if path.partition("?")[0].endswith(MANIFEST) else CheckpointReader(path)
