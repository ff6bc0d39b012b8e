"""Options of sessions and runs, under TensorFlow's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from os import PathLike
from types import SimpleNamespace
from typing import Any, ClassVar

from ..graph.ir import Graph
from .placing.cost_model import CostModel
from .reporting.races import CHOICES
from .reporting.tracing import StepStats

#: How operations find a device: "" and "simple" are the same.
PLACERS = ("", "simple", "cost")


@dataclass(slots=True)
class GPUOptions:
    """Accepted for programs that set it; weft's CPU devices have no use for it. Source: `tf.GPUOptions`."""

    per_process_gpu_memory_fraction: float = 0.0
    allow_growth: bool = False
    allocator_type: str = ""
    visible_device_list: str = ""
    polling_active_delay_usecs: int = 0
    force_gpu_compatible: bool = False
    experimental: Any = field(default_factory=SimpleNamespace)


@dataclass(slots=True)
class OptimizerOptions:
    """Accepted for programs that set it; what weft rewrites keeps every bit. Source: `tf.OptimizerOptions`."""

    L1: ClassVar[int] = 0
    L0: ClassVar[int] = -1
    DEFAULT: ClassVar[int] = 0
    OFF: ClassVar[int] = -1
    ON_1: ClassVar[int] = 1
    ON_2: ClassVar[int] = 2

    do_common_subexpression_elimination: bool = False
    do_constant_folding: bool = False
    do_function_inlining: bool = False
    max_folded_constant_in_bytes: int = 0
    opt_level: int = 0
    global_jit_level: int = 0


@dataclass(slots=True)
class GraphOptions:
    """Accepted for programs that set it. Source: `tf.GraphOptions`."""

    optimizer_options: OptimizerOptions = field(default_factory=OptimizerOptions)
    rewrite_options: Any = field(default_factory=SimpleNamespace)
    enable_recv_scheduling: bool = False
    build_cost_model: int = 0
    build_cost_model_after: int = 0
    infer_shapes: bool = False
    place_pruned_graph: bool = False
    enable_bfloat16_sendrecv: bool = False
    timeline_step: int = 0


@dataclass(slots=True)
class ConfigProto:
    """How a session runs.

    `device_count`: devices in this process by type, as `{"CPU": 3}`. `allow_soft_placement`: a requested device that is
    not there falls back to one that is. `operation_timeout_in_ms`: no step may take longer (0: no limit), nor finding the tasks
    of a cluster of servers (0: `WEFT_CLUSTER_TIMEOUT` seconds, or 600), which are lost when they were silent for
    `WEFT_HEARTBEAT_TIMEOUT` seconds (or 10). `device_filters`: of such a cluster, the session uses its target's task and those
    that one of these names matches, as "/job:ps"; all when there are none.
    `intra_op_parallelism_threads`: threads that kernels may use. That is one budget for all sessions and devices of the
    process, and the session made last sets it; 0 leaves it as it is, at first what the machine has or what
    `WEFT_NUM_THREADS` (or `OPENBLAS_NUM_THREADS`, `OMP_NUM_THREADS`, `MKL_NUM_THREADS`) says. Results do not depend on it.
    They are weft's own threads: a session holds BLAS to one, for the whole process.
    `inter_op_parallelism_threads` is accepted: each device has one thread, which runs its plan in a fixed order.
    `log_device_placement`: write to stderr where operations go.
    `schedule_seed`: run operations in a random order among those the graph allows. `race_check`: what a session does when
    nothing orders two accesses to a variable (`wf.find_races`): "warn" (RaceWarning), "error" (InvalidArgumentError) or "off".
    `backend`: "numpy"; or "llvm": elementwise operations, optimizers' updates, and the matrix products and convolutions
    for which that gives the same bits become machine code (`pip install weft[llvm]`); on a cluster each task compiles its own
    part of a plan, for its own processor, before the first step runs, and needs llvmlite as this process does: without it there
    is no session (UnimplementedError that names the task); or "xla": JAX compiles the parts of a step that it can take
    (`pip install weft[xla]`), in one process.
    With "xla" values may differ from the others' and from those of other placements in their last bits, and numbers below the
    smallest normal one may become 0; with the same placement and number of threads they are the same in each run. Steps with
    new shapes wait for the compilers.
    `placer`: "" or "simple": what requests no device is on the default one; "cost": it is where a step is predicted to be fastest
    by measured costs, never worse than all on one device, with the same values (`Session.plan(...).explain()` says why).
    Variables are placed once for the session, by the steps that were measured, and stay. `cost_model`: what
    `wf.measure_costs` returned, or the path that it was saved to; without one, all costs are estimates.
    `graph_options.place_pruned_graph`: look only at what runs need for devices that are not there, not at the whole graph.
    The other fields are accepted for programs that set them and say nothing to weft: it has one scheduler and needs no
    growth of GPU memory. Source: `tf.ConfigProto`.
    """

    device_count: dict[str, int] = field(default_factory=dict)
    intra_op_parallelism_threads: int = 0
    inter_op_parallelism_threads: int = 0
    allow_soft_placement: bool = False
    log_device_placement: bool = False
    operation_timeout_in_ms: int = 0
    schedule_seed: int | None = None
    race_check: str = "warn"
    backend: str = "numpy"
    placer: str = ""
    cost_model: Any = None
    use_per_session_threads: bool = False
    isolate_session_state: bool = False
    device_filters: list[str] = field(default_factory=list)
    gpu_options: GPUOptions = field(default_factory=GPUOptions)
    graph_options: GraphOptions = field(default_factory=GraphOptions)
    session_inter_op_thread_pool: list[Any] = field(default_factory=list)
    placement_period: int = 0
    cluster_def: Any = None
    experimental: Any = field(default_factory=SimpleNamespace)


@dataclass(slots=True)
class RunOptions:
    """How one run goes. Source: `tf.RunOptions`.

    `timeout_in_ms` limits it (0: the session's limit): DeadlineExceededError. `trace_level`: FULL_TRACE, or any other
    trace, fills `RunMetadata.step_stats`; `output_partition_graphs` fills `RunMetadata.partition_graphs`, which needs
    tensorboardX (ImportError). Without these, neither costs anything. The other fields are accepted and say nothing to weft.
    """

    NO_TRACE: ClassVar[int] = 0
    SOFTWARE_TRACE: ClassVar[int] = 1
    HARDWARE_TRACE: ClassVar[int] = 2
    FULL_TRACE: ClassVar[int] = 3

    timeout_in_ms: int = 0
    trace_level: int = 0
    output_partition_graphs: bool = False
    inter_op_thread_pool: int = 0
    debug_options: Any = None
    experimental: Any = field(default_factory=SimpleNamespace)
    report_tensor_allocations_upon_oom: bool = False


@dataclass(slots=True)
class RunMetadata:
    """What a run reports when its RunOptions ask for it. Source: `tf.RunMetadata`.

    `step_stats`: for each device, when which operation ran, for how long, and the dtypes and shapes of its results
    (`weft.runtime.reporting.timeline.Timeline` draws it). `partition_graphs`: for each device a GraphDef of what it runs before
    operations are fused (`Session.plan` is the text of what is run then): operations in their order, `_Send` and `_Recv`
    where values cross, `_Arg` and `_Retval` for feeds and fetches. It is to be read, not to be imported.
    """

    step_stats: StepStats = field(default_factory=StepStats)
    partition_graphs: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class CallableOptions:
    """What `Session._make_callable_from_options` makes a function of: names of tensors to feed and fetch, in that order.

    `target`: names of operations to run as well. `run_options`: how each run goes.
    """

    feed: list[str] = field(default_factory=list)
    fetch: list[str] = field(default_factory=list)
    target: list[str] = field(default_factory=list)
    run_options: RunOptions = field(default_factory=RunOptions)


@dataclass(frozen=True, slots=True)
class DeviceAttributes:
    """A device of a session. `memory_limit_bytes`: 0, for weft sets none."""

    name: str
    device_type: str
    memory_limit_bytes: int = 0


def check_arguments(target: Any, graph: Any, config: Any) -> None:
    """The arguments of a session. Raises TypeError, ValueError."""
    hint = ' Did you do "Session(config)" for "Session(config=config)"?' if isinstance(target, ConfigProto) else ""
    for name, value, kind in (("target", target, str), ("graph", graph, Graph), ("config", config, ConfigProto)):
        if not isinstance(value, kind):
            what = "a string" if kind is str else f"a wf.{kind.__name__}"
            raise TypeError(f"{name} must be {what}, but got {type(value).__name__}.{hint}")
    if config.placer not in PLACERS:
        raise ValueError(f"placer must be one of {PLACERS}, but got {config.placer!r}")
    if config.cost_model is not None and not isinstance(config.cost_model, (str, PathLike, CostModel)):
        given = type(config.cost_model).__name__
        raise TypeError(f"cost_model must be a wf.CostModel or the path of a saved one, but got {given}")
    if config.race_check not in CHOICES:
        raise ValueError(f"race_check must be one of {CHOICES}, but got {config.race_check!r}")
    _check_numbers(config)


#: The fields of a ConfigProto that are whole numbers (a seed may be None).
_NUMBERS = ("intra_op_parallelism_threads", "inter_op_parallelism_threads", "operation_timeout_in_ms", "schedule_seed")


def _check_numbers(config: ConfigProto) -> None:
    """Raises TypeError for a field, or a count of devices, that is no whole number."""
    if not isinstance(config.device_count, Mapping):
        raise TypeError(f"device_count must be a dict, as {{'CPU': 3}}, but got {config.device_count!r}")
    given = {name: getattr(config, name) for name in _NUMBERS}
    given.update((f"device_count[{kind!r}]", count) for kind, count in config.device_count.items())
    for name, value in given.items():
        if not isinstance(value, Integral) and not (name == "schedule_seed" and value is None):
            raise TypeError(f"{name} must be a whole number, but got {value!r}")


def check_run_arguments(options: Any, metadata: Any) -> None:
    """The options of a run and what it reports to. Raises TypeError."""
    for name, given, kind in (("options", options, RunOptions), ("run_metadata", metadata, RunMetadata)):
        if not isinstance(given, kind):
            raise TypeError(f"{name} must be a wf.{kind.__name__}, but got {type(given).__name__}")
