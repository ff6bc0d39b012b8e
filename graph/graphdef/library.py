"""The library of functions that a GraphDef carries: each as a graph of its own, taken apart when it is first called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from .dataflow import Entry, Flow, Source
from .outputs import output_index
from .protos import protos


class Called(NamedTuple):
    """A function: its nodes, the names of its arguments, and what its results are."""

    flow: Flow
    arguments: tuple[str, ...]
    results: tuple[Source, ...]

    def handed_on(self) -> set[int]:
        """The places of the arguments that are the results at the same places."""
        return {
            at
            for at, source in enumerate(self.results[: len(self.arguments)])
            if self._root(source) == self.arguments[at]
        }

    def _root(self, source: Source) -> str:
        entry = self.flow.entries[source.name]
        while entry.proto.op == "Identity" and not entry.controls:
            source = entry.inputs[0]
            entry = self.flow.entries[source.name]
        return source.name


class Library:
    """The functions of a GraphDef by name. `take_apart` makes entries of a GraphDef's nodes."""

    def __init__(self, graph_def: Any, take_apart: Callable[[Any], dict[str, Entry]]) -> None:
        self._protos = {proto.signature.name: proto for proto in graph_def.library.function}
        self._take_apart = take_apart
        self._found: dict[str, Called] = {}
        #: The functions that are being built: none may call itself.
        self.open: set[str] = set()

    def find(self, name: str) -> Called:
        """The function of that name. Raises ValueError when there is none, or for nodes that do not fit."""
        if name not in self._protos:
            raise ValueError(f"the graph has no function '{name}'")
        if name not in self._found:
            self._found[name] = self._read(self._protos[name])
        return self._found[name]

    @contextmanager
    def opened(self, name: str) -> Iterator[None]:
        """While a function is being built. Raises ValueError where it calls itself."""
        if name in self.open:
            raise ValueError(f"function '{name}' calls itself")
        self.open.add(name)
        try:
            yield
        finally:
            self.open.discard(name)

    def handed_on(self, name: str) -> set[int]:
        """See `Called.handed_on`."""
        return self.find(name).handed_on()

    def _read(self, proto: Any) -> Called:
        graph_def: Any = protos().GraphDef()
        arguments = tuple(str(each.name) for each in proto.signature.input_arg)
        for each in proto.signature.input_arg:
            graph_def.node.add(name=each.name, op="Placeholder").attr["dtype"].type = each.type
        types = {node.name: node.op for node in proto.node_def}
        for node in proto.node_def:
            made = graph_def.node.add()
            made.CopyFrom(node)
            made.input[:] = [text if text.startswith("^") else str(_flat(text, types)) for text in node.input]
        entries = self._take_apart(graph_def)
        needs = {name: {each.name for each in (*entry.inputs, *entry.controls)} for name, entry in entries.items()}
        results = tuple(_flat(proto.ret[each.name], types) for each in proto.signature.output_arg)
        if any(source.name not in entries for source in results):
            raise ValueError(f"a result of the function '{proto.signature.name}' is none of its nodes")
        return Called(Flow(entries, needs, self), arguments, results)


def _flat(text: str, types: Mapping[str, str]) -> Source:
    """An input in a function, `argument` or `node:output:index`, by the number of the output."""
    name, *output = text.split(":")
    if len(output) < 2:
        return Source(name, 0)
    return Source(name, output_index(types.get(name, ""), output[0], int(output[1])))
