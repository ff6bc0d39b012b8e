"""The part of a Graph that leaves it for other tools: bound to the writer of GraphDefs, which stands above this file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_EXPORTER: list[Callable[..., Any]] = []
_Function = TypeVar("_Function", bound=Callable[..., Any])


def exporter(function: _Function) -> _Function:
    """Decorator: the function makes a GraphDef of a graph."""
    _EXPORTER[:] = [function]
    return function


class Portable:
    """The part of a Graph that other tools can read."""

    def as_graph_def(self, from_version: int | None = None, add_shapes: bool = False) -> Any:
        """The graph as TensorFlow's GraphDef, which Netron, TensorBoard and TensorFlow itself read.

        `from_version`: only what was added since the graph had that `version`. `add_shapes` writes the static shapes, as
        `_output_shapes`. Operations that TF does not have get the type `Weft>…`: tools show them, `import_graph_def` reads
        them. Source: `tf.Graph.as_graph_def`. Raises ValueError for what a GraphDef cannot hold, ImportError without
        tensorboardX.
        """
        return _EXPORTER[0](self, from_version, add_shapes)
