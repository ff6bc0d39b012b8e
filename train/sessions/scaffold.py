"""Scaffold: what a training needs of a graph besides its own operations: to initialize, to check, to save, to summarize."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ...graph.collections import GraphKeys
from ...graph.ir import Operation, get_default_graph
from ...graph.ops.control import group
from ...graph.variable_functions import (
    global_variables,
    global_variables_initializer,
    local_variables_initializer,
    report_uninitialized_variables,
)
from ..saver import Saver
from ..summaries import merge_all

_log = logging.getLogger("weft")


class Scaffold:
    """The pieces of a graph that a training needs; `finalize` takes those that are not given from the graph's collections,
    or makes them and puts them there.

    `init_op` (with `init_feed_dict`) initializes the global variables, then `init_fn(scaffold, session)` is called.
    `ready_op` and `ready_for_local_init_op` give the names of the variables, all or global, that are not initialized.
    `local_init_op` (with `local_init_feed_dict`) initializes what each session has of its own. `summary_op`: all summaries.
    `saver`: a Saver. `copy_from_scaffold`: another one, for what is not given.

    Source: `tf.train.Scaffold`. Raises TypeError for a `copy_from_scaffold` that is none.
    """

    def __init__(
        self, init_op: Any = None, init_feed_dict: Any = None, init_fn: Callable[[Scaffold, Any], Any] | None = None,
        ready_op: Any = None, ready_for_local_init_op: Any = None, local_init_op: Any = None, summary_op: Any = None,
        saver: Any = None, copy_from_scaffold: Scaffold | None = None, local_init_feed_dict: Any = None,
    ) -> None:  # fmt: skip
        other = copy_from_scaffold
        if other is not None and not isinstance(other, Scaffold):
            raise TypeError("copy_from_scaffold is not a Scaffold instance.")
        self._init_op: Any = _first(init_op, _of(other, "_init_op"))
        self._init_feed_dict: Any = _first(init_feed_dict, _of(other, "_init_feed_dict"))
        self._user_init_fn: Any = _first(init_fn, _of(other, "_user_init_fn"))
        self._ready_op: Any = _first(ready_op, _of(other, "_ready_op"))
        self._ready_for_local_init_op: Any = _first(ready_for_local_init_op, _of(other, "_ready_for_local_init_op"))
        self._local_init_op: Any = _first(local_init_op, _of(other, "_local_init_op"))
        self._local_init_feed_dict: Any = _first(local_init_feed_dict, _of(other, "_local_init_feed_dict"))
        self._summary_op: Any = _first(summary_op, _of(other, "_summary_op"))
        self._saver: Any = _first(saver, _of(other, "_saver"))

    def finalize(self) -> Scaffold:
        """Take or make what is missing, and finalize the default graph. Returns itself; does nothing more the next time.

        Raises RuntimeError for a collection with several candidates.
        """
        pick = Scaffold.get_or_default
        if self._init_op is None:
            self._init_op = pick("init_op", GraphKeys.INIT_OP, _default_init_op)
        if self._ready_op is None:
            self._ready_op = pick("ready_op", GraphKeys.READY_OP, report_uninitialized_variables)
        if self._ready_for_local_init_op is None:
            key = GraphKeys.READY_FOR_LOCAL_INIT_OP
            self._ready_for_local_init_op = pick("ready_for_local_init_op", key, _uninitialized_global_variables)
        if self._local_init_op is None:
            self._local_init_op = pick("local_init_op", GraphKeys.LOCAL_INIT_OP, Scaffold.default_local_init_op)
        if self._summary_op is None:
            self._summary_op = pick("summary_op", GraphKeys.SUMMARY_OP, merge_all)
        if self._saver is None:
            self._saver = pick("saver", GraphKeys.SAVERS, lambda: Saver(sharded=True, allow_empty=True))
        self._saver.build()
        get_default_graph().finalize()
        _log.info("Graph was finalized.")
        return self

    @property
    def init_fn(self) -> Callable[[Any], Any] | None:
        """The function to call after `init_op`, of a session."""
        function = self._user_init_fn
        return None if function is None else lambda session: function(self, session)

    @property
    def init_op(self) -> Any:
        """What initializes the global variables."""
        return self._init_op

    @property
    def init_feed_dict(self) -> Any:
        """What to feed it."""
        return self._init_feed_dict

    @property
    def ready_op(self) -> Any:
        """The names of the variables that are not initialized."""
        return self._ready_op

    @property
    def ready_for_local_init_op(self) -> Any:
        """The names of the global variables that are not initialized."""
        return self._ready_for_local_init_op

    @property
    def local_init_op(self) -> Any:
        """What initializes the local variables."""
        return self._local_init_op

    @property
    def local_init_feed_dict(self) -> Any:
        """What to feed it."""
        return self._local_init_feed_dict

    @property
    def summary_op(self) -> Any:
        """All summaries in one, or None."""
        return self._summary_op

    @property
    def saver(self) -> Any:
        """What saves and restores the variables."""
        return self._saver

    @staticmethod
    def get_or_default(arg_name: str, collection_key: str, default_constructor: Callable[[], Any]) -> Any:
        """The one item of a collection; an empty one gets what the constructor makes. Raises RuntimeError for several."""
        graph = get_default_graph()
        found = graph.get_collection(collection_key)
        if len(found) > 1:
            raise RuntimeError(
                f'More than one item in the collection "{collection_key}". Please indicate which one to use by passing it '
                f"to the constructor as Scaffold({arg_name}=item to use)"
            )
        if found:
            return found[0]
        made = default_constructor()
        if made is not None:
            graph.add_to_collection(collection_key, made)
        return made

    @staticmethod
    def default_local_init_op() -> Operation:
        """An operation that initializes the local variables and the tables of the default graph."""
        return group(local_variables_initializer(), *get_default_graph().get_collection(GraphKeys.TABLE_INITIALIZERS))


def _default_init_op() -> Operation:
    return group(global_variables_initializer(), *get_default_graph().get_collection("saved_model_initializers"))


def _uninitialized_global_variables() -> Any:
    return report_uninitialized_variables(global_variables())


def _of(scaffold: Scaffold | None, field: str) -> Any:
    return None if scaffold is None else getattr(scaffold, field)


def _first(given: Any, other: Any) -> Any:
    return other if given is None else given
