"""How gradients are to be reduced, as data: which go together, how that is cut, and who adds up what. Builds no graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, groupby, pairwise
from typing import NamedTuple

#: A replica adds up at least so much of a bucket: less is not worth messages of its own.
PIECE_BYTES = 1 << 17
#: Pieces begin at multiples of so many elements, where the memory of vectors begins.
STEP = 16
#: A bucket that is not larger than a replica's fair share by more than this is not cut: joining pieces costs a copy.
UNCUT = 1.5

REDUCTIONS = ("auto", "scatter", "ring")


class Item(NamedTuple):
    """A gradient: its type's name and the size of an element in bytes, and how many elements it has (None: unknown)."""

    dtype: str
    size: int
    length: int | None


class Bucket(NamedTuple):
    """Gradients that travel as one vector: their numbers, where it is cut (from 0 to its length), and who adds up each piece.

    Who: a number below that of the replicas who share the work. Without cuts it is one gradient of unknown size, which
    stays what it is.
    """

    members: tuple[int, ...]
    cuts: tuple[int, ...]
    owners: tuple[int, ...]


def buckets(items: Sequence[Item], limit: int, sharers: int) -> list[Bucket]:
    """Gradients in their order, together while they are of one type and have up to `limit` bytes, shared out among `sharers`.

    Each of these gets about as many bytes to add up. A bucket is cut only where it is much more than one's share.
    """
    share = sum((item.length or 0) * item.size for item in items) / sharers
    found: list[Bucket] = []
    loads = [0] * sharers
    for members in _together(items, int(min(limit, max(share, PIECE_BYTES)))):
        size = items[members[0]].size
        count = sum(items[member].length or 0 for member in members)
        known = items[members[0]].length is not None
        bounds = cuts(count, _pieces(count * size, share, sharers)) if known else ()
        owners = []
        for length in sizes(bounds) if known else [0]:
            owner = min(range(sharers), key=loads.__getitem__)
            loads[owner] += max(length * size, 1)
            owners.append(owner)
        found.append(Bucket(members, bounds, tuple(owners)))
    return found


def _together(items: Sequence[Item], limit: int) -> list[tuple[int, ...]]:
    """The numbers of those that travel together."""
    found: list[list[int]] = []
    filled = 0
    for number, item in enumerate(items):
        taken = (item.length or 0) * item.size
        first = items[found[-1][0]] if found else None
        fits = first is not None and first.dtype == item.dtype and filled + taken <= limit
        if first is None or not fits or item.length is None or first.length is None:
            found.append([])
            filled = 0
        found[-1].append(number)
        filled += taken
    return [tuple(each) for each in found]


def _pieces(size: int, share: float, sharers: int) -> int:
    """How many a bucket of that many bytes is cut into."""
    if size <= UNCUT * share or size < 2 * PIECE_BYTES:
        return 1
    return min(sharers, math.ceil(size / share), size // PIECE_BYTES)


def cuts(count: int, pieces: int) -> tuple[int, ...]:
    """Where a vector of `count` elements is cut into so many pieces of about the same length."""
    steps = -(-count // STEP)
    least, more = divmod(steps, pieces)
    lengths = [least + (number < more) for number in range(pieces)]
    return tuple(min(STEP * end, count) for end in accumulate(lengths, initial=0))


def sizes(bounds: Sequence[int]) -> list[int]:
    """The lengths of the pieces between cuts."""
    return [end - start for start, end in pairwise(bounds)]


def groups(hosts: Sequence[str | None], reduction: str) -> tuple[tuple[int, ...], ...]:
    """The replicas that add up their parts among themselves, group by group in the order of replicas.

    "scatter": all in one. "ring": those of one host that follow on each other; each group takes what the groups before
    it have added up. "auto": "ring" where it saves traffic between hosts, which is where a host has several replicas, in a
    row. Raises ValueError for another word, and for "ring" where it is not known which host a replica is on.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(map(repr, REDUCTIONS))}, got {reduction!r}")
    everyone = (tuple(range(len(hosts))),)
    if reduction == "scatter":
        return everyone
    if None in hosts:
        if reduction == "auto":
            return everyone
        raise ValueError(
            "reduction='ring' needs to know on which host each replica is: give `cluster`, a wf.cluster.Cluster or a "
            f"ClusterSpec with addresses. Known are {list(hosts)}"
        )
    runs = tuple(tuple(number for number, _ in run) for _, run in groupby(enumerate(hosts), key=lambda pair: pair[1]))
    saves = 1 < len(runs) == len(set(hosts)) < len(hosts)
    return runs if saves or reduction == "ring" else everyone
