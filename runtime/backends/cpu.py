"""The CPU backend, with the kernels of branches and loops, which run plans themselves."""

from __future__ import annotations

from ...graph.ops.branching import If
from ...graph.ops.looping import While
from ...graph.ops.tapes import TapeRead
from .functional import branching, looping, reading
from .numpy import NumpyBackend, kernel_of

CPU = NumpyBackend()

kernel_of(If)(lambda definition, inputs, _: branching(CPU, definition, inputs))
kernel_of(TapeRead)(lambda definition, *_: reading(definition))
kernel_of(While)(lambda definition, inputs, _: looping(CPU, definition, inputs))
