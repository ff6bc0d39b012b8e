"""The graph of a function's gradient: what it needs of the forward function comes from around it or from a tape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..derivative import differentiate
from ..dtypes import int32
from ..function import Function, FunctionGraph, is_repeating, repeating
from ..indexed_slices import Gradient, IndexedSlices
from ..ir import Graph, Tensor
from ..opdef import Spec
from .constant import Const
from .segments import flat
from .tapes import TapeRead, heads


class GradientGraph(FunctionGraph):
    """Differentiates a function: an operation in it may use the forward function's tensors.

    An input of the forward function that `given` tells the source of is that source, captured; a constant is made anew;
    every other tensor is read from the tape that the forward operation hands out, of a loop's at the iteration `index`.
    """

    def __init__(self, outer: Graph, forward: Function, given: Mapping[Tensor, Tensor], tape: Tensor) -> None:
        super().__init__(outer, f"the gradient of {forward.name}")
        self.forward = forward
        self.given = given
        self._tape = tape
        self._index: tuple[Tensor, ...] = ()
        self._read: dict[Tensor, Tensor] = {}

    def count_iterations(self) -> Tensor:
        """A new input: the number of the iteration to go back through."""
        self._index = (self.argument(Spec(int32, ()), "iteration"),)
        return self._index[0]

    def reaches(self, graph: Graph) -> bool:
        return graph is self.forward.graph or super().reaches(graph)

    @property
    def outside(self) -> Graph:
        """Itself: outside of it the forward function's tensors have no value."""
        return self

    def capture(self, tensor: Tensor) -> Tensor:
        """As FunctionGraph.capture; a tensor of the forward function as its value in the forward run."""
        if tensor.op.graph is not self.forward.graph:
            return super().capture(tensor)
        if tensor in self.forward.graph.repeats:
            return self._repeated(tensor)
        if tensor not in self._read:
            if is_repeating():  # what reads it for itself has its own, made when it is made without recomputing
                return self._value_of(tensor)
            self._read[tensor] = self._value_of(tensor)
        return self._read[tensor]

    def _repeated(self, tensor: Tensor) -> Tensor:
        """What the forward function repeated, as what repeats the same here."""
        if tensor not in self._read:
            with repeating():
                found = self._read[tensor] = self._value_of(tensor)
            self.unused[found] = self.forward.graph.repeats[tensor]
            self.repetitions[found] = {}
        return super().capture(self._read[tensor])

    def _value_of(self, tensor: Tensor) -> Tensor:
        if tensor in self.given:
            return self.capture(self.given[tensor])
        with self.uncontrolled(), self.name_scope("tape"):
            if isinstance(tensor.op.definition, Const):
                return self.create(tensor.op.definition, ()).outputs[0]
            return self._recorded(tensor, self._tape)

    def _recorded(self, tensor: Tensor, tape: Tensor) -> Tensor:
        read = TapeRead(tensor.name, tensor.dtype, tensor.dims)
        found = self.create(read, (self.capture(tape), *self._index)).outputs[0]
        found.known = tensor.known
        return found

    def captured_gradient(self, grad: Gradient) -> Gradient:
        """A gradient from around, here; of IndexedSlices all parts."""
        if isinstance(grad, Tensor):
            return self.capture(grad)
        rows, whole = flat(grad), grad.dense_shape
        parts = (self.capture(rows.values), self.capture(rows.indices))
        return IndexedSlices(*parts, None if whole is None else self.capture(whole))

    def differentiate(
        self, dys: Sequence[Gradient | None], dtape: Tensor | None, xs: Sequence[Tensor]
    ) -> list[Gradient | None]:
        """The gradients by `xs` of the forward function's outputs and of what `dtape` holds gradients for."""
        ys: list[Tensor] = []
        seeds: list[Gradient] = []
        for y, dy in zip(self.forward.outputs, dys, strict=True):
            if dy is not None and y.dtype.is_trainable:
                ys.append(y)
                seeds.append(self.captured_gradient(dy))
        for head in heads(dtape.entries if dtape is not None else ()):
            if dtape is not None and self.forward.owns(head):
                ys.append(self.forward.tensor(head))
                seeds.append(self._recorded(ys[-1], dtape))
        return differentiate(ys, seeds, xs) if ys else [None] * len(xs)
