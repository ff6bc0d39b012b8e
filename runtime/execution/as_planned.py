"""Kernels that keep to what a plan counts on, where that was made by a process whose kernels can do more than those here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..kernels import Kernel


def as_planned(kernel: Kernel, inputs: Sequence[str | None], outputs: Sequence[str | None]) -> Kernel:
    """The kernel, if it can do as planned; else one that computes its results elsewhere and copies them.

    `inputs`, `outputs`: in which buffer each lies, if any. A plan has its results written there, over an input perhaps that
    the kernel of its maker was done with by then.
    """
    if kernel.takes_out and all(
        _may(kernel, number, inputs, buffer) for number, buffer in enumerate(outputs) if buffer
    ):
        return kernel
    bind, in_frame = kernel.bind, kernel.in_frame
    return replace(
        kernel,
        function=_copying(kernel.function),
        bind=None if bind is None else lambda state: _copying(bind(state)),
        in_frame=None if in_frame is None else lambda workspace: _copying(in_frame(workspace)),
        takes_out=True,
        exact=False,
    )


def _may(kernel: Kernel, number: int, inputs: Sequence[str | None], buffer: str) -> bool:
    """Whether the kernel can write its result of that number into a buffer."""
    over = {index for index, each in enumerate(inputs) if each == buffer}
    if kernel.exact or not over:
        return True
    return len(over) == 1 and bool(kernel.may_replace) and over <= {*kernel.may_replace[number]}


def _copying(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*values: Any, out: Any) -> Any:
        found = function(*values)
        if not isinstance(out, tuple):
            np.copyto(out, found)
            return out
        for place, value in zip(out, found, strict=True):
            if place is not None:
                np.copyto(place, value)
        return tuple([value if place is None else place for place, value in zip(out, found, strict=True)])

    return run
