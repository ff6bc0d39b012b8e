"""Clusters of tasks: on Ray (`wf.cluster.start`), or made of servers at known addresses (`wf.train.Server`)."""

import importlib as _importlib
import typing as _typing

from ..graph.cluster_spec import ClusterSpec as ClusterSpec


def __getattr__(name: str) -> _typing.Any:
    """What needs Ray, which a cluster of servers does without, is loaded when it is first used."""
    if name in ("Cluster", "start"):
        return getattr(_importlib.import_module(".on_ray.cluster", __name__), name)
    if name == "Budget":
        return _importlib.import_module(".on_ray.recovery_state", __name__).Budget
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
