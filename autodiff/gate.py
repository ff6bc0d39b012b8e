"""Gating: all gradients of an operation's inputs exist before any of them is used."""

from __future__ import annotations

from typing import Any

from ..graph.ir import Graph
from ..graph.ops.control import tuple as gate_tuple


def gated(graph: Graph, grads: list[Any]) -> list[Any]:
    """The gradients behind one gate, when there are two or more; on no device of the scopes around."""
    if sum(grad is not None for grad in grads) < 2:
        return grads
    with graph.device(None), graph.colocate_with(None, ignore_existing=True):
        return gate_tuple(grads)
