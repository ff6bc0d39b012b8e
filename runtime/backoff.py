"""How long to wait before something is tried again: longer each time."""

from __future__ import annotations


def wait_before(attempt: int, first: float, longest: float, factor: float = 2.0) -> float:
    """Seconds before an attempt, counted from 1: `first`, `factor` times that, and so on up to `longest`."""
    try:
        return min(longest, first * float(factor) ** (attempt - 1))
    except OverflowError:
        return longest if first else 0.0
