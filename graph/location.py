"""Where in the user's program an operation was made: the innermost frame that is not weft's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).parents[1]
_OWN = (
    *(str(_ROOT / room) + "/" for room in ("graph", "autodiff", "nn", "runtime", "train", "cluster")),
    str(_ROOT / "__init__.py"),
    "<weft",  # compiled plans
)


class Location(NamedTuple):
    """A line of the user's program."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}, in {self.function}"


def user_location() -> Location:
    """The line of the innermost caller outside of weft (the outermost frame when there is none)."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(_OWN) and frame.f_back is not None:
        frame = frame.f_back
    return Location(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
