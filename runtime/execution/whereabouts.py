"""Where a thread is that runs a plan: its operation and its stack, for what is told of a step that takes too long."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from types import FrameType

from ..stages.plan import Instruction, Run

#: How many calls are told; of more, the innermost.
MOST_CALLS = 12


def whereabouts(thread: int, lines: Mapping[str, Sequence[Instruction | None]]) -> str:
    """What a thread does inside of a plan's function: the operation, and the calls from there on, the innermost last.

    `lines`: what stands on each line of the plan's files. "" where the thread is in no function of the plan.
    """
    calls: list[FrameType] = []
    frame = sys._current_frames().get(thread)
    while frame is not None:
        calls.append(frame)
        frame = frame.f_back
    calls.reverse()  # plans of branches have files of the same name: the plan's own are further out
    start = next((i for i, call in enumerate(calls) if call.f_code.co_filename in lines), None)
    if start is None:
        return ""
    found = lines[calls[start].f_code.co_filename]
    number = calls[start].f_lineno or 0
    instruction = found[number - 1] if 0 < number <= len(found) else None
    name = f"'{instruction.name}' " if isinstance(instruction, Run) else ""
    told = [_told(call) for call in calls[start:]]
    left_out = ["..."] if len(told) > MOST_CALLS else []
    return f"{name}(in {' > '.join(left_out + told[-MOST_CALLS:])})"


def _told(call: FrameType) -> str:
    """The function and line of a call."""
    file = "/".join(PurePath(call.f_code.co_filename).parts[-2:])
    return f"{call.f_code.co_name} {file}:{call.f_lineno or 0}"
