"""`wf.contrib.framework`: names only, TensorFlow's."""

from ..graph.variable_functions import (
    local_variables as get_local_variables,
    model_variables as get_model_variables,
    trainable_variables as get_trainable_variables,
)
from ..train.global_step import (
    assert_global_step as assert_global_step,
    create_global_step as create_global_step,
    get_global_step as get_global_step,
    get_or_create_global_step as get_or_create_global_step,
)

__all__ = [
    "assert_global_step", "create_global_step", "get_global_step", "get_local_variables", "get_model_variables",
    "get_or_create_global_step", "get_trainable_variables",
]  # fmt: skip
