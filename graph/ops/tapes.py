"""Operations on tapes: read an entry, write one, add tapes up. A gradient with respect to a tape is a tape again."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import DType, int32, variant
from ..errors import InternalError
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims
from ..tape import Tape, total
from .signature import entry_known

#: Between the names of an entry that is a tape itself and of an entry in it.
INSIDE = ">"


def heads(entries: tuple[str, ...]) -> list[str]:
    """The entries of the tape itself, each once."""
    return list(dict.fromkeys(entry.partition(INSIDE)[0] for entry in entries))


def below(entries: tuple[str, ...], head: str) -> tuple[str, ...]:
    """The entries of the tape that is the entry `head`."""
    return tuple(entry[len(head) + 1 :] for entry in entries if entry.startswith(head + INSIDE))


def check_tape(tape: TensorLike) -> None:
    if tape.dtype is not variant:
        raise TypeError(f"expected a tape, got a tensor of {tape.dtype.name}")


@op
class TapeRead(Op):
    """One entry of a tape, at the index that is the second input; without one, at 0."""

    entry: str
    dtype: DType
    shape: Dims

    def infer(self, tape: TensorLike, *index: TensorLike) -> Spec:
        check_tape(tape)
        told = entry_known(tape, self.entry)
        if self.dtype is variant:
            return Spec(variant, (), told, below(tape.entries, self.entry))
        return Spec(self.dtype, shapes.merge(self.shape, told), None)

    def compute(self, tape: Any, index: Any = 0) -> Any:
        value = tape.find(self.entry, int(index))
        if value is None and self.dtype is variant:
            return Tape({}, 0)  # a device's piece of a tape has none of another in it of which nothing is there
        if value is None:
            raise InternalError(None, None, f"the tape holds no {self.entry} at {index}")
        return value

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        index = operation.inputs[1:]
        return [TapeWrite(self.entry)(dy, *index), *(None for _ in index)]


@op
class TapeWrite(Op):
    """A tape of one entry: the first input, at the index that is the second; without one, at 0."""

    entry: str

    def infer(self, value: TensorLike, *index: TensorLike) -> Spec:
        inner = (f"{self.entry}{INSIDE}{path}" for path in value.entries)
        return Spec(variant, (), None, (self.entry, *inner))

    def compute(self, value: Any, index: Any = 0) -> Any:
        kept = value if isinstance(value, Tape) else np.array(value)
        return Tape({self.entry: {int(index): kept}}, int(index) + 1)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        value, *index = operation.inputs
        none = [None for _ in index]
        if self.entry not in heads(dy.entries):
            return [None, *none]
        return [TapeRead(self.entry, value.dtype, value.dims)(dy, *index), *none]


@op
class TapeSum(Op):
    """The sum of some tapes."""

    def infer(self, *tapes: TensorLike) -> Spec:
        for tape in tapes:
            check_tape(tape)
        return Spec(variant, (), None, tuple(dict.fromkeys(path for tape in tapes for path in tape.entries)))

    def compute(self, *tapes: Any) -> Any:
        return total(tapes)

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor]:
        return [dy] * len(operation.inputs)


@op
class EmptyTape(Op):
    """A tape without entries: what stands for zero."""

    def infer(self) -> Spec:
        return Spec(variant, ())

    def compute(self) -> Any:
        return Tape({}, 0)


@op
class TapeLength(Op):
    """Over how many iterations a tape was recorded."""

    not_differentiable = True

    def infer(self, tape: TensorLike) -> Spec:
        check_tape(tape)
        return Spec(int32, ())

    def compute(self, tape: Any) -> Any:
        return np.array(tape.length, np.int32)
