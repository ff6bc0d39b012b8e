"""Targets: what serves them, registered by rooms that this one does not know, and loaded when it is first used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..graph import errors
from ..graph.record import Record, record

#: Makes the engine of a target, for a ConfigProto.
EngineFactory = Callable[[str, Any], Any]
Reset = Callable[[str, Sequence[str], Any], None]


@record
class Served(Record):
    """What can be done with the targets of one scheme; what is None there is nothing to do, or cannot be done.

    `engine(target, config)` makes the engine of a session; `reset(target, containers, config)` forgets the variables of
    containers there; `recover(target)` starts anew what has died; `finished(target)` tells whether the job there is over.
    """

    engine: EngineFactory
    reset: Reset | None = None
    recover: Callable[[str], None] | None = None
    finished: Callable[[str], bool] | None = None


#: By scheme: of targets `scheme://…`.
_SERVED: dict[str, Served] = {}
#: Gives `wf.train.Server`, once that is registered.
_SERVERS: list[Callable[[], Any]] = []


def register_engine(
    scheme: str, factory: EngineFactory, reset: Reset | None = None, recover: Callable[[str], None] | None = None,
    finished: Callable[[str], bool] | None = None,
) -> None:  # fmt: skip
    """Targets of a scheme are served like this from now on: see Served."""
    _SERVED[scheme] = Served(factory, reset, recover, finished)


def is_finished(target: str) -> bool:
    """Whether the job there is over, so that nobody will make a session ready any more."""
    served = _SERVED.get(_scheme(target))
    return served is not None and served.finished is not None and served.finished(target)


def recover_target(target: str) -> None:
    """Start anew what has died there, where this process is who can. Raises UnavailableError when it has been tried too often."""
    served = _SERVED.get(_scheme(target))
    if served is not None and served.recover is not None:
        served.recover(target)


def reset_target(target: str, containers: Sequence[str], config: Any) -> None:
    """Forget the variables of containers there. Raises NotFoundError, UnimplementedError, and what it itself raises."""
    served = _served(target)
    if served.reset is None:
        raise errors.UnimplementedError(None, None, f"{target} cannot be reset: end it and start it anew")
    served.reset(target, containers, config)


def factory_of(target: str) -> EngineFactory:
    """Makes its engine. Raises NotFoundError for a target nobody serves."""
    return _served(target).engine


def _served(target: str) -> Served:
    """Raises NotFoundError for a target nobody serves."""
    served = _SERVED.get(_scheme(target))
    if served is None:
        known = ", ".join(f"'{name}://…'" for name in sorted(_SERVED)) or "none"
        raise errors.NotFoundError(None, None, f"No session factory for target '{target}'; known: '' (local), {known}")
    return served


def _scheme(target: str) -> str:
    return target.partition("://")[0]


def register_server(load: Callable[[], Any]) -> None:
    """`wf.train.Server` is what this gives."""
    _SERVERS[:] = [load]


def server_class() -> Any:
    """What serves a task at a known address. Raises IndexError before `register_server`."""
    return _SERVERS[0]()
