"""Lines: which line of a text that was compiled here an error came out of."""

from __future__ import annotations

from types import TracebackType


def line_of(file: str, trace: TracebackType | None) -> int | None:
    """The line of the text compiled as `file` that a traceback passed last."""
    found = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            found = trace.tb_lineno
        trace = trace.tb_next
    return found
