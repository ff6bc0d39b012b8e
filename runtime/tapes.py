"""tapes: tells every branch and loop which values its tape must hold, from what reads the tape; without readers, none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..graph.dtypes import variant
from ..graph.function import Function
from ..graph.ops.branching import If
from ..graph.ops.looping import While
from ..graph.ops.tapes import INSIDE, TapeRead, below, heads
from .program import Node, Program, Ref
from .prune import prune

#: What is read of tapes: for each, the paths of the entries.
Wanted = dict[Ref, set[str]]


def record(program: Program) -> Program:
    """The program with `saves` set on its branches and loops."""
    return _recording(program, {})[0]


def inner_program(function: Function, saves: Iterable[str]) -> tuple[Program, list[str]]:
    """What a function computes, as a program whose feeds are its inputs, and which entries it saves.

    The fetches are the function's outputs, then these entries.
    """
    kept = [path for path in saves if function.owns(path.partition(INSIDE)[0])]
    entries = heads(tuple(kept))
    fetches = [*function.outputs, *(function.tensor(entry) for entry in entries)]
    program = prune(fetches, (), function.inputs)
    wanted = {
        ref: set(below(tuple(kept), entry))
        for entry, ref in zip(entries, program.fetches[len(function.outputs) :], strict=True)
        if program.spec(ref).dtype is variant
    }
    return _recording(program, wanted)[0], entries


def _reads_of(function: Function, saves: Iterable[str]) -> dict[int, set[str]]:
    """For each input of a function that is a tape: what the function reads of it when it saves those entries."""
    if not any(tensor.dtype is variant for tensor in function.inputs):
        return {}
    program = inner_program(function, saves)[0]
    wanted = _recording(program, {})[1]
    return {index: wanted[Ref(index, 0)] for index in range(len(function.inputs)) if Ref(index, 0) in wanted}


def _recording(program: Program, asked: Mapping[Ref, set[str]]) -> tuple[Program, Wanted]:
    """The program with `saves` set, and what is read of each tape in it; `asked` is read of some from outside."""
    wanted: Wanted = {ref: set(paths) for ref, paths in asked.items()}
    nodes = list(program.nodes)
    for position in range(len(nodes) - 1, -1, -1):
        node = nodes[position]
        if isinstance(node.definition, (If, While)):
            paths = wanted.get(Ref(position, len(node.specs) - 1))
            before = node.definition.saves
            if paths is not None or before is not None:
                saves = tuple(sorted({*(paths or ()), *(before or ())}))
                node = nodes[position] = node._replace(definition=replace(node.definition, saves=saves))
        for index, ref in enumerate(node.inputs):
            if program.spec(ref).dtype is variant:
                found = _read(node, index, wanted.get(Ref(position, 0), set()))
                wanted.setdefault(ref, set()).update(found)
    return replace(program, nodes=tuple(nodes)), wanted


def _read(node: Node, index: int, wanted: set[str]) -> set[str]:
    """What a node reads of the tape that is its input at this place, when `wanted` is read of its own first output."""
    match node.definition:
        case TapeRead(entry, dtype):
            return {f"{entry}{INSIDE}{path}" for path in wanted} | {entry} if dtype is variant else {entry}
        case If(then, orelse, saves):
            sides = (_reads_of(function, saves or ()) for function in (then, orelse))
            return {path for side in sides for path in side.get(index - 1, ())}
        case While() as loop:
            return set(_reads_of(loop.body, loop.saves or ()).get(index, ()))
    return wanted


