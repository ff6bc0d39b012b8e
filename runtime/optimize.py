"""optimize: rewrites of a program that keep every value bit for bit: fold constants, share equals, drop identities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..graph import shapes
from ..graph.dtypes import string, variant
from ..graph.opdef import OpDef, Spec
from ..graph.ops.broadcasting import BroadcastTo, SumTo
from ..graph.ops.constant import Const
from ..graph.ops.identity import Identity, NoOp, StopGradient
from ..graph.ops.literal import Literal
from ..graph.ops.reshaping import Reshape
from ..graph.ops.sizes import Rank, Shape, Size
from ..graph.ops.variables import VarHandleOp
from .program import Feed, Node, Program, Ref
from .specialize import infer_again

#: Larger results are computed at each run rather than kept with the plan.
FOLD_LIMIT_BYTES = 1 << 20

#: Operations that change nothing when the shape stays the same.
_RESHAPING = (BroadcastTo, Reshape, SumTo)

Rewrite = Callable[[Node, "_Rewriter"], Node | Ref]


def optimize(program: Program) -> Program:
    """All rewrites, in one walk, then without what nothing needs any more."""
    rewriter = _Rewriter(program)
    for node in program.nodes:
        rewriter.add(node, (fold_constants, drop_identities, share_equals))
    fetches = tuple(rewriter.moved(ref) for ref in program.fetches)
    targets = tuple(rewriter.placed[target] for target in program.targets)
    return drop_dead(Program(tuple(rewriter.nodes), fetches, targets))


class _Rewriter:
    """The new program as it grows, and where each old node and output went."""

    def __init__(self, old: Program) -> None:
        self.old = old
        self.nodes: list[Node] = []
        self.placed: list[int] = []
        #: The values that stand for the only output of nodes that are gone.
        self.replaced: dict[int, Ref] = {}
        self.seen: dict[Any, int] = {}
        #: Whether a node, or one that it needs, does something that must not get lost.
        self.effects: list[bool] = []

    def spec(self, ref: Ref) -> Spec:
        return self.nodes[ref.node].specs[ref.output]

    def moved(self, ref: Ref) -> Ref:
        """Where the value of the old program is now."""
        if ref.node in self.replaced:
            return self.replaced[ref.node]
        new = self.placed[ref.node]
        return ref if new == ref.node else Ref(new, ref.output)

    def _moved(self, old: Node) -> Node:
        """The node on its new inputs. A constant among them may tell more of its shape."""
        inputs = tuple([self.moved(ref) for ref in old.inputs])
        controls = tuple(dict.fromkeys([self.placed[control] for control in old.controls]))
        now, before = [self.spec(ref) for ref in inputs], [self.old.spec(ref) for ref in old.inputs]
        specs = old.specs if now == before else infer_again(old, now)
        return Node(old.name, old.definition, inputs, controls, specs, old.origin, old.device)

    def add(self, old: Node, rewrites: Sequence[Rewrite]) -> None:
        node = self._moved(old)
        for rewrite in rewrites:
            rewritten = rewrite(node, self)
            if isinstance(rewritten, Ref):  # the value is there already
                self.replaced[len(self.placed)] = rewritten
                self.placed.append(rewritten.node)
                return
            node = rewritten
        needed = [ref.node for ref in node.inputs] + list(node.controls)
        self.effects.append(_has_effect(node.definition) or any(map(self.effects.__getitem__, needed)))
        self.placed.append(len(self.nodes))
        self.nodes.append(node)


def _is_pure(definition: OpDef) -> bool:
    return not definition.stateful and not isinstance(definition, Feed)


def _has_effect(definition: OpDef) -> bool:
    return definition.stateful and definition.access != "read" and not isinstance(definition, (NoOp, VarHandleOp))


def fold_constants(node: Node, program: _Rewriter) -> Node:
    """A pure operation on constants, or a question about a known shape, becomes a constant."""
    if node.specs and node.specs[0].dtype is variant:
        return node
    if isinstance(node.definition, Const) or not _is_pure(node.definition) or node.controls or len(node.specs) != 1:
        return node
    value = _known_answer(node, program)
    if value is None:
        definitions = [program.nodes[ref.node].definition for ref in node.inputs]
        if not definitions or not all(isinstance(definition, Const) for definition in definitions):
            return node
        if any(program.nodes[ref.node].controls for ref in node.inputs):
            return node  # the order that a constant made under a control dependency carries must not get lost
        value = _compute(node, [definition.value.array for definition in definitions if isinstance(definition, Const)])
    if value is None or value.nbytes > FOLD_LIMIT_BYTES:
        return node
    constant = Const(Literal(value), node.specs[0].dtype)
    return node._replace(definition=constant, inputs=(), specs=(constant.infer(),))


def _known_answer(node: Node, program: _Rewriter) -> np.ndarray[Any, Any] | None:
    ref = node.inputs[0] if isinstance(node.definition, (Shape, Size, Rank)) else None
    if ref is None or program.effects[ref.node]:
        return None
    known = node.specs[0].known
    full = shapes.is_full(program.spec(ref).dims)
    return np.array(known, node.specs[0].dtype.np) if full and known is not None else None


def _compute(node: Node, inputs: list[Any]) -> np.ndarray[Any, Any] | None:
    count = shapes.count(node.specs[0].dims)
    if count is None or count * node.specs[0].dtype.size > FOLD_LIMIT_BYTES:
        return None
    try:
        with np.errstate(all="ignore"):
            return np.array(node.definition.compute(*inputs), order="C")
    except Exception:  # the run itself will report it, with the operation's name
        return None


def drop_identities(node: Node, program: _Rewriter) -> Node | Ref:
    """An identity that waits for nothing is its input; so is a reshape or broadcast to the shape that is there."""
    if node.controls or not isinstance(node.definition, (Identity, StopGradient, *_RESHAPING)):
        return node
    ref = node.inputs[0]
    same = program.spec(ref).dims == node.specs[0].dims and shapes.is_full(node.specs[0].dims)
    return ref if same or not isinstance(node.definition, _RESHAPING) else node


def share_equals(node: Node, program: _Rewriter) -> Node | Ref:
    """A pure operation of the same kind on the same inputs and device is computed once."""
    if not _is_pure(node.definition) or len(node.specs) != 1 or node.specs[0].dtype is string:
        return node
    key = (node.definition, node.inputs, node.controls, node.inputs and node.device)
    first = program.seen.setdefault(key, len(program.nodes))
    if first == len(program.nodes):
        return node
    text = repr(node.definition)
    if text != repr(program.nodes[first].definition):  # 0.0 == -0.0, and 1 == True
        first = program.seen.setdefault((text, *key), len(program.nodes))
    return node if first == len(program.nodes) else Ref(first, 0)


def drop_dead(program: Program) -> Program:
    """Without nodes that neither fetches nor targets need. (Constants folded into others leave such nodes behind.)"""
    needed = {ref.node for ref in program.fetches} | set(program.targets)
    for position in range(len(program.nodes) - 1, -1, -1):
        if position in needed:
            node = program.nodes[position]
            needed.update([ref.node for ref in node.inputs])
            needed.update(node.controls)
    if len(needed) == len(program.nodes):
        return program
    order = sorted(needed)
    new = {old: position for position, old in enumerate(order)}

    def moved(node: Node) -> Node:
        inputs = tuple([Ref(new[ref.node], ref.output) for ref in node.inputs])
        controls = tuple([new[control] for control in node.controls])
        return Node(node.name, node.definition, inputs, controls, node.specs, node.origin, node.device)

    return Program(
        tuple(moved(program.nodes[old]) for old in order),
        tuple(Ref(new[ref.node], ref.output) for ref in program.fetches),
        tuple(new[target] for target in program.targets),
    )
