"""LSTMCell, with peepholes, clipping and projection, and the wrappers that change what a cell takes or gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.defaults import device as on_device
from ..graph.dtypes import DType, as_dtype
from ..graph.ir import Tensor
from ..graph.ops.activations import bias_add
from ..graph.ops.array import concat, split
from ..graph.ops.convert import convert_to_tensor
from ..graph.ops.dropout import dropout
from ..graph.ops.linalg import matmul
from ..graph.ops.math import clip_by_value, floor
from ..graph.ops.random import random_uniform
from ..graph.ops.special import sigmoid
from ..graph.ops.transcendental import tanh
from ..graph.structure import check_same, flatten, pack
from .initializer_classes import Zeros
from .recurrent import LSTMStateTuple, RNNCell
from .variable_scope import get_variable, variable_scope


class LSTMCell(RNNCell):
    """An LSTM with, as asked, peepholes (the gates see the cell), clipping of the cell, and a projection of the output.

    The state is an LSTMStateTuple, or, without `state_is_tuple`, c and h side by side. `num_unit_shards`, `num_proj_shards`
    and `dtype` are taken for compatibility. Source: `tf.nn.rnn_cell.LSTMCell`.
    """

    base_name = "lstm_cell"

    def __init__(
        self, num_units: int, use_peepholes: bool = False, cell_clip: float | None = None, initializer: Any = None,
        num_proj: int | None = None, proj_clip: float | None = None, num_unit_shards: int | None = None,
        num_proj_shards: int | None = None, forget_bias: float = 1.0, state_is_tuple: bool = True,
        activation: Any = None, reuse: Any = None, name: str | None = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(reuse, name)
        self._units = num_units
        self._peepholes = use_peepholes
        self._cell_clip = cell_clip
        self._initializer = initializer
        self._projected = num_proj
        self._proj_clip = proj_clip
        self._forget_bias = forget_bias
        self._state_is_tuple = state_is_tuple
        self._activation = activation or tanh

    @property
    def state_size(self) -> Any:
        sizes = LSTMStateTuple(self._units, self.output_size)
        return sizes if self._state_is_tuple else sum(sizes)

    @property
    def output_size(self) -> int:
        return self._projected or self._units

    def build(self, input_size: int, dtype: DType) -> None:
        units, make = self._units, self._initializer
        self._kernel = get_variable("kernel", [input_size + self.output_size, 4 * units], dtype, make)
        self._bias = get_variable("bias", [4 * units], dtype, Zeros())
        if self._peepholes:
            self._seen = [get_variable(f"w_{gate}_diag", [units], dtype, make) for gate in "fio"]
        if self._projected is not None:
            self._projection = get_variable("projection/kernel", [units, self._projected], dtype, make)

    def call(self, inputs: Tensor, state: Any) -> tuple[Any, Any]:
        c, h = state if self._state_is_tuple else split(state, [self._units, self.output_size], axis=1)
        gates = bias_add(matmul(concat([inputs, h], 1), self._kernel), self._bias)
        take, new, forget, give = split(gates, 4, axis=1)
        forget = forget + self._forget_bias
        if self._peepholes:
            forget, take = forget + self._seen[0] * c, take + self._seen[1] * c
        kept = sigmoid(forget) * c + sigmoid(take) * self._activation(new)
        if self._cell_clip is not None:
            kept = clip_by_value(kept, -self._cell_clip, self._cell_clip)
        if self._peepholes:
            give = give + self._seen[2] * kept
        output = sigmoid(give) * self._activation(kept)
        if self._projected is not None:
            output = matmul(output, self._projection)
            if self._proj_clip is not None:
                output = clip_by_value(output, -self._proj_clip, self._proj_clip)
        return output, LSTMStateTuple(kept, output) if self._state_is_tuple else concat([kept, output], 1)


class _Wrapper(RNNCell):
    """Base of the wrappers: the sizes, the state and the scope are those of the cell inside."""

    def __init__(self, cell: Any) -> None:
        super().__init__()
        if not callable(cell) or not hasattr(cell, "state_size"):
            raise TypeError(f"The parameter cell must be an RNNCell, got {cell!r}")
        self._cell = cell

    @property
    def state_size(self) -> Any:
        return self._cell.state_size

    @property
    def output_size(self) -> Any:
        return self._cell.output_size

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        return self._cell.zero_state(batch_size, dtype)

    def __call__(self, inputs: Any, state: Any, scope: Any = None) -> tuple[Any, Any]:
        if scope is None:
            return self.call(inputs, state)
        with variable_scope(scope):
            return self.call(inputs, state)


class DropoutWrapper(_Wrapper):
    """A cell with dropout of its inputs, outputs and new states (of an LSTM's: of h, not of c).

    Each `keep_prob` is a number or a scalar tensor. `variational_recurrent`: the same units are left out at every step,
    drawn once, here; it needs `dtype`, and `input_size` where inputs are dropped. `dropout_state_filter_visitor(state)` says
    with a bool, or a structure of them, which parts of a state are dropped.
    Source: `tf.nn.rnn_cell.DropoutWrapper`. Raises TypeError for what is no cell, ValueError for a number outside of
    [0, 1], and for what a variational one lacks.
    """

    def __init__(
        self, cell: Any, input_keep_prob: Any = 1.0, output_keep_prob: Any = 1.0, state_keep_prob: Any = 1.0,
        variational_recurrent: bool = False, input_size: Any = None, dtype: Any = None, seed: int | None = None,
        dropout_state_filter_visitor: Callable[[Any], Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(cell)
        probabilities = {"input": input_keep_prob, "state": state_keep_prob, "output": output_keep_prob}
        for what, keep in probabilities.items():
            if isinstance(keep, (int, float)) and not 0 <= keep <= 1:
                raise ValueError(f"Parameter {what}_keep_prob must be between 0 and 1: {keep}")
        self._keep = probabilities
        self._seed = seed
        self._filter = dropout_state_filter_visitor or _drops
        self._masks: dict[str, list[Tensor]] | None = None
        if variational_recurrent:
            if dtype is None:
                raise ValueError("When variational_recurrent=True, dtype must be provided")
            if input_size is None and self._is_dropped("input"):
                raise ValueError(
                    "When variational_recurrent=True and input_keep_prob < 1.0, input_size must be provided"
                )
            sizes = {"input": input_size, "state": cell.state_size, "output": cell.output_size}
            self._masks = {
                what: [self._mask(size, what, index, dtype) for index, size in enumerate(flatten(sizes[what]))]
                for what in sizes if self._is_dropped(what)
            }  # fmt: skip

    def _is_dropped(self, what: str) -> bool:
        keep = self._keep[what]
        return not (isinstance(keep, (int, float)) and keep == 1)

    def _seed_of(self, what: str, index: int) -> int | None:
        """A seed a place, so that no two are dropped alike."""
        return None if self._seed is None else self._seed + 1009 * index + ("input", "state", "output").index(what)

    def _mask(self, size: Any, what: str, index: int, dtype: Any) -> Tensor:
        """Which of one step's units are kept, for all rows and steps: 1 / keep_prob, else 0."""
        keep = convert_to_tensor(self._keep[what], as_dtype(dtype))
        numbers = random_uniform(
            [1, *([size] if isinstance(size, int) else size)], 0, 1, dtype, self._seed_of(what, index)
        )
        mask: Tensor = floor(numbers + keep) / keep
        return mask

    def _dropped(self, value: Any, what: str, where: Any = True) -> Any:
        if not self._is_dropped(what):
            return value
        wanted = [where] * len(flatten(value)) if isinstance(where, bool) else flatten(where)
        leaves = []
        for index, (leaf, drops) in enumerate(zip(flatten(value), wanted, strict=True)):
            tensor = convert_to_tensor(leaf)
            if drops and self._masks is not None:
                tensor = tensor * self._masks[what][index]
            elif drops:
                tensor = dropout(tensor, keep_prob=self._keep[what], seed=self._seed_of(what, index))
            leaves.append(tensor)
        return pack(value, iter(leaves))

    def call(self, inputs: Any, state: Any) -> tuple[Any, Any]:
        output, new = self._cell(self._dropped(inputs, "input"), state)
        return self._dropped(output, "output"), self._dropped(new, "state", _visited(self._filter, new))


def _drops(state: Any) -> Any:
    """By default all of a state but an LSTM's c."""
    return LSTMStateTuple(False, True) if isinstance(state, LSTMStateTuple) else True


def _visited(visitor: Callable[[Any], Any], state: Any) -> list[bool]:
    """What the visitor says of a state and, where that is True for all of a structure, of its parts; a bool a leaf."""
    said = visitor(state)
    if not isinstance(said, bool):
        return [bool(part) for part in flatten(said)]
    if said and isinstance(state, (list, tuple)):
        return [leaf for part in state for leaf in _visited(visitor, part)]
    return [said] * len(flatten(state))


class ResidualWrapper(_Wrapper):
    """A cell whose inputs are added to its outputs, or `residual_fn(inputs, outputs)`. Source: `tf.nn.rnn_cell.ResidualWrapper`.

    Raises ValueError, TypeError where the two differ in structure or shape.
    """

    def __init__(self, cell: Any, residual_fn: Callable[[Any, Any], Any] | None = None) -> None:
        super().__init__(cell)
        self._residual = residual_fn

    def call(self, inputs: Any, state: Any) -> tuple[Any, Any]:
        output, new = self._cell(inputs, state)
        if self._residual is not None:
            return self._residual(inputs, output), new
        check_same(inputs, output)
        sums = []
        for given, made in zip(flatten(inputs), flatten(output), strict=True):
            given = convert_to_tensor(given)
            given.shape.assert_is_compatible_with(made.shape)
            sums.append(given + made)
        return pack(output, iter(sums)), new


class DeviceWrapper(_Wrapper):
    """A cell that is built on a device. Source: `tf.nn.rnn_cell.DeviceWrapper`."""

    def __init__(self, cell: Any, device: Any) -> None:
        super().__init__(cell)
        self._device = device

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        with on_device(self._device):
            return self._cell.zero_state(batch_size, dtype)

    def call(self, inputs: Any, state: Any) -> tuple[Any, Any]:
        with on_device(self._device):
            output, new = self._cell(inputs, state)
        return output, new
