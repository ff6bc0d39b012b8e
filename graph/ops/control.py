"""The order of effects: group, tuple and with_dependencies, made of no-ops, identities and control dependencies."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator, Sequence
from types import NoneType
from typing import Any, cast

from .. import context
from ..indexed_slices import IndexedSlices
from ..ir import Graph, Operation, Tensor, building_graph, get_default_graph
from .convert import convert_to_tensor
from .identity import Identity, no_op


def group(*inputs: Any, **kwargs: Any) -> Operation:
    """An operation that is done when all `inputs` (operations, tensors, variables, nested lists of them) are.

    Source: `tf.group`; takes `name`. Inputs on several devices are first gathered on each. Raises TypeError for what is
    no part of a graph, ValueError for unknown keywords.
    """
    name = kwargs.pop("name", None)
    if kwargs:
        raise ValueError(f"Unknown keyword arguments: {', '.join(kwargs)}")
    if context.executing_eagerly():
        return cast(Operation, None)
    by_device: dict[str, list[Any]] = {}
    graph = get_default_graph()
    for item in _flat(inputs):
        graph = building_graph(item.graph)
        by_device.setdefault(item.device, []).append(item)
    with graph.as_default(), graph.name_scope(name or "group_deps") as scope:
        if not by_device:
            return no_op(scope)
        if len(by_device) == 1:
            ((device, items),) = by_device.items()
            return _gather(graph, device, items, scope)
        gathered = [_gather(graph, device, by_device[device], None) for device in sorted(by_device)]
        with graph.control_dependencies(gathered):
            return no_op(scope)


def _flat(inputs: Iterable[Any]) -> Iterator[Any]:
    """The operations and tensors in nested lists, with the parts of IndexedSlices."""
    for item in inputs:
        if isinstance(item, dict):
            yield from _flat(item.values())
        elif isinstance(item, (list, builtins.tuple)):
            yield from _flat(item)
        elif isinstance(item, IndexedSlices):
            yield from _parts(item)
        elif not hasattr(item, "device"):
            raise TypeError(
                f"'inputs' should be zero or more (nested) Tensors. Received {item!r} of type {type(item)}."
            )
        else:
            yield item


def _parts(slices: IndexedSlices) -> list[Tensor]:
    return [part for part in (slices.values, slices.indices, slices.dense_shape) if part is not None]


def _gather(graph: Graph, device: str, items: Sequence[Any], name: str | None) -> Operation:
    with graph.control_dependencies(items), graph.device(device):
        return no_op(name)


def with_dependencies(dependencies: Iterable[Any], output_tensor: Any, name: str | None = None) -> Any:
    """`output_tensor` (a Tensor or IndexedSlices) as a new one that exists only after `dependencies`.

    Source: `tf.with_dependencies`. Raises TypeError for what is neither.
    """
    if context.executing_eagerly():
        return output_tensor
    graph = building_graph(output_tensor.graph)
    with (
        graph.name_scope(name or "control_dependency") as scope,
        graph.colocate_with(output_tensor),
        graph.control_dependencies(dependencies),
    ):
        if not isinstance(output_tensor, IndexedSlices):
            return Identity()(convert_to_tensor(output_tensor), name=scope)
        values = Identity()(output_tensor.values, name=scope)
        return IndexedSlices(values, output_tensor.indices, output_tensor.dense_shape)


def tuple(tensors: Any, name: str | None = None, control_inputs: Any = None) -> list[Any]:
    """The same tensors, none of which exists before all of them (and `control_inputs`) do; None and operations may stand
    among them. Source: `tf.tuple`.

    Raises ValueError without any tensor, TypeError for control inputs that are neither Operation nor Tensor.
    """
    kept = (Operation, IndexedSlices, NoneType)
    items = [item if isinstance(item, kept) else convert_to_tensor(item) for item in tensors]
    if context.executing_eagerly():
        return items
    present = [item for item in items if item is not None]
    if not present:
        raise ValueError(f"'tensors' must have at least one Tensor. Received: {tensors}.")
    after = _control_operations(control_inputs)
    with building_graph(present[0].graph).name_scope(name or "tuple"):
        gate = group(present, after)
        return [item if item is None else _gated(gate, item) for item in items]


def _gated(gate: Operation, item: Any) -> Any:
    return group(item, gate) if isinstance(item, Operation) else with_dependencies([gate], item)


def _control_operations(control_inputs: Any) -> list[Operation]:
    found = []
    for item in control_inputs or ():
        if not isinstance(item, (Operation, Tensor)):
            raise TypeError(f"'control_inputs' must only contain Operation or Tensor. Received: {type(item)}")
        found.append(item if isinstance(item, Operation) else item.op)
    return found
