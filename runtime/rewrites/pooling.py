"""A rewrite of pooling's gradient: the rectifier's gradient comes before it, where there are fewer numbers."""

from __future__ import annotations

from ...graph import shapes
from ...graph.ops.activations import ReluGrad
from ...graph.ops.pooling import MaxPoolGrad
from ..program import Node, Ref
from .rewriter import Rewriter


def rectify_before_pooling(node: Node, program: Rewriter) -> Node:
    """The gradient of max_pool(relu(x)) passes the rectifier first.

    An image's number gets a gradient from the windows whose maximum it is: so it is above zero where they are, and what
    passes is the same to the bit. All others get 0 either way.
    """
    passed, rectified = node.inputs
    before = program.maker(passed)
    if not isinstance(before.definition, MaxPoolGrad) or before.controls or before.inputs[0] != rectified:
        return node
    images, pooled, given = before.inputs
    spec, dims = program.spec(given), program.spec(pooled).dims
    if spec.dims != dims or not shapes.is_full(dims) or program.spec(images).dtype is not spec.dtype:
        return node
    small = Node(node.name, ReluGrad(), (given, pooled), (), (spec,), node.origin, node.device)
    return node._replace(definition=before.definition, inputs=(images, pooled, Ref(program.insert(small), 0)))


RECTIFIED = (ReluGrad,)
