"""rows: what may be in a region whose blocks are whole rows: softmaxes, norms and losses of primitive operations.

Sums, means and extrema over the last axis make a number of each row; these numbers, the arithmetic of them and what else is done
with them and the rows are computed block by block, with the kernels that would compute them at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...graph import shapes
from ...graph.ops.reshaping import ExpandDims, Reshape, Squeeze
from ...graph.shapes import Dims
from ..kernels import Backend
from ..stages.fused import can_be_rows, row_form
from ..stages.lower import is_row_major
from ..stages.program import Node, Program

#: What gives the numbers of rows another shape, and changes nothing.
_VIEWS = (Reshape, ExpandDims, Squeeze)


class Fit(NamedTuple):
    """How an operation may be in a region of values of shape `dims`.

    `flat`: all its inputs are (see Fused). `cut`: blocks may be cut along the first axis, whatever the inputs are. `rows`:
    it may be one of those that are computed in blocks of whole rows.
    """

    dims: Dims
    flat: bool
    cut: bool
    rows: bool


def fits_rows(dims: Dims, whole: Dims) -> bool:
    """Whether an input of that shape is what broadcasting makes of it, where the result is looked at as rows."""
    form = row_form(dims, whole)
    return form in ("matrix", "row") or (form == "column" and len(dims or ()) == len(whole or ()))


def reduction(program: Program, node: Node) -> Fit | None:
    """How an operation that makes one number of each row may be in a region."""
    whole, made = program.spec(node.inputs[0]).dims, node.specs[0].dims
    if not can_be_rows(whole) or row_form(made, whole) != "column" or not is_row_major(program, node.inputs[0]):
        return None
    return Fit(whole, False, False, True)


def of_columns(program: Program, node: Node, whole: Dims, own: Sequence[int], backend: Backend) -> str | None:
    """What an operation does with numbers of rows: "view", "arithmetic", or None for something else.

    `own`: the nodes of the region of values of shape `whole` that it takes something of.
    """
    if len(node.specs) != 1 or node.definition.stateful or not can_be_rows(whole):
        return None
    made, inputs = node.specs[0], tuple([program.spec(ref) for ref in node.inputs])
    if row_form(made.dims, whole) != "column" or made.dtype.np.hasobject:
        return None
    if isinstance(node.definition, _VIEWS):
        return "view" if node.inputs[0].node in own and row_form(inputs[0].dims, whole) == "column" else None
    plain = all(each.dims in ((), made.dims) for each in inputs) and all(shapes.is_full(each.dims) for each in inputs)
    if not plain or not all(is_row_major(program, ref) for ref in node.inputs):
        return None
    kernel = backend.kernel(node.definition, inputs, node.specs)
    return "arithmetic" if kernel is not None and kernel.elementwise else None
