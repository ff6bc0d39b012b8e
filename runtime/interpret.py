"""The reference interpreter: each operation's own `compute`, in the order the graph was built. An oracle, not an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..graph.evaluate import evaluate
from ..graph.function import needed
from ..graph.ir import Tensor
from ..graph.state import State


@np.errstate(all="ignore")
def interpret(fetches: Sequence[Tensor], feeds: Mapping[Tensor, Any], state: State | None = None) -> list[Any]:
    """The values of `fetches`, computed one operation after the other with nothing clever in between."""
    values: dict[Tensor, Any] = dict(feeds)
    evaluate(needed(fetches, feeds), values, state or State(seed=0))
    return [values[tensor] for tensor in fetches]
