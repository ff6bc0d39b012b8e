"""The part of a Graph that holds its operations, in the order they were made, and finds them by name."""

from __future__ import annotations

import threading
from typing import Any, Generic, TypeVar

_Operation = TypeVar("_Operation", bound=Any)


class Listing(Generic[_Operation]):
    """The operations of a graph."""

    def __init__(self) -> None:
        self._operations: list[_Operation] = []
        #: By name those that there were when a name was last asked for. Few large graphs are ever asked, and an index kept
        #: all the time would be an eighth of their memory.
        self._by_name: dict[str, _Operation] = {}
        self._lock = threading.RLock()

    @property
    def version(self) -> int:
        """How many operations there are: it grows with every one."""
        return len(self._operations)

    def get_operations(self) -> list[_Operation]:
        """All operations, in the order they were made."""
        return list(self._operations)

    def operations_from(self, start: int) -> list[_Operation]:
        """The operations that were made after the first `start`."""
        return self._operations[start:]

    def operation_named(self, name: str) -> _Operation | None:
        """The operation of that name, if there is one."""
        with self._lock:
            if len(self._by_name) < len(self._operations):
                self._by_name.update((new.name, new) for new in self.operations_from(len(self._by_name)))
            return self._by_name.get(name)
