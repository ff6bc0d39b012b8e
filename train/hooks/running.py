"""Hooks that take part in runs: what is fed, and what is computed at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ...graph import errors
from .session_run_hook import SessionRunArgs, SessionRunContext, SessionRunHook

_log = logging.getLogger("weft")


class FinalOpsHook(SessionRunHook):
    """Runs `final_ops` (a tensor, or a list or dict of them) at the end; `final_ops_values` then has their values.

    Source: `tf.train.FinalOpsHook`.
    """

    def __init__(self, final_ops: Any, final_ops_feed_dict: Any = None) -> None:
        self._final_ops = final_ops
        self._final_ops_feed_dict = final_ops_feed_dict
        self._final_ops_values: Any = None

    @property
    def final_ops_values(self) -> Any:
        """The values, in the structure of `final_ops`; None before the end."""
        return self._final_ops_values

    def end(self, session: Any) -> None:
        if self._final_ops is None:
            return
        try:
            self._final_ops_values = session.run(self._final_ops, feed_dict=self._final_ops_feed_dict)
        except (errors.OutOfRangeError, StopIteration):
            _log.warning(
                "FinalOpsHook came to the end of the input: what it computes must read variables only, not the data that "
                "the training has used up."
            )
            raise


class FeedFnHook(SessionRunHook):
    """Feeds each run what `feed_fn()` returns: a dict of values by tensor. Source: `tf.train.FeedFnHook`."""

    def __init__(self, feed_fn: Callable[[], Any]) -> None:
        self.feed_fn = feed_fn

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:
        return SessionRunArgs(fetches=None, feed_dict=self.feed_fn())
