"""races: pairs of accesses to one variable, at least one of them a write, that no data or control dependency orders."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

from ...graph import errors
from ...graph.dtypes import resource
from ...graph.ir import Graph, Operation, get_default_graph
from ...graph.location import user_location
from ...graph.ops.branching import If
from ...graph.ops.looping import While
from ...graph.record import Record, record
from ..feeds import fed_tensors
from ..fetches import Fetches
from ..stages.accesses import Access, unordered
from ..stages.program import Program, variable_key
from ..stages.prune import prune, unfed_placeholders

#: How many races a warning or an error spells out, and how many it counts: there may be as many as pairs of operations.
SPELLED_OUT = 5
COUNTED = 1000

#: The races that were warned of, by graph: pairs of operations, by identity, for these live as long as their graph.
_told: WeakKeyDictionary[Graph, set[tuple[int, int]]] = WeakKeyDictionary()

#: What a session may do about races, under `ConfigProto(race_check=...)`.
CHOICES = ("warn", "error", "off")


class RaceWarning(UserWarning):
    """A step has accesses to a variable that nothing orders; see `find_races`."""


@record
class Race(Record):
    """Two accesses to a variable that nothing orders: what each does ("read" or "write"), and the operations.

    The first is the one that weft runs first: the read, if there is one. `print` it to read it with the user's lines.
    """

    variable: str
    kinds: tuple[str, str]
    operations: tuple[Operation, Operation]

    def __str__(self) -> str:
        first, second = (
            f"{'read' if kind == 'read' else 'written'} by '{operation.name}' (made at {operation.location})"
            for kind, operation in zip(self.kinds, self.operations, strict=True)
        )
        return f"variable '{self.variable}' is {first} and {second}, and nothing orders the two"


def races(program: Program, names: Mapping[str, str] | None = None) -> Iterator[Race]:
    """The races of a pruned program and of the functions in it. `names`: the variables that feeds stand for."""
    yield from _inside_of_functions(program, names or {})
    for pair in unordered(program, names or {}):
        yield _race(program, *pair)


def find_races(fetches: Any, feeds: Sequence[Any] = (), graph: Graph | None = None) -> list[Race]:
    """Pairs of accesses to one variable, at least one of them a write, that nothing orders in a run of `fetches`.

    `fetches` as in `Session.run`; `feeds`: the tensors that are fed, placeholders count as fed anyway. What of the order of a
    step depends on chance in other systems, and here on what `ConfigProto(schedule_seed=...)` draws; accesses in
    different iterations of a loop count as ordered. Raises as `Session.run` does for wrong fetches.
    """
    graph = graph or get_default_graph()
    wanted = Fetches(graph, fetches)
    fed = dict.fromkeys(tensor for key in feeds for tensor in fed_tensors(graph, key))
    fed.update(dict.fromkeys(unfed_placeholders(wanted.tensors, wanted.operations, fed)))
    tensors = [tensor for tensor in wanted.tensors if tensor not in fed]
    return list(races(prune(tensors, list(wanted.operations), list(fed))))


def check(program: Program, choice: str) -> None:
    """Warn of races that the program was not warned of before, or refuse all. Raises InvalidArgumentError for "error"."""
    if choice == "off":
        return
    found = list(islice(races(program), COUNTED))
    if choice == "warn":
        found = [race for race in found if _is_new(race)]
    if not found:
        return
    lines = [f"  {race}" for race in found[:SPELLED_OUT]]
    if len(found) > SPELLED_OUT:
        least = "at least " if len(found) == COUNTED else ""
        lines.append(f"  and {least}{len(found) - SPELLED_OUT} more: wf.find_races(fetches) lists them all")
    text = "\n".join(["Accesses to variables that nothing orders:", *lines, _ADVICE])
    if choice == "error":
        raise errors.InvalidArgumentError(None, found[0].operations[1], text)
    place = user_location()
    warnings.warn_explicit(text, RaceWarning, place.file, place.line)


def _is_new(race: Race) -> bool:
    """Whether this is the first time that a session finds it: there are as many plans as there are sets of fetches."""
    first, second = race.operations
    known, pair = _told.setdefault(first.graph, set()), (id(first), id(second))
    is_new = pair not in known
    known.add(pair)
    return is_new


_ADVICE = (
    "weft runs such reads before such writes, on any placement; other systems do as their timing goes. A control "
    "dependency or a gate orders them; ConfigProto(race_check='off') says that any order is fine."
)


def _race(program: Program, first: Access, second: Access) -> Race:
    if first.kind == "write" and second.kind == "read":
        first, second = second, first
    one, other = (program.nodes[access.node].origin for access in (first, second))
    assert one is not None, "a pruned program has only operations of the graph"
    assert other is not None
    return Race(first.variable, (first.kind, second.kind), (one, other))


def _inside_of_functions(program: Program, names: Mapping[str, str]) -> Iterator[Race]:
    """The races between operations of one branch, or of one loop's body."""
    for node in program.nodes:
        match node.definition:
            case If(then, orelse):
                functions, inputs = (then, orelse), node.inputs[1:]
            case While(condition, body):
                functions, inputs = (condition, body), node.inputs
            case _:
                continue
        handles = {
            index: names.get(key := variable_key(program, ref), key)
            for index, ref in enumerate(inputs)
            if program.spec(ref).dtype is resource
        }
        for function in functions if handles else ():
            inner = prune(function.outputs, (), function.inputs)
            yield from races(inner, {function.inputs[index].name: name for index, name in handles.items()})
