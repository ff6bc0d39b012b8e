"""The function of a branch or a loop as bytes, for a node of weft's own kind: the rows of the wire, and its arrays."""

from __future__ import annotations

import base64
import json
from typing import Any

from ..dtypes import as_dtype, string
from ..function import Function
from ..wire import Arrays, decode_function, encode_function
from .protos import protos
from .tensors import read_tensor, write_tensor


def pack_function(function: Function) -> bytes:
    """The function as JSON, its arrays as TensorProto messages in base64."""
    arrays: Arrays = []
    rows = encode_function(function, arrays)
    texts = []
    for array in arrays:
        proto: Any = protos().TensorProto()
        write_tensor(proto, array, string if array.dtype.hasobject else as_dtype(array.dtype))
        texts.append(base64.b64encode(proto.SerializeToString(deterministic=True)).decode())
    return json.dumps({"function": rows, "arrays": texts}, separators=(",", ":"), allow_nan=False).encode()


def unpack_function(data: bytes) -> Function:
    """The function again. Raises ValueError for data that is none."""
    try:
        found = json.loads(data)
        arrays = []
        for text in found["arrays"]:
            proto: Any = protos().TensorProto()
            proto.ParseFromString(base64.b64decode(text, validate=True))
            arrays.append(read_tensor(proto)[0])
        return decode_function(found["function"], arrays)
    except Exception as error:
        raise ValueError(f"expected a function, got data that is none: {error}") from None
