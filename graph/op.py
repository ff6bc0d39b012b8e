"""Op: a definition that can be called to add an operation to the graph (or, in eager execution, to compute at once)."""

from __future__ import annotations

from typing import Any, cast

from . import context, eager
from .ir import Operation, Tensor, graph_of
from .opdef import OpDef, op

__all__ = ["Op", "op"]


class Op(OpDef):
    """Base of all operation definitions; see OpDef for what a subclass says. Inputs are Tensors: convert before."""

    __slots__ = ()

    def __call__(self, *inputs: Tensor, name: str | None = None) -> Tensor:
        """Add an operation of one output to the inputs' graph, and return that output."""
        if context.executing_eagerly():
            return eager.compute(self, cast(Any, inputs))[0]
        return graph_of(inputs).create(self, inputs, name).outputs[0]

    def outputs(self, *inputs: Tensor, name: str | None = None) -> tuple[Tensor, ...]:
        """Add an operation, and return its outputs."""
        if context.executing_eagerly():
            return eager.compute(self, cast(Any, inputs))
        return graph_of(inputs).create(self, inputs, name).outputs

    def node(self, *inputs: Tensor, name: str | None = None) -> Operation:
        """Add an operation that is used for its effect, and return it (in eager execution: do it, and return None)."""
        if context.executing_eagerly():
            eager.compute(self, cast(Any, inputs))
            return cast(Operation, None)
        return graph_of(inputs).create(self, inputs, name)
