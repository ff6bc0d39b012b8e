"""The state of a walk that rewrites a program node by node: what has become of the nodes so far, and what was done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ....graph.dtypes import int32
from ....graph.opdef import OpDef, Spec
from ....graph.ops.constant import Const
from ....graph.ops.identity import NoOp
from ....graph.ops.literal import Literal
from ....graph.ops.variables import VarHandleOp
from ..program import Feed, Node, Program, Ref
from ..report import Report
from ..specialize import infer_again

#: What a rewrite makes of a node: the node itself where it does not apply, another one, or a value that is there already.
Rewrite = Callable[[Node, "Rewriter"], Node | Ref]


class Pass(NamedTuple):
    """A rewrite of single nodes: its name, and the kinds of operations that it looks at (None: all)."""

    name: str
    rewrite: Rewrite
    kinds: tuple[type[OpDef], ...] | None = None


class Rewriter:
    """The new program as it grows, and where each old node and output went."""

    def __init__(self, old: Program, passes: Sequence[Pass], report: Report) -> None:
        self.old = old
        self.report = report
        self.nodes: list[Node] = []
        self.placed: list[int] = []
        #: The values that stand for the only output of nodes that are gone.
        self.replaced: dict[int, Ref] = {}
        self.seen: dict[Any, int] = {}
        #: Whether a node, or one that it needs, does something that must not get lost.
        self.effects: list[bool] = []
        self._passes = passes
        self._by_kind: dict[type[OpDef], list[int]] = {}

    def spec(self, ref: Ref) -> Spec:
        return self.nodes[ref.node].specs[ref.output]

    def maker(self, ref: Ref) -> Node:
        """The node that makes a value."""
        return self.nodes[ref.node]

    def moved(self, ref: Ref) -> Ref:
        """Where the value of the old program is now."""
        if ref.node in self.replaced:
            return self.replaced[ref.node]
        new = self.placed[ref.node]
        return ref if new == ref.node else Ref(new, ref.output)

    def _moved(self, old: Node) -> Node:
        """The node on its new inputs. A constant among them may tell more of its shape."""
        inputs = tuple([self.moved(ref) for ref in old.inputs])
        controls = tuple(dict.fromkeys([self.placed[control] for control in old.controls])) if old.controls else ()
        now, before = [self.spec(ref) for ref in inputs], [self.old.spec(ref) for ref in old.inputs]
        specs = old.specs if now == before else infer_again(old, now)
        return Node(old.name, old.definition, inputs, controls, specs, old.origin, old.device)

    def _next(self, kind: type[OpDef], number: int) -> int:
        """The number of the next pass, from this one on, that looks at a kind of operation."""
        known = self._by_kind.get(kind)
        if known is None:
            following = count = len(self._passes)
            known = self._by_kind[kind] = [count] * (count + 1)
            for at in range(count - 1, -1, -1):
                kinds = self._passes[at].kinds
                following = known[at] = at if kinds is None or issubclass(kind, kinds) else following
        return known[number]

    def add(self, old: Node) -> None:
        """The next node of the old program."""
        node = self._moved(old)
        number = self._next(type(node.definition), 0)
        while number < len(self._passes):
            each = self._passes[number]
            rewritten = each.rewrite(node, self)
            if rewritten is not node:
                made = rewritten if isinstance(rewritten, Node) else self.maker(rewritten)
                self.report.rewrote(each.name, node, made)
                if isinstance(rewritten, Ref):  # the value is there already
                    self.replaced[len(self.placed)] = rewritten
                    self.placed.append(rewritten.node)
                    return
                node = rewritten
            number = self._next(type(node.definition), number + 1)
        self.placed.append(self.insert(node))

    def insert(self, node: Node) -> int:
        """A node of the new program, and its place in it."""
        definition = node.definition
        own = definition.stateful and definition.access != "read" and not isinstance(definition, (NoOp, VarHandleOp))
        effects = self.effects
        inherited = True in [effects[at] for at, _ in node.inputs] or True in [effects[at] for at in node.controls]
        effects.append(own or inherited)
        self.nodes.append(node)
        return len(self.nodes) - 1

    def shape(self, dims: tuple[int, ...], like: Node) -> Ref:
        """The shape of a node that is being rewritten, as a constant; those that are equal are one."""
        key = ("shape", dims)
        if key not in self.seen:
            definition = Const(Literal(np.array(dims, np.int32)), int32)
            node = Node(like.name, definition, (), (), (definition.infer(),), like.origin, like.device)
            self.seen[key] = self.insert(node)
        return Ref(self.seen[key], 0)


def is_pure(definition: OpDef) -> bool:
    """Whether an operation gives the same for the same inputs, and does nothing else."""
    return not definition.stateful and not isinstance(definition, Feed)
