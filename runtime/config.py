"""Options of sessions and runs, under TensorFlow's names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from .tracing import StepStats


@dataclass
class ConfigProto:
    """How a session runs.

    `device_count`: devices in this process by type, as `{"CPU": 3}`. `allow_soft_placement`: a requested device that is
    not there falls back to one that is. `operation_timeout_in_ms`: no step may take longer (0: no limit).
    `intra_op_parallelism_threads`: threads a kernel may use, for the whole process (0: the machine's choice); the same
    number on every machine is what makes results agree bit for bit. `log_device_placement`: log where operations go.
    `schedule_seed`: run operations in a random order among those the graph allows. The other fields are accepted for
    programs that set them and say nothing to weft: it has one scheduler and needs no growth of GPU memory.
    """

    device_count: dict[str, int] = field(default_factory=dict)
    intra_op_parallelism_threads: int = 0
    inter_op_parallelism_threads: int = 0
    allow_soft_placement: bool = False
    log_device_placement: bool = False
    operation_timeout_in_ms: int = 0
    schedule_seed: int | None = None
    use_per_session_threads: bool = False
    isolate_session_state: bool = False
    device_filters: list[str] = field(default_factory=list)
    gpu_options: Any = None
    graph_options: Any = None


@dataclass
class GPUOptions:
    """Accepted for programs that set it; weft's CPU devices have no use for it."""

    per_process_gpu_memory_fraction: float = 0.0
    allow_growth: bool = False
    visible_device_list: str = ""


@dataclass
class RunOptions:
    """How one run goes. Source: `tf.RunOptions`.

    `timeout_in_ms` limits it (0: the session's limit): DeadlineExceededError. `trace_level`: FULL_TRACE, or any other
    trace, fills `RunMetadata.step_stats`; `output_partition_graphs` fills `RunMetadata.partition_graphs`. Without
    these, neither costs anything. `report_tensor_allocations_upon_oom` is accepted and says nothing to weft.
    """

    NO_TRACE: ClassVar[int] = 0
    SOFTWARE_TRACE: ClassVar[int] = 1
    HARDWARE_TRACE: ClassVar[int] = 2
    FULL_TRACE: ClassVar[int] = 3

    timeout_in_ms: int = 0
    trace_level: int = 0
    output_partition_graphs: bool = False
    report_tensor_allocations_upon_oom: bool = False


@dataclass
class RunMetadata:
    """What a run reports when its RunOptions ask for it. Source: `tf.RunMetadata`.

    `step_stats`: for each device, when which operation ran, for how long, and the dtypes and shapes of its results
    (`weft.runtime.timeline.Timeline` draws it). `partition_graphs`: the plan of each device, as text.
    """

    step_stats: StepStats = field(default_factory=StepStats)
    partition_graphs: list[str] = field(default_factory=list)
