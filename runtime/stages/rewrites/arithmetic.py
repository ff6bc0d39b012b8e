"""Rewrites of arithmetic that keep every bit: what has no effect is left out, and a sum of two is an addition."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....graph import shapes
from ....graph.ops.arithmetic import AddN, AddV2, Mul, Neg, RealDiv, Sub
from ....graph.ops.broadcasting import BroadcastTo
from ....graph.ops.constant import Const
from ..program import Node, Ref
from .rewriter import Rewriter

#: Larger constants are not looked through for what they repeat.
_LOOKED_AT = 1 << 14


def drop_neutral(node: Node, program: Rewriter) -> Node | Ref:
    """x * 1, x / 1, x - 0, x + -0.0 (an integer's x + 0) and -(-x) are x. But x + 0.0 is not: it makes 0.0 of -0.0."""
    spec = node.specs[0]
    if node.controls or spec.dtype.is_complex or not spec.dtype.is_numeric or not shapes.is_full(spec.dims):
        return node
    if isinstance(node.definition, Neg):
        before = program.maker(node.inputs[0])
        return before.inputs[0] if isinstance(before.definition, Neg) and not before.controls else node
    for index in (1, 0) if isinstance(node.definition, (Mul, AddV2)) else (1,):
        value = repeated(node.inputs[index], program)
        other = node.inputs[1 - index]
        if value is not None and program.spec(other).dims == spec.dims and _changes_nothing(node, value):
            return other
    return node


def _changes_nothing(node: Node, value: Any) -> bool:
    match node.definition:
        case Mul() | RealDiv():
            return bool(value == 1)
        case Sub():
            return bool(value == 0) and not np.signbit(value)
        case AddV2():
            return bool(value == 0) and (node.specs[0].dtype.is_integer or bool(np.signbit(value)))
    return False


def repeated(ref: Ref, program: Rewriter) -> Any:
    """The one value that a constant consists of; None for what is not such a constant."""
    node = program.maker(ref)
    if isinstance(node.definition, BroadcastTo) and not node.controls:
        node = program.maker(node.inputs[0])
    if not isinstance(node.definition, Const) or node.controls:
        return None
    array = node.definition.value.array
    if not 0 < array.size <= _LOOKED_AT:
        return None
    first = array.reshape(-1)[0]
    if array.size == 1:
        return first
    return first if first in (0, 1) and array.tobytes() == first.tobytes() * array.size else None


def add_two(node: Node, program: Rewriter) -> Node | Ref:
    """A sum of one is that one, and a sum of two of one shape an addition (which would broadcast others)."""
    dims = [program.spec(ref).dims for ref in node.inputs]
    if len(dims) == 1 and not node.controls:
        return node.inputs[0]
    same = len(dims) == 2 and dims[0] == dims[1] and shapes.is_full(dims[0])
    return node._replace(definition=AddV2()) if same else node


#: What `drop_neutral` looks at.
WITH_NEUTRAL = (Mul, RealDiv, Sub, AddV2, Neg)
SUMS = (AddN,)
