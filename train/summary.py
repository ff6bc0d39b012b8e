"""`wf.summary`: summaries of a graph, and the event files that TensorBoard reads."""

from typing import Any as _Any

from .events.protos import MESSAGES as _MESSAGES, event_protos as _event_protos
from .events.writing import FileWriter as FileWriter, FileWriterCache as FileWriterCache
from .summaries import (
    audio as audio,
    histogram as histogram,
    image as image,
    merge as merge,
    merge_all as merge_all,
    scalar as scalar,
    tensor_summary as tensor_summary,
    text as text,
)


def __getattr__(name: str) -> _Any:
    """The message classes (`Summary`, `Event`, `SessionLog`, ...): loaded when they are first used."""
    if name in _MESSAGES:
        return getattr(_event_protos(), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
