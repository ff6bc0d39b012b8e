"""Rewrites of matrix products: one of which only some rows or columns are used is computed for these alone."""

from __future__ import annotations

from itertools import accumulate

from ....graph import shapes
from ....graph.ops.array import SplitV
from ....graph.ops.linalg import MatMul
from ....graph.ops.products import part_keeps_bits
from ..program import Node, Program, Ref, uses_of
from ..report import Report
from .rewriter import Pass, Rewriter


def narrow_products(program: Program, report: Report) -> Program:
    """A product that is cut into parts of which one is used is that part of one factor times the other, if bits stay."""
    cuts = [at for at, node in enumerate(program.nodes) if isinstance(node.definition, SplitV)]
    if not cuts:
        return program
    used = _used_outputs(program, set(cuts))
    uses = uses_of(program)
    wanted = {at: used[at].pop() for at in cuts if len(used[at]) == 1 and uses[program.nodes[at].inputs[0].node] == 1}
    wanted = {at: output for at, output in wanted.items() if _can_be_cut(program, program.nodes[at], output)}
    if not wanted:
        return program

    def rewrite(node: Node, rewriter: Rewriter) -> Node | Ref:
        output = wanted.get(len(rewriter.placed))
        return node if output is None else _narrowed(node, output, rewriter)

    rewriter = Rewriter(program, (Pass("narrow products", rewrite, (SplitV,)),), report)
    for node in program.nodes:
        rewriter.add(node)
    fetches = tuple(rewriter.moved(ref) for ref in program.fetches)
    return Program(tuple(rewriter.nodes), fetches, tuple(rewriter.placed[target] for target in program.targets))


def _used_outputs(program: Program, of: set[int]) -> dict[int, set[int]]:
    """Which outputs of some nodes are used or fetched; none, where all of a node is waited for."""
    found: dict[int, set[int]] = {at: set() for at in of}
    for ref in [*(ref for node in program.nodes for ref in node.inputs), *program.fetches]:
        if ref.node in of:
            found[ref.node].add(ref.output)
    for at in of.intersection([*(control for node in program.nodes for control in node.controls), *program.targets]):
        found[at].clear()
    return found


def _can_be_cut(program: Program, cut: Node, output: int) -> bool:
    """Whether a part of a product is the product of a part, of rows that lie one after the other in memory."""
    assert isinstance(cut.definition, SplitV)
    product = program.nodes[cut.inputs[0].node]
    if not isinstance(product.definition, MatMul) or cut.controls or product.device != cut.device:
        return False
    a, b = (program.spec(ref).dims for ref in product.inputs)
    parts = [spec.dims for spec in cut.specs]
    if a is None or b is None or not all(shapes.is_full(dims) for dims in (a, b, *parts)):
        return False
    axis, across = cut.definition.axis % 2, (product.definition.transpose_a, product.definition.transpose_b)
    if across[axis] != (axis == 1):
        return False
    ends = list(accumulate((dims or (0, 0))[axis] or 0 for dims in parts))
    part = (ends[output] - ((parts[output] or (0, 0))[axis] or 0), ends[output])
    return part_keeps_bits(product.specs[0].dtype.np, a, b, *across, axis, part)


def _narrowed(cut: Node, output: int, rewriter: Rewriter) -> Ref:
    """The part of a product: the cut is that of a factor."""
    assert isinstance(cut.definition, SplitV)
    product = rewriter.maker(cut.inputs[0])
    axis = cut.definition.axis % 2
    factor = product.inputs[axis]
    definition = SplitV(cut.definition.num, 0)
    specs = definition.infer(rewriter.spec(factor), rewriter.spec(cut.inputs[1]))
    place = rewriter.insert(cut._replace(definition=definition, inputs=(factor, cut.inputs[1]), specs=specs))
    inputs = (product.inputs[0], Ref(place, output)) if axis else (Ref(place, output), product.inputs[1])
    return Ref(rewriter.insert(product._replace(inputs=inputs, specs=(cut.specs[output],))), 0)
