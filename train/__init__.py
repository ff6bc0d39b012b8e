"""`wf.train`: optimizers, savers, graphs in files, and what places variables and counts steps."""

import typing as _typing
from collections.abc import Callable as _Callable

from ..graph.cluster_spec import (
    ClusterDef as ClusterDef,
    ClusterSpec as ClusterSpec,
    JobDef as JobDef,
    ServerDef as ServerDef,
)
from .adadelta import AdadeltaOptimizer as AdadeltaOptimizer
from .adagrad import AdagradOptimizer as AdagradOptimizer
from .adagrad_da import AdagradDAOptimizer as AdagradDAOptimizer
from .adam import AdamOptimizer as AdamOptimizer
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
from .ftrl import FtrlOptimizer as FtrlOptimizer
from .global_step import (
    assert_global_step as assert_global_step,
    create_global_step as create_global_step,
    get_global_step as get_global_step,
    get_or_create_global_step as get_or_create_global_step,
    global_step as global_step,
)
from .gradient_descent import GradientDescentOptimizer as GradientDescentOptimizer
from .meta_graph import (
    export_meta_graph as export_meta_graph,
    import_meta_graph as import_meta_graph,
    write_graph as write_graph,
)
from .momentum import MomentumOptimizer as MomentumOptimizer
from .moving_averages import ExponentialMovingAverage as ExponentialMovingAverage
from .optimizer import Optimizer as Optimizer
from .proximal import (
    ProximalAdagradOptimizer as ProximalAdagradOptimizer,
    ProximalGradientDescentOptimizer as ProximalGradientDescentOptimizer,
)
from .rmsprop import RMSPropOptimizer as RMSPropOptimizer
from .saver import Saver as Saver
from .schedules import (
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

#: Names of this face that rooms beside this one define, and what loads each when it is first used.
_elsewhere: dict[str, _Callable[[], _typing.Any]] = {}


def __getattr__(name: str) -> _typing.Any:
    if name in _elsewhere:
        return _elsewhere[name]()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
