"""`wf.random`: random numbers under the names that later programs of TensorFlow 1 have for them."""

from ..graph.ops.random import (
    multinomial as multinomial,
    random_normal as normal,
    random_shuffle as shuffle,
    random_uniform as uniform,
    truncated_normal as truncated_normal,
)
from ..graph.random_seed import set_random_seed as set_random_seed

__all__ = [
    "multinomial", "normal", "set_random_seed", "shuffle", "truncated_normal", "uniform",
]  # fmt: skip
