"""Operations that wait: what they have in common, and the halves that a step with several of them runs them in."""

from __future__ import annotations

from typing import Any

from ..dtypes import resource, variant
from ..op import Op, op
from ..opdef import OpDef, Spec, TensorLike
from ..waiting import Attempt, begun


class Waiting(Op):
    """Base of what waits for a queue or an accumulator. A subclass says what it begins, and what comes of it."""

    __slots__ = ()

    stateful = True
    not_differentiable = True

    def begin(self, state: Any, *inputs: Any) -> Attempt:
        """Begin, without waiting."""
        raise NotImplementedError

    def result(self, resource: Any, value: Any) -> Any:
        """The outputs, from what came of it; by default none."""
        return None

    def compute(self, state: Any, *inputs: Any) -> Any:
        return self.result(inputs[0], self.begin(state, *inputs).wait())


class Begun:
    """What is between the two halves: the attempt, and what it waits for."""

    __slots__ = ("attempt", "resource")

    def __init__(self, attempt: Attempt, resource: Any) -> None:
        self.attempt = attempt
        self.resource = resource


@op
class BeginWait(Op):
    """The first half of an operation that waits: it begins."""

    definition: OpDef
    stateful = True
    not_differentiable = True

    def infer(self, *inputs: TensorLike) -> Spec:
        self.definition.infer(*inputs)
        return Spec(variant, ())

    def compute(self, state: Any, *inputs: Any) -> Any:
        definition: Any = self.definition
        return Begun(begun(definition.begin(state, *inputs)), inputs[0])


@op
class EndWait(Op):
    """The second half: it waits until what was begun is done. `specs`: types and shapes of the outputs."""

    definition: OpDef
    dtypes: tuple[Any, ...]
    shapes: tuple[Any, ...]
    stateful = True
    not_differentiable = True

    def infer(self, begun: TensorLike) -> tuple[Spec, ...]:
        return tuple(Spec(dtype, dims) for dtype, dims in zip(self.dtypes, self.shapes, strict=True))

    def compute(self, state: Any, begun: Any) -> Any:
        definition: Any = self.definition
        return definition.result(begun.resource, begun.attempt.wait())


def check_resource(handle: TensorLike, what: str) -> None:
    """Raises TypeError for what is no handle."""
    if handle.dtype is not resource:
        raise TypeError(f"expected the handle of {what}, got a tensor of {handle.dtype.name}")
