"""weft: TensorFlow-1-style symbolic graphs on one process or a Ray cluster, with the same bits. `import weft as wf`.

This file is the public face: names only, those of graph/ in its face.py. Each is defined in the file that its import names.
"""

import importlib as _importlib
import typing as _typing

from . import nn as nn
from .autodiff.aggregate import AggregationMethod as AggregationMethod
from .autodiff.custom import custom_gradient as custom_gradient, grad_pass_through as grad_pass_through
from .autodiff.explain import explain_gradient as explain_gradient
from .autodiff.gradients import UnconnectedGradients as UnconnectedGradients, gradients as gradients
from .autodiff.recompute import recompute as recompute, recompute_grad as recompute_grad
from .autodiff.registry import (
    NoGradient as NoGradient,
    NotDifferentiable as NotDifferentiable,
    RegisterGradient as RegisterGradient,
)
from .autodiff.second_order import (
    hessian_vector_product as hessian_vector_product,
    hessians as hessians,
    jacobian as jacobian,
    per_example_gradients as per_example_gradients,
)
from .compat import app as app, flags as flags, logging as logging
from .compat.behavior import (
    disable_eager_execution as disable_eager_execution,
    disable_tensor_equality as disable_tensor_equality,
    disable_v2_behavior as disable_v2_behavior,
    disable_v2_tensorshape as disable_v2_tensorshape,
    enable_resource_variables as enable_resource_variables,
)
from .graph.face import *
from .graph.graphdef.meta_protos import meta_protos as _meta_protos
from .graph.graphdef.protos import protos as _protos
from .nn import image as image, initializers as initializers, layers as layers, losses as losses
from .nn.clipping import (
    clip_by_average_norm as clip_by_average_norm,
    clip_by_global_norm as clip_by_global_norm,
    clip_by_norm as clip_by_norm,
    global_norm as global_norm,
)
from .nn.initializer_classes import (
    constant_initializer as constant_initializer,
    glorot_normal_initializer as glorot_normal_initializer,
    glorot_uniform_initializer as glorot_uniform_initializer,
    ones_initializer as ones_initializer,
    orthogonal_initializer as orthogonal_initializer,
    random_normal_initializer as random_normal_initializer,
    random_uniform_initializer as random_uniform_initializer,
    truncated_normal_initializer as truncated_normal_initializer,
    uniform_unit_scaling_initializer as uniform_unit_scaling_initializer,
    variance_scaling_initializer as variance_scaling_initializer,
    zeros_initializer as zeros_initializer,
)
from .nn.template import make_template as make_template
from .nn.variable_scope import (
    AUTO_REUSE as AUTO_REUSE,
    VariableScope as VariableScope,
    get_local_variable as get_local_variable,
    get_variable as get_variable,
    get_variable_scope as get_variable_scope,
    no_regularizer as no_regularizer,
    variable_op_scope as variable_op_scope,
    variable_scope as variable_scope,
)
from .runtime import targets as _targets

if _typing.TYPE_CHECKING:  # `_MODULES` and `_NAMES`, below, for who looks at types
    from . import contrib as contrib, train as train
    from .compat import linalg as linalg, math as math, random as random
    from .contrib import testing as test
    from .runtime.config import (
        CallableOptions as CallableOptions,
        ConfigProto as ConfigProto,
        GPUOptions as GPUOptions,
        GraphOptions as GraphOptions,
        OptimizerOptions as OptimizerOptions,
        RunMetadata as RunMetadata,
        RunOptions as RunOptions,
    )
    from .runtime.fetches import IndexedSlicesValue as IndexedSlicesValue
    from .runtime.interactive import InteractiveSession as InteractiveSession
    from .runtime.measuring.measure_costs import measure_costs as measure_costs
    from .runtime.placing.cost_model import CostModel as CostModel
    from .runtime.reporting.races import Race as Race, RaceWarning as RaceWarning, find_races as find_races
    from .runtime.session import Session as Session
    from .train import distribute as distribute, gfile as gfile, summary as summary
    from .train.summaries_before_1_0 import (
        histogram_summary as histogram_summary,
        image_summary as image_summary,
        merge_all_summaries as merge_all_summaries,
        merge_summary as merge_summary,
        scalar_summary as scalar_summary,
    )

__version__ = "0.1.0"

#: Modules that are loaded when they are first used: what trains, the cluster with Ray and Arrow, and what few programs use.
_MODULES = {
    "cluster": "cluster", "contrib": "contrib", "distribute": "train.distribute", "gfile": "train.gfile",
    "linalg": "compat.linalg", "math": "compat.math", "random": "compat.random", "summary": "train.summary",
    "test": "contrib.testing", "train": "train",
}  # fmt: skip
#: So is what runs graphs, and the messages of event files, which need protobuf: names, by the module that has them.
_NAMES = {
    "runtime.config": "CallableOptions ConfigProto GPUOptions GraphOptions OptimizerOptions RunMetadata RunOptions",
    "runtime.placing.cost_model": "CostModel",
    "runtime.fetches": "IndexedSlicesValue",
    "runtime.interactive": "InteractiveSession",
    "runtime.measuring.measure_costs": "measure_costs",
    "runtime.reporting.races": "Race RaceWarning find_races",
    "runtime.session": "Session",
    "train.summaries_before_1_0": "histogram_summary image_summary merge_all_summaries merge_summary scalar_summary",
    "train.events.protos": """Event HistogramProto LogMessage SessionLog Summary SummaryDescription SummaryMetadata
        TaggedRunMetadata""",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}


def _of(module: str) -> _typing.Any:
    return _importlib.import_module(f".{module}", __name__)


_targets.register_server(lambda: _of("cluster.server").Server)
for _scheme in ("weft", "flight", "grpc"):
    _targets.register_engine(
        _scheme,
        lambda *request: _of("cluster.target").engine(*request),
        lambda *which: _of("cluster.target").reset(*which),
        lambda target: _of("cluster.target").recover(target),
        lambda target: _of("cluster.target").finished(target),
    )


def __getattr__(name: str) -> _typing.Any:
    """What is loaded when it is first used: a graph is built without what runs it, and a local session needs no Arrow."""
    if name in _MODULES:
        found = _of(_MODULES[name])
    elif name in _HOMES:
        found = getattr(_of(_HOMES[name]), name)
    elif name in ("GraphDef", "NodeDef", "AttrValue"):
        return getattr(_protos(), name)
    elif name == "MetaGraphDef":
        return _meta_protos().MetaGraphDef
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_HOMES})
