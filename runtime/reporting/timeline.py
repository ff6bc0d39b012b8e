"""Timeline: the trace of a step as JSON that chrome://tracing and Perfetto show."""

from __future__ import annotations

import json
import re
from typing import Any

from ...graph import errors
from .tracing import DeviceStepStats, NodeExecStats, StepStats

#: A label: name, type, inputs.
_LABEL = re.compile(r"(?P<name>.*?) = (?P<type>\w+)\((?P<inputs>.*)\)")


class Timeline:
    """Shows the step statistics of a traced run: a row a device, a bar an operation, an arrow a value that crosses.

    `step_stats` is `run_metadata.step_stats` of a run with `RunOptions(trace_level=RunOptions.FULL_TRACE)`.
    Source: `tf.python.client.timeline.Timeline`.
    """

    def __init__(self, step_stats: StepStats) -> None:
        if not isinstance(step_stats, StepStats):
            raise TypeError(f"step_stats must be the StepStats of a traced run, but got {type(step_stats).__name__}")
        self._stats = step_stats

    def generate_chrome_trace_format(self, show_dataflow: bool = True, show_memory: bool = False) -> str:
        """The trace as JSON. `show_dataflow`: arrows from sends to receives.

        Raises UnimplementedError for `show_memory`: a plan's memory is laid out before it runs, so print the plan.
        """
        if show_memory:
            raise errors.UnimplementedError(
                None, None, "a trace has no memory statistics: print(session.plan(...)) shows the buffers of a step"
            )
        events: list[dict[str, Any]] = []
        for process, device in enumerate(self._stats.dev_stats):
            events += _rows(process, device)
            for node in device.node_stats:
                events.append(_bar(process, node))
                if show_dataflow and node.edge is not None:
                    events.append(_arrow(process, node))
        return json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}, indent=1)


def _rows(process: int, device: DeviceStepStats) -> list[dict[str, Any]]:
    what = {"process_name": {"name": f"{device.device} Compute"}, "process_sort_index": {"sort_index": process}}
    return [{"ph": "M", "name": name, "pid": process, "args": value} for name, value in what.items()]


def _bar(process: int, node: NodeExecStats) -> dict[str, Any]:
    label = _LABEL.match(node.timeline_label)
    kind = label["type"] if label else node.node_name
    inputs = [name for name in label["inputs"].split(", ") if name] if label else []
    shapes = [f"{o.tensor_description.dtype}{list(o.tensor_description.shape)}" for o in node.output]
    return {
        "ph": "X",
        "cat": "Op",
        "name": kind,
        "pid": process,
        "tid": 0,
        "ts": node.all_start_nanos / 1000,
        "dur": node.all_end_rel_nanos / 1000,
        "args": {"name": node.node_name, "op": kind}
        | {f"input{index}": name for index, name in enumerate(inputs)}
        | {f"output{index}": shape for index, shape in enumerate(shapes)},
    }


def _arrow(process: int, node: NodeExecStats) -> dict[str, Any]:
    """One end of an arrow: where a send begins, or where a receive ends."""
    at = node.all_start_nanos if node.sends else node.all_start_nanos + node.all_end_rel_nanos
    end = {"ph": "s"} if node.sends else {"ph": "f", "bp": "e"}
    return {
        **end,
        "cat": "DataFlow",
        "name": node.node_name,
        "id": node.edge,
        "pid": process,
        "tid": 0,
        "ts": at / 1000,
    }
