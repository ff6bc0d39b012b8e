"""Nested structures of values (lists, tuples, dicts, and values that hold tensors): flattened, rebuilt and compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .indexed_slices import IndexedSlices


def is_nested(value: Any) -> bool:
    """Whether a value is a list, tuple or dict."""
    return isinstance(value, (list, tuple, Mapping))


def flatten(value: Any, composites: bool = True) -> list[Any]:
    """The leaves from left to right, dicts by sorted keys; None is one.

    What holds tensors (IndexedSlices, TensorArray) gives these; without `composites` it is a leaf.
    """
    if not (_is_branch(value) if composites else is_nested(value)):
        return [value]
    return [leaf for part in _parts(value) for leaf in flatten(part, composites)]


def pack(like: Any, leaves: Iterator[Any], composites: bool = True) -> Any:
    """The structure of `like` with the next leaves in the place of its own, which are those that `flatten` gives."""
    if isinstance(like, Mapping):
        values = {key: pack(like[key], leaves, composites) for key in sorted(like)}
        return type(like)((key, values[key]) for key in like)  # type: ignore[call-arg]
    if isinstance(like, tuple) and hasattr(like, "_fields"):
        return type(like)(*(pack(part, leaves, composites) for part in like))
    if isinstance(like, (list, tuple)):
        return type(like)([pack(part, leaves, composites) for part in like])
    if not composites:
        return next(leaves)
    if isinstance(like, IndexedSlices):
        return IndexedSlices(*[pack(part, leaves) for part in _parts(like)])
    if hasattr(like, "_with_parts"):
        return like._with_parts(*[pack(part, leaves) for part in like._parts()])
    return next(leaves)


def check_same(first: Any, second: Any) -> None:
    """Raises ValueError where two structures differ in nesting or length, TypeError where only in the kinds of their parts."""
    wrong = _difference(first, second)
    if wrong is not None:
        raise wrong


def _difference(first: Any, second: Any) -> Exception | None:
    text = f"The two structures don't have the same nested structure. First: {first!r}. Second: {second!r}"
    if _is_branch(first) != _is_branch(second):
        return ValueError(text)
    if not _is_branch(first):
        return None
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        if sorted(first) != sorted(second):
            return ValueError(f"{text}. They have other keys")
    elif type(first) is not type(second):
        return TypeError(f"{text}. One is a {type(first).__name__}, the other a {type(second).__name__}")
    ones, others = _parts(first), _parts(second)
    if len(ones) != len(others):
        return ValueError(f"{text}. They have {len(ones)} and {len(others)} elements")
    return next((wrong for pair in zip(ones, others, strict=True) if (wrong := _difference(*pair))), None)


def _is_branch(value: Any) -> bool:
    return is_nested(value) or isinstance(value, IndexedSlices) or hasattr(value, "_with_parts")


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [value[key] for key in sorted(value)]
    if isinstance(value, IndexedSlices):
        return [part for part in (value.values, value.indices, value.dense_shape) if part is not None]
    if hasattr(value, "_with_parts"):
        return list(value._parts())
    return list(value)
