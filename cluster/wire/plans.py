"""Plans as data: what a session sends to a task once, and what the task makes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ...graph import errors
from ...graph.dtypes import as_dtype
from ...graph.opdef import OpDef
from ...graph.ops.literal import Literal
from ...graph.ops.waits import Waiting
from ...graph.wire import Arrays, decode_definition, decode_spec, encode_definition, encode_spec
from ...runtime.stages.fused import Fused, Part
from ...runtime.stages.parts import DevicePart
from ...runtime.stages.plan import Buffer, Fetch, Free, Instruction, Load, Plan, Receive, Run, Send, TakeFeed
from ...runtime.stages.waits import BeginWait, EndWait
from .parts import PARTS, as_number, as_numbers, decode_part, encode_part


def encode_plan(plan: Plan) -> tuple[bytes, Arrays]:
    """The plan as JSON, and the arrays it refers to by number."""
    arrays: Arrays = []
    return json.dumps(_encode_plan(plan, arrays), separators=(",", ":")).encode(), arrays


def decode_plan(data: bytes, arrays: Sequence[Any]) -> Plan:
    """The plan again. Raises DataLossError for data that is none: a plan becomes code, so nothing is taken on trust."""
    try:
        return _decode_plan(json.loads(data), arrays)
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise errors.DataLossError(None, None, f"expected a plan, got data that is none: {error}") from None


def _encode_plan(plan: Plan, arrays: Arrays) -> list[Any]:
    return [plan.device, plan.arena_bytes, [_encode(instruction, arrays) for instruction in plan.instructions]]


def _decode_plan(row: Any, arrays: Sequence[Any]) -> Plan:
    match row:
        case [str(device), int(size), list(rows)]:
            return Plan(device, tuple(_decode(each, arrays) for each in rows), as_number(size))
    raise ValueError("expected a device, a size and instructions")


def _encode(instruction: Instruction, arrays: Arrays) -> list[Any]:
    match instruction:
        case TakeFeed(slot, index, name):
            return ["feed", slot, index, name]
        case Load(slot, value, name):
            arrays.append(value.array)
            return ["load", slot, len(arrays) - 1, name]
        case Send(slot, edge, device, name, again):
            return ["send", slot, edge, device, name, again]
        case Receive(slot, edge, device, name):
            return ["receive", slot, edge, device, name]
        case Free(slots):
            return ["free", slots]
        case Fetch(slot, index, copied):
            return ["fetch", slot, index, copied]
        case Run():
            return ["run", *_encode_run(instruction, arrays)]


def _encode_run(run: Run, arrays: Arrays) -> list[Any]:
    buffers = [None if each is None else [each.offset, each.dtype.name, each.dims] for each in run.buffers]
    return [
        run.name, _encode_definition(run.definition, arrays), run.inputs, run.outputs,
        [encode_spec(spec) for spec in run.input_specs], [encode_spec(spec) for spec in run.output_specs],
        buffers, run.contiguous, run.copied,
    ]  # fmt: skip


def _encode_definition(definition: OpDef, arrays: Arrays) -> list[Any]:
    if isinstance(definition, BeginWait):
        return [BeginWait.type, encode_definition(definition.definition, arrays)]
    if isinstance(definition, EndWait):
        specs = [encode_spec(spec) for spec in definition.specs]
        return [EndWait.type, encode_definition(definition.definition, arrays), specs]
    if isinstance(definition, DevicePart):
        return encode_part(definition, partial(_encode_plan, arrays=arrays))
    if not isinstance(definition, Fused):
        return encode_definition(definition, arrays)
    parts = [
        [part.name, encode_definition(part.definition, arrays), part.inputs, encode_spec(part.spec)]
        for part in definition.parts
    ]
    return [Fused.type, parts, definition.results, definition.flat, definition.rows, definition.cut]


def _decode(row: Any, arrays: Sequence[Any]) -> Instruction:
    match row:
        case ["run", *rest]:
            return _decode_run(rest, arrays)
        case ["feed", slot, index, str(name)]:
            return TakeFeed(as_number(slot), as_number(index), name)
        case ["load", slot, index, str(name)]:
            return Load(as_number(slot), Literal(np.asarray(arrays[as_number(index)])), name)
        case ["send", slot, edge, str(device), str(name), bool(again)]:
            return Send(slot if slot is None else as_number(slot), as_number(edge), device, name, again)
        case ["receive", slot, edge, str(device), str(name)]:
            return Receive(slot if slot is None else as_number(slot), as_number(edge), device, name)
        case ["free", slots]:
            return Free(as_numbers(slots))
        case ["fetch", slot, index, bool(copied)]:
            return Fetch(as_number(slot), as_number(index), copied)
    raise ValueError(f"no instruction: {str(row)[:100]}")


def _decode_run(row: list[Any], arrays: Sequence[Any]) -> Run:
    name, definition, inputs, outputs, input_specs, output_specs, buffers, contiguous, copied = row
    if not (isinstance(name, str) and isinstance(copied, bool) and all(isinstance(each, bool) for each in contiguous)):
        raise ValueError(f"no instruction: {str(row)[:100]}")
    if buffers and len(buffers) != len(outputs):
        raise ValueError(f"expected a buffer a result: {str(row)[:100]}")
    return Run(
        name,
        _decode_definition(definition, len(inputs), arrays),
        as_numbers(inputs),
        as_numbers(outputs),
        tuple(decode_spec(spec) for spec in input_specs),
        tuple(decode_spec(spec) for spec in output_specs),
        tuple(None if each is None else _decode_buffer(each) for each in buffers),
        tuple(contiguous),
        copied,
    )


def _decode_buffer(row: Any) -> Buffer:
    offset, dtype, dims = row
    return Buffer(as_number(offset), as_dtype(dtype), as_numbers(dims))


def _decode_definition(row: Any, inputs: int, arrays: Sequence[Any]) -> OpDef:
    match row:
        case [Fused.type, list(parts), list(results), bool(flat), bool(rows), list(cut)]:
            decoded = tuple(_decode_part(part, arrays) for part in parts)
            found = Fused(decoded, as_numbers(results), flat, rows, as_numbers(cut))
            known = all(number < inputs + at for at, part in enumerate(found.parts) for number in part.inputs)
            known = known and max(found.cut, default=-1) < inputs
            if not found.parts or not known or not found.results or max(found.results) >= len(parts):
                raise ValueError(f"no operations that can run together: {str(row)[:100]}")
            return found
        case [BeginWait.type, inner]:
            return BeginWait(_decode_waiting(inner, arrays))
        case [EndWait.type, inner, list(specs)]:
            return EndWait(_decode_waiting(inner, arrays), tuple(decode_spec(spec) for spec in specs))
        case [str(kind), *_] if kind in PARTS:
            return decode_part(row, inputs, partial(_decode_plan, arrays=arrays))
    return decode_definition(row, arrays)


def _decode_waiting(row: Any, arrays: Sequence[Any]) -> Waiting:
    found = decode_definition(row, arrays)
    if not isinstance(found, Waiting):
        raise ValueError(f"no operation that waits: {str(row)[:100]}")
    return found


def _decode_part(row: Any, arrays: Sequence[Any]) -> Part:
    name, definition, inputs, spec = row
    if not isinstance(name, str):
        raise ValueError(f"no operation: {str(row)[:100]}")
    return Part(name, decode_definition(definition, arrays), as_numbers(inputs), decode_spec(spec))
