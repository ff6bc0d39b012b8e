"""What a session's config names, loaded when it asks for it: compilers that can take parts of a step, and the placer."""

from __future__ import annotations

from importlib.util import find_spec

from ..graph import errors
from ..graph.ir import Graph
from .config import ConfigProto
from .engine import Engine
from .pipeline import Gather, Placer


def planning(
    config: ConfigProto, engine: Engine, graph: Graph
) -> tuple[bool, int | None, Gather | None, Placer | None]:
    """How a session's plans are made: soft placement, the seed of the order, the stage that makes compounds, and the placer.

    Raises ValueError for an unknown backend, ImportError for one that is not installed, UnimplementedError for one that does
    not run on the session's engine; and what a cost model that cannot be read raises.
    """
    gather = _gathering(config.backend, engine.local)
    return config.allow_soft_placement, config.schedule_seed, gather, _placer(config, engine, graph)


def _placer(config: ConfigProto, engine: Engine, graph: Graph) -> Placer | None:
    """What `ConfigProto.placer` names."""
    if config.placer != "cost":
        return None
    from .placing.cost_model import CostModel
    from .placing.cost_placer import CostPlacer

    given = config.cost_model
    model = CostModel() if given is None else given if isinstance(given, CostModel) else CostModel.load(given)
    return CostPlacer(graph, engine, config.allow_soft_placement, model)


def _gathering(backend: str, local: bool) -> Gather | None:
    if backend == "numpy":
        return None
    if backend not in ("llvm", "xla"):
        raise ValueError(f"backend must be 'numpy', 'llvm' or 'xla', but got {backend!r}")
    if backend == "llvm":  # its kernels are the engine's: see `backends/named.py`
        return None
    if find_spec("jax") is None:
        raise ImportError("backend='xla' needs JAX: pip install 'weft[xla]'")
    if not local:
        raise errors.UnimplementedError(None, None, "backend='xla' compiles for one process alone, not for a cluster")
    from .backends.xla import fits
    from .regions.compounds import gather

    return lambda program, order: gather(program, order, fits)
