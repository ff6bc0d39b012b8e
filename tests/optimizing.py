"""What tests of the optimizer share: optimized programs, and a comparison with the interpreter, which does not optimize."""

from __future__ import annotations

from typing import Any

import numpy as np
import weft as wf
from weft.graph.devices import DeviceSpec
from weft.runtime import pipeline
from weft.runtime.interpret import interpret
from weft.runtime.placing.place import place
from weft.runtime.stages.optimize import optimize
from weft.runtime.stages.program import Program, on_devices
from weft.runtime.stages.report import Report
from weft.runtime.stages.specialize import specialize

DEVICES = [DeviceSpec("localhost", 0, 0, "CPU", index) for index in range(2)]


def optimized(
    *fetches: Any, feeds: dict[wf.Tensor, tuple[int, ...]] | None = None, report: Report | None = None
) -> Program:
    """The program for fetches and targets, its feeds of these shapes."""
    feeds = feeds or {}
    tensors = tuple(fetch for fetch in fetches if isinstance(fetch, wf.Tensor))
    targets = tuple(fetch for fetch in fetches if isinstance(fetch, wf.Operation))
    program = pipeline.cut(pipeline.Request(tensors, targets, tuple(feeds)))
    program = specialize(program, list(feeds.values()))
    return optimize(on_devices(program, place(program, DEVICES, DEVICES[0], soft=False, local=True)), report)


def types(program: Program) -> list[str]:
    return [node.definition.type for node in program.nodes]


def check_bits(*fetches: wf.Tensor, feeds: dict[wf.Tensor, Any] | None = None) -> None:
    """A session, which optimizes, gives the bits of the interpreter, which does not."""
    with wf.Session() as sess:
        found = sess.run(list(fetches), feeds)
    for value, wanted in zip(found, interpret(fetches, feeds or {}), strict=True):
        assert np.asarray(value).tobytes() == np.asarray(wanted).tobytes()
