"""InteractiveSession: a session for programs that are typed line by line."""

from __future__ import annotations

import warnings

from ..graph.ir import Graph
from .config import ConfigProto
from .session import Session, open_sessions


class InteractiveSession(Session):
    """A session that is the thread's default as soon as it is made. Source: `tf.InteractiveSession`.

    An operation whose device is not there matters to it only in runs that need it. Warns when another one is active.
    """

    def __init__(self, target: str = "", graph: Graph | None = None, config: ConfigProto | None = None) -> None:
        if any(isinstance(session, InteractiveSession) for session in open_sessions()):
            warnings.warn(
                "An interactive session is already active: it keeps its memory until its `close` is called, and is the "
                "default session again when the new one is closed.", UserWarning, stacklevel=2,
            )  # fmt: skip
        super().__init__(target, graph, config)
        self._make_default(nested=False)

    def _places_pruned_graph(self) -> bool:
        return True

    def close(self) -> None:
        """End the session, and stop being the default."""
        while self._entered:
            self._entered.pop().close()
        super().close()
