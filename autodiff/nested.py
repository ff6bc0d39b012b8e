"""Nested lists, tuples and dicts of tensors: taken apart into a row, and put together again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def flatten(structure: Any) -> list[Any]:
    """The leaves from left to right, those of a dict by its sorted keys; None is a leaf."""
    return list(_leaves(structure))


def _leaves(structure: Any) -> Iterator[Any]:
    if isinstance(structure, Mapping):
        for key in sorted(structure):
            yield from _leaves(structure[key])
    elif isinstance(structure, (list, tuple)):
        for item in structure:
            yield from _leaves(item)
    else:
        yield structure


def pack(structure: Any, leaves: Sequence[Any]) -> Any:
    """A structure of the same form that holds these leaves."""
    return _packed(structure, iter(leaves))


def _packed(structure: Any, leaves: Iterator[Any]) -> Any:
    if isinstance(structure, Mapping):
        filled = {key: _packed(structure[key], leaves) for key in sorted(structure)}
        kind: Any = type(structure)
        return kind((key, filled[key]) for key in structure)
    if isinstance(structure, (list, tuple)):
        items = [_packed(item, leaves) for item in structure]
        return type(structure)(*items) if hasattr(structure, "_fields") else type(structure)(items)
    return next(leaves)
