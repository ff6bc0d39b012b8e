"""Lifetimes: while nodes are put in order, whose memory is still needed, and by how many of those that are to come."""

from __future__ import annotations

from ...graph import shapes
from ...graph.dtypes import resource, string, variant
from .program import Feed, Node, Program

_MEMORYLESS = (resource, string, variant)


class Lifetimes:
    """The values that take memory, and how many nodes that read each have not run yet.

    A view lies in the memory of its inputs, so who reads it needs theirs.
    """

    def __init__(self, program: Program) -> None:
        nodes = program.nodes
        #: How much memory each node's results take, and the nodes in whose memory they lie.
        self._bytes = [_own_bytes(node) for node in nodes]
        memory: list[tuple[int, ...]] = []
        #: For each node, whose memory it reads; for each of those, how many readers are left, and the sum of their places.
        self.reads: list[tuple[int, ...]] = []
        self._left = [0] * len(nodes)
        self._sums = [0] * len(nodes)
        for at, node in enumerate(nodes):
            inputs = node.inputs
            one = len(inputs) == 1
            read = memory[inputs[0].node] if one else tuple({root for ref in inputs for root in memory[ref.node]})
            self.reads.append(read)
            for root in read:
                self._left[root] += 1
                self._sums[root] += at
            memory.append(read if node.definition.view else (at,) if self._bytes[at] else ())
        for ref in program.fetches:
            for root in memory[ref.node]:
                self._left[root] += 1

    def frees(self, at: int) -> bool:
        """Whether a node that can run now gives back more memory than it takes, or has nothing to do with memory."""
        return self.freed(at) > self._bytes[at] if self.reads[at] else not self._bytes[at]

    def freed(self, at: int) -> int:
        """How much memory nobody else needs that a node reads which can run now."""
        total = 0
        for root in self.reads[at]:
            if self._left[root] == 1:
                total += self._bytes[root]
        return total

    def finish(self, at: int) -> list[int]:
        """A node has run. Returns those that are now the only reader left of something."""
        last = []
        for root in self.reads[at]:
            self._left[root] -= 1
            self._sums[root] -= at
            if self._left[root] == 1 and self._sums[root]:
                last.append(self._sums[root])
        return last


def _own_bytes(node: Node) -> int:
    """The memory that a node's results take, where it is known; none for those that lie in other values' memory."""
    definition = node.definition
    if definition.view or definition.access == "read" or not node.inputs or isinstance(definition, Feed):
        return 0
    total = 0
    for spec in node.specs:
        count = shapes.count(spec.dims)
        if count is not None and spec.dtype not in _MEMORYLESS:
            total += count * spec.dtype.size
    return total
