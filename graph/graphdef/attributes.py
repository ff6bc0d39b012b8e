"""Attribute values as AttrValue messages, and back; and which kind of value an attribute of a definition is."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any

import numpy as np

from ..dtypes import DType, as_dtype, string
from ..function import Function
from ..opdef import OpDef
from ..ops.literal import Literal
from ..shapes import TensorShape
from .functions import pack_function, unpack_function
from .tensors import read_dtype, read_tensor, write_tensor


class FunctionName(str):
    """The name of a function in a GraphDef's library."""

    __slots__ = ()


#: The words of errors for what an AttrValue holds.
_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "bool"), (int, "int"), (float, "float"), (bytes, "string"), (DType, "type"), (TensorShape, "shape"),
    (Literal, "tensor"), (tuple, "list"), (FunctionName, "func"),
)  # fmt: skip


def write_value(proto: Any, value: Any) -> None:
    """Fill in an AttrValue. Raises ValueError for what fits into none."""
    match value:
        case bool():
            proto.b = value
        case int():
            proto.i = value
        case float():
            proto.f = value
        case FunctionName():
            proto.func.name = value
        case str() | bytes():
            proto.s = value.encode() if isinstance(value, str) else value
        case DType():
            proto.type = value.as_datatype_enum
        case TensorShape():
            _write_shape(proto.shape, value)
        case Literal():
            array = value.array
            write_tensor(proto.tensor, array, string if array.dtype.hasobject else as_dtype(array.dtype))
        case tuple():
            _write_list(proto.list, value)
        case _:
            raise ValueError(f"a {type(value).__name__} is no attribute of a GraphDef: {value!r}")


def _write_list(proto: Any, values: tuple[Any, ...]) -> None:
    proto.SetInParent()
    for value in values:
        match value:
            case bool():
                proto.b.append(value)
            case int():
                proto.i.append(value)
            case float():
                proto.f.append(value)
            case str() | bytes():
                proto.s.append(value.encode() if isinstance(value, str) else value)
            case DType():
                proto.type.append(value.as_datatype_enum)
            case TensorShape():
                _write_shape(proto.shape.add(), value)
            case _:
                raise ValueError(f"a list of {type(value).__name__} is no attribute of a GraphDef: {values!r}")


def _write_shape(proto: Any, shape: TensorShape) -> None:
    dims = shape.as_tuple()
    proto.unknown_rank = dims is None
    for size in dims or ():
        proto.dim.add().size = -1 if size is None else size


def read_value(proto: Any) -> Any:
    """The value: bool, int, float, bytes, DType, TensorShape, Literal or a tuple of these. Raises ValueError."""
    match proto.WhichOneof("value"):
        case "b" | "i" | "s" as field:
            return getattr(proto, field)
        case "f":
            return _shortest(proto.f)
        case "type":
            return read_dtype(proto.type)
        case "shape":
            return _read_shape(proto.shape)
        case "tensor":
            return Literal(read_tensor(proto.tensor)[0])
        case "func":
            return FunctionName(proto.func.name)
        case "list":
            return _read_list(proto.list)
        case other:
            raise ValueError(f"it is a {other}, which weft does not have" if other else "it has no value")


def _shortest(value: float) -> float:
    """The shortest decimal number that is this float32, so that 0.2 stays 0.2."""
    return float(str(np.float32(value)))


def _read_list(proto: Any) -> tuple[Any, ...]:
    if proto.tensor:
        raise ValueError("it is a list of tensors, which weft does not have")
    return (
        *(FunctionName(value.name) for value in proto.func),
        *proto.s, *proto.i, *(_shortest(value) for value in proto.f), *proto.b,
        *(read_dtype(value) for value in proto.type), *(_read_shape(value) for value in proto.shape),
    )  # fmt: skip


def _read_shape(proto: Any) -> TensorShape:
    if proto.unknown_rank:
        return TensorShape(None)
    if any(dim.size < -1 for dim in proto.dim):
        raise ValueError(f"a dimension is negative: {[dim.size for dim in proto.dim]}")
    return TensorShape([None if dim.size == -1 else dim.size for dim in proto.dim])


def definition_fields(cls: type[OpDef]) -> dict[str, Field[Any]]:
    """The attributes of a definition, by name."""
    return {field.name: field for field in fields(cls)}


def field_value(definition: OpDef, name: str) -> Any:
    """An attribute of a definition as an attribute of a GraphDef; None: leave it out."""
    value = getattr(definition, name)
    if isinstance(value, Function):
        return pack_function(value)
    kind = definition_fields(type(definition))[name].type
    if kind == "tuple[Dims, ...]":
        return tuple(TensorShape(each) for each in value)
    return TensorShape(value) if kind == "Dims" else value


def field_default(cls: type[OpDef], name: str) -> Any:
    """What an attribute is when a GraphDef leaves it out; MISSING: it must not."""
    field = definition_fields(cls)[name]
    return None if field.default is MISSING and "None" in str(field.type) else field.default


def to_field(cls: type[OpDef], name: str, value: Any) -> Any:
    """An attribute of a GraphDef as the attribute `name` of a definition. Raises ValueError for another kind of value."""
    kind = str(definition_fields(cls)[name].type).removesuffix(" | None")
    match kind, value:
        case "bool", bool():
            return value
        case "int", int() if not isinstance(value, bool):
            return value
        case "float", float():
            return value
        case (("str" | "Mode"), bytes()):
            return value.decode()
        case ("DType", DType()) | ("Literal", Literal()):
            return value
        case "Function", bytes():
            return unpack_function(value)
        case "Dims", TensorShape():
            return value.as_tuple()
        case "tuple[DType, ...]", tuple() if all(isinstance(each, DType) for each in value):
            return value
        case "tuple[str, ...]", tuple() if all(isinstance(each, bytes) for each in value):
            return tuple(each.decode() for each in value)
        case "tuple[Dims, ...]", tuple() if all(isinstance(each, TensorShape) for each in value):
            return tuple(each.as_tuple() for each in value)
        case _, tuple() if kind == "Four" or kind.startswith("tuple[int"):
            return _ints(value)
    raise ValueError(f"AttrValue had value with type '{kind_of(value)}' when '{kind}' expected")


def _ints(values: tuple[Any, ...]) -> tuple[int, ...]:
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"AttrValue had value with type 'list({kind_of(value)})' when 'list(int)' expected")
    return values


def kind_of(value: Any) -> str:
    """The word for what an attribute holds."""
    return next(word for cls, word in _KINDS if isinstance(value, cls))
