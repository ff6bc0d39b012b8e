"""The devices of tasks: each has one, and operations without a request go to the first worker's."""

from __future__ import annotations

from collections.abc import Sequence

from ...graph.devices import DeviceSpec


def device_of(task: str) -> DeviceSpec:
    """The device of a task."""
    return DeviceSpec.from_string(f"{task}/device:CPU:0")


def default_of(devices: Sequence[DeviceSpec]) -> DeviceSpec:
    """Where unplaced operations go: the first worker, else the first task."""
    workers = [device for device in devices if device.job in ("worker", "chief", "master")]
    return (workers or list(devices))[0]
