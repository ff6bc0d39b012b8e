"""What a variable may say of copies of itself on several replicas: taken for compatibility, weft makes no copies."""

from __future__ import annotations

import enum
from typing import Any, TypeVar


class VariableSynchronization(enum.Enum):
    """When copies of a variable would be made equal. Source: `tf.VariableSynchronization`."""

    AUTO = 0
    NONE = 1
    ON_WRITE = 2
    ON_READ = 3


class VariableAggregation(enum.Enum):
    """How updates of copies of a variable would become one. Source: `tf.VariableAggregation`."""

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
