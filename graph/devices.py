"""Device names as TensorFlow writes them: parse, print, merge, match."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """A full or partial device name, as `/job:worker/replica:0/task:1/device:CPU:0`; None where nothing is said.

    Source: `tf.DeviceSpec`.
    """

    job: str | None = None
    replica: int | None = None
    task: int | None = None
    device_type: str | None = None
    device_index: int | None = None

    def __post_init__(self) -> None:
        if self.device_type is not None and not self.device_type.isupper():
            object.__setattr__(self, "device_type", self.device_type.upper())

    @staticmethod
    def from_string(spec: str) -> DeviceSpec:
        """Parse a device name; `/cpu:0` and `/device:CPU:0` both work. Raises ValueError for what is none."""
        return _parse(spec)

    def to_string(self) -> str:
        """TF's canonical spelling."""
        parts = [] if self.job is None else [f"/job:{self.job}"]
        parts += [] if self.replica is None else [f"/replica:{self.replica}"]
        parts += [] if self.task is None else [f"/task:{self.task}"]
        if self.device_type is not None:
            parts.append(f"/device:{self.device_type}:{'*' if self.device_index is None else self.device_index}")
        return "".join(parts)

    def override(self, other: DeviceSpec) -> DeviceSpec:
        """This name with every field that `other` sets replaced by it."""
        named = {f.name: getattr(other, f.name) for f in fields(other) if getattr(other, f.name) is not None}
        return replace(self, **named)

    def make_merged_spec(self, dev: DeviceSpec) -> DeviceSpec:
        """TF's name of `override`."""
        return self.override(dev)

    def replace(self, **fields: Any) -> DeviceSpec:
        """The same with other values of these fields."""
        return replace(self, **fields)

    def merge(self, other: DeviceSpec) -> DeviceSpec:
        """The name that satisfies both. Raises ValueError naming the field where they contradict."""
        for field, what in _FIELD_WORDS.items():
            mine, theirs = getattr(self, field), getattr(other, field)
            if mine is not None and theirs is not None and mine != theirs:
                raise ValueError(f"Cannot merge devices with incompatible {what}: '{self}' and '{other}'")
        return self.override(other)

    def matches(self, full: DeviceSpec) -> bool:
        """Whether `full`, the name of a device, is one that this partial name allows."""
        return all(getattr(self, f.name) in (None, getattr(full, f.name)) for f in fields(self))

    def task_only(self) -> DeviceSpec:
        """The same without device type and index."""
        return replace(self, device_type=None, device_index=None)

    def __str__(self) -> str:
        return self.to_string()


#: The device types whose names may be written without `device:`.
_SHORT = {"CPU", "GPU", "TPU"}
_FIELD_WORDS = {"job": "jobs", "replica": "replicas", "task": "tasks", "device_type": "types", "device_index": "ids"}


@lru_cache(maxsize=4096)
def _parse(name: str) -> DeviceSpec:
    found: dict[str, Any] = {}
    for part in filter(None, name.split("/")):
        fields_of_part = _parse_part(name, part.split(":"))
        if "device_type" in found and "device_type" in fields_of_part:
            raise ValueError(f"Multiple device types are not allowed in one device name: '{name}'")
        found.update(fields_of_part)
    return DeviceSpec(**found)


def _parse_part(name: str, words: list[str]) -> dict[str, Any]:
    match words:
        case ["job", job] if job:
            return {"job": job}
        case ["replica" | "task" as field, number] if _is_number(number):
            return {field: int(number)}
        case ["device", kind, number] if kind and (number == "*" or _is_number(number)):
            return _device(kind, number)
        case [kind, number] if kind.upper() in _SHORT and (number == "*" or _is_number(number)):
            return _device(kind, number)
        case [kind] if kind.upper() in _SHORT:
            return _device(kind, "*")
    raise ValueError(
        f"Unknown attribute '{':'.join(words)}' in device name '{name}': expected for example /job:ps/task:0/cpu:0"
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _device(kind: str, number: str) -> dict[str, Any]:
    return {"device_type": kind.upper(), "device_index": None if number == "*" else int(number)}


@lru_cache(maxsize=4096)
def within(outer: DeviceSpec, inner: str) -> str:
    """A device name in a scope: `outer` fills in what `inner` does not say."""
    return outer.override(_parse(inner)).to_string()


def canonical(name: str | DeviceSpec | None) -> str:
    """TF's spelling of a device name; "" for None."""
    if name is None:
        return ""
    return (name if isinstance(name, DeviceSpec) else _parse(name)).to_string()
