"""Where in the user's program an operation was made: the innermost frame that is not weft's own."""

from __future__ import annotations

import sys
from pathlib import Path
from types import CodeType
from typing import NamedTuple

_ROOT = Path(__file__).parents[1]
_OWN = (
    *(str(_ROOT / room) + "/" for room in ("graph", "autodiff", "nn", "runtime", "train", "cluster", "compat")),
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


#: A place in the user's program as the interpreter has it: code, and the instruction in it. Looking up its line takes
#: longer than noting it, and few operations are ever asked.
Place = tuple[CodeType, int]

_is_own: dict[str, bool] = {}


def user_place() -> Place:
    """Where the innermost caller outside of weft stands (the outermost frame when there is none)."""
    frame = sys._getframe(1)
    while True:
        file = frame.f_code.co_filename
        own = _is_own.get(file)
        if own is None:
            own = _is_own[file] = file.startswith(_OWN)
        if not own or frame.f_back is None:
            return frame.f_code, frame.f_lasti
        frame = frame.f_back


def location_of(place: Place) -> Location:
    """The line of a place."""
    code, instruction = place
    found = code.co_firstlineno
    for start, end, line in code.co_lines():
        if start <= instruction < end and line is not None:
            found = line
    return Location(code.co_filename, found, code.co_name)


def user_location() -> Location:
    """The line of the innermost caller outside of weft."""
    return location_of(user_place())
