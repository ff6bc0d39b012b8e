"""The scopes a graph is built under: names, devices, colocation and control dependencies; one set a thread."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from .devices import DeviceSpec

_SCOPE_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\-/]*")
_INNER_NAME = re.compile(r"[A-Za-z0-9_.\-/]*")

DeviceFunction = Callable[[Any], Any]


class Controller:
    """One `control_dependencies` block: its operations, and which operations were made inside it."""

    __slots__ = ("ops", "seen")

    def __init__(self, ops: tuple[Any, ...]) -> None:
        self.ops = ops
        self.seen: set[Any] = set()


class ScopeState(threading.local):
    """The scopes in force in one thread. Device entries: a spec to merge, a function, or None, which hides outer ones."""

    def __init__(self) -> None:
        self.name = ""
        self.devices: tuple[DeviceSpec | DeviceFunction | None, ...] = ()
        self.colocation: tuple[Any, ...] = ()
        self.controllers: tuple[Controller, ...] = ()
        self.gradient_overrides: dict[str, str] = {}
        #: The forward operation whose gradient is being built, noted on what is made meanwhile.
        self.original: Any = None


class Scopes:
    """The part of a Graph that holds scopes and hands out unique names."""

    def __init__(self) -> None:
        self._scope = ScopeState()
        self._names_in_use: dict[str, int] = {}

    @contextmanager
    def _set(self, **values: Any) -> Iterator[None]:
        """Scope state replaced for a block, and put back however the block ends."""
        before = {field: getattr(self._scope, field) for field in values}
        for field, value in values.items():
            setattr(self._scope, field, value)
        try:
            yield
        finally:
            for field, value in before.items():
                setattr(self._scope, field, value)

    # names

    def unique_name(self, name: str, mark_as_used: bool = True) -> str:
        """`name` inside the current scope, with `_1`, `_2`, … where it is taken (names differ by more than case)."""
        if self._scope.name:
            name = f"{self._scope.name}/{name}"
        key = name.lower()
        taken = self._names_in_use.get(key, 0)
        if mark_as_used:
            self._names_in_use[key] = taken + 1
        if not taken:
            return name
        unique = key
        while unique in self._names_in_use:
            unique = f"{key}_{taken}"
            taken += 1
        if mark_as_used:
            self._names_in_use[key] = taken
            self._names_in_use[unique] = 1
        return f"{name}_{taken - 1}"

    def _enter(self, name: str | None) -> str:
        if not name:
            return ""
        if name.endswith("/"):
            return name[:-1]
        if not (_INNER_NAME if self._scope.name else _SCOPE_NAME).fullmatch(name):
            raise ValueError(f"'{name}' is not a valid scope name")
        return self.unique_name(name)

    @contextmanager
    def name_scope(self, name: str | None) -> Iterator[str]:
        """Prefix names with a unique scope; a trailing `/` re-enters a scope as it is, None or "" leaves all scopes.

        Yields the scope's name with a trailing slash. Raises ValueError for an invalid name.
        """
        scope = self._enter(name)
        with self._set(name=scope):
            yield f"{scope}/" if scope else ""

    def get_name_scope(self) -> str:
        """The current name scope, without a trailing slash."""
        return self._scope.name

    # devices

    @contextmanager
    def device(self, device_name_or_function: Any) -> Iterator[None]:
        """Operations made inside request this device; fields merge over the outer scopes', None hides these.

        A function takes the Operation and returns its device. Raises ValueError for an invalid name.
        """
        entry = device_name_or_function
        if isinstance(entry, str):
            entry = DeviceSpec.from_string(entry)
        elif entry is not None and not isinstance(entry, DeviceSpec) and not callable(entry):
            raise TypeError(f"a device is a string, a function of an Operation, or None; got {entry!r}")
        with self._set(devices=() if entry is None else (*self._scope.devices, entry)):
            yield

    def _requested_device(self, operation: Any) -> None:
        """Set `operation.device` from the scopes, innermost first: names fill what is not said yet, functions replace."""
        for entry in reversed(self._scope.devices):
            if isinstance(entry, DeviceSpec):
                inner = DeviceSpec.from_string(operation.device)
                operation.device = entry.override(inner).to_string()
            elif entry is not None:
                chosen = entry(operation)
                operation.device = DeviceSpec.from_string("" if chosen is None else str(chosen)).to_string()

    # colocation

    @contextmanager
    def colocate_with(self, op: Any, ignore_existing: bool = False) -> Iterator[None]:
        """Operations made inside go where `op` (an Operation, Tensor or Variable) goes; device scopes are hidden.

        `ignore_existing` forgets the outer colocations; with `op=None` that is all it does.
        """
        if op is None and not ignore_existing:
            raise ValueError("Trying to reset colocation (op is None) but ignore_existing is not True")
        outer = () if ignore_existing else self._scope.colocation
        target = () if op is None else (getattr(op, "op", op),)
        with self._set(colocation=outer + target, devices=()):
            yield

    def _apply_colocation(self, operation: Any) -> None:
        stack = self._scope.colocation
        operation.colocation = tuple(sorted({name for other in stack for name in other.colocation or (other.name,)}))
        for other in stack:
            if other.device:
                operation.device = other.device

    # control dependencies

    @contextmanager
    def control_dependencies(self, control_inputs: Iterable[Any] | None) -> Iterator[None]:
        """Operations made inside run after these (Operations, Tensors, Variables or names); None hides outer blocks.

        Raises TypeError for what is no part of a graph, KeyError for an unknown name, ValueError for another graph's.
        """
        if control_inputs is None:
            with self._set(controllers=()):
                yield
            return
        ops = tuple(dict.fromkeys(self._control_op(item) for item in control_inputs))
        with self._set(controllers=(*self._scope.controllers, Controller(ops))):
            yield

    def _control_op(self, item: Any) -> Any:
        raise NotImplementedError

    def _control_inputs_for(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The control inputs of a new operation: each block's, unless a data input was itself made inside that block."""
        data = {tensor.op for tensor in inputs}
        found: dict[Any, None] = {}
        for controller in self._scope.controllers:
            if controller.seen.isdisjoint(data):
                found.update((op, None) for op in controller.ops if op not in data)
        return tuple(found)

    def differentiating(self, operation: Any) -> AbstractContextManager[None]:
        """Operations made inside belong to the gradient of this forward operation."""
        return self._set(original=operation)

    @contextmanager
    def gradient_override_map(self, op_type_map: dict[str, str]) -> Iterator[None]:
        """Operations of these types made inside use the gradient registered under the other name. Raises TypeError."""
        if not isinstance(op_type_map, dict) or not all(
            isinstance(s, str) for pair in op_type_map.items() for s in pair
        ):
            raise TypeError("op_type_map must be a dictionary from op type names to registered gradient names")
        with self._set(gradient_overrides={**self._scope.gradient_overrides, **op_type_map}):
            yield
