"""Branches and loops in TensorFlow 1's GraphDef: which nodes stand in which, read from Switch, Merge, Enter and Exit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..wire import in_order

#: A branch or a loop: ("if", the predicate's source, "0" or "1") or ("loop", the name of its frame, "").
Context = frozenset[tuple[str, str, str]]

#: Nodes that only say where a branch or a loop begins and goes on: they become no operation of their own.
MARKS = frozenset({"Enter", "LoopCond", "NextIteration", "Switch", "RefSwitch", "RefEnter", "RefNextIteration"})
#: Nodes that leave one.
MERGES = frozenset({"Merge", "RefMerge", "Exit", "RefExit"})
#: How many inputs each has at least.
_INPUTS = {"Switch": 2, "Merge": 2, "Enter": 1, "Exit": 1, "NextIteration": 1, "LoopCond": 1}
_OLD = {
    "RefSwitch": "Switch",
    "RefEnter": "Enter",
    "RefNextIteration": "NextIteration",
    "RefMerge": "Merge",
    "RefExit": "Exit",
}


class Source(NamedTuple):
    """What an input refers to: an output of a node; -1: the node itself, as a control input."""

    name: str
    output: int

    def __str__(self) -> str:
        return f"^{self.name}" if self.output < 0 else f"{self.name}:{self.output}"


class Entry(NamedTuple):
    """A node as it stands in the GraphDef, with its inputs taken apart."""

    proto: Any
    inputs: tuple[Source, ...]
    controls: tuple[Source, ...]
    attrs: dict[str, Any]
    colocation: tuple[str, ...]


class Variable(NamedTuple):
    """A loop variable: where it enters, what carries it in the condition and the body, what comes next, and its exit."""

    enter: str
    merge: str
    switch: str
    following: Source
    exit: str | None


class Loop(NamedTuple):
    """A while loop: its variables and what its condition is."""

    frame: str
    context: Context
    condition: Source
    variables: tuple[Variable, ...]


class Choice(NamedTuple):
    """The merges of one condition: its predicate, the context around it, and of each merge the inputs if false and if true."""

    predicate: str
    context: Context
    merges: tuple[tuple[str, Source, Source], ...]


class Flow:
    """What is known of a GraphDef's branches and loops; `order` has every node after those it needs."""

    def __init__(self, entries: Mapping[str, Entry], needs: Mapping[str, set[str]], library: Any) -> None:
        self.entries = entries
        self.library = library
        self.contexts: dict[str, Context] = {}
        self.loops: dict[str, Loop] = {}
        self.choices: dict[str, Choice] = {}
        for name, entry in entries.items():
            if len(entry.inputs) < _INPUTS.get(kind(entry), 0):
                raise ValueError(
                    f"Node '{name}' ({entry.proto.op}): NodeDef expected inputs do not match {len(entry.inputs)}"
                )
        self._needs = forward = {name: self._before(name, needed) for name, needed in needs.items()}
        self.order = in_order(forward)
        if not any(kind(entry) in ("Switch", "Enter") for entry in entries.values()):
            self.contexts = dict.fromkeys(entries, frozenset())
            return
        for name in self.order:
            self.contexts[name] = self._context(name)
        self._find_loops()
        self._find_choices()
        for name, loop in self.loops.items():
            forward[name] = forward[name] | {
                entry for each in loop.variables for entry in (each.enter, each.following.name)
            }
            forward[name] |= {loop.condition.name}
        for name, choice in self.choices.items():
            forward[name] = forward[name] | {source.name for _, *sources in choice.merges for source in sources}
        self.order = in_order(forward)

    def _before(self, name: str, needed: set[str]) -> set[str]:
        """What a node needs, without the edges on which a loop goes back."""
        if kind(self.entries[name]) != "Merge":
            return needed
        return {other for other in needed if kind(self.entries[other]) != "NextIteration"}

    def is_loop_merge(self, name: str) -> bool:
        """Whether a node is where a loop variable enters."""
        entry = self.entries[name]
        kinds = {kind(self.entries[each.name]) for each in entry.inputs}
        return kind(entry) == "Merge" and not kinds.isdisjoint(("Enter", "NextIteration"))

    def is_loop_switch(self, name: str) -> bool:
        """Whether a node sends a loop variable to the body or out of the loop."""
        entry = self.entries[name]
        return kind(entry) == "Switch" and kind(self.entries[entry.inputs[1].name]) == "LoopCond"

    def context_of(self, source: Source) -> Context:
        """Where a value stands: that of a switch in one of the branches."""
        found = self.contexts[source.name]
        if source.output < 0 or kind(self.entries[source.name]) != "Switch" or self.is_loop_switch(source.name):
            return found
        return found | {("if", self._predicate_of(source.name), str(source.output))}

    def _predicate_of(self, switch: str) -> str:
        """The predicate of a Switch. That which only opens the branches, of the predicate itself, has it under another name."""
        data, predicate = self.entries[switch].inputs
        own = f"{prefix([switch])}/pred_id"
        if data == predicate and own in self.entries and self.entries[own].inputs == (predicate,):
            return f"{own}:0"
        return str(predicate)

    def _context(self, name: str) -> Context:
        entry = self.entries[name]
        sources = [each for each in (*entry.inputs, *entry.controls) if each.name in self.contexts]
        found: Context = frozenset().union(*(self.context_of(each) for each in sources))
        match kind(entry):
            case "Enter":
                return found | {("loop", _frame(entry), "")}
            case "Exit":
                return found - {("loop", self._frame_of(name), "")}
            case "Merge" if not self.is_loop_merge(name):
                ends = self._ends(name)
                return found - {("if", ends, "0"), ("if", ends, "1")}
        return found

    def _frame_of(self, leaving: str) -> str:
        """The loop that an Exit leaves: Exit, Switch, Merge, Enter."""
        switch = self.entries[leaving].inputs[0].name
        merge = self.entries[switch].inputs[0].name if self.is_loop_switch(switch) else ""
        enters = (
            [each.name for each in self.entries[merge].inputs if kind(self.entries[each.name]) == "Enter"]
            if merge
            else []
        )
        if not enters:
            raise ValueError(f"Node '{leaving}' (Exit) leaves no loop")
        return _frame(self.entries[enters[0]])

    def _ends(self, name: str) -> str:
        """The predicate whose branches a Merge joins. Raises ValueError."""
        inputs = self.entries[name].inputs
        if len(inputs) != 2:
            raise ValueError(f"Node '{name}' (Merge): weft has branches of two sides only, not {len(inputs)}")
        one, other = (self.context_of(each) for each in inputs)
        differ = [(predicate, side) for what, predicate, side in one ^ other if what == "if"]
        both = {predicate for predicate, side in differ if (predicate, "10"[int(side)]) in differ}
        found = both or {predicate for predicate, _ in differ}
        if len(found) != 1:
            raise ValueError(f"Node '{name}' (Merge): its inputs are not the two sides of one condition")
        return found.pop()

    def _find_loops(self) -> None:
        switches = {entry.inputs[0].name: name for name, entry in self.entries.items() if self._switches_loop(name)}
        exits = {entry.inputs[0].name: name for name, entry in self.entries.items() if kind(entry) == "Exit"}
        frames: dict[str, list[Variable]] = {}
        for name in self.order:
            if self.is_loop_merge(name):
                sources = {kind(self.entries[each.name]): each for each in self.entries[name].inputs}
                if set(sources) != {"Enter", "NextIteration"} or name not in switches:
                    raise ValueError(f"Node '{name}' (Merge): the loop that it begins is not complete")
                enter, back = sources["Enter"], sources["NextIteration"]
                switch = switches[name]
                following = self.entries[back.name].inputs[0]
                variable = Variable(enter.name, name, switch, following, exits.get(switch))
                frames.setdefault(_frame(self.entries[enter.name]), []).append(variable)
        for frame, variables in frames.items():
            condition = self.entries[variables[0].switch].inputs[1].name
            context = self.contexts[condition]
            loop = Loop(frame, context, self.entries[condition].inputs[0], tuple(variables))
            self.loops |= {variable.exit: loop for variable in variables if variable.exit}

    def _switches_loop(self, name: str) -> bool:
        return kind(self.entries[name]) == "Switch" and self.is_loop_switch(name)

    def _find_choices(self) -> None:
        groups: dict[tuple[str, Context], list[str]] = {}
        for name in self.order:
            if kind(self.entries[name]) == "Merge" and not self.is_loop_merge(name):
                groups.setdefault((self._ends(name), self.contexts[name]), []).append(name)
        for (predicate, context), names in groups.items():
            merges = tuple((name, *self._sides(name, predicate)) for name in names)
            choice = Choice(predicate, context, merges)
            self.choices |= dict.fromkeys(names, choice)

    def _sides(self, name: str, predicate: str) -> tuple[Source, Source]:
        """The inputs of a Merge for false and for true."""
        one, other = self.entries[name].inputs
        turned = ("if", predicate, "1") in self.context_of(one) or ("if", predicate, "0") in self.context_of(other)
        return (other, one) if turned else (one, other)

    def inside(self, context: Context, targets: Sequence[Source]) -> list[str]:
        """The nodes right in a branch or a loop that some of its values need, in order."""
        found: set[str] = set()
        waiting = [source.name for source in targets]
        while waiting:
            name = waiting.pop()
            if name in found or not self.contexts[name] >= context:
                continue
            found.add(name)
            if not self.is_loop_merge(name) and not self._switches_loop(name):
                waiting += self._needs[name]
        return [name for name in self.order if name in found and self.contexts[name] == context]


def kind(entry: Entry) -> str:
    """The type of a node, the same for variables of either kind."""
    node_type: str = entry.proto.op
    return _OLD.get(node_type, node_type)


def _frame(entry: Entry) -> str:
    name: bytes = entry.attrs.get("frame_name", b"")
    return name.decode()


def prefix(names: Iterable[str]) -> str:
    """The scope in which the first of these nodes stands."""
    first = next(iter(names))
    return first.rpartition("/")[0] or first
