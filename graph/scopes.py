"""The scopes a graph is built under: names, devices, colocation and control dependencies; one set a thread."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

from .devices import DeviceSpec, canonical, within
from .location import Place

_SCOPE_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
_INNER_NAME = re.compile(r"[A-Za-z0-9_.\\/>-]*")

DeviceFunction = Callable[[Any], Any]


class Controller:
    """One `control_dependencies` block: its operations, and which operations were made inside it."""

    __slots__ = ("ops", "seen")

    def __init__(self, ops: tuple[Any, ...]) -> None:
        self.ops = ops
        self.seen: set[Any] = set()


class ScopeState:
    """The scopes in force in one thread. Device entries: a spec to merge, or a function."""

    __slots__ = ("colocation", "container", "controllers", "devices", "gradient_overrides", "name", "original", "place")

    def __init__(self) -> None:
        self.name = ""
        #: Where variables are kept, for `Session.reset`.
        self.container = ""
        self.devices: tuple[DeviceSpec | DeviceFunction, ...] = ()
        self.colocation: tuple[Any, ...] = ()
        self.controllers: tuple[Controller, ...] = ()
        self.gradient_overrides: dict[str, str] = {}
        #: The forward operation whose gradient is being built, noted on what is made meanwhile.
        self.original: Any = None
        #: The place in the user's program that what is made belongs to; None: where the caller stands.
        self.place: Place | None = None


class _Threads(threading.local):
    """Each thread's scopes."""

    def __init__(self) -> None:
        self.scope = ScopeState()


class _Block:
    """A `with` block that adds to one field of the thread's scopes, or replaces it; put back however the block ends."""

    __slots__ = ("_before", "_field", "_replaces", "_threads", "_value")

    def __init__(self, threads: _Threads, field: str, value: Any, replaces: bool = False) -> None:
        self._threads = threads
        self._field = field
        self._value = value
        self._replaces = replaces
        #: What to put back, and under it what the same block entered once more outside has to put back.
        self._before: Any = None

    def __enter__(self) -> None:
        scope = self._threads.scope
        outer = getattr(scope, self._field)
        self._before = (outer, self._before)
        setattr(scope, self._field, self._value if self._replaces else outer + self._value)

    def __exit__(self, *_: object) -> None:
        outer, self._before = self._before
        setattr(self._threads.scope, self._field, outer)


class _Colocation(_Block):
    """Colocation also hides the devices asked for outside."""

    __slots__ = ()

    def __enter__(self) -> None:
        super().__enter__()
        self._before = (self._threads.scope.devices, self._before)
        self._threads.scope.devices = ()

    def __exit__(self, *_: object) -> None:
        self._threads.scope.devices, self._before = self._before
        super().__exit__()


class _NameScope:
    """A block of a name scope, which is made unique when it is entered."""

    __slots__ = ("_before", "_graph", "_name")

    def __init__(self, graph: Scopes, name: str | None) -> None:
        self._graph = graph
        self._name = name
        self._before: Any = None

    def __enter__(self) -> str:
        scope = self._graph._scope
        entered = self._graph._enter(self._name)
        self._before = (scope.name, self._before)
        scope.name = entered
        return f"{entered}/" if entered else ""

    def __exit__(self, *_: object) -> None:
        self._graph._scope.name, self._before = self._before


class Scopes:
    """The part of a Graph that holds scopes and hands out unique names."""

    def __init__(self) -> None:
        self._threads = _Threads()
        #: For each name in use, in lower case, the next number to try: all smaller ones from 1 on are in use behind it,
        #: without entries of their own. In a large graph most names are such: entries for them would fill much memory.
        self._names_in_use: dict[str, int] = {}

    @property
    def _scope(self) -> ScopeState:
        """The calling thread's scopes."""
        return self._threads.scope

    def _building(self) -> Scopes:
        """Whose scopes hold for what is built now: a graph's own, or those of the branch or loop that is being built in it."""
        return self

    # names

    def unique_name(self, name: str, mark_as_used: bool = True) -> str:
        """`name` inside the current scope, with `_1`, `_2`, … where it is taken (names differ by more than case)."""
        scope = self._threads.scope.name
        if scope:
            name = f"{scope}/{name}"
        key = name.lower()
        if key == name:
            key = name  # one string less to keep
        names = self._names_in_use
        taken = names.get(key) or int(self._is_numbered(key))
        if taken:
            while f"{key}_{taken}" in names:
                taken += 1
            name = f"{name}_{taken}"
        if mark_as_used:
            names[key] = taken + 1
        return name

    def _is_numbered(self, key: str) -> bool:
        """Whether a name without an entry is in use all the same, as one of the numbers behind another one."""
        base, _, number = key.rpartition("_")
        if not (number.isdecimal() and number.isascii()) or number[0] == "0" or len(number) > 18:
            return False
        return int(number) < self._names_in_use.get(base, 0)

    def _enter(self, name: str | None) -> str:
        if not name:
            return ""
        if name.endswith("/"):
            return name[:-1]
        if not (_INNER_NAME if self._scope.name else _SCOPE_NAME).fullmatch(name):
            raise ValueError(f"'{name}' is not a valid scope name")
        return self.unique_name(name)

    def name_scope(self, name: str | None) -> AbstractContextManager[str]:
        """Prefix names with a unique scope; a trailing `/` re-enters a scope as it is, None or "" leaves all scopes.

        Yields the scope's name with a trailing slash. Raises ValueError for an invalid name.
        """
        return _NameScope(self._building(), name)

    def get_name_scope(self) -> str:
        """The current name scope, without a trailing slash."""
        return self._building()._scope.name

    # devices

    def device(self, device_name_or_function: Any) -> AbstractContextManager[None]:
        """Operations made inside request this device; fields merge over the outer scopes', None hides these.

        A function takes the Operation and returns its device. Raises ValueError for an invalid name.
        """
        entry = device_name_or_function
        if isinstance(entry, str):
            entry = DeviceSpec.from_string(entry)
        elif entry is not None and not isinstance(entry, DeviceSpec) and not callable(entry):
            raise TypeError(f"a device is a string, a function of an Operation, or None; got {entry!r}")
        threads = self._building()._threads
        return _Block(threads, "devices", () if entry is None else (entry,), replaces=entry is None)

    def _requested_device(self, operation: Any) -> None:
        """Set `operation.device` from the scopes, innermost first: names fill what is not said yet, functions replace."""
        for entry in reversed(self._scope.devices):
            if isinstance(entry, DeviceSpec):
                operation.device = within(entry, operation.device)
            else:
                chosen = entry(operation)
                operation.device = canonical(chosen if isinstance(chosen, DeviceSpec | None) else str(chosen))

    # containers

    def container(self, container_name: str) -> AbstractContextManager[None]:
        """Variables, queues and accumulators made inside are kept in the container of that name, apart from others of theirs.

        `Session.reset` forgets what is in a container.
        """
        return _Block(self._around()._threads, "container", str(container_name), replaces=True)

    def get_container(self) -> str:
        """The name of the container that variables and queues are made in now."""
        return self._around()._scope.container

    def _around(self) -> Scopes:
        """Whose containers hold: the graph around all branches and loops, for that is where variables stand."""
        return self

    # colocation

    def colocate_with(self, op: Any, ignore_existing: bool = False) -> AbstractContextManager[None]:
        """Operations made inside go where `op` (an Operation, Tensor or Variable) goes; device scopes are hidden.

        `ignore_existing` forgets the outer colocations; with `op=None` that is all it does. Raises ValueError for None
        without it, TypeError for what is no part of a graph.
        """
        if op is None and not ignore_existing:
            raise ValueError("Trying to reset colocation (op is None) but ignore_existing is not True")
        target = getattr(op, "op", op)
        if target is not None and not hasattr(target, "colocation"):
            raise TypeError(f"colocate_with takes an Operation, a Tensor or a Variable, not a {type(op).__name__}")
        threads = self._building()._threads
        return _Colocation(threads, "colocation", () if op is None else (target,), replaces=ignore_existing)

    def _apply_colocation(self, operation: Any) -> None:
        stack = self._scope.colocation
        operation.colocation = tuple(sorted({name for other in stack for name in other.colocation or (other.name,)}))
        for other in stack:
            if other.device:
                operation.device = other.device

    # control dependencies

    def control_dependencies(self, control_inputs: Iterable[Any] | None) -> AbstractContextManager[None]:
        """Operations made inside run after these (Operations, Tensors, Variables or names); None hides outer blocks.

        In a branch or a loop's body None also leaves it: what is made of nothing from there is made around all of them.
        Raises TypeError for what is no part of a graph, KeyError for an unknown name, ValueError for another graph's.
        """
        building = self._building()
        if control_inputs is None:
            return building._outside()
        ops = tuple(dict.fromkeys(op for op in map(building._control_op, control_inputs) if op is not None))
        return _Block(building._threads, "controllers", (Controller(ops),))

    def uncontrolled(self) -> AbstractContextManager[None]:
        """Operations made in this very graph have no control inputs."""
        return _Block(self._threads, "controllers", (), replaces=True)

    @property
    def outside(self) -> Any:
        """The graph where one is inside of `control_dependencies(None)`."""
        return self

    def _outside(self) -> AbstractContextManager[None]:
        return self.uncontrolled()

    def _control_op(self, item: Any) -> Any:
        raise NotImplementedError

    def _control_inputs_for(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The control inputs of a new operation: each block's, unless a data input was itself made inside that block."""
        data = {tensor.op for tensor in inputs}
        found: dict[Any, None] = {}
        for controller in self._scope.controllers:
            if controller.seen.isdisjoint(data):
                for op in controller.ops:
                    if op not in data:
                        found[op] = None
        return tuple(found)

    def differentiating(self, operation: Any) -> AbstractContextManager[None]:
        """Operations made inside belong to the gradient of this forward operation."""
        return _Block(self._threads, "original", operation, replaces=True)

    def gradient_override_map(self, op_type_map: dict[str, str]) -> AbstractContextManager[None]:
        """Operations of these types made inside use the gradient registered under the other name. Raises TypeError."""
        if not isinstance(op_type_map, dict) or not all(
            isinstance(s, str) for pair in op_type_map.items() for s in pair
        ):
            raise TypeError("op_type_map must be a dictionary from op type names to registered gradient names")
        building = self._building()
        both = {**building._scope.gradient_overrides, **op_type_map}
        return _Block(building._threads, "gradient_overrides", both, replaces=True)
