"""What is the default here: the thread's default graph and session, and whether execution is eager."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class _Defaults(threading.local):
    def __init__(self) -> None:
        self.graphs: list[Any] = []
        self.bottom: Any = None
        self.sessions: list[Any] = []


_defaults = _Defaults()
_eager = False


def default_graph(make: Callable[[], Any]) -> Any:
    """The thread's default graph, made when there is none."""
    if _defaults.graphs:
        return _defaults.graphs[-1]
    if _defaults.bottom is None:
        _defaults.bottom = make()
    return _defaults.bottom


def innermost_graph() -> Any:
    """The graph of the innermost `with graph.as_default()` of this thread, or None."""
    return _defaults.graphs[-1] if _defaults.graphs else None


def misplaced(element: Any) -> str:
    """What an error says of what was made in a branch or a loop and is used from elsewhere."""
    made = element.graph.context
    used = getattr(innermost_graph(), "context", "")
    where = f"in {used}" if used and used != made else "outside of it"
    return f"{element} was made in {made} and cannot be used {where}: return it from there instead"


class as_default_graph:
    """`graph` is this thread's default for a block. `nested` blocks must end in the order of a stack, else AssertionError."""

    __slots__ = ("_graph", "_nested")

    def __init__(self, graph: Any, nested: bool = True) -> None:
        self._graph = graph
        self._nested = nested

    def __enter__(self) -> Any:
        _defaults.graphs.append(self._graph)
        return self._graph

    def __exit__(self, *_: object) -> None:
        if self._nested and _defaults.graphs[-1:] != [self._graph]:
            raise AssertionError("Nesting violated for the stack of default graphs: an inner block is still open")
        _remove_last(_defaults.graphs, self._graph)


def reset_default_graph() -> None:
    """Forget the thread's default graph. Source: `tf.reset_default_graph`. Raises AssertionError inside of a graph's block."""
    if _defaults.graphs:
        raise AssertionError(
            "Do not use reset_default_graph() to clear nested graphs: leave `with graph.as_default()` first."
        )
    _defaults.bottom = None


def get_default_session() -> Any:
    """The innermost session entered by `with session:` in this thread, or None. Source: `tf.get_default_session`."""
    return _defaults.sessions[-1] if _defaults.sessions else None


def session_for(element: Any, session: Any, verb: str) -> Any:
    """The session to run a tensor or an operation in: `session`, or the default one. Raises ValueError without one that fits."""
    if session is not None:
        return session
    session = get_default_session()
    if session is None:
        raise ValueError(
            f"Cannot {verb}: No default session is registered. Use `with sess.as_default()` or pass `session=`."
        )
    if session.graph is not element.graph.root:
        kind = "evaluate tensor: the tensor" if verb == "eval" else "execute operation: the operation"
        raise ValueError(
            f"Cannot use the default session to {kind}'s graph is different from the session's graph. "
            f"Pass an explicit session to `{verb}(session=sess)`."
        )
    return session


@contextmanager
def as_default_session(session: Any) -> Iterator[Any]:
    """`session` is this thread's default for a block."""
    _defaults.sessions.append(session)
    try:
        yield session
    finally:
        _remove_last(_defaults.sessions, session)


def _remove_last(stack: list[Any], item: Any) -> None:
    """Take the innermost entry of `item`, which need not be the last of all."""
    del stack[len(stack) - 1 - stack[::-1].index(item)]


def executing_eagerly() -> bool:
    """Whether operations compute at once: not inside of `with graph.as_default()`, where they are added to the graph.

    The thread's own graph is no such graph: under eager execution it only keeps scopes and collections.
    Source: `tf.executing_eagerly`.
    """
    return _eager and (not _defaults.graphs or _defaults.graphs[-1] is _defaults.bottom)


def set_eager(value: bool) -> None:
    """Turn eager execution on or off for the whole process."""
    global _eager
    _eager = value


def has_default_graph() -> bool:
    """Whether this thread has built anything in its default graph yet."""
    return bool(_defaults.graphs) or _defaults.bottom is not None
