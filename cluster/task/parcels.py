"""Parcels: which of the values that a plan sends to one task travel together, in one message, and how they are told apart."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from ...graph import errors
from ...graph.function import functions_of
from ...runtime.placing.cost_model import BYTE_SECONDS, FLOP_SECONDS, KERNEL_SECONDS, work_of
from ...runtime.stages.parts import DevicePart
from ...runtime.stages.plan import Instruction, Run, Send

#: How long a value may wait for those that follow, by a rough estimate: a message costs about as much at its two ends.
LONGEST_SECONDS = 50e-6
#: A parcel of more bytes is sent at once: copying it takes as long.
MOST_BYTES = 256 << 10


def together(instructions: Sequence[Instruction]) -> frozenset[int]:
    """The edges whose values may wait for the next one that goes to the same device.

    Between the two there is nothing that may take long or wait for anybody, but for other tasks' values: before it waits
    for one of those, a step sends what it has kept back. So nobody waits for what needs it to go on.
    """
    found: set[int] = set()
    last: dict[str, tuple[int, float]] = {}  # by device: the edge, and how long the first of its parcel has waited
    for instruction in instructions:
        match instruction:
            case Send(edge=edge, device=device, again=False):
                before, waited = last.get(device, (None, 0.0))
                if before is not None:
                    found.add(before)
                last[device] = edge, waited
            case Run():
                more = _seconds(instruction)
                waits = [(device, edge, waited + more) for device, (edge, waited) in last.items()]
                last = {device: (edge, waited) for device, edge, waited in waits if waited <= LONGEST_SECONDS}
            case Send():
                last = {}
    return frozenset(found)


def _seconds(run: Run) -> float:
    """How long it may take, roughly; without end where nobody knows."""
    definition = run.definition
    if definition.access == "read" and not run.copied:
        return KERNEL_SECONDS
    if definition.stateful or definition.access or isinstance(definition, DevicePart) or functions_of(definition):
        return float("inf")
    nbytes, flops = work_of(definition, run.input_specs, run.output_specs)
    return KERNEL_SECONDS + nbytes * BYTE_SECONDS + flops * FLOP_SECONDS


def encode_edges(values: Sequence[tuple[int, Any]]) -> bytes:
    """The edges of several values; of a signal, which has no tensor, one less than minus its edge."""
    return struct.pack(f"<{len(values)}q", *[~edge if value is None else edge for edge, value in values])


def decode_edges(data: bytes, tensors: Sequence[Any]) -> list[tuple[int, Any]]:
    """Several values and their edges. Raises DataLossError for data that does not belong to these tensors."""
    count, rest = divmod(len(data), 8)
    numbers = struct.unpack(f"<{count}q", data[: 8 * count])
    if rest or sum(number >= 0 for number in numbers) != len(tensors):
        what = f"expected the edges of {len(tensors)} tensors and of signals, got {len(data)} bytes"
        raise errors.DataLossError(None, None, what)
    left = iter(tensors)
    return [(~number, None) if number < 0 else (number, next(left)) for number in numbers]
