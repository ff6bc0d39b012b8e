"""Rows for graph/ops/shards.py: a variable is held, written into a file of a folder of the tests' own, and read again."""

import os
import tempfile
from typing import Any

import numpy as np
from case import Case, floats
from weft.graph.dtypes import boolean, float64, string
from weft.graph.ir import Tensor
from weft.graph.ops import shards, variables
from weft.graph.ops.constant import constant
from weft.graph.storage.checkpoint import Entry, write_checkpoint

X = floats(2, 3)
#: It is gone when the process ends.
FOLDER = tempfile.TemporaryDirectory(prefix="weft-shards-")
NAMES, FILE = ("v",), "held.safetensors"
ENTRY = Entry.of(write_checkpoint(os.path.join(FOLDER.name, FILE), {"v": X})["v"]).text()
TOKEN: dict[str, Any] = {"holder": "rows"}


def text(value: Any) -> Tensor:
    return constant(value, string)


def held(value: Tensor) -> Tensor:
    """The size of what is held."""
    handle = variables.VarHandleOp(float64, (2, 3))()
    with handle.graph.control_dependencies([variables.AssignVariableOp(float64, (2, 3)).node(handle, value)]):
        return shards.HoldVariables(**TOKEN)(handle, text(b"t"), text([b"t"]))


def written(value: Tensor) -> Tensor:
    with value.graph.control_dependencies([held(value)]):
        return shards.WriteHeld(**TOKEN, names=NAMES)(text(b"t"), text(FOLDER.name), text([FILE]))


def read(value: Tensor) -> Tensor:
    """What was written, which the file's checksum says is the input."""
    reading = shards.ReadHeld(**TOKEN, names=NAMES, shapes=((3, 2),))
    with value.graph.control_dependencies([written(value)]):
        done = reading.node(text(b"r"), text([b"r"]), text(FOLDER.name), text([FILE]), text([ENTRY]))
    with value.graph.control_dependencies([done]):
        return shards.HeldValue(**TOKEN, index=0, dtype=float64, shape=(3, 2))(text(b"r"))


def seen(name: str) -> Any:
    return lambda: shards.SeesFile()(text(os.path.join(FOLDER.name, name)), constant(True, boolean))


def entry(value: Any) -> Any:
    array = np.empty(1, object)
    array[:] = [ENTRY]
    return array


CASES = [
    Case("HoldVariables", held, (X,), expected=lambda x: np.array([x.nbytes]), order=0, grad=()),
    Case("WriteHeld", written, (X,), expected=entry, order=0, grad=()),
    Case("ReadHeld", read, (X,), expected=lambda x: x.reshape(3, 2), order=0, grad=()),
    Case("HeldValue", read, (X,), expected=lambda x: x.reshape(3, 2), order=0, grad=()),
    Case("SeesFile", seen(FILE), expected=lambda: np.array(b"", object)),
]
