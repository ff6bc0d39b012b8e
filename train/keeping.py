"""Which checkpoints a Saver keeps: the newest ones and one every so often; the others are deleted."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from typing import TypeAlias

from ..graph import errors
from ..graph.storage import files
from ..graph.storage.checkpoint import existing_file
from ..graph.storage.places import split
from .checkpoint_state import update_checkpoint_state
from .shards import remove

_log = logging.getLogger("weft")

#: A checkpoint's prefix and when it was made, in seconds since the epoch.
Kept: TypeAlias = tuple[str, float]


class Keeper:
    """The checkpoints that are kept, oldest first: `largest` of them (0: all), and one every `seconds`."""

    def __init__(self, largest: int, seconds: float, relative: bool) -> None:
        self._largest = largest
        self._seconds = seconds
        self._next_to_keep = time.time() + seconds
        self._relative = relative
        self.kept: list[Kept] = []

    def record(self, prefix: str, latest_filename: str | None) -> None:
        """Let the state file name the new checkpoint, then delete what is no longer kept: in this order, or a crash
        could leave a state file that names deleted ones."""
        kept = [item for item in self.kept if item[0] != prefix] + [(prefix, time.time())]
        surplus = max(0, len(kept) - self._largest)
        paths = [path for path, _ in kept[surplus:]]
        update_checkpoint_state(split(prefix)[0], prefix, paths, latest_filename, self._relative)
        if not self._largest:
            return
        self.kept = kept[surplus:]
        for path, made in kept[:surplus]:
            if made > self._next_to_keep:
                self._next_to_keep += self._seconds
            else:
                _delete(path)

    def recover(self, prefixes: Iterable[str]) -> None:
        """Take those of these prefixes that exist, oldest first, as the checkpoints that are kept."""
        found = [(path, existing_file(os.fspath(path))) for path in prefixes]
        self.kept = [(path, files.modified(file)) for path, file in found if file is not None]


def _delete(prefix: str) -> None:
    """Delete an old checkpoint. That it cannot be is no reason to end a training: a warning says so."""
    try:
        remove(prefix)
    except errors.OpError as error:
        _log.warning("Cannot delete the old checkpoint: %s", error.message)
