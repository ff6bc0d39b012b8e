"""What the tests of the backend "llvm" share: steps run with it and without, and what of a plan is machine code."""

from typing import Any

import numpy as np
import weft as wf
from weft.runtime.fused import Fused
from weft.runtime.plan import Run

LLVM = wf.ConfigProto(backend="llvm")


def compiled(session: wf.Session, fetches: Any, feeds: Any = None) -> list[Fused]:
    """The regions of a plan that are machine code."""
    found = [i for plan in session.plan(fetches, feeds).plans for i in plan.instructions if isinstance(i, Run)]
    from weft.runtime.backends import llvm

    return [
        run.definition
        for run in found
        if isinstance(run.definition, Fused) and llvm.region_code(run.definition, run.input_specs) is not None
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


def both(fetches: Any, feeds: Any, initialize: bool = False) -> list[Any]:
    """What a step gives compiled and not."""
    results = []
    for backend in ("llvm", "numpy"):
        with wf.Session(config=wf.ConfigProto(backend=backend)) as session:
            if initialize:
                session.run(wf.global_variables_initializer())
            results.append(session.run(fetches, feeds))
    return results
