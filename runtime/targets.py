"""Targets: what serves them, registered by rooms that this one does not know, and loaded when it is first used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..graph import errors

#: Makes the engine of a target, for a ConfigProto.
EngineFactory = Callable[[str, Any], Any]
Reset = Callable[[str, Sequence[str], Any], None]
_FACTORIES: dict[str, EngineFactory] = {}
_RESETS: dict[str, Reset] = {}
_RECOVERIES: dict[str, Callable[[str], None]] = {}
_FINISHED: dict[str, Callable[[str], bool]] = {}
_SERVERS: list[Callable[[], Any]] = []


def register_engine(
    scheme: str, factory: EngineFactory, reset: Reset | None = None, recover: Callable[[str], None] | None = None,
    finished: Callable[[str], bool] | None = None,
) -> None:  # fmt: skip
    """Sessions with a target `scheme://…` get their engine from `factory(target, config)`.

    `reset(target, containers, config)` forgets the variables of containers there; `recover(target)` starts anew what has died;
    `finished(target)` tells whether the job there is over.
    """
    _FACTORIES[scheme] = factory
    if reset is not None:
        _RESETS[scheme] = reset
    if recover is not None:
        _RECOVERIES[scheme] = recover
    if finished is not None:
        _FINISHED[scheme] = finished


def is_finished(target: str) -> bool:
    """Whether the job there is over, so that nobody will make a session ready any more."""
    finished = _FINISHED.get(target.partition("://")[0])
    return finished is not None and finished(target)


def recover_target(target: str) -> None:
    """Start anew what has died there, where this process is who can. Raises UnavailableError when it has been tried too often."""
    recover = _RECOVERIES.get(target.partition("://")[0])
    if recover is not None:
        recover(target)


def reset_target(target: str, containers: Sequence[str], config: Any) -> None:
    """Forget the variables of containers there. Raises NotFoundError, UnimplementedError, TypeError, and what it raises."""
    if isinstance(containers, str) or not all(isinstance(each, str) for each in containers):
        raise TypeError(f"containers must be a list of names, but got {containers!r}")
    scheme = scheme_of(target)
    if scheme not in _RESETS:
        raise errors.UnimplementedError(None, None, f"{target} cannot be reset: end it and start it anew")
    _RESETS[scheme](target, containers, config)


def factory_of(target: str) -> EngineFactory:
    """Makes its engine. Raises NotFoundError for a target nobody serves."""
    return _FACTORIES[scheme_of(target)]


def scheme_of(target: str) -> str:
    """The scheme of a target that somebody serves. Raises NotFoundError."""
    scheme = target.partition("://")[0]
    if scheme not in _FACTORIES:
        known = ", ".join(f"'{name}://…'" for name in sorted(_FACTORIES)) or "none"
        raise errors.NotFoundError(None, None, f"No session factory for target '{target}'; known: '' (local), {known}")
    return scheme


def register_server(load: Callable[[], Any]) -> None:
    """`wf.train.Server` is what this gives."""
    _SERVERS[:] = [load]


def server_class() -> Any:
    """What serves a task at a known address. Raises IndexError before `register_server`."""
    return _SERVERS[0]()
