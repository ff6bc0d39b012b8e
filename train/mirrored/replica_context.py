"""Where a thread is while a replicated program is built: in a strategy's scope, in one of its replicas, or at an update."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple


class Place(NamedTuple):
    """A strategy; which of its replicas, None outside of all; and whether variables may be changed on that replica alone."""

    strategy: Any
    replica: int | None = None
    updating: bool = False


class _Places(threading.local):
    def __init__(self) -> None:
        self.stack: list[Place] = []


_places = _Places()


class placed:
    """A block in which a thread is at a place."""

    __slots__ = ("_place",)

    def __init__(self, place: Place) -> None:
        self._place = place

    def __enter__(self) -> Place:
        _places.stack.append(self._place)
        return self._place

    def __exit__(self, *_: object) -> None:
        _places.stack.pop()


def here() -> Place | None:
    """The innermost place; None outside of all strategies."""
    return _places.stack[-1] if _places.stack else None


class ReplicaContext:
    """What a function that runs on each replica can ask. Source: `tf.distribute.ReplicaContext`."""

    def __init__(self, strategy: Any, replica: int) -> None:
        self._strategy = strategy
        self._replica = replica

    @property
    def strategy(self) -> Any:
        return self._strategy

    @property
    def replica_id_in_sync_group(self) -> int:
        """The number of this replica, from 0."""
        return self._replica

    @property
    def num_replicas_in_sync(self) -> int:
        return int(self._strategy.num_replicas_in_sync)

    @property
    def devices(self) -> tuple[str, ...]:
        """The name of its device."""
        return (self._strategy.devices[self._replica],)


def get_replica_context() -> ReplicaContext | None:
    """The replica whose function is being called; None outside of such functions.

    Without any strategy TensorFlow answers with a replica of a default strategy; here that is None too.
    Source: `tf.distribute.get_replica_context`.
    """
    place = here()
    return None if place is None or place.replica is None else ReplicaContext(place.strategy, place.replica)


def has_strategy() -> bool:
    """Whether this is in the scope of a strategy, or in a function it calls. Source: `tf.distribute.has_strategy`."""
    return here() is not None


def get_strategy() -> Any:
    """The strategy of the innermost scope, or whose function this is. Source: `tf.distribute.get_strategy`.

    Raises RuntimeError outside of all: there is no default strategy.
    """
    place = here()
    if place is None:
        raise RuntimeError("There is no strategy here: enter `with strategy.scope():` first.")
    return place.strategy


def in_cross_replica_context() -> bool:
    """Whether this is in a strategy's scope and in none of its replicas. Source: `tf.distribute.in_cross_replica_context`."""
    place = here()
    return place is not None and place.replica is None
