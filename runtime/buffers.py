"""Buffers: which results of a plan are written into preallocated memory, and where, so that memory is shared in time."""

from __future__ import annotations

from collections import defaultdict
from math import prod
from typing import Protocol, cast

from ..graph import shapes
from ..graph.dtypes import resource, string
from ..graph.opdef import Spec
from .arena import Arena
from .backends.kernels import Kernel
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
        if isinstance(instruction, Run) and _wants_buffer(instruction, draft.kernels[at], given_away):
            slot = instruction.outputs[0]
            spec = instruction.output_specs[0]
            buffer = _in_place(draft, instruction, draft.kernels[at], placed, last, at) or _fresh(arena, spec)
            placed[slot] = buffer
            ending[max(last[slot], at)].append(slot)
            draft.instructions[at] = instruction._replace(buffer=buffer)
        for slot in ending.pop(at, ()):
            if slot in placed:
                arena.give_back(placed[slot].offset, placed[slot].nbytes)
    return arena.size


def _wants_buffer(run: Run, kernel: Kernel, given_away: set[int]) -> bool:
    if len(run.outputs) != 1 or run.outputs[0] in given_away or not (kernel.takes_out or run.copied):
        return False
    spec = run.output_specs[0]
    return shapes.is_full(spec.dims) and spec.dtype is not resource and spec.dtype is not string


def _fresh(arena: Arena, spec: Spec) -> Buffer:
    dims = cast(tuple[int, ...], spec.dims)
    return Buffer(arena.take(prod(dims) * spec.dtype.size), spec.dtype, dims)


def _in_place(
    draft: DraftLike, run: Run, kernel: Kernel, placed: dict[int, Buffer], last: list[int], at: int
) -> Buffer | None:
    """The buffer of an input that ends here, has the very form of the output and may be written over."""
    spec = run.output_specs[0]
    for slot in run.inputs if kernel.exact else _replaceable(draft, run, kernel):
        buffer = placed.get(slot)
        if buffer is not None and last[slot] == at and (buffer.dtype, buffer.dims) == (spec.dtype, spec.dims):
            del placed[slot]  # its memory lives on under the new slot
            return buffer
    return None


def _replaceable(draft: DraftLike, run: Run, kernel: Kernel) -> list[int]:
    """The inputs that a kernel may write over, unless another input lies in their memory."""
    found = []
    for index in kernel.may_replace:
        slot = run.inputs[index]
        others = run.inputs[:index] + run.inputs[index + 1 :]
        if not any(slot in draft.memory(other) for other in others):
            found.append(slot)
    return found
