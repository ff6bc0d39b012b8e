"""Operations that report: Print writes values to stderr, Assert fails the run where a condition does not hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dtypes import boolean
from ..errors import InvalidArgumentError
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from .convert import convert_to_tensor


@op
class PrintOp(Op):
    """The first input itself; prints the others to the session's stderr, the first `first_n` times (-1: always)."""

    type = "Print"
    message: str = ""
    first_n: int = -1
    summarize: int = 3
    stateful = True
    view = True
    passes_slices = True

    def infer(self, x: TensorLike, *data: TensorLike) -> Spec:
        return Spec(x.dtype, x.dims, x.known)

    def compute(self, state: Any, x: Any, *data: Any) -> Any:
        if self.first_n < 0 or state.next_count() < self.first_n:
            values = "".join(f"[{summary(value, self.summarize)}]" for value in data)
            state.report(f"{self.message}{values}")
        return x

    def grad(self, operation: Operation, dy: Any) -> list[Any]:
        return [dy, *[None] * (len(operation.inputs) - 1)]


@op
class AssertOp(Op):
    """Fails the run, with the data in the message, when the condition does not hold."""

    type = "Assert"
    summarize: int = 3
    stateful = True
    not_differentiable = True

    def infer(self, condition: TensorLike, *data: TensorLike) -> tuple[Spec, ...]:
        if condition.dtype is not boolean:
            raise TypeError(f"Assert takes a bool condition, got {condition.dtype.name}")
        if condition.dims not in (None, ()):
            raise ValueError("Assert takes a scalar condition")
        return ()

    def compute(self, state: Any, condition: Any, *data: Any) -> None:
        if not condition:
            values = " ".join(f"[{summary(value, self.summarize)}]" for value in data)
            raise InvalidArgumentError(None, None, f"assertion failed: {values}")


def summary(value: Any, count: int) -> str:
    """The first `count` elements (all, when negative) of a value, rows in brackets, with `...` for what is left out."""
    array = np.asarray(value)
    limit = array.size if count < 0 else min(count, array.size)
    items = [_text(item, array.dtype) for item in array.reshape(-1)[:limit].tolist()]
    return _nested(items, array.shape) + ("..." if limit < array.size else "")


def _nested(items: list[str], dims: Sequence[int]) -> str:
    """The elements with a pair of brackets around each row, and `...` in a row that is cut off."""
    if len(dims) <= 1:
        return " ".join(items)
    row = math.prod(dims[1:])
    cut = "..." if len(dims) == 2 else ""
    starts = range(0, len(items), row) if row else ()
    rows = [(items[start : start + row]) for start in starts]
    return "".join(f"[{_nested(part, dims[1:])}{cut if len(part) < row else ''}]" for part in rows)


def _text(item: Any, dtype: np.dtype[Any]) -> str:
    if isinstance(item, bytes):
        return item.decode(errors="backslashreplace")
    if isinstance(item, bool):
        return str(int(item))
    if not isinstance(item, float):
        return str(item)
    return repr(item).removesuffix(".0") if dtype == np.float64 else f"{item:.9g}"


def Print(
    input_: Any, data: Sequence[Any], message: str | None = None, first_n: int | None = None,
    summarize: int | None = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """`input_` itself; each time it is computed (the first `first_n` times), `message` and the first `summarize` (3)
    elements of each tensor of `data` go to stderr. Source: `tf.Print`.
    """
    definition = PrintOp(
        message or "", -1 if first_n is None else int(first_n), 3 if summarize is None else int(summarize)
    )
    return definition(convert_to_tensor(input_), *(convert_to_tensor(item) for item in data), name=name)


def Assert(condition: Any, data: Any, summarize: int | None = None, name: str | None = None) -> Operation:
    """An operation that fails the run with InvalidArgumentError "assertion failed: …" unless `condition` (a bool scalar)
    holds; the message shows the first `summarize` (3) elements of each tensor of `data`. Source: `tf.Assert`.

    It only takes effect where it runs: use it under `control_dependencies`. Raises TypeError where `data` is no list.
    """
    if not isinstance(data, (list, tuple)):
        raise TypeError(f"data must be a list of tensors to show, got {data!r}")
    definition = AssertOp(3 if summarize is None else int(summarize))
    inputs = (convert_to_tensor(condition), *(convert_to_tensor(item) for item in data))
    return definition.node(*inputs, name=name or "Assert")
