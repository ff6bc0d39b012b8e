"""What `ConfigProto.backend` names: the compilers that can take parts of a step, loaded when a session asks for one."""

from __future__ import annotations

from importlib.util import find_spec

from ..graph import errors
from .config import ConfigProto
from .engine import Engine
from .pipeline import Gather


def planning(config: ConfigProto, engine: Engine) -> tuple[bool, int | None, Gather | None]:
    """How a session's plans are made: soft placement, the seed of the order, and the stage that makes compounds.

    Raises ValueError for an unknown backend, ImportError for one that is not installed, UnimplementedError for one that does
    not run on the session's engine.
    """
    return config.allow_soft_placement, config.schedule_seed, _gathering(config.backend, engine.local)


def _gathering(backend: str, local: bool) -> Gather | None:
    if backend == "numpy":
        return None
    if backend not in ("llvm", "xla"):
        raise ValueError(f"backend must be 'numpy', 'llvm' or 'xla', but got {backend!r}")
    if backend == "llvm":  # its kernels are the engine's: see `backends/named.py`
        if not local:
            raise errors.UnimplementedError(
                None, None, "backend='llvm' compiles for one process alone, not for a cluster"
            )
        return None
    if find_spec("jax") is None:
        raise ImportError("backend='xla' needs JAX: pip install 'weft[xla]'")
    if not local:
        raise errors.UnimplementedError(None, None, "backend='xla' compiles for one process alone, not for a cluster")
    from .backends.xla import fits
    from .compounds import gather

    return lambda program, order: gather(program, order, fits)
