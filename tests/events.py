"""Reading event files back, with the checksums of their records checked."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c


def records(path: Path) -> Iterator[bytes]:
    """The records of a file. Fails on a wrong checksum and a record that is cut off."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        length, check = struct.unpack_from("<QI", data, at)
        assert masked_crc32c(data[at : at + 8]) == check
        record = data[at + 12 : at + 12 + length]
        assert len(record) == length
        assert struct.unpack_from("<I", data, at + 12 + length) == (masked_crc32c(record),)
        yield record
        at += 16 + length


def event_files(folder: Any) -> list[Path]:
    return sorted(Path(folder).glob("events.out.tfevents.*"))


def events(folder: Any) -> list[Any]:
    """The events in a folder's files, but for the first of each, which says the version."""
    found = []
    for path in event_files(folder):
        first, *rest = (Event.FromString(record) for record in records(path))
        assert first.file_version == "brain.Event:2"
        found += rest
    return found


def scalars(folder: Any, tag: str) -> list[tuple[int, float]]:
    """The steps and the numbers under a tag."""
    return [
        (event.step, value.simple_value)
        for event in events(folder)
        for value in event.summary.value
        if value.tag == tag
    ]
