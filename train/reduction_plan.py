"""How gradients are to be reduced, as data: which go together, how that is cut, and who adds up what. Builds no graph."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby, pairwise
from typing import NamedTuple

#: A replica adds up at least so much of a bucket: less is not worth messages of its own.
PIECE_BYTES = 1 << 14
#: Pieces begin at multiples of so many elements, where the memory of vectors begins.
STEP = 16

REDUCTIONS = ("auto", "scatter", "ring")


class Item(NamedTuple):
    """A gradient: its type's name and the size of an element in bytes, and how many elements it has (None: unknown)."""

    dtype: str
    size: int
    length: int | None


class Bucket(NamedTuple):
    """Gradients that travel as one vector: their numbers, and where the vector is cut (from 0 to its length).

    Without cuts it is one gradient of unknown size, which stays what it is.
    """

    members: tuple[int, ...]
    cuts: tuple[int, ...]


def buckets(items: Sequence[Item], limit: int, pieces: int) -> list[Bucket]:
    """Gradients in their order, together while they are of one type and have up to `limit` bytes, cut into up to `pieces`."""
    found: list[Bucket] = []
    together: list[int] = []

    def close() -> None:
        if together:
            count = sum(items[member].length or 0 for member in together)
            found.append(Bucket(tuple(together), cuts(count, items[together[0]].size, pieces)))
            together.clear()

    filled = 0
    for number, item in enumerate(items):
        if item.length is None:
            close()
            found.append(Bucket((number,), ()))
            continue
        taken = item.length * item.size
        if together and (items[together[0]].dtype != item.dtype or filled + taken > limit):
            close()
        filled = filled + taken if together else taken
        together.append(number)
    close()
    return found


def cuts(count: int, size: int, pieces: int) -> tuple[int, ...]:
    """Where a vector of `count` elements is cut into at most so many pieces, none of them empty or much smaller than others."""
    pieces = max(1, min(pieces, count * size // PIECE_BYTES))
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
