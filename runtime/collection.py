"""Garbage collection: put off while a plan is made, because that makes hundreds of objects an operation and drops none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_put_off() -> Iterator[None]:
    """A block in which Python does not look for circles of garbage, which costs the more the more objects there are."""
    if not gc.isenabled():  # the program's own choice, or another thread's block
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
