"""Rewrites of pooling: the rectifier comes after it and its gradient before it, where there are fewer numbers."""

from __future__ import annotations

from ....graph import shapes
from ....graph.ops.activations import Relu, ReluGrad
from ....graph.ops.pooling import MaxPool, MaxPoolGrad
from ..program import Node, Ref
from .rewriter import Rewriter


def rectify_after_pooling(node: Node, program: Rewriter) -> Node:
    """max_pool(relu(x)) pools first, and rectifies what is left: the greater of two numbers stays so, and no zero has a sign.

    Of 16-bit floats a rectified zero may have one, and of images that are hardly fewer afterwards nothing would be gained.
    """
    before = program.maker(node.inputs[0])
    if not isinstance(before.definition, Relu) or before.controls or before.device != node.device:
        return node
    whole, left = shapes.count(program.spec(before.inputs[0]).dims), shapes.count(node.specs[0].dims)
    if whole is None or left is None or whole < 2 * left or node.specs[0].dtype.size < 4:
        return node
    pooled = program.insert(node._replace(inputs=before.inputs))
    return node._replace(definition=Relu(), inputs=(Ref(pooled, 0),))


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
    if _pools_first(images, pooled, before.definition, program):
        (images,) = program.maker(images).inputs
    return node._replace(definition=before.definition, inputs=(images, pooled, Ref(program.insert(small), 0)))


def _pools_first(images: Ref, pooled: Ref, gradient: MaxPoolGrad, program: Rewriter) -> bool:
    """Whether images are rectified, and pooled before they were.

    Then the images before the rectifier tell as well where a maximum above zero stands, and where it is not, there is no
    gradient.
    """
    rectifier, last = program.maker(images), program.maker(pooled)
    if not isinstance(rectifier.definition, Relu) or not isinstance(last.definition, Relu):
        return False
    pool = program.maker(last.inputs[0])
    same = MaxPool(gradient.ksize, gradient.strides, gradient.padding)
    return pool.definition == same and pool.inputs == rectifier.inputs


RECTIFIED = (ReluGrad,)
POOLED = (MaxPool,)
