"""The kernel of Fused: the kernels of its operations, called block by block, over the threads of the pool."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from ...graph.opdef import Spec
from ...graph.parallel import for_blocks, threads
from ...graph.shapes import Dims
from ..kernels import Backend, Kernel
from ..memory.arena import ALIGNMENT
from ..memory.workspace import Array, Workspace
from ..stages.fused import STEP, Fused, Part, rows_of_block
from ..ufuncs import EXACT
from .lines import naming_parts
from .scalars import of_numbers

#: How much memory the blocks of one thread may have at a time, to stay in the caches near it.
CACHE_BYTES = 1 << 21
#: Fewer elements in a block would cost more in calls than they spare in memory.
FEWEST, MOST = 1 << 12, 1 << 16
#: Values are cut into at least so many blocks, for threads to share.
BLOCKS = 4

#: These take the output by its place, which is a good deal faster.
_BY_PLACE = EXACT - {np.maximum, np.minimum} | {np.exp, np.log, np.tanh, np.sin, np.cos}

_FILE = "<weft region>"


def fused(backend: Backend, definition: Fused, inputs: tuple[Spec, ...], writer: type[Writer]) -> Kernel:
    """The kernel of a region, whose function is written by such a writer."""
    kernels = [
        backend.kernel(part.definition, tuple([_spec(definition, inputs, i) for i in part.inputs]), (part.spec,))
        for part in definition.parts
    ]
    known = [kernel for kernel in kernels if kernel is not None]
    assert len(known) == len(kernels), "fusing asks for kernels first"
    if definition.parts[0].spec.dims == ():
        return of_numbers(definition, len(inputs), known)

    def in_frame(workspace: Workspace) -> Callable[..., Any]:
        return writer(definition, inputs, known).function(workspace)

    def alone(*values: Any, out: Any = None) -> Any:
        return in_frame(Workspace())(*values, out=out)

    return Kernel(alone, takes_out=True, may_replace=_replaceable(definition, known, len(inputs)), in_frame=in_frame)


def _spec(definition: Fused, inputs: Sequence[Spec], number: int) -> Spec:
    return inputs[number] if number < len(inputs) else definition.parts[number - len(inputs)].spec


def _last_uses(definition: Fused, inputs: int) -> list[int]:
    """For each value, the last part that takes it; -1 for none."""
    last = [-1] * (inputs + len(definition.parts))
    for at, part in enumerate(definition.parts):
        for number in part.inputs:
            last[number] = at
    return last


def _overwritable(part: Part, kernel: Kernel) -> set[int]:
    """The values, by number, that a part may write over while it reads them."""
    if kernel.exact:
        return {*part.inputs}
    places = kernel.may_replace[0] if kernel.may_replace else ()
    kept = {number for index, number in enumerate(part.inputs) if index not in places}
    return {part.inputs[index] for index in places} - kept


def _replaceable(definition: Fused, kernels: Sequence[Kernel], inputs: int) -> tuple[tuple[int, ...], ...]:
    """For each result the inputs that were read for the last time when it is written."""
    last = _last_uses(definition, inputs)
    found = []
    for at in definition.results:
        same = _overwritable(definition.parts[at], kernels[at])
        found.append(tuple([n for n in range(inputs) if last[n] < at or (last[n] == at and n in same)]))
    return tuple(found)


@dataclass(slots=True)
class _Scratch:
    """Which parts' values share memory: each place is one block for a thread, with the types that are in it in turns."""

    places: dict[int, int] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)


def _scratch(definition: Fused, inputs: int, kernels: Sequence[Kernel], sizes: Sequence[int]) -> _Scratch:
    """Memory for the values that are no results and that kernels write where they are told. `sizes`: of the parts' values."""
    last, found = _last_uses(definition, inputs), _Scratch()

    def alike(one: Part, other: Part) -> bool:
        return (one.spec.dims, one.spec.dtype.size) == (other.spec.dims, other.spec.dtype.size)

    free: dict[int, list[int]] = defaultdict(list)
    for at, (part, kernel) in enumerate(zip(definition.parts, kernels, strict=True)):
        ending = {n for n in part.inputs if last[n] == at and n - inputs in found.places}
        early = {n for n in ending & _overwritable(part, kernel) if alike(definition.parts[n - inputs], part)}
        _give_back(sizes, [n - inputs for n in sorted(early)], found, free)
        if at not in definition.results and (kernel.takes_out or kernel.in_rows):
            size = sizes[at]
            if not free[size]:
                free[size].append(len(found.sizes))
                found.sizes.append(size)
            found.places[at] = free[size].pop()
        _give_back(sizes, [n - inputs for n in sorted(ending - early)], found, free)
    return found


def _give_back(sizes: Sequence[int], ending: Sequence[int], found: _Scratch, free: dict[int, list[int]]) -> None:
    for at in ending:
        free[sizes[at]].append(found.places[at])


class Writer:
    """Writes the function of a region: a line an operation, so that the line of a traceback tells which one failed."""

    def __init__(self, definition: Fused, inputs: Sequence[Spec], kernels: Sequence[Kernel]) -> None:
        self.definition, self.inputs, self.kernels = definition, inputs, kernels
        dims = self._dims()
        self.dims = tuple(dim or 0 for dim in dims or ())
        #: How many bytes of a part's value there are for each element, or row, of a block.
        sizes = [part.spec.dtype.size * prod(self.row_of(at)) for at, part in enumerate(definition.parts)]
        self.sizes = sizes
        self.scratch = _scratch(definition, len(inputs), kernels, sizes)
        self.cut = [self._is_cut(spec) for spec in inputs]
        self.length = self._block_length()
        self.lines: dict[int, int] = {}

    def _dims(self) -> Dims:
        """The shape of the whole that blocks are cut from."""
        return self.definition.parts[0].spec.dims

    def row_of(self, at: int) -> tuple[int, ...]:
        """The shape of what of a part's value is cut off at once."""
        return () if self.definition.flat else self.dims[1:]

    def _is_cut(self, spec: Spec) -> bool:
        """Whether blocks have their own parts of an input, not all of it."""
        if self.definition.flat:
            return spec.dims != ()
        return spec.dims is not None and len(spec.dims) == len(self.dims) and spec.dims[0] == self.dims[0]

    def _block_length(self) -> int:
        """How many elements, or rows, a block has."""
        width = sum(self.scratch.sizes) + sum(self.sizes[result] for result in self.definition.results)
        width //= prod(self.row_of(0)) or 1
        width += sum(spec.dtype.size for spec, cut in zip(self.inputs, self.cut, strict=True) if cut)
        share = -(-prod(self.dims) // BLOCKS)
        count = min(max(FEWEST, min(MOST, CACHE_BYTES // width)), max(FEWEST, share))
        return -(-count // STEP) * STEP if self.definition.flat else rows_of_block(self.dims, count)

    def function(self, workspace: Workspace) -> Callable[..., Any]:
        """The function, with memory out of `workspace`."""
        slices = self.slices()
        names: dict[str, Any] = {f"k{at}": self._function(at) for at in range(len(self.kernels))}
        names |= {"slices": slices, "for_blocks": for_blocks, "copy": np.copyto, "empty": np.empty}
        names |= {
            f"d{index}": self.definition.parts[r].spec.dtype.np for index, r in enumerate(self.definition.results)
        }
        views = _Views(self, workspace, slices[-1].stop - slices[-1].start, len(slices) - 1)
        names |= {"scratch": views.of, "prepare": views.prepare}
        names |= {f"e{index}": self.definition.parts[r].spec.dims for index, r in enumerate(self.definition.results)}
        exec(compile(self._text(len(slices)), _FILE, "exec"), names)
        parts = {line: self.definition.parts[at].name for line, at in self.lines.items()}
        return naming_parts(names["region"], _FILE, parts)

    def slices(self) -> list[slice]:
        """The blocks."""
        total = prod(self.dims) if self.definition.flat else self.dims[0]
        return [slice(start, min(start + self.length, total)) for start in range(0, total, self.length)]

    def _forms(self) -> list[str]:
        """The results as `r0`, ..., and the inputs, in the form in which they are cut."""
        flat = ".reshape(-1)" if self.definition.flat else ""
        lines = [f" r{index} = o{index}{flat}" for index in range(len(self.definition.results))]
        return lines + [f" a{index} = a{index}{flat}" for index, cut in enumerate(self.cut) if cut and flat]

    def _text(self, blocks: int) -> str:
        results = [f"o{index}" for index in range(len(self.definition.results))]
        values = [f"a{index}" for index in range(len(self.inputs))]
        lines = [f"def region({', '.join(['out', *values])}):"]
        lines.append(f" {', '.join(results)} = out{' or (None,) * ' + str(len(results)) if len(results) > 1 else ''}")
        lines += [f" if o{i} is None: o{i} = empty(e{i}, d{i})" for i in range(len(results))]
        lines += self._forms()
        lines += [" def block(i, t):", "  at = slices[i]"]
        lines += [f"  x{index} = a{index}{'[at]' if cut else ''}" for index, cut in enumerate(self.cut)]
        lines += [f"  y{index} = r{index}[at]" for index in range(len(results))]
        if self.scratch.places:
            lines.append(f"  {''.join(f's{at}, ' for at in self.scratch.places)} = scratch(i, t)")
        for at in range(len(self.definition.parts)):
            lines.append(f"  {self._call(at)}")
            self.lines[len(lines)] = at
        lines += [
            *([" prepare()"] if self.scratch.places else []),
            f" for_blocks(block, {blocks})",
            f" return {', '.join(results)}",
        ]
        return "\n".join(lines)

    def _call(self, at: int) -> str:
        arguments = [self._value(number) for number in self.definition.parts[at].inputs]
        name = self._value(len(self.inputs) + at)
        if self.kernels[at].takes_out:
            out = name if self.kernels[at].function in _BY_PLACE else f"out={name}"
            return f"k{at}({', '.join(arguments)}, {out})"
        call = f"k{at}({', '.join(arguments)})"
        return f"copy({name}, {call})" if at in self.definition.results else f"{name} = {call}"

    def _function(self, at: int) -> Callable[..., Any]:
        """What computes a part of a block."""
        return self.kernels[at].function

    def _value(self, number: int) -> str:
        at = number - len(self.inputs)
        if at < 0:
            return f"x{number}"
        return f"y{self.definition.results.index(at)}" if at in self.definition.results else f"s{at}"


class _Views:
    """The blocks of memory for the values on the way, as arrays: of each thread, for whole blocks and for the last one."""

    def __init__(self, writer: Writer, workspace: Workspace, rest: int, last: int) -> None:
        self._parts = [
            (writer.definition.parts[at].spec.dtype.np, place, writer.row_of(at))
            for at, place in writer.scratch.places.items()
        ]
        self._lengths = writer.length, rest
        self._last = last
        self._workspace = workspace
        self._starts, size = [], 0
        for unit in writer.scratch.sizes:
            self._starts.append(size)
            size += -(-max(self._lengths) * unit // ALIGNMENT) * ALIGNMENT
        workspace.reserve(size)
        self._made: tuple[dict[int, list[Array]], dict[int, list[Array]]] = {}, {}

    def prepare(self) -> None:
        """Make the arrays of all threads that there may be, so that a later step makes none."""
        for thread in range(len(self._made[0]), threads()):
            self.of(self._last, thread)
            self.of(self._last - 1, thread)

    def of(self, block: int, thread: int) -> list[Array]:
        """The arrays of a block."""
        made = self._made[block == self._last]
        return made.get(thread) or made.setdefault(thread, self._make(thread, self._lengths[block == self._last]))

    def _make(self, thread: int, length: int) -> list[Array]:
        piece, arrays = self._workspace.piece(thread), []
        for dtype, place, row in self._parts:
            start, dims = self._starts[place], (length, *row)
            arrays.append(piece[start : start + prod(dims) * dtype.itemsize].view(dtype).reshape(dims))
        return arrays
