"""`wf.train`: optimizers, savers, and what places variables and counts steps."""

from ..graph.cluster_spec import ClusterSpec as ClusterSpec
from .adagrad import AdagradOptimizer as AdagradOptimizer
from .adam import AdamOptimizer as AdamOptimizer
from .device_setter import replica_device_setter as replica_device_setter
from .global_step import (
    assert_global_step as assert_global_step,
    create_global_step as create_global_step,
    get_global_step as get_global_step,
    get_or_create_global_step as get_or_create_global_step,
    global_step as global_step,
)
from .gradient_descent import GradientDescentOptimizer as GradientDescentOptimizer
from .momentum import MomentumOptimizer as MomentumOptimizer
from .optimizer import Optimizer as Optimizer
from .rmsprop import RMSPropOptimizer as RMSPropOptimizer
