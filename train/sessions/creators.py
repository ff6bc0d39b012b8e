"""SessionCreators: how a monitored session gets its session, at first and after it was lost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ...graph.ir import get_default_graph
from ...runtime.targets import recover_target
from .manager import SessionManager
from .scaffold import Scaffold


class SessionCreator(ABC):
    """Makes sessions. Source: `tf.train.SessionCreator`."""

    @abstractmethod
    def create_session(self) -> Any:
        """A new session, ready to train."""


class _ScaffoldCreator(SessionCreator):
    """What the two creators share: a scaffold, and the manager that is made of it."""

    def __init__(self, scaffold: Scaffold | None, master: str, config: Any) -> None:
        self._scaffold = scaffold or Scaffold()
        self._master = master
        self._config = config
        self._session_manager: SessionManager | None = None

    def _manager(self) -> SessionManager:
        """The manager; the scaffold is complete then, and the graph finalized."""
        self._scaffold.finalize()
        if self._session_manager is None:
            self._session_manager = SessionManager(
                local_init_op=self._scaffold.local_init_op,
                local_init_feed_dict=self._scaffold.local_init_feed_dict,
                ready_op=self._scaffold.ready_op,
                ready_for_local_init_op=self._scaffold.ready_for_local_init_op,
                graph=get_default_graph(),
            )
        return self._session_manager


class ChiefSessionCreator(_ScaffoldCreator):
    """Makes sessions in which the variables are restored from the newest checkpoint in `checkpoint_dir` (or from
    `checkpoint_filename_with_path`), or else initialized. Source: `tf.train.ChiefSessionCreator`.
    """

    def __init__(
        self, scaffold: Scaffold | None = None, master: str = "", config: Any = None, checkpoint_dir: str | None = None,
        checkpoint_filename_with_path: str | None = None,
    ) -> None:  # fmt: skip
        _ScaffoldCreator.__init__(self, scaffold, master, config)
        self._checkpoint_dir = checkpoint_dir
        self._checkpoint_filename_with_path = checkpoint_filename_with_path

    def create_session(self) -> Any:
        """A new session, on tasks of which those that died are started anew; see `SessionManager.prepare_session`."""
        manager, scaffold = self._manager(), self._scaffold
        recover_target(self._master)
        return manager.prepare_session(
            self._master,
            saver=scaffold.saver,
            checkpoint_dir=self._checkpoint_dir,
            checkpoint_filename_with_path=self._checkpoint_filename_with_path,
            config=self._config,
            init_op=scaffold.init_op,
            init_feed_dict=scaffold.init_feed_dict,
            init_fn=scaffold.init_fn,
        )


class WorkerSessionCreator(_ScaffoldCreator):
    """Makes sessions in which a chief has initialized the variables; waits for it up to `max_wait_secs`.

    Source: `tf.train.WorkerSessionCreator`.
    """

    def __init__(
        self, scaffold: Scaffold | None = None, master: str = "", config: Any = None, max_wait_secs: float = 30 * 60
    ) -> None:  # fmt: skip
        _ScaffoldCreator.__init__(self, scaffold, master, config)
        self._max_wait_secs = max_wait_secs

    def create_session(self) -> Any:
        """A new session; see `SessionManager.wait_for_session`."""
        return self._manager().wait_for_session(self._master, config=self._config, max_wait_secs=self._max_wait_secs)
