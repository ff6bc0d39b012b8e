"""Quiet: calls a step's function with NumPy's floating-point warnings off, for less than what `np.errstate` costs."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any

import numpy as np

#: Contexts in which nothing runs now. (NumPy keeps what it warns of in a context variable, so this costs no switching.)
_idle: list[Context] = []


def quietly(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)`, where infinities and NaNs just happen. The caller's context variables are not seen there."""
    context = _idle.pop() if _idle else _quiet_context()
    try:
        return context.run(function, *arguments)
    finally:
        _idle.append(context)


def _quiet_context() -> Context:
    context = Context()
    context.run(np.seterr, all="ignore")
    return context
