"""`wf.contrib.training`: which parameter server a variable goes to, for the `ps_strategy` of `replica_device_setter`."""

from collections.abc import Callable
from random import Random

from ..graph.ir import Operation
from ..graph.ops.variables import VarHandleOp
from ..graph.shapes import TensorShape


class GreedyLoadBalancingStrategy:
    """Each operation goes to the task that has the least load so far, the first of several.

    `num_tasks`: of the ps job. `load_fn(operation)`: the load that an operation adds, such as `byte_size_load_fn`.
    Source: `tf.contrib.training.GreedyLoadBalancingStrategy`.
    """

    def __init__(self, num_tasks: int, load_fn: Callable[[Operation], float]) -> None:
        self._load_fn = load_fn
        self._loads = [0.0] * num_tasks

    def __call__(self, op: Operation) -> int:
        task = self._loads.index(min(self._loads))
        self._loads[task] += self._load_fn(op)
        return task


class RandomStrategy:
    """Each operation goes to a random task, the same in all programs that build the same graph with one `seed`.

    Source: `tf.contrib.training.RandomStrategy`; the draws are not TensorFlow's.
    """

    def __init__(self, num_ps: int, seed: int = 0) -> None:
        self._num_ps = num_ps
        self._random = Random(seed)

    def __call__(self, op: Operation) -> int:
        return self._random.randrange(self._num_ps)


def byte_size_load_fn(op: Operation) -> float:
    """The bytes of a variable, or of an operation's only output; of one number where the shape is not known.

    Source: `tf.contrib.training.byte_size_load_fn`. Raises ValueError for an operation that has not one output.
    """
    definition = op.definition
    if isinstance(definition, VarHandleOp):
        dtype, shape = definition.dtype, TensorShape(definition.shape)
    elif len(op.outputs) == 1:
        dtype, shape = op.outputs[0].dtype, op.outputs[0].get_shape()
    else:
        raise ValueError(f"Op {op.name} must have a single output, but has {len(op.outputs)}")
    elements = shape.num_elements()
    return float(dtype.size * (1 if elements is None else elements))


__all__ = ["GreedyLoadBalancingStrategy", "RandomStrategy", "byte_size_load_fn"]
