"""What the caller of `run` fetches, taken apart into tensors and operations and put together again from values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from ..graph.indexed_slices import IndexedSlices
from ..graph.ir import Graph, Operation, Tensor
from ..graph.sparse_tensor import SparseTensor, SparseTensorValue

#: The values of `Fetches.tensors`, in that order.
Values = Sequence[Any]
Rebuild = Callable[[Values], Any]


class IndexedSlicesValue(NamedTuple):
    """The value of fetched IndexedSlices, as arrays; `dense_shape` is None where it is not known.

    Source: `tf.IndexedSlicesValue`.
    """

    values: Any
    indices: Any
    dense_shape: Any


class Fetches:
    """A fetch structure: which tensors and operations it needs, and how the result is built from values."""

    def __init__(self, graph: Graph, structure: Any) -> None:
        self._graph = graph
        self.tensors: dict[Tensor, int] = {}
        self.operations: dict[Operation, None] = {}
        self.rebuild: Rebuild = self._take(structure)

    def _take(self, item: Any) -> Rebuild:
        if item is None:
            raise TypeError("Argument `fetch` = None has invalid type NoneType. Cannot be None")
        if isinstance(item, Mapping):
            return self._mapping(item)
        if isinstance(item, (list, tuple)):
            return self._sequence(item)
        if isinstance(item, IndexedSlices):
            parts = [self._optional(part) for part in (item.values, item.indices, item.dense_shape)]
            return lambda values: IndexedSlicesValue(*(part(values) for part in parts))
        if isinstance(item, SparseTensor):
            parts = [self._take(part) for part in item._parts()]
            return lambda values: SparseTensorValue(*(part(values) for part in parts))
        if hasattr(type(item), "__attrs_attrs__"):
            return self._attributes(item)
        if is_dataclass(item) and not isinstance(item, type):
            each = {field.name: self._take(getattr(item, field.name)) for field in fields(item)}
            return lambda values: replace(item, **{name: part(values) for name, part in each.items()})
        return self._element(item)

    def _optional(self, item: Any) -> Rebuild:
        return (lambda values: None) if item is None else self._take(item)

    def _mapping(self, item: Mapping[Any, Any]) -> Rebuild:
        each = {key: self._take(value) for key, value in item.items()}
        kind: Any = type(item)
        if issubclass(kind, defaultdict):
            kind = partial(kind, item.default_factory)  # type: ignore[attr-defined]
        return lambda values: kind((key, part(values)) for key, part in each.items())

    def _attributes(self, item: Any) -> Rebuild:
        """An instance of a class that attrs made: the arguments of its constructor."""
        fields = [field for field in type(item).__attrs_attrs__ if field.init]
        each = {field.alias: self._take(getattr(item, field.name)) for field in fields}
        return lambda values: type(item)(**{name: part(values) for name, part in each.items()})

    def _sequence(self, item: Any) -> Rebuild:
        parts = [self._take(part) for part in item]
        if hasattr(item, "_fields"):
            return lambda values: type(item)(*(part(values) for part in parts))
        if isinstance(item, list):
            return lambda values: [part(values) for part in parts]
        kind = type(item)
        return lambda values: kind([part(values) for part in parts])

    def _element(self, item: Any) -> Rebuild:
        element = self._find(item)
        if isinstance(element, Operation):
            self.operations[element] = None
            return lambda values: None
        return itemgetter(self.tensors.setdefault(element, len(self.tensors)))

    def _find(self, item: Any) -> Tensor | Operation:
        """Raises ValueError for what is not in the session's graph, TypeError for what could not be in any."""
        try:
            return self._graph.as_graph_element(item)
        except KeyError as error:
            raise ValueError(f"Fetch argument {item!r} cannot be interpreted as a Tensor. ({error.args[0]})") from None
        except ValueError as error:
            raise ValueError(f"Fetch argument {item!r} cannot be interpreted as a Tensor. ({error})") from None
        except TypeError as error:
            raise TypeError(
                f"Fetch argument {item!r} has invalid type {type(item).__name__}, must be a string or Tensor. ({error})"
            ) from None


def as_result(value: Any) -> Any:
    """A fetched value as TF gives it: a NumPy scalar for rank 0 (bytes for a string), else an array."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return value[()]
    return value
