"""tapes: tells every branch and loop which values its tape must hold, from what reads the tape; without readers, none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from ...graph.dtypes import variant
from ...graph.function import Function
from ...graph.opdef import Spec
from ...graph.ops.branching import If
from ...graph.ops.looping import While
from ...graph.ops.tapes import INSIDE, TapeRead, below, heads
from .optimize import drop_dead, optimize
from .program import Feed, Node, Program, Ref
from .prune import prune
from .specialize import specialize
from .trim import trimmed

#: What is read of tapes: for each, the paths of the entries.
Wanted = dict[Ref, set[str]]
#: Gives the nodes of a program their devices.
Placing = Callable[[Program], Program]


def _anywhere(program: Program) -> Program:
    return program


def record(program: Program) -> Program:
    """The program with `saves` set on its branches and loops."""
    if not any(isinstance(node.definition, (If, While)) for node in program.nodes):
        return program
    return drop_dead(_recording(program, {})[0])


def inner_program(
    function: Function, inputs: Sequence[Spec], saves: Iterable[str], placed: Placing = _anywhere
) -> tuple[Program, list[str]]:
    """What a function computes, as a program whose feeds are its inputs, and which entries it saves.

    The fetches are the function's outputs, then these entries.
    """
    program, asked, entries = _inside(function, inputs, saves, placed)
    return drop_dead(_recording(program, asked)[0]), entries


def _inside(
    function: Function, inputs: Sequence[Spec], saves: Iterable[str], placed: Placing = _anywhere
) -> tuple[Program, Wanted, list[str]]:
    """The program of a function that saves these paths, what of its own tapes that asks for, and the entries it saves."""
    kept = tuple(path for path in saves if function.owns(path.partition(INSIDE)[0]))
    entries = heads(kept)
    fetches = [*function.outputs, *(function.tensor(entry) for entry in entries)]
    program = optimize(placed(specialize(prune(fetches, (), function.inputs), inputs)))
    asked = {
        ref: set(below(kept, entry))
        for entry, ref in zip(entries, program.fetches[len(function.outputs) :], strict=True)
        if program.spec(ref).dtype is variant
    }
    return program, asked, entries


def _reads_of(function: Function, inputs: Sequence[Spec], saves: Iterable[str]) -> dict[int, set[str]]:
    """For each input of a function that is a tape: what the function reads of it when it saves those entries."""
    if not any(spec.dtype is variant for spec in inputs):
        return {}
    program, asked, _ = _inside(function, inputs, saves)
    wanted = _recording(program, asked)[1]
    feeds = {
        node.definition.index: place for place, node in enumerate(program.nodes) if isinstance(node.definition, Feed)
    }
    return {index: wanted[Ref(place, 0)] for index, place in feeds.items() if Ref(place, 0) in wanted}


def _recording(program: Program, asked: Mapping[Ref, set[str]]) -> tuple[Program, Wanted]:
    """The program with `saves` set, and what is read of each tape in it; `asked` is read of some from outside.

    From the last node to the first, so that what uses a result is known before what makes it.
    """
    wanted: Wanted = {ref: set(paths) for ref, paths in asked.items()}
    nodes = list(program.nodes)
    moved: dict[Ref, Ref] = {}
    whole = set(program.targets)  # these are waited for, not just used: they run with all that they do
    used: dict[int, set[int]] = {}
    for ref in program.fetches:
        used.setdefault(ref.node, set()).add(ref.output)
    for position in range(len(nodes) - 1, -1, -1):
        node = nodes[position]
        if position not in used and position not in whole:
            continue
        if isinstance(node.definition, (If, While)):
            node = _saving(node, wanted.get(Ref(position, len(node.specs) - 1)))
            if position not in whole:
                node, places = trimmed(node, used[position])
                moved.update((Ref(position, old), Ref(position, new)) for old, new in places.items())
            nodes[position] = node
        whole.update(node.controls)
        for index, ref in enumerate(node.inputs):
            used.setdefault(ref.node, set()).add(ref.output)
            if program.spec(ref).dtype is variant:
                specs = [program.spec(ref) for ref in node.inputs]
                found = _read(node, specs, index, wanted.get(Ref(position, 0), set()))
                wanted.setdefault(ref, set()).update(found)
    made = [node._replace(inputs=tuple(moved.get(ref, ref) for ref in node.inputs)) for node in nodes]
    return Program(tuple(made), tuple(moved.get(ref, ref) for ref in program.fetches), program.targets), wanted


def _saving(node: Node, paths: set[str] | None) -> Node:
    """A branch or loop whose tape holds these paths, and what it was to hold before."""
    assert isinstance(node.definition, (If, While))
    before = node.definition.saves
    if paths is None:
        return node
    saves = tuple(sorted(paths.union(before or ())))
    return node._replace(definition=replace(node.definition, saves=saves))


def _read(node: Node, inputs: list[Spec], index: int, wanted: set[str]) -> set[str]:
    """What a node reads of the tape that is its input at this place, when `wanted` is read of its own first output."""
    match node.definition:
        case TapeRead(entry, dtype):
            return {f"{entry}{INSIDE}{path}" for path in wanted} | {entry} if dtype is variant else {entry}
        case If(then, orelse, saves):
            sides = (_reads_of(function, inputs[1:], saves or ()) for function in (then, orelse))
            return {path for side in sides for path in side.get(index - 1, ())}
        case While() as loop:
            settled = [*loop.settled(inputs), *inputs[loop.count :]]
            return set(_reads_of(loop.body, settled, loop.saves or ()).get(index, ()))
    return wanted
