"""convolutions: a convolution and what follows it at once, bias, rectifier and pooling, become a region: block by block.

A block is some images of the batch. What a block of the convolution has made is still in the cache when the rest needs
it, and the rest is done in as many threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ...graph import shapes
from ...graph.ops.activations import BiasAdd
from ...graph.ops.arithmetic import AddV2
from ...graph.ops.conv import Conv2D
from ...graph.ops.pooling import MaxPool
from ..kernels import Backend
from ..stages.lower import is_row_major
from ..stages.partition import Item, Partition, RunNode
from ..stages.program import Node, Program, Ref
from .order import has_effect
from .region import region_of, taken_by

#: Convolutions with fewer results are done before it matters where these lie.
LEAST = 1 << 14


def fuse_convolutions(program: Program, part: Partition, backend: Backend) -> Partition:
    """The partition with regions in the place of convolutions and what follows them."""
    if not any(isinstance(item, RunNode) and _is_conv(program, item) for item in part.items):
        return part
    chains = _Chains(program, part, backend)
    ends: dict[int, list[int]] = {}
    gone: set[int] = set()
    for at, item in enumerate(part.items):
        if isinstance(item, RunNode) and at not in gone and chains.begins(item):
            chain = chains.from_item(at)
            if len(chain) > 1:
                ends[chain[-1]] = chain
                gone.update(chain)
    items: list[Item] = []
    for at, item in enumerate(part.items):
        if at in ends:
            items.append(region_of(program, chains.nodes(ends[at]), {}, False, chains.needed(ends[at])))
        elif at not in gone:
            items.append(item)
    return replace(part, items=items)


def _is_conv(program: Program, item: RunNode) -> bool:
    return isinstance(program.nodes[item.node].definition, Conv2D)


@dataclass
class _Chains:
    """Looks for what follows a convolution, in the items of a partition."""

    program: Program
    part: Partition
    backend: Backend
    takers: dict[Ref, list[int]] = field(default_factory=dict)
    #: How many effects there were before each item: nothing is moved over one.
    effects: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = 0
        for at, item in enumerate(self.part.items):
            for ref in {*taken_by(self.program, item)}:
                self.takers.setdefault(ref, []).append(at)
            if not isinstance(item, RunNode) or has_effect(self.program.nodes[item.node].definition):
                count += 1
            self.effects.append(count)

    def begins(self, item: RunNode) -> bool:
        """Whether it is a convolution of enough numbers whose inputs lie in memory as they are written."""
        node = self.program.nodes[item.node]
        if not isinstance(node.definition, Conv2D) or not self._is_plain(node):
            return False
        count, filters = shapes.count(node.specs[0].dims), shapes.count(self.program.spec(node.inputs[1]).dims)
        return count is not None and count >= LEAST and bool(filters)

    def _is_plain(self, node: Node) -> bool:
        specs = [*(self.program.spec(ref) for ref in node.inputs), *node.specs]
        kinds = all(shapes.is_full(spec.dims) and spec.dtype is specs[0].dtype for spec in specs)
        in_order = all(is_row_major(self.program, ref) for ref in node.inputs)
        return kinds and in_order and specs[0].dtype.size > 2 and not specs[0].dtype.is_complex

    def from_item(self, at: int) -> list[int]:
        """The items of the region that begins with a convolution: those that take nothing but what it has, in order."""
        chain = [at]
        while (after := self._only_taker(chain)) is not None and self._goes_on(chain, after):
            chain.append(after)
        pools = [each for each in self.takers.get(self._value(chain[-1]), ()) if self._is(each, at, _is_pool)]
        if pools:
            chain.append(pools[0])
            while (after := self._only_taker(chain)) is not None and self._is(after, at, self._is_in_place):
                chain.append(after)
        while len(chain) > 1 and self._is_late(chain):
            chain.pop()
        return chain

    def _node(self, at: int) -> Node | None:
        item = self.part.items[at]
        return self.program.nodes[item.node] if isinstance(item, RunNode) else None

    def _value(self, at: int) -> Ref:
        item = self.part.items[at]
        assert isinstance(item, RunNode)
        return Ref(item.node, 0)

    def _only_taker(self, chain: Sequence[int]) -> int | None:
        """The item that alone takes the last value."""
        value = self._value(chain[-1])
        found = self.takers.get(value, [])
        return found[0] if len(found) == 1 and value not in self.part.fetches.values() else None

    def _is(self, at: int, first: int, kind: Callable[[Node], bool]) -> bool:
        node = self._node(at)
        return node is not None and self.effects[at] == self.effects[first] and self._is_plain(node) and kind(node)

    def _goes_on(self, chain: Sequence[int], after: int) -> bool:
        is_bias = len(chain) == 1 and self._is(after, chain[0], lambda node: _is_bias(self.program, node))
        return is_bias or self._is(after, chain[0], self._is_in_place)

    def _is_in_place(self, node: Node) -> bool:
        """Whether it is an elementwise operation of one input that may write over it."""
        if len(node.inputs) != 1 or node.definition.stateful:
            return False
        specs = tuple([self.program.spec(ref) for ref in node.inputs])
        kernel = self.backend.kernel(node.definition, specs, node.specs)
        return kernel is not None and kernel.elementwise and kernel.exact and kernel.takes_out

    def _is_late(self, chain: Sequence[int]) -> bool:
        """Whether somebody else takes a value before the whole region is there."""
        own = {*chain}
        return any(
            taker < chain[-1] for at in chain for taker in self.takers.get(self._value(at), ()) if taker not in own
        )

    def nodes(self, chain: Sequence[int]) -> list[int]:
        """The nodes of these items."""
        return [self._value(at).node for at in chain]

    def needed(self, chain: Sequence[int]) -> set[Ref]:
        """The values that others take, and the images that are pooled, which lie in the plan's memory too."""
        own, fetched = {*chain}, {*self.part.fetches.values()}
        found = {self._value(chain[-1])}
        for at, after in zip(chain, [*chain[1:], -1], strict=True):
            value = self._value(at)
            others = any(taker not in own for taker in self.takers.get(value, ()))
            node = None if after < 0 else self._node(after)
            if others or value in fetched or (node is not None and _is_pool(node)):
                found.add(value)
        return found


def _is_pool(node: Node) -> bool:
    return isinstance(node.definition, MaxPool)


def _is_bias(program: Program, node: Node) -> bool:
    """Whether a number a channel is added."""
    if isinstance(node.definition, BiasAdd):
        return node.definition.data_format == "NHWC"
    dims = [program.spec(ref).dims for ref in node.inputs]
    row = (node.specs[0].dims or ())[-1:]
    return isinstance(node.definition, AddV2) and node.specs[0].dims in dims and row in dims
