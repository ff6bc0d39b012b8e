"""BackgroundSaver: writes checkpoints in a thread of its own, so that a training goes on meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ..graph.storage.beside import give_way
from .saver import Saver


class BackgroundSaver:
    """Saves through a Saver, with at most one checkpoint in flight.

    The values are those of the moment of `save`; only the writing goes on in the background. What goes wrong there is
    raised by the next `save` or `wait`.
    """

    def __init__(self, saver: Saver) -> None:
        self._saver = saver
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._thread is not None and self._thread.is_alive()

    def save(self, sess: Any, save_path: str, **arguments: Any) -> None:
        """Take the values and begin to write them, as `Saver.snapshot` does; first waits for the checkpoint before."""
        self.wait()
        write = self._saver.snapshot(sess, save_path, **arguments)
        # Not a daemon: a process that ends still finishes its last checkpoint.
        self._thread = threading.Thread(target=self._run, args=(write,), name="weft checkpoint writer")
        self._thread.start()

    def wait(self) -> None:
        """Wait until the checkpoint in flight is written. Raises what went wrong."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _run(self, write: Callable[[], Any]) -> None:
        try:
            give_way()
            write()
        except BaseException as error:
            self._failure = error
