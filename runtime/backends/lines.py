"""Lines: which line of a text that was compiled here an error came out of, and whose that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from ..execution.failures import StepFailure


def line_of(file: str, trace: TracebackType | None) -> int | None:
    """The line of the text compiled as `file` that a traceback passed last."""
    found = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            found = trace.tb_lineno
        trace = trace.tb_next
    return found


def naming_parts(region: Callable[..., Any], file: str, parts: Mapping[int, str]) -> Callable[..., Any]:
    """The function of a region as a kernel's; its errors name the operation of the line they come from. `parts`: by line."""

    def run(*values: Any, out: Any = None) -> Any:
        try:
            return region(out, *values)
        except Exception as error:
            at = line_of(file, error.__traceback__)
            if at is None or at not in parts:
                raise
            raise StepFailure(parts[at], error) from error

    return run
