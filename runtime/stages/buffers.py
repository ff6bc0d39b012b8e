"""Buffers: which results of a plan are written into preallocated memory, and where, so that memory is shared in time."""

from __future__ import annotations

from collections import defaultdict
from math import prod
from typing import Protocol, cast

from ...graph import shapes
from ...graph.dtypes import resource, string
from ...graph.opdef import Spec
from ..kernels import Kernel
from ..memory.arena import Arena
from .plan import Buffer, Instruction, Run


class DraftLike(Protocol):
    """What is asked of a plan in the making: see `lower.Draft`."""

    instructions: list[Instruction]
    kernels: dict[int, Kernel]
    fetches: dict[int, int]

    def needed_until(self) -> list[int]: ...
    def memory(self, slot: int) -> tuple[int, ...]: ...


def assign_buffers(draft: DraftLike) -> int:
    """Give a buffer to each result whose kernel can write into one; returns how many bytes of memory that takes.

    A result that is fetched gets none: it is allocated by the step and given away without a copy.
    """
    arena = Arena()
    last = draft.needed_until()
    placed: dict[int, Buffer] = {}
    ending: dict[int, list[int]] = defaultdict(list)
    given_away = set(draft.fetches.values())
    for at, instruction in enumerate(draft.instructions):
        if isinstance(instruction, Run) and _writes(instruction, draft.kernels[at]):
            buffers: list[Buffer | None] = []
            for number, (slot, spec) in enumerate(zip(instruction.outputs, instruction.output_specs, strict=True)):
                if slot in given_away or not _has_known_size(spec):
                    buffers.append(None)
                    continue
                ended = in_place(draft, instruction, at, number, placed, last)
                buffer = placed[slot] = _fresh(arena, spec) if ended is None else placed.pop(ended)
                ending[max(last[slot], at)].append(slot)
                buffers.append(buffer)
            if any(buffers):
                draft.instructions[at] = instruction._replace(buffers=tuple(buffers))
        for slot in ending.pop(at, ()):
            if slot in placed:
                arena.give_back(placed[slot].offset, placed[slot].nbytes)
    return arena.size


def _writes(run: Run, kernel: Kernel) -> bool:
    """Whether results can be written into buffers."""
    return (kernel.takes_out or run.copied) and (len(run.outputs) == 1 or kernel.takes_out)


def _has_known_size(spec: Spec) -> bool:
    return shapes.is_full(spec.dims) and spec.dtype is not resource and spec.dtype is not string


def _fresh(arena: Arena, spec: Spec) -> Buffer:
    dims = cast(tuple[int, ...], spec.dims)
    return Buffer(arena.take(prod(dims) * spec.dtype.size), spec.dtype, dims)


def in_place(
    draft: DraftLike, run: Run, at: int, number: int, placed: dict[int, Buffer], last: list[int]
) -> int | None:
    """An input in a buffer that ends here, has the very form of the result of that number and may be written over."""
    kernel = draft.kernels[at]
    spec = run.output_specs[number]
    if shapes.count(spec.dims) == 1:  # NumPy takes twice as long where one element is input and output
        return None
    for slot in run.inputs if kernel.exact else _replaceable(draft, run, kernel, number):
        buffer = placed.get(slot)
        if buffer is not None and last[slot] == at and (buffer.dtype, buffer.dims) == (spec.dtype, spec.dims):
            return slot
    return None


def _replaceable(draft: DraftLike, run: Run, kernel: Kernel, number: int) -> list[int]:
    """The inputs that a kernel may write over, unless another input lies in their memory."""
    found = []
    for index in kernel.may_replace[number] if kernel.may_replace else ():
        slot = run.inputs[index]
        others = run.inputs[:index] + run.inputs[index + 1 :]
        if not any(slot in draft.memory(other) for other in others):
            found.append(slot)
    return found
