"""How tests look into a step: sigmoids that call a function of theirs, wherever they are computed."""

from collections.abc import Callable
from typing import Any

import pytest
from weft.graph.ops.special import Sigmoid
from weft.runtime.backends.numpy import _MAKERS
from weft.runtime.kernels import Kernel


def spy(monkeypatch: pytest.MonkeyPatch, note: Callable[[Any], Any]) -> None:
    """Have `note` called with what a sigmoid is computed of, before it is."""
    compute = Sigmoid.compute

    def noting(self: Any, x: Any, out: Any = None) -> Any:
        note(x)
        return compute(self, x, out)

    monkeypatch.setattr(Sigmoid, "compute", noting)
    monkeypatch.setitem(
        _MAKERS, Sigmoid, lambda definition, inputs, outputs: Kernel(definition.compute, takes_out=True)
    )
