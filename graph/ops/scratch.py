"""Memory that kernels work in: blocks of a fixed size, each thread its own, kept from call to call."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: How many elements a kernel works on at a time: what a step needs of them stays in the cache.
BLOCK = 32_768

#: The most elements that are kept: some kernels, which need one array only, do better with larger blocks.
CAPACITY = 2 * BLOCK


#: How many forms of scratch a thread keeps at hand; they are views, so this is no memory to speak of.
_FORMS = 256


class _Kept(threading.local):
    def __init__(self) -> None:
        self.blocks: dict[tuple[np.dtype[Any], int], list[Array]] = {}
        self.views: dict[tuple[np.dtype[Any], int, int], list[Array]] = {}


_kept = _Kept()


def scratch(dtype: np.dtype[Any], size: int, count: int) -> list[Array]:
    """`count` vectors of `size` elements, for use until the kernel returns: it must not call another that takes some.

    Up to CAPACITY elements they are the same memory at each call in one thread; larger ones are new.
    """
    found = _kept.views.get((dtype, size, count))
    if found is not None:
        return found
    if size > CAPACITY:
        return [np.empty(size, dtype) for _ in range(count)]
    capacity = BLOCK if size <= BLOCK else CAPACITY
    blocks = _kept.blocks.setdefault((dtype, capacity), [])
    while len(blocks) < count:
        blocks.append(np.empty(capacity, dtype))
    if len(_kept.views) >= _FORMS:
        _kept.views.clear()
    views = _kept.views[dtype, size, count] = [block[:size] for block in blocks[:count]]
    return views
