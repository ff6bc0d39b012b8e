"""Records: frozen dataclasses with slots that take no time to define. Definitions of operations are such, and instructions.

A dataclass writes and compiles half a dozen methods when its class is defined, which was half of the time that importing
weft took. A record shares them with all others, but for `__init__`: that is written when one is first made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass
from typing import Any, ClassVar, TypeVar, cast, dataclass_transform

_Class = TypeVar("_Class", bound="type[Record]")


class Record:
    """Base of records: one compares, hashes and prints by its fields, and does not change."""

    __slots__ = ()

    #: The names of its fields, in order.
    __match_args__: ClassVar[tuple[str, ...]] = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other) and attributes(self) == attributes(other))

    def __hash__(self) -> int:
        return hash(attributes(self))

    def __repr__(self) -> str:
        pairs = zip(self.__match_args__, attributes(self), strict=True)
        return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in pairs)})"

    def __setattr__(self, name: str, value: Any) -> None:
        raise FrozenInstanceError(f"cannot assign to field '{name}'")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field '{name}'")

    # What copies one: not by setting its attributes.

    def __getstate__(self) -> tuple[Any, ...]:
        return attributes(self)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        for name, value in zip(self.__match_args__, state, strict=True):
            object.__setattr__(self, name, value)


def attributes(record: Record) -> tuple[Any, ...]:
    """The values of a record's fields, in order."""
    return tuple([getattr(record, name) for name in record.__match_args__])


@dataclass_transform(frozen_default=True)
def record(cls: _Class) -> _Class:
    """Class decorator of a subclass of Record: what is annotated in it are its fields, which may have defaults."""
    made: Any = dataclass(init=False, slots=True, eq=False, repr=False)(cls)
    made.__init__ = _first_init
    return cast(_Class, made)


def _first_init(self: Record, *values: Any, **named: Any) -> None:
    """The `__init__` of a kind of record until the first is made: a program makes few of all kinds."""
    kind = type(self)
    setattr(kind, "__init__", _written_init(kind))  # noqa: B010
    kind.__init__(self, *values, **named)


def _written_init(kind: type[Record]) -> Callable[..., None]:
    """An `__init__` with the fields of a kind as parameters, as dataclasses write it."""
    defaults = {
        name: field.default for name, field in kind.__dataclass_fields__.items() if field.default is not MISSING
    }
    names = kind.__match_args__
    parameters = ", ".join(f"{name}=defaults[{name!r}]" if name in defaults else name for name in names)
    lines = [f"    put(self, {name!r}, {name})" for name in names] or ["    pass"]
    scope: dict[str, Any] = {"put": object.__setattr__, "defaults": defaults}
    exec("\n".join([f"def __init__(self, {parameters}):", *lines]), scope)
    written: Callable[..., None] = scope["__init__"]
    written.__qualname__ = f"{kind.__qualname__}.__init__"
    return written
