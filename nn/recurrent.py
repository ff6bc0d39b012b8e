"""Recurrent cells, and static_rnn, which unrolls one over a list of inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..graph.dtypes import DType
from ..graph.ir import Tensor
from ..graph.ops.activations import bias_add
from ..graph.ops.array import concat, split
from ..graph.ops.convert import convert_to_tensor, stack
from ..graph.ops.fills import zeros, zeros_like
from ..graph.ops.linalg import matmul
from ..graph.ops.selecting import where
from ..graph.ops.sizes import shape
from ..graph.ops.special import sigmoid
from ..graph.ops.transcendental import tanh
from ..graph.structure import flatten, pack
from .initializer_classes import Ones, Zeros
from .variable_scope import VariableScope, get_variable, variable_scope


class LSTMStateTuple(NamedTuple):
    """The state of an LSTM cell: `c`, what it keeps, and `h`, what it gives. Source: `tf.nn.rnn_cell.LSTMStateTuple`."""

    c: Any
    h: Any


class RNNCell:
    """Base of recurrent cells: `call(inputs, state)` gives (output, new state).

    A subclass says `state_size` and `output_size`, and makes its variables in `build`, once, at the first use, in the
    variable scope of that moment. Source: `tf.nn.rnn_cell.RNNCell`.
    """

    base_name = "rnn_cell"

    def __init__(self, reuse: Any = None, name: str | None = None) -> None:
        self._reuse = reuse
        self._name = name
        self._scope: VariableScope | None = None

    @property
    def state_size(self) -> Any:
        """The size of the state: a number, or a (nested) tuple of them."""
        raise NotImplementedError("Abstract method")

    @property
    def output_size(self) -> Any:
        """The size of the output."""
        raise NotImplementedError("Abstract method")

    def build(self, input_size: int, dtype: DType) -> None:
        """Make the variables."""

    def call(self, inputs: Tensor, state: Any) -> tuple[Any, Any]:
        """One step: the output and the new state."""
        raise NotImplementedError("Abstract method")

    def __call__(self, inputs: Any, state: Any, scope: Any = None) -> tuple[Any, Any]:
        """One step on `inputs` [batch, n] from `state`. Raises ValueError when n is not known."""
        tensor = convert_to_tensor(inputs)
        if self._scope is not None:
            with variable_scope(self._scope):
                return self.call(tensor, state)
        if tensor.dims is None or tensor.dims[-1] is None:
            raise ValueError(f"Expected inputs.shape[-1] to be known, saw shape: {tensor.shape}")
        name = self._name if scope is None else scope
        with variable_scope(name, self.base_name, reuse=self._reuse if name is not None else None) as made:
            self._scope = made
            self.build(tensor.dims[-1], tensor.dtype)
            return self.call(tensor, state)

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """A state of zeros for `batch_size` (an int or a scalar tensor) rows."""
        return _zeros(self.state_size, batch_size, dtype)


def _zeros(size: Any, batch_size: Any, dtype: Any) -> Any:
    if isinstance(size, (tuple, list)):
        parts = [_zeros(part, batch_size, dtype) for part in size]
        return LSTMStateTuple(*parts) if isinstance(size, LSTMStateTuple) else tuple(parts)
    dims = stack([batch_size, size]) if isinstance(batch_size, Tensor) else [int(batch_size), size]
    return zeros(dims, dtype)


class BasicRNNCell(RNNCell):
    """output = new state = activation([inputs, state] @ kernel + bias). Source: `tf.nn.rnn_cell.BasicRNNCell`."""

    base_name = "basic_rnn_cell"

    def __init__(self, num_units: int, activation: Any = None, reuse: Any = None, name: str | None = None) -> None:
        super().__init__(reuse, name)
        self._units = num_units
        self._activation = activation or tanh

    @property
    def state_size(self) -> int:
        return self._units

    @property
    def output_size(self) -> int:
        return self._units

    def build(self, input_size: int, dtype: DType) -> None:
        self._kernel = get_variable("kernel", [input_size + self._units, self._units], dtype)
        self._bias = get_variable("bias", [self._units], dtype, Zeros())

    def call(self, inputs: Tensor, state: Any) -> tuple[Any, Any]:
        output = self._activation(bias_add(matmul(concat([inputs, state], 1), self._kernel), self._bias))
        return output, output


class BasicLSTMCell(RNNCell):
    """The LSTM of Zaremba et al.; `forget_bias` is added to the forget gate. Source: `tf.nn.rnn_cell.BasicLSTMCell`.

    The state is an LSTMStateTuple, or, without `state_is_tuple`, c and h side by side.
    """

    base_name = "basic_lstm_cell"

    def __init__(
        self, num_units: int, forget_bias: float = 1.0, state_is_tuple: bool = True, activation: Any = None,
        reuse: Any = None, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(reuse, name)
        self._units = num_units
        self._forget_bias = forget_bias
        self._state_is_tuple = state_is_tuple
        self._activation = activation or tanh

    @property
    def state_size(self) -> Any:
        return LSTMStateTuple(self._units, self._units) if self._state_is_tuple else 2 * self._units

    @property
    def output_size(self) -> int:
        return self._units

    def build(self, input_size: int, dtype: DType) -> None:
        self._kernel = get_variable("kernel", [input_size + self._units, 4 * self._units], dtype)
        self._bias = get_variable("bias", [4 * self._units], dtype, Zeros())

    def call(self, inputs: Tensor, state: Any) -> tuple[Any, Any]:
        c, h = state if self._state_is_tuple else split(state, 2, axis=1)
        gates = bias_add(matmul(concat([inputs, h], 1), self._kernel), self._bias)
        take, new, forget, give = split(gates, 4, axis=1)
        kept = c * sigmoid(forget + self._forget_bias) + sigmoid(take) * self._activation(new)
        output = self._activation(kept) * sigmoid(give)
        return output, LSTMStateTuple(kept, output) if self._state_is_tuple else concat([kept, output], 1)


class GRUCell(RNNCell):
    """The gated recurrent unit of Cho et al. Source: `tf.nn.rnn_cell.GRUCell`."""

    base_name = "gru_cell"

    def __init__(
        self, num_units: int, activation: Any = None, reuse: Any = None, kernel_initializer: Any = None,
        bias_initializer: Any = None, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(reuse, name)
        self._units = num_units
        self._activation = activation or tanh
        self._kernel_initializer = kernel_initializer
        self._bias_initializer = bias_initializer

    @property
    def state_size(self) -> int:
        return self._units

    @property
    def output_size(self) -> int:
        return self._units

    def build(self, input_size: int, dtype: DType) -> None:
        rows = input_size + self._units
        # Gates start open.
        gate_bias = Ones() if self._bias_initializer is None else self._bias_initializer
        bias = Zeros() if self._bias_initializer is None else self._bias_initializer
        self._gate_kernel = get_variable("gates/kernel", [rows, 2 * self._units], dtype, self._kernel_initializer)
        self._gate_bias = get_variable("gates/bias", [2 * self._units], dtype, gate_bias)
        self._kernel = get_variable("candidate/kernel", [rows, self._units], dtype, self._kernel_initializer)
        self._bias = get_variable("candidate/bias", [self._units], dtype, bias)

    def call(self, inputs: Tensor, state: Any) -> tuple[Any, Any]:
        gates = sigmoid(bias_add(matmul(concat([inputs, state], 1), self._gate_kernel), self._gate_bias))
        reset, update = split(gates, 2, axis=1)
        candidate = bias_add(matmul(concat([inputs, reset * state], 1), self._kernel), self._bias)
        output = update * state + (1.0 - update) * self._activation(candidate)
        return output, output


class MultiRNNCell(RNNCell):
    """Cells on top of each other; the state is the tuple of their states. Source: `tf.nn.rnn_cell.MultiRNNCell`.

    Without `state_is_tuple` the states are side by side. Raises ValueError without cells, TypeError for no sequence.
    """

    base_name = "multi_rnn_cell"

    def __init__(self, cells: Sequence[Any], state_is_tuple: bool = True) -> None:
        super().__init__()
        if not cells:
            raise ValueError("Must specify at least one cell for MultiRNNCell.")
        if not isinstance(cells, (list, tuple)):
            raise TypeError(f"cells must be a list or tuple, but saw: {cells}.")
        if not state_is_tuple and any(isinstance(cell.state_size, (tuple, list)) for cell in cells):
            raise ValueError("Some cells return tuples of states, but the flag state_is_tuple is not set.")
        self._cells = cells
        self._state_is_tuple = state_is_tuple

    @property
    def state_size(self) -> Any:
        sizes = tuple(cell.state_size for cell in self._cells)
        return sizes if self._state_is_tuple else sum(sizes)

    @property
    def output_size(self) -> Any:
        return self._cells[-1].output_size

    def call(self, inputs: Tensor, state: Any) -> tuple[Any, Any]:
        states = state if self._state_is_tuple else split(state, [cell.state_size for cell in self._cells], axis=1)
        current, new = inputs, []
        for index, (cell, before) in enumerate(zip(self._cells, states, strict=True)):
            with variable_scope(f"cell_{index}"):
                current, after = cell(current, before)
            new.append(after)
        return current, tuple(new) if self._state_is_tuple else concat(new, 1)


def static_rnn(
    cell: Any, inputs: Any, initial_state: Any = None, dtype: Any = None, sequence_length: Any = None, scope: Any = None
) -> tuple[list[Any], Any]:  # fmt: skip
    """A cell unrolled over a list of inputs [batch, n]: the list of its outputs, and the last state.

    Begins with `initial_state`, or zeros of `dtype`. Past its `sequence_length` (int32 or int64 [batch]) a row's output is
    zero and its state stays. Source: `tf.nn.static_rnn`. Raises ValueError for no inputs and without state and dtype,
    TypeError for what is no list.
    """
    if not isinstance(inputs, (list, tuple)):
        raise TypeError("inputs must be a sequence")
    if not inputs:
        raise ValueError("inputs must not be empty")
    if initial_state is None and dtype is None:
        raise ValueError("If no initial_state is provided, dtype must be specified")
    with variable_scope(scope or "rnn"):
        tensors = [convert_to_tensor(item) for item in inputs]
        first = tensors[0]
        batch = first.dims[0] if first.dims and first.dims[0] is not None else shape(first)[0]
        state = cell.zero_state(batch, dtype) if initial_state is None else initial_state
        lengths = None if sequence_length is None else convert_to_tensor(sequence_length)
        outputs = []
        for time, tensor in enumerate(tensors):
            output, new = cell(tensor, state)
            if lengths is not None:
                going = lengths > time
                output = chosen(going, output, zeros_like(output))
                new = chosen(going, new, state)
            outputs.append(output)
            state = new
    return outputs, state


def chosen(going: Tensor, new: Any, old: Any) -> Any:
    """Structures of tensors: the new ones in the rows that go on (bool [batch]), the old ones in the others."""
    pairs = zip(flatten(new), flatten(old), strict=True)
    return pack(new, iter([where(going, after, before) for after, before in pairs]))
