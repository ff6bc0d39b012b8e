"""specialize: shape inference once more, with the concrete shapes of one run's feeds."""

from __future__ import annotations

from collections.abc import Sequence

from ...graph import shapes
from ...graph.opdef import Spec
from ...graph.shapes import Dims
from .program import Feed, Node, Program


def specialize(program: Program, feeds: Sequence[Dims | Spec]) -> Program:
    """The same program, with everything that follows from the feeds' shapes, or from what else is known of them, known.

    A shape that fits statically may turn out not to fit. The operation then fails when it runs, not before (another
    one may be there to say it better), so what cannot be inferred here is left as it was.
    """
    nodes: list[Node] = []
    for node in program.nodes:
        if isinstance(node.definition, Feed):
            told = feeds[node.definition.index]
            spec = told if isinstance(told, Spec) else Spec(node.definition.dtype, told)
            feed = Feed(node.definition.index, spec.dtype, spec.dims)
            nodes.append(node._replace(definition=feed, specs=(spec,)))
            continue
        inputs = [nodes[ref.node].specs[ref.output] for ref in node.inputs]
        if any(new != old for new, old in zip(inputs, (program.spec(ref) for ref in node.inputs), strict=True)):
            node = node._replace(specs=infer_again(node, inputs))
        nodes.append(node)
    return Program(tuple(nodes), program.fetches, program.targets)


def infer_again(node: Node, inputs: list[Spec]) -> tuple[Spec, ...]:
    """The specs of a node's outputs, with what more is known of its inputs now."""
    try:
        inferred = node.definition.infer(*inputs)
    except (ValueError, TypeError):
        return node.specs
    found = (inferred,) if isinstance(inferred, Spec) else inferred
    return tuple(_both(old, new) for old, new in zip(node.specs, found, strict=True))


def _both(old: Spec, new: Spec) -> Spec:
    """What was known before (`set_shape` may have told more) and what is known now."""
    if not shapes.compatible(old.dims, new.dims):
        return old
    return Spec(new.dtype, shapes.merge(old.dims, new.dims), old.known if new.known is None else new.known)
