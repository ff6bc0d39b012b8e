"""Large graphs and Python's garbage collector: what a graph holds is old from the start."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: From that many operations on a graph is large. Building smaller ones leaves the collector alone.
LARGE = 20_000

#: How many operations a large graph grows by between two calls of `age`.
STRIDE = 512

#: Before so many operations were made in large graphs, it does not matter whether such graphs were dropped since.
ROUND = 250_000

_unseen = 0


def age(made: int, size: int) -> None:
    """Let the collector take everything that was made lately for old, without looking at it.

    `made`: how many operations a graph has grown by, `size`: to how many. By itself the collector looks at all old objects
    again whenever their number has grown by a quarter. A graph only grows, so that finds nothing, and would be half the
    time that building a large graph takes. It looks at everything after all once more operations have been made than this
    graph has: some of them are in others, which may have been dropped. Does nothing while the collector is off, or where
    the program has frozen objects (`gc.freeze`), which this would undo.
    """
    if gc.isenabled():
        _age(made, size)


def _age(made: int, size: int) -> None:
    global _unseen
    if gc.get_freeze_count():
        return
    _unseen += made
    if _unseen >= max(ROUND, size):
        _unseen = 0
        gc.collect()
    else:
        gc.freeze()
        gc.unfreeze()


@contextmanager
def uncollected(size: Callable[[], int] = lambda: 0) -> Iterator[None]:
    """A block that makes many objects and no garbage: the collector is off. `size` tells how large the graph or plan is."""
    before, enabled = size(), gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if size() >= LARGE:  # before the collector is on again: it would look at all that was made here at once
                _age(size() - before, size())
            gc.enable()
