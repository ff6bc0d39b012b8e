"""ExponentialMovingAverage: running means of variables and tensors, beside what they are the means of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..graph import context
from ..graph.collections import GraphKeys
from ..graph.dtypes import bfloat16, float16, float32, float64
from ..graph.ir import Operation, Tensor, building_graph, get_default_graph
from ..graph.ops.cast import cast
from ..graph.ops.control import group
from ..graph.ops.convert import convert_to_tensor
from ..graph.ops.fills import zeros, zeros_like
from ..graph.ops.math import minimum, pow as power_of
from ..graph.variable import Variable
from ..graph.variable_functions import global_variables, moving_average_variables, trainable_variables
from .optimizers.slots import slot_variable

_DTYPES = (float16, bfloat16, float32, float64)


class ExponentialMovingAverage:
    """Keeps averages: average -= (1 - decay) * (average - value) at each run of what `apply` returns.

    `decay`: a float or scalar tensor, near one for long memories. `num_updates` (a number, tensor or variable, such as the
    global step) lowers it in the first steps to (1 + num_updates) / (10 + num_updates). The average of a variable starts
    at its initial value, that of a tensor at zero; `zero_debias` divides the latter by the weight that values have had so
    far. Source: `tf.train.ExponentialMovingAverage`.
    """

    def __init__(
        self, decay: Any, num_updates: Any = None, zero_debias: bool = False, name: str = "ExponentialMovingAverage"
    ) -> None:
        self._decay = decay
        self._num_updates = num_updates
        self._zero_debias = zero_debias
        self._name = name
        #: By the tensor, or the handle of the variable, that each is the average of.
        self._averages: dict[Tensor, Variable] = {}
        #: Of averages without bias: the sum of the weighted values, and how often it was updated.
        self._biased: dict[Tensor, tuple[Variable, Variable]] = {}

    @property
    def name(self) -> str:
        """The name given at construction."""
        return self._name

    def apply(self, var_list: Iterable[Any] | None = None) -> Operation:
        """An operation that updates the averages of variables and tensors (by default of the trainable variables).

        The averages are made at the first call: variables that are not trained. The variables among `var_list` go into
        the collection of moving average variables. Raises TypeError for types that are not floating-point and for what is
        no variable or tensor; RuntimeError in eager execution.
        """
        if context.executing_eagerly():
            raise RuntimeError("Moving averages need a graph: they are not supported when eager execution is enabled.")
        chosen = dict.fromkeys(trainable_variables() if var_list is None else var_list)
        for var in chosen:
            self._make_average(var)
        graph = get_default_graph()
        with graph.name_scope(self._name) as scope:
            decay = self._decay_tensor()
            return group(*(self._update(var, decay) for var in chosen), name=scope)

    def average(self, var: Any) -> Variable | None:
        """The variable that holds the average of `var`, or None where `apply` did not make one."""
        return self._averages.get(_key(var))

    def average_name(self, var: Any) -> str:
        """The name (of the operation) of the average's variable, or the one it would get: for use as a checkpoint's key."""
        average = self.average(var)
        if average is not None:
            return average.op.name
        return str(var.graph.unique_name(f"{var.op.name}/{self._name}", mark_as_used=False))

    def variables_to_restore(self, moving_avg_variables: Iterable[Any] | None = None) -> dict[str, Any]:
        """What a Saver takes to load averages in place of variables: by name in the checkpoint, the variable to fill.

        `moving_avg_variables` are filled from their averages (by default: the trainable ones, and those that have one),
        all other variables from themselves.
        """
        if moving_avg_variables is None:
            moving_avg_variables = [*trainable_variables(), *moving_average_variables()]
        averaged = list(dict.fromkeys(moving_avg_variables))
        found = {self.average_name(var): var for var in averaged}
        names = {var.name for var in averaged}
        for var in global_variables():
            if var.name not in names:
                found.setdefault(var.op.name, var)
        return found

    def _make_average(self, var: Any) -> None:
        key = _key(var)
        if var.dtype not in _DTYPES:
            raise TypeError(f"The variables must be half, float, or double: {var.name}")
        if key in self._averages:
            return
        if isinstance(var, Variable):
            self._averages[key] = slot_variable(var, var.initialized_value, self._name)
            var.graph.add_to_collection(GraphKeys.MOVING_AVERAGE_VARIABLES, var)
            return
        average = self._averages[key] = slot_variable(var, lambda: _zeros(var), self._name)
        if self._zero_debias:
            biased = slot_variable(average, lambda: zeros_like(average.initial_value), "biased")
            self._biased[key] = biased, slot_variable(average, lambda: zeros([], average.dtype), "local_step")

    def _decay_tensor(self) -> Tensor:
        number = isinstance(self._decay, (int, float))
        decay = convert_to_tensor(self._decay, float32 if number else None, name="decay")
        if self._num_updates is None:
            return decay
        updates = cast(convert_to_tensor(self._num_updates), decay.dtype)
        return minimum(decay, (1 + updates) / (10 + updates))

    def _update(self, var: Any, decay: Tensor) -> Any:
        """The operation that updates one average, next to it."""
        average, value = self._averages[_key(var)], convert_to_tensor(var)
        graph = building_graph(average.graph)
        with graph.name_scope("AssignMovingAvg") as scope, graph.colocate_with(average):
            rate = cast(1 - decay, average.dtype)
            if _key(var) not in self._biased:
                step = (average.value() - value) * rate
                return average.assign_sub(step, name=scope, read_value=False)
            biased, steps = self._biased[_key(var)]
            weighted = biased.assign_sub((biased.value() - value) * rate)
            weight = 1 - power_of(1 - rate, steps.assign_add(1))
            return average.assign(weighted / weight, name=scope, read_value=False)


def _key(var: Any) -> Tensor:
    """What averages are kept by. Raises TypeError for what is no variable or tensor."""
    if isinstance(var, Variable):
        return var.handle
    if isinstance(var, Tensor):
        return var
    raise TypeError(f"a moving average is that of a variable or tensor, got {var!r}")


def _zeros(tensor: Tensor) -> Tensor:
    """Zeros of its shape and type, made without its value where the shape is known."""
    dims = tensor.dims
    full = [] if dims is None else [dim for dim in dims if dim is not None]
    return zeros(full, tensor.dtype) if dims is not None and len(full) == len(dims) else zeros_like(tensor)
