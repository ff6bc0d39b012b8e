"""What the tests of the backend "llvm" share: steps run with it and without, and what of a plan is machine code."""

from functools import partial
from typing import Any

import beside_numpy
import numpy as np
import weft as wf
from fusing import regions_of
from weft.runtime.stages.fused import Fused

LLVM = wf.ConfigProto(backend="llvm")

OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda: wf.train.GradientDescentOptimizer(0.1),
    "momentum": lambda: wf.train.MomentumOptimizer(0.1, 0.9),
    "nesterov": lambda: wf.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
    "adam": lambda: wf.train.AdamOptimizer(0.01),
    "adagrad": lambda: wf.train.AdagradOptimizer(0.1),
    "rmsprop": lambda: wf.train.RMSPropOptimizer(0.01, momentum=0.5),
    "centered": lambda: wf.train.RMSPropOptimizer(0.01, momentum=0.5, centered=True),
    "ftrl": lambda: wf.train.FtrlOptimizer(0.1),
}


def compiled(session: wf.Session, fetches: Any, feeds: Any = None) -> list[Fused]:
    """The regions of a plan that are machine code."""
    from weft.runtime.backends.llvm.regions import region_code

    return [
        run.definition
        for run in regions_of(session, fetches, feeds)
        if isinstance(run.definition, Fused) and region_code(run.definition, run.input_specs) is not None
    ]


def same(found: Any, wanted: Any, name: str = "") -> None:
    """The same bits, but for those that tell one nan from another."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), name
    if wanted.dtype.kind in "fc":
        np.testing.assert_array_equal(found, wanted, err_msg=name)  # nan is nan
        np.testing.assert_array_equal(np.signbit(found[found == 0]), np.signbit(wanted[wanted == 0]), err_msg=name)
    else:
        np.testing.assert_array_equal(found, wanted, err_msg=name)


both = partial(beside_numpy.both, "llvm")
