"""What a session's config names, loaded when it asks for it: its engine, compilers that can take parts of a step, the placer."""

from __future__ import annotations

from importlib.util import find_spec

from ..graph import errors
from ..graph.ir import Graph
from .config import ConfigProto
from .engine import Engine
from .local_engine import LocalEngine
from .pipeline import Gather, Placer, Planning
from .targets import factory_of


def engine_for(target: str, config: ConfigProto) -> Engine:
    """The engine of a session's target; "" is this process. Raises NotFoundError for a target nobody serves."""
    if not target:
        return LocalEngine(dict(config.device_count), config.backend)
    engine: Engine = factory_of(target)(target, config)
    return engine


def planning_for(config: ConfigProto, engine: Engine, graph: Graph) -> Planning:
    """How a session's plans are made.

    Raises ValueError for an unknown backend, ImportError for one that is not installed, UnimplementedError for one that does
    not run on the session's engine; and what a cost model that cannot be read raises.
    """
    gather = _gathering(config.backend, engine.local)
    return Planning(engine, config.allow_soft_placement, config.schedule_seed, gather, _placer(config, engine, graph))


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
