"""Memory that kernels work in: blocks of a fixed size, each thread its own, kept from call to call."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: How many elements a kernel works on at a time: what a step needs of them stays in the cache.
BLOCK = 32_768


class _Kept(threading.local):
    def __init__(self) -> None:
        self.blocks: dict[np.dtype[Any], list[Array]] = {}


_kept = _Kept()


def scratch(dtype: np.dtype[Any], size: int, count: int) -> list[Array]:
    """`count` vectors of `size` elements, for use until the kernel returns: it must not call another that takes some.

    Up to BLOCK elements they are the same memory at each call in one thread; larger ones are new.
    """
    if size > BLOCK:
        return [np.empty(size, dtype) for _ in range(count)]
    blocks = _kept.blocks.get(dtype)
    if blocks is None:
        blocks = _kept.blocks[dtype] = []
    while len(blocks) < count:
        blocks.append(np.empty(BLOCK, dtype))
    return [block[:size] for block in blocks[:count]]
