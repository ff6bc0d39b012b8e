"""What was done to a program on its way to a plan: for each pass how often it applied, and a few examples by name."""

from __future__ import annotations

from typing import Protocol

from ...graph.opdef import OpDef

#: How many examples of a pass are kept.
EXAMPLES = 3


class NodeLike(Protocol):
    """What is told of a node."""

    @property
    def name(self) -> str: ...
    @property
    def definition(self) -> OpDef: ...


class Report:
    """Counts and examples by pass, in the order in which the passes first did something."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.examples: dict[str, list[str]] = {}

    def note(self, name: str, example: str | None = None, count: int = 1) -> None:
        """A pass did something."""
        self.counts[name] = self.counts.get(name, 0) + count
        if example is not None:
            known = self.examples.setdefault(name, [])
            if len(known) < EXAMPLES:
                known.append(example)

    def rewrote(self, name: str, old: NodeLike, new: NodeLike) -> None:
        """A pass made one node of another."""
        self.counts[name] = self.counts.get(name, 0) + 1
        known = self.examples.setdefault(name, [])
        if len(known) < EXAMPLES:
            known.append(_became(old, new))


def _became(old: NodeLike, new: NodeLike) -> str:
    kind, other = old.definition.type, new.definition.type
    if old.name != new.name:
        return f"{old.name} ({kind}) is {new.name} ({other})"
    return f"{old.name} ({kind}) becomes {other}" if kind != other else f"{old.name} ({kind}) takes other inputs"
