"""Protobuf classes from a description in words: for TensorFlow's messages that no small package carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def described(
    file_name: str, messages: Mapping[str, str], known: Mapping[str, Any], package: str = "weft"
) -> dict[str, Any]:
    """The classes of these messages by name; `known` has those of other files that they use.

    A message is described by its fields, `name number kind`, with commas between. `[]` after the kind: repeated; `{}`: a
    map of strings to that kind; kinds with a capital are messages. `|` before the first field: they are alternatives.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file: Any = descriptor_pb2.FileDescriptorProto(name=file_name, package=package, syntax="proto3")
    file.dependency.extend(sorted({cls.DESCRIPTOR.file.name for cls in known.values()}))
    full = {name: f".{package}.{name}" for name in messages}
    full |= {name: f".{cls.DESCRIPTOR.full_name}" for name, cls in known.items()}
    for name, text in messages.items():
        message = file.message_type.add(name=name)
        for field in text.removeprefix("|").split(", "):
            _add_field(message, field, full, package)
        if text.startswith("|"):
            message.oneof_decl.add(name="kind")
            for field in message.field:
                field.oneof_index = 0
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}


def _add_field(message: Any, text: str, full: Mapping[str, str], package: str) -> None:
    name, number, kind = text.split()
    if kind.endswith("{}"):
        entry = message.nested_type.add(name=name.title().replace("_", "") + "Entry")
        entry.options.map_entry = True
        _add_field(entry, "key 1 string", full, package)
        _add_field(entry, f"value 2 {kind.removesuffix('{}')}", full, package)
        full = {"Entry": f".{package}.{message.name}.{entry.name}"}
        kind = "Entry[]"
    repeated, kind = kind.endswith("[]"), kind.removesuffix("[]")
    field = message.field.add(name=name, number=int(number), label=3 if repeated else 1)
    if kind[0].isupper():
        field.type = field.TYPE_MESSAGE
        field.type_name = full[kind]
    else:
        field.type = field.Type.Value(f"TYPE_{kind.upper()}")
