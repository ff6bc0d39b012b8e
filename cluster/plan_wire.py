"""Plans as data: what a session sends to a task once, and what the task makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from ..graph import errors
from ..graph.dtypes import as_dtype
from ..graph.ops.literal import Literal
from ..graph.wire import Arrays, decode_definition, decode_spec, encode_definition, encode_spec
from ..runtime.plan import Buffer, Fetch, Free, Instruction, Load, Plan, Receive, Run, Send, TakeFeed


def encode_plan(plan: Plan) -> tuple[bytes, Arrays]:
    """The plan as JSON, and the arrays it refers to by number."""
    arrays: Arrays = []
    rows = [_encode(instruction, arrays) for instruction in plan.instructions]
    return json.dumps([plan.device, plan.arena_bytes, rows], separators=(",", ":")).encode(), arrays


def decode_plan(data: bytes, arrays: Sequence[Any]) -> Plan:
    """The plan again. Raises DataLossError for data that is none."""
    try:
        device, size, rows = json.loads(data)
        return Plan(str(device), tuple(_READERS[row[0]](row[1:], arrays) for row in rows), int(size))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise errors.DataLossError(None, None, f"expected a plan, got data that is none: {error}") from None


def _encode(instruction: Instruction, arrays: Arrays) -> list[Any]:
    match instruction:
        case TakeFeed(slot, index, name):
            return ["feed", slot, index, name]
        case Load(slot, value, name):
            arrays.append(value.array)
            return ["load", slot, len(arrays) - 1, name]
        case Send(slot, edge, device, name):
            return ["send", slot, edge, device, name]
        case Receive(slot, edge, device, name):
            return ["receive", slot, edge, device, name]
        case Free(slots):
            return ["free", slots]
        case Fetch(slot, index, copied):
            return ["fetch", slot, index, copied]
        case Run():
            return ["run", *_encode_run(instruction, arrays)]


def _encode_run(run: Run, arrays: Arrays) -> list[Any]:
    buffer = run.buffer and [run.buffer.offset, run.buffer.dtype.name, run.buffer.dims]
    return [
        run.name, encode_definition(run.definition, arrays), run.inputs, run.outputs,
        [encode_spec(spec) for spec in run.input_specs], [encode_spec(spec) for spec in run.output_specs],
        buffer, run.contiguous, run.copied,
    ]  # fmt: skip


def _read_run(row: list[Any], arrays: Sequence[Any]) -> Run:
    name, definition, inputs, outputs, input_specs, output_specs, buffer, contiguous, copied = row
    return Run(
        name,
        decode_definition(definition, arrays),
        tuple(inputs),
        tuple(outputs),
        tuple(decode_spec(spec) for spec in input_specs),
        tuple(decode_spec(spec) for spec in output_specs),
        buffer and Buffer(int(buffer[0]), as_dtype(buffer[1]), tuple(buffer[2])),
        tuple(contiguous),
        bool(copied),
    )


_READERS: dict[str, Callable[[list[Any], Sequence[Any]], Instruction]] = {
    "feed": lambda row, _: TakeFeed(*row),
    "load": lambda row, arrays: Load(row[0], Literal(arrays[row[1]]), row[2]),
    "send": lambda row, _: Send(*row),
    "receive": lambda row, _: Receive(*row),
    "free": lambda row, _: Free(tuple(row[0])),
    "fetch": lambda row, _: Fetch(*row),
    "run": _read_run,
}
