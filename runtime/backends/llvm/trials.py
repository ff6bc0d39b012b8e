"""Trials: what is compiled is tried once for each form of it, and counts only if it has the bits of the plain kernel."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

#: About how many multiplications a processor makes in a nanosecond, for each number that its vectors have.
_SPEED = 3.4
#: What takes so many nanoseconds lets others run meanwhile; and a block for a thread takes so many at least.
LONG, BLOCK = 40_000.0, 9_000.0
#: So many numbers, at least, that come out the same are taken for a proof.
_RESULTS = 1 << 10

_Found = TypeVar("_Found")


class Trials(Generic[_Found]):
    """What was found, by what each is known by: None where the plain kernel has other bits, or nothing can be compiled."""

    def __init__(self) -> None:
        self.found: dict[Any, _Found | None] = {}
        self._trying = threading.Lock()

    def tried(self, key: Any, trial: Callable[[], _Found | None]) -> _Found | None:
        """What was found, or what the trial finds now: one at a time, and each once."""
        if key in self.found:
            return self.found[key]
        with self._trying:
            if key not in self.found:
                self.found[key] = trial()
            return self.found[key]


def nanoseconds(work: int, lanes: int) -> float:
    """About how long so many multiplications take, on vectors of so many numbers."""
    return work / (_SPEED * lanes)


def same_bits(one: Any, other: Any) -> bool:
    """Whether two arrays of floats have the same bits."""
    return bool(np.array_equal(*[array.view(f"u{array.itemsize}") for array in (one, other)]))


def draws(dims: Sequence[tuple[int, ...]], kind: Any, results: int) -> list[list[Any]]:
    """Random arrays to try a kernel with that has so many results: several times where these are few.

    One number alone may be right by chance.
    """
    random = np.random.default_rng(0)
    return [[random.standard_normal(each, kind) for each in dims] for _ in range(max(1, _RESULTS // max(1, results)))]
