"""What operations that wait have in common: they begin, and something comes of it."""

from __future__ import annotations

from typing import Any

from ..dtypes import resource
from ..op import Op
from ..opdef import TensorLike
from ..waiting import Attempt


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


def check_resource(handle: TensorLike, what: str) -> None:
    """Raises TypeError for what is no handle."""
    if handle.dtype is not resource:
        raise TypeError(f"expected the handle of {what}, got a tensor of {handle.dtype.name}")
