"""The protobuf classes of event files, which tensorboardX carries: loaded when the first of them is needed."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple


class EventProtos(NamedTuple):
    """The message classes, and the checksum that records of an event file have."""

    Event: Any
    LogMessage: Any
    SessionLog: Any
    TaggedRunMetadata: Any
    HistogramProto: Any
    Summary: Any
    SummaryDescription: Any
    SummaryMetadata: Any
    checksum: Any


#: The names of the message classes.
MESSAGES = tuple(name for name in EventProtos._fields if name != "checksum")

HINT = 'pip install "weft[graphdef]"'


@cache
def event_protos() -> EventProtos:
    """The message classes. Raises ImportError, which says what to install, when tensorboardX is not there."""
    try:
        from tensorboardX.proto import event_pb2, summary_pb2
        from tensorboardX.record_writer import masked_crc32c
    except ImportError as error:
        raise ImportError(
            f"Event files need the package tensorboardX, which carries their protobuf classes. Install it with: {HINT}"
        ) from error
    names = EventProtos._fields[:-1]
    classes = [getattr(event_pb2, name, None) or getattr(summary_pb2, name) for name in names]
    return EventProtos(**dict(zip(names, classes, strict=True)), checksum=masked_crc32c)


def can_write_events() -> bool:
    """Whether tensorboardX is installed; it is not loaded."""
    return find_spec("tensorboardX") is not None


def __getattr__(name: str) -> Any:
    """The message classes by their names."""
    if name in MESSAGES:
        return getattr(event_protos(), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
