"""PerReplica: what each replica of a strategy has for one thing; and structures of such values, taken apart and joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...graph import structure
from ...graph.indexed_slices import IndexedSlices
from ...graph.ir import Operation, Tensor


class PerReplica(tuple[Any, ...]):
    """A value of each replica, by replica: a tuple that a session fetches as one.

    A function that runs on replicas is given its replica's value. Source: `tf.distribute.DistributedValues`.
    """

    __slots__ = ()

    @property
    def values(self) -> tuple[Any, ...]:
        """The values as a plain tuple."""
        return tuple(self)

    def __repr__(self) -> str:
        return f"PerReplica({', '.join(map(repr, self))})"


def selected(value: Any, replica: int) -> Any:
    """What a replica is given of a structure: of each PerReplica in it its own value."""
    if isinstance(value, PerReplica):
        return value[replica]
    if isinstance(value, Mapping):
        return type(value)((key, selected(each, replica)) for key, each in value.items())  # type: ignore[call-arg]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(selected(each, replica) for each in value))
    if isinstance(value, (list, tuple)):
        return type(value)([selected(each, replica) for each in value])
    return value


def joined(results: Sequence[Any]) -> Any:
    """The results of the replicas as one structure, of PerReplica where they differ.

    Raises ValueError or TypeError where they are structured in different ways.
    """
    for other in results[1:]:
        structure.check_same(results[0], other)
    leaves = [structure.flatten(result, composites=False) for result in results]
    return structure.pack(results[0], map(_one, zip(*leaves, strict=True)), composites=False)


def _one(values: tuple[Any, ...]) -> Any:
    alone = len(values) == 1 and isinstance(values[0], (Tensor, IndexedSlices, Operation))
    return values[0] if not alone and all(value is values[0] for value in values) else PerReplica(values)
