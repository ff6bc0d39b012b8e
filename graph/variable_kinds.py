"""What a variable may say of copies of itself on several replicas, and blocks in which variables have such copies."""

from __future__ import annotations

import enum
import threading
from typing import Any, TypeVar


class VariableSynchronization(enum.Enum):
    """When copies of a variable are made equal. Source: `tf.VariableSynchronization`."""

    AUTO = 0
    NONE = 1
    ON_WRITE = 2
    ON_READ = 3


class VariableAggregation(enum.Enum):
    """How the values of copies of a variable become one. Source: `tf.VariableAggregation`."""

    NONE = 0
    SUM = 1
    MEAN = 2
    ONLY_FIRST_REPLICA = 3


_Kind = TypeVar("_Kind", VariableSynchronization, VariableAggregation)


def checked(given: Any, default: _Kind, what: str, name: str | None) -> _Kind:
    """The kind that was given, or the default. Raises ValueError for what is none."""
    if given is None:
        return default
    if not isinstance(given, type(default)):
        raise ValueError(f"Invalid variable {what} mode: {given} for variable: {name}")
    return given


class _Making(threading.local):
    kind: type[Any] | None = None


_making = _Making()


def made_kind() -> type[Any] | None:
    """The class that `Variable(...)` makes instances of in this thread now; None: its own."""
    return _making.kind


class making:
    """A block in which `Variable(...)` makes instances of a subclass; with None of itself again."""

    __slots__ = ("_before", "_kind")

    def __init__(self, kind: type[Any] | None) -> None:
        self._kind = kind
        self._before: list[type[Any] | None] = []

    def __enter__(self) -> None:
        self._before.append(_making.kind)
        _making.kind = self._kind

    def __exit__(self, *_: object) -> None:
        _making.kind = self._before.pop()
