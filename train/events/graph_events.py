"""The graph of a training, for those who look at it: as graph.pbtxt and in the events."""

from __future__ import annotations

import logging
from typing import Any

from ...graph.ir import Graph
from ..meta_graph_export import export_meta_graph, write_graph

_log = logging.getLogger("weft")


def write_graph_events(graph: Graph, saver: Any, folder: str | None, writer: Any) -> None:
    """Write `graph.pbtxt` to a folder (None: not), and the graph and its meta graph to a FileWriter (None: not).

    A graph that cannot be a GraphDef keeps nobody from training: a warning says why it is not written.
    """
    try:
        if folder is not None:
            write_graph(graph.as_graph_def(add_shapes=True), folder, "graph.pbtxt")
        if writer is not None:
            writer.add_graph(graph)
            saver_def = None if saver is None else saver.as_saver_def()
            writer.add_meta_graph(export_meta_graph(graph=graph, saver_def=saver_def))
    except ValueError as error:
        _log.warning("The graph is not written, for it cannot be a GraphDef: %s", error)
