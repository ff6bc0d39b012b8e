"""optimize: rewrites of a program that keep every value bit for bit. One table names them, in the order they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...graph.ops.cast import Cast
from ...graph.ops.constant import Const
from ...graph.ops.identity import NoOp
from ...graph.ops.reshaping import Transpose
from .program import Node, Program, Ref, needed_nodes
from .report import Report
from .rewrites.arithmetic import SUMS, WITH_NEUTRAL, add_two, drop_neutral
from .rewrites.constants import fold_constants
from .rewrites.forms import (
    ELEMENTWISE,
    IDENTITIES,
    RESHAPES,
    drop_identities,
    merge_casts,
    merge_reshapes,
    merge_transposes,
    narrow_broadcasts,
    transpose_before_packing,
)
from .rewrites.gates import open_gates
from .rewrites.in_place import split_sums, update_in_place
from .rewrites.pooling import POOLED, RECTIFIED, rectify_after_pooling, rectify_before_pooling
from .rewrites.products import narrow_products
from .rewrites.rewriter import Pass, Rewriter
from .rewrites.sharing import share_equals

#: What is done at each node, in one walk over the program: a node sees what has become of its inputs.
AT_EACH_NODE = (
    Pass("fold constants", fold_constants),
    Pass("merge reshapes", merge_reshapes, RESHAPES),
    Pass("merge transposes", merge_transposes, (Transpose,)),
    Pass("transpose before packing", transpose_before_packing, (Transpose,)),
    Pass("merge casts", merge_casts, (Cast,)),
    Pass("drop identities", drop_identities, IDENTITIES),
    Pass("drop neutral arithmetic", drop_neutral, WITH_NEUTRAL),
    Pass("add two", add_two, SUMS),
    Pass("narrow broadcasts", narrow_broadcasts, ELEMENTWISE),
    Pass("rectify after pooling", rectify_after_pooling, POOLED),
    Pass("rectify before pooling", rectify_before_pooling, RECTIFIED),
    Pass("share equals", share_equals),
)


def optimize(program: Program, report: Report | None = None) -> Program:
    """All rewrites. What was done is noted in the report."""
    report = report or Report()
    for _, change in PASSES:
        program = change(program, report)
    return program


def rewrite_nodes(program: Program, report: Report) -> Program:
    """The rewrites of single nodes, in one walk."""
    rewriter = Rewriter(program, AT_EACH_NODE, report)
    for node in program.nodes:
        rewriter.add(node)
    fetches = tuple(rewriter.moved(ref) for ref in program.fetches)
    targets = tuple(rewriter.placed[target] for target in program.targets)
    return Program(tuple(rewriter.nodes), fetches, targets)


def drop_dead(program: Program, report: Report | None = None) -> Program:
    """What neither fetches nor targets need is left out."""
    needed = needed_nodes(program)
    if all(needed):
        return program
    new: list[int] = []
    count = 0
    for position, wanted in enumerate(needed):
        new.append(count)
        count += wanted
        if report is not None and not wanted and not isinstance(program.nodes[position].definition, (Const, NoOp)):
            report.note("drop dead", f"{program.nodes[position].name} ({program.nodes[position].definition.type})")

    def moved(node: Node) -> Node:
        inputs = tuple([Ref(new[ref.node], ref.output) for ref in node.inputs])
        controls = tuple([new[control] for control in node.controls])
        return Node(node.name, node.definition, inputs, controls, node.specs, node.origin, node.device)

    return Program(
        tuple([moved(node) for node, wanted in zip(program.nodes, needed, strict=True) if wanted]),
        tuple(Ref(new[ref.node], ref.output) for ref in program.fetches),
        tuple(new[target] for target in program.targets),
    )


#: What is done to the program as a whole, in this order.
PASSES: tuple[tuple[str, Callable[[Program, Report], Program]], ...] = (
    ("open gates", open_gates),
    ("rewrite nodes", rewrite_nodes),
    ("drop dead", drop_dead),
    ("narrow products", narrow_products),
    ("update in place", update_in_place),
    ("split sums", split_sums),
    ("drop dead", drop_dead),
)


def passes() -> Iterator[tuple[str, str]]:
    """The names of all passes in their order, and what each is for."""
    named: list[tuple[str, Callable[..., Any]]] = [(each.name, each.rewrite) for each in AT_EACH_NODE]
    whole: dict[str, Callable[..., Any]] = dict(PASSES)
    for name, change in whole.items():
        for each, function in named if change is rewrite_nodes else [(name, change)]:
            yield each, (function.__doc__ or "").partition("\n")[0]
