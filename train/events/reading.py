"""summary_iterator: the events of an event file, read back with their checksums checked."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from ...graph import errors
from ...graph.storage.atomic import file_error
from ...graph.storage.files import only_local
from .protos import event_protos

#: Longer records are none: the length was damaged in a way that its checksum hides.
LARGEST_RECORD = 1 << 31


def summary_iterator(path: Any) -> Iterator[Any]:
    """The Events of the file `path`, in order; a last one that is not yet written whole ends it.

    Source: `tf.train.summary_iterator`. Raises NotFoundError for a file that is not there, DataLossError for a damaged one,
    ImportError without tensorboardX.
    """
    name = only_local(path, "An event file")
    protos = event_protos()
    try:
        with open(name, "rb") as file:
            for record in _records(file, name, protos.checksum):
                yield _event(record, name, protos.Event)
    except OSError as error:
        raise file_error(f"Cannot read {name}", error) from error


def _records(file: BinaryIO, name: str, checksum: Any) -> Iterator[bytes]:
    while len(head := file.read(12)) == 12:
        length, check = struct.unpack("<QI", head)
        if checksum(head[:8]) != check or length > LARGEST_RECORD:
            raise errors.DataLossError(None, None, f"{name} is damaged at byte {file.tell() - 12}: a record's length")
        if length + 4 > os.fstat(file.fileno()).st_size - file.tell():
            return  # it is not asked for: what is not there would be made room for
        body = file.read(length + 4)
        if struct.pack("<I", checksum(body[:length])) != body[length:]:
            raise errors.DataLossError(None, None, f"{name} is damaged before byte {file.tell()}: a record's bytes")
        yield body[:length]


def _event(record: bytes, name: str, kind: Any) -> Any:
    from google.protobuf import message

    try:
        return kind.FromString(record)
    except message.DecodeError as error:
        raise errors.DataLossError(None, None, f"{name} holds what is no Event: {error}") from None
