"""Rewrites to constants: what follows from constants and known shapes alone is computed once, when the plan is made."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....graph import shapes
from ....graph.dtypes import variant
from ....graph.ops.broadcasting import BroadcastTo
from ....graph.ops.constant import Const
from ....graph.ops.fills import OnesLike, ZerosLike
from ....graph.ops.literal import Literal
from ....graph.ops.sizes import Rank, Shape, Size
from ..program import Node
from .rewriter import Rewriter, is_pure

#: Larger results are computed at each run rather than kept with the plan.
FOLD_LIMIT_BYTES = 1 << 20
#: A repeated value is kept as it is rather than written out, beyond that size: most that take it repeat by themselves.
REPEAT_LIMIT_BYTES = 1 << 14


def fold_constants(node: Node, program: Rewriter) -> Node:
    """A pure operation on constants, or a question about a known shape, becomes a constant."""
    if node.controls or len(node.specs) != 1 or not is_pure(node.definition) or isinstance(node.definition, Const):
        return node
    if node.specs[0].dtype is variant:
        return node
    value = _known_answer(node, program)
    if value is None:
        definitions = [program.nodes[ref.node].definition for ref in node.inputs]
        if not definitions or not all(isinstance(definition, Const) for definition in definitions):
            return node
        if any(program.nodes[ref.node].controls for ref in node.inputs):
            return node  # the order that a constant made under a control dependency carries must not get lost
        value = _compute(node, [definition.value.array for definition in definitions if isinstance(definition, Const)])
    if value is None or value.nbytes > FOLD_LIMIT_BYTES:
        return node
    constant = Const(Literal(value), node.specs[0].dtype)
    return node._replace(definition=constant, inputs=(), specs=(constant.infer(),))


def _known_answer(node: Node, program: Rewriter) -> np.ndarray[Any, Any] | None:
    if not isinstance(node.definition, (Shape, Size, Rank, ZerosLike, OnesLike)):
        return None
    ref = node.inputs[0]
    if program.effects[ref.node] or not shapes.is_full(program.spec(ref).dims):
        return None
    spec = node.specs[0]
    if isinstance(node.definition, (ZerosLike, OnesLike)):
        count = shapes.count(spec.dims)
        if spec.dtype.np.hasobject or count is None or count * spec.dtype.size > FOLD_LIMIT_BYTES:
            return None
        return np.full(spec.dims, isinstance(node.definition, OnesLike), spec.dtype.np)
    return None if spec.known is None else np.array(spec.known, spec.dtype.np)


def _compute(node: Node, inputs: list[Any]) -> np.ndarray[Any, Any] | None:
    count = shapes.count(node.specs[0].dims)
    limit = REPEAT_LIMIT_BYTES if isinstance(node.definition, BroadcastTo) else FOLD_LIMIT_BYTES
    if count is None or count * node.specs[0].dtype.size > limit:
        return None
    try:
        with np.errstate(all="ignore"):
            return np.array(node.definition.compute(*inputs), order="C")
    except Exception:  # the run itself will report it, with the operation's name
        return None
