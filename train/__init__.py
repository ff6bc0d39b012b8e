"""`wf.train`: optimizers, savers, graphs in files, input through queues, and what places variables and counts steps."""

from typing import Any as _Any

from ..graph.cluster_spec import (
    ClusterDef as ClusterDef,
    ClusterSpec as ClusterSpec,
    JobDef as JobDef,
    ServerDef as ServerDef,
)
from ..runtime.targets import server_class as _server_class
from .checkpoint_state import (
    CheckpointState as CheckpointState,
    NewCheckpointReader as NewCheckpointReader,
    checkpoint_exists as checkpoint_exists,
    get_checkpoint_state as get_checkpoint_state,
    latest_checkpoint as latest_checkpoint,
    list_variables as list_variables,
    load_checkpoint as load_checkpoint,
    load_variable as load_variable,
    update_checkpoint_state as update_checkpoint_state,
)
from .device_setter import replica_device_setter as replica_device_setter
from .events.reading import summary_iterator as summary_iterator
from .events.writing import FileWriter as SummaryWriter
from .example_protos import EXAMPLE_MESSAGES as _EXAMPLE_MESSAGES, example_protos as _example_protos
from .global_step import (
    assert_global_step as assert_global_step,
    create_global_step as create_global_step,
    get_global_step as get_global_step,
    get_or_create_global_step as get_or_create_global_step,
    global_step as global_step,
)
from .hooks.progress import ProgressHook as ProgressHook
from .hooks.reporting import (
    LoggingTensorHook as LoggingTensorHook,
    ProfilerHook as ProfilerHook,
    StepCounterHook as StepCounterHook,
    SummarySaverHook as SummarySaverHook,
)
from .hooks.running import FeedFnHook as FeedFnHook, FinalOpsHook as FinalOpsHook
from .hooks.saving import CheckpointSaverHook as CheckpointSaverHook, CheckpointSaverListener as CheckpointSaverListener
from .hooks.session_run_hook import (
    SessionRunArgs as SessionRunArgs,
    SessionRunContext as SessionRunContext,
    SessionRunHook as SessionRunHook,
    SessionRunValues as SessionRunValues,
)
from .hooks.stopping import (
    GlobalStepWaiterHook as GlobalStepWaiterHook,
    NanLossDuringTrainingError as NanLossDuringTrainingError,
    NanTensorHook as NanTensorHook,
    StopAtStepHook as StopAtStepHook,
)
from .hooks.timer import SecondOrStepTimer as SecondOrStepTimer
from .meta_graph import import_meta_graph as import_meta_graph
from .meta_graph_export import export_meta_graph as export_meta_graph, write_graph as write_graph
from .mirrored.optimizer import MirroredOptimizer as MirroredOptimizer
from .moving_averages import ExponentialMovingAverage as ExponentialMovingAverage
from .optimizers.adadelta import AdadeltaOptimizer as AdadeltaOptimizer
from .optimizers.adagrad import AdagradOptimizer as AdagradOptimizer
from .optimizers.adagrad_da import AdagradDAOptimizer as AdagradDAOptimizer
from .optimizers.adam import AdamOptimizer as AdamOptimizer
from .optimizers.ftrl import FtrlOptimizer as FtrlOptimizer
from .optimizers.gradient_descent import GradientDescentOptimizer as GradientDescentOptimizer
from .optimizers.momentum import MomentumOptimizer as MomentumOptimizer
from .optimizers.optimizer import Optimizer as Optimizer
from .optimizers.proximal import (
    ProximalAdagradOptimizer as ProximalAdagradOptimizer,
    ProximalGradientDescentOptimizer as ProximalGradientDescentOptimizer,
)
from .optimizers.rmsprop import RMSPropOptimizer as RMSPropOptimizer
from .optimizers.schedules import (
    cosine_decay as cosine_decay,
    cosine_decay_restarts as cosine_decay_restarts,
    exponential_decay as exponential_decay,
    inverse_time_decay as inverse_time_decay,
    linear_cosine_decay as linear_cosine_decay,
    natural_exp_decay as natural_exp_decay,
    noisy_linear_cosine_decay as noisy_linear_cosine_decay,
    piecewise_constant as piecewise_constant,
    piecewise_constant_decay as piecewise_constant_decay,
    polynomial_decay as polynomial_decay,
)
from .queues.batches import (
    batch as batch,
    batch_join as batch_join,
    maybe_batch as maybe_batch,
    maybe_batch_join as maybe_batch_join,
    maybe_shuffle_batch as maybe_shuffle_batch,
    shuffle_batch as shuffle_batch,
    shuffle_batch_join as shuffle_batch_join,
)
from .queues.coordinator import Coordinator as Coordinator, LooperThread as LooperThread
from .queues.producers import (
    input_producer as input_producer,
    limit_epochs as limit_epochs,
    range_input_producer as range_input_producer,
    slice_input_producer as slice_input_producer,
    string_input_producer as string_input_producer,
)
from .queues.queue_runner import (
    QueueRunner as QueueRunner,
    add_queue_runner as add_queue_runner,
    start_queue_runners as start_queue_runners,
)
from .saver import Saver as Saver
from .sessions.creators import (
    ChiefSessionCreator as ChiefSessionCreator,
    SessionCreator as SessionCreator,
    WorkerSessionCreator as WorkerSessionCreator,
)
from .sessions.manager import SessionManager as SessionManager
from .sessions.monitored_session import (
    MonitoredSession as MonitoredSession,
    SingularMonitoredSession as SingularMonitoredSession,
)
from .sessions.monitored_training import MonitoredTrainingSession as MonitoredTrainingSession
from .sessions.recovery import RecoveryPolicy as RecoveryPolicy
from .sessions.scaffold import Scaffold as Scaffold
from .sessions.supervisor import Supervisor as Supervisor, basic_train_loop as basic_train_loop
from .sync_replicas import SyncReplicasOptimizer as SyncReplicasOptimizer
from .warm_start import init_from_checkpoint as init_from_checkpoint


def __getattr__(name: str) -> _Any:
    """What is loaded when it is first used: the messages of records (`Example`, ...), and what lies elsewhere."""
    if name in _EXAMPLE_MESSAGES:
        return _example_protos()[name]
    if name == "Server":
        return _server_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
