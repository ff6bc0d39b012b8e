"""Seeds of random operations: from the graph's seed and the operation's own, by TensorFlow 1's rules."""

from __future__ import annotations

import itertools

from . import context
from .ir import get_default_graph

#: The graph seed that goes with an operation's own seed where none is set.
DEFAULT_GRAPH_SEED = 87654321
_LIMIT = 2**31 - 1

_eager_count = itertools.count()


def set_random_seed(seed: int | None) -> None:
    """Set the default graph's seed: its random operations then give the same numbers in every session.

    Source: `tf.set_random_seed`.
    """
    global _eager_count
    get_default_graph().seed = seed
    _eager_count = itertools.count()


def get_seed(op_seed: int | None) -> tuple[int | None, int | None]:
    """The two seeds for an operation made now: (graph seed, operation seed), or (None, None) when neither is set.

    With a graph seed and no `op_seed`, the number of operations made so far stands for it; with an `op_seed` alone, a
    fixed number for the graph seed. Source: `tf.get_seed`.
    """
    graph_seed = get_default_graph().seed
    if graph_seed is None and op_seed is None:
        return None, None
    if op_seed is None:
        op_seed = next(_eager_count) if context.executing_eagerly() else get_default_graph().operations_made
    seeds = (DEFAULT_GRAPH_SEED if graph_seed is None else graph_seed) % _LIMIT, op_seed % _LIMIT
    return (0, _LIMIT) if seeds == (0, 0) else seeds


def seed_attributes(op_seed: int | None) -> tuple[int, int]:
    """`get_seed` as the attributes of an operation: (0, 0) means that the session's seed decides."""
    seed, seed2 = get_seed(op_seed)
    return seed or 0, seed2 or 0
