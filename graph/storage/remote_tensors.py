"""A safetensors file that is not on this machine, read in pieces; where safetensors itself opens local files only."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..dtypes import as_dtype
from .remote_files import RemoteFile

Array = np.ndarray[Any, Any]

#: A file of up to so many bytes is read at once: each request takes as long as many bytes.
WHOLE = 64 << 20


class _Slice(NamedTuple):
    """What the header says of a tensor, as safetensors' own slices say it."""

    dtype: str
    shape: list[int]
    start: int
    end: int

    def get_shape(self) -> list[int]:
        return self.shape

    def get_dtype(self) -> str:
        return self.dtype


class RemoteTensors:
    """The part of safetensors' `safe_open` that a CheckpointReader uses, over a file that a URI names.

    `types` are NumPy's types by the format's names. Raises ValueError, KeyError, TypeError or RecursionError for a file that is
    damaged: what the tensors take must be the file from the end of its header on, without gaps.
    """

    def __init__(self, uri: str, types: Mapping[str, str], largest_header: int) -> None:
        self._file = RemoteFile(uri)
        self._types = types
        self._whole: bytes | None = self._file.read_at(0, self._file.size) if self._file.size <= WHOLE else None
        length = int.from_bytes(self._exactly(0, 8), "little")
        if length > min(largest_header, self._file.size - 8):
            raise ValueError("its header is longer than it can be")
        header = json.loads(self._exactly(8, length))
        self._metadata: dict[str, str] = header.pop("__metadata__", {})
        self._slices = {name: _slice(entry, types) for name, entry in header.items()}
        self._begin, end = 8 + length, 0
        for piece in sorted(self._slices.values(), key=lambda piece: (piece.start, piece.end)):
            if piece.start != end:
                raise ValueError("its tensors do not lie one after the other")
            end = piece.end
        if end != self._file.size - self._begin:
            raise ValueError("its tensors do not end where it ends")

    def metadata(self) -> dict[str, str]:
        return self._metadata

    def keys(self) -> list[str]:
        return list(self._slices)

    def get_slice(self, name: str) -> _Slice:
        return self._slices[name]

    def get_tensor(self, name: str) -> Array:
        """The tensor, whose bytes are read now. Raises ValueError when the file has become shorter."""
        piece = self._slices[name]
        data = self._exactly(self._begin + piece.start, piece.end - piece.start)
        return np.frombuffer(data, as_dtype(self._types[piece.dtype]).np).reshape(piece.shape).copy()

    def _exactly(self, offset: int, count: int) -> bytes:
        whole = self._whole
        data = self._file.read_at(offset, count) if whole is None else whole[offset : offset + count]
        if len(data) != count:
            raise ValueError(f"it has {len(data)} bytes at {offset} where there should be {count}")
        return data


def _slice(entry: Any, types: Mapping[str, str]) -> _Slice:
    start, end = entry["data_offsets"]
    shape = entry["shape"]
    numbers = [start, end, *shape]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("its header has numbers that are none")
    if end - start != math.prod(shape) * as_dtype(types[entry["dtype"]]).np.itemsize:
        raise ValueError("a tensor takes another number of bytes than its shape says")
    return _Slice(entry["dtype"], shape, start, end)
