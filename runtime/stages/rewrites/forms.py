"""Rewrites of what only changes a value's form: identities, reshapes, transpositions, broadcasts and casts."""

from __future__ import annotations

from typing import cast

from ....graph import shapes
from ....graph.dtypes import DType
from ....graph.opdef import Spec
from ....graph.ops.arithmetic import Binary, Masked, Unary
from ....graph.ops.broadcasting import BroadcastTo, SumTo
from ....graph.ops.cast import Cast
from ....graph.ops.convert import Pack
from ....graph.ops.identity import Identity, StopGradient
from ....graph.ops.reshaping import ExpandDims, Reshape, Squeeze, Transpose
from ....graph.ops.special import SigmoidGrad
from ....graph.ops.transcendental import TanhGrad
from ....graph.shapes import normal_axis
from ...ufuncs import EXACT
from ..program import Node, Ref
from .constants import fold_constants
from .rewriter import Rewriter

#: Operations that change nothing when the shape stays the same.
_RESHAPING = (BroadcastTo, Reshape, SumTo)
_VIEWS_OF_ALL = (Reshape, ExpandDims, Squeeze)


def drop_identities(node: Node, program: Rewriter) -> Node | Ref:
    """An identity that waits for nothing is its input; so is a reshape or broadcast to the shape that is there."""
    if node.controls:
        return node
    ref = node.inputs[0]
    if not isinstance(node.definition, _RESHAPING):
        return ref
    same = program.spec(ref).dims == node.specs[0].dims and shapes.is_full(node.specs[0].dims)
    return ref if same and _only_shape(node, program) else node


def _only_shape(node: Node, program: Rewriter) -> bool:
    """Whether the inputs after the first may be left out: nothing happens on the way to them."""
    return not any(program.effects[ref.node] for ref in node.inputs[1:])


def merge_reshapes(node: Node, program: Rewriter) -> Node | Ref:
    """A reshape of a reshape is one of the first input."""
    before = program.maker(node.inputs[0])
    dims = node.specs[0].dims
    if not isinstance(before.definition, _VIEWS_OF_ALL) or before.controls or not shapes.is_full(dims):
        return node
    source = before.inputs[0]
    if not (shapes.is_full(program.spec(source).dims) and _only_shape(node, program) and _only_shape(before, program)):
        return node
    if program.spec(source).dims == dims and not node.controls:
        return source
    shape = program.shape(cast("tuple[int, ...]", dims), node)
    return node._replace(definition=Reshape(), inputs=(source, shape))


def merge_transposes(node: Node, program: Rewriter) -> Node | Ref:
    """A transposition of a transposition is one; of a kind that changes nothing, none."""
    rank = len(node.specs[0].dims or ())
    perm = _perm(node, rank)
    source = node.inputs[0]
    before = program.maker(source)
    if isinstance(before.definition, Transpose) and not before.controls:
        first = _perm(before, rank)
        perm, source = tuple(first[axis] for axis in perm), before.inputs[0]
    if perm == tuple(range(rank)) and node.specs[0].dims is not None and not node.controls:
        return source
    if source == node.inputs[0]:
        return node
    return node._replace(definition=Transpose(perm), inputs=(source,))


def transpose_before_packing(node: Node, program: Rewriter) -> Node:
    """A transposition of what is packed: the parts are transposed, which copies nothing, and packed as they are wanted."""
    before = program.maker(node.inputs[0])
    if not isinstance(before.definition, Pack) or before.controls or before.specs[0].dims is None:
        return node
    rank = len(before.specs[0].dims)
    perm, axis = _perm(node, rank), normal_axis(before.definition.axis, rank)
    inside = tuple(each - (each > axis) for each in perm if each != axis)
    parts = []
    for ref in before.inputs:
        definition, spec = Transpose(inside), program.spec(ref)
        made = Spec(spec.dtype, None if spec.dims is None else tuple(spec.dims[each] for each in inside))
        part = Node(node.name, definition, (ref,), (), (made,), node.origin, node.device)
        parts.append(Ref(program.insert(part), 0))
    return node._replace(definition=Pack(perm.index(axis)), inputs=tuple(parts))


def _perm(node: Node, rank: int) -> tuple[int, ...]:
    perm = cast(Transpose, node.definition).perm
    return tuple(reversed(range(rank))) if perm is None else perm


def narrow_broadcasts(node: Node, program: Rewriter) -> Node:
    """Elementwise arithmetic repeats its inputs by itself; where all of them are repeated, it is done once, before."""
    if (
        (type(node.definition).ufunc not in EXACT and not isinstance(node.definition, (TanhGrad, SigmoidGrad, Masked)))
        or node.specs[0].dtype.is_complex
        or not shapes.is_full(node.specs[0].dims)
    ):
        return node
    inputs = tuple([_unrepeated(ref, program) for ref in node.inputs])
    if inputs == node.inputs:
        return node
    dims = program.spec(inputs[0]).dims
    for ref in inputs[1:]:
        dims = shapes.broadcast(dims, program.spec(ref).dims)
    if dims == node.specs[0].dims:
        return node._replace(inputs=inputs)
    small = Node(node.name, node.definition, inputs, (), (Spec(node.specs[0].dtype, dims),), node.origin, node.device)
    first = Ref(program.insert(fold_constants(small, program)), 0)
    shape = program.shape(cast("tuple[int, ...]", node.specs[0].dims), node)
    return node._replace(definition=BroadcastTo(), inputs=(first, shape))


def _unrepeated(ref: Ref, program: Rewriter) -> Ref:
    node = program.maker(ref)
    if not isinstance(node.definition, BroadcastTo) or node.controls or not _only_shape(node, program):
        return ref
    return node.inputs[0] if shapes.is_full(program.spec(node.inputs[0]).dims) else ref


def merge_casts(node: Node, program: Rewriter) -> Node | Ref:
    """A cast to a type that holds all of the first one's values, and back or on, is one cast or none."""
    before = program.maker(node.inputs[0])
    wanted = node.specs[0].dtype
    if program.spec(node.inputs[0]).dtype is wanted and not node.controls:
        return node.inputs[0]
    if not isinstance(before.definition, Cast) or before.controls:
        return node
    source = before.inputs[0]
    first, between = program.spec(source).dtype, before.specs[0].dtype
    if not _holds(between, first):
        return node
    if first is wanted:
        return node if node.controls else source
    return node._replace(inputs=(source,)) if first.is_integer and between.is_integer else node


#: For the kinds of numbers, how many bits of an integer each type holds.
_FLOAT_BITS = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}


def _holds(wide: DType, narrow: DType) -> bool:
    """Whether each value of the narrow type is one of the wide type."""
    if narrow.is_bool or narrow.is_complex or wide.is_complex:
        return False
    if narrow.is_floating:
        return wide.is_floating and (narrow.name, wide.name) in _WIDER_FLOATS
    bits = narrow.size * 8 - (0 if narrow.np.kind == "u" else 1)
    if wide.is_floating:
        return bits <= _FLOAT_BITS[wide.name]
    if wide.is_integer:
        return wide.size > narrow.size and (wide.np.kind == "i" or narrow.np.kind == "u")
    return False


_WIDER_FLOATS = {
    ("float16", "float32"), ("float16", "float64"), ("bfloat16", "float32"), ("bfloat16", "float64"),
    ("float32", "float64"),
}  # fmt: skip

#: What the broadcasts in front of are folded into.
ELEMENTWISE = (Unary, Binary, Masked)
IDENTITIES = (Identity, StopGradient, *_RESHAPING)
RESHAPES = _VIEWS_OF_ALL
