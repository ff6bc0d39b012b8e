"""Rewrites that let one operation do the work of several, and leave out what nobody needs."""

from __future__ import annotations

from ....graph.dtypes import string
from ..program import Node, Ref
from .rewriter import Rewriter, is_pure


def share_equals(node: Node, program: Rewriter) -> Node | Ref:
    """A pure operation of the same kind on the same inputs and device is computed once."""
    if not is_pure(node.definition) or len(node.specs) != 1 or node.specs[0].dtype is string:
        return node
    key = (node.definition, node.inputs, node.controls, node.inputs and node.device)
    first = program.seen.setdefault(key, len(program.nodes))
    if first == len(program.nodes):
        return node
    text = repr(node.definition)
    if text != repr(program.nodes[first].definition):  # 0.0 == -0.0, and 1 == True
        first = program.seen.setdefault((text, *key), len(program.nodes))
    return node if first == len(program.nodes) else Ref(first, 0)
