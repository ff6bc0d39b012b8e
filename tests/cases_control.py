"""Rows for graph/ops/control.py and report.py."""

from typing import Any

from case import Case, floats
from weft.graph.ir import Tensor, get_default_graph
from weft.graph.ops import control, identity, report

X, Y = floats(2, 3), floats(2, 3, seed=1)


def after_group(x: Tensor) -> Any:
    with get_default_graph().control_dependencies([control.group(x)]):
        return identity.identity(x)


def after_assert(x: Tensor) -> Any:
    with get_default_graph().control_dependencies([report.Assert(True, [x])]):
        return identity.identity(x)


CASES = [
    Case("NoOp", after_group, (X,), label="group", expected=lambda x: x),
    Case("NoOp", lambda x, y: control.tuple([x, y]), (X, Y), label="tuple", expected=lambda x, y: [x, y]),
    Case("Print", lambda x, y: report.Print(x, [y], "y is "), (X, Y), expected=lambda x, y: x),
    Case("Assert", after_assert, (X,), expected=lambda x: x),
]
