"""dynamic_rnn and bidirectional_dynamic_rnn: a cell in a loop over the steps of a tensor."""

from __future__ import annotations

from typing import Any

from ..graph.dtypes import int32
from ..graph.ir import Tensor
from ..graph.ops.cast import cast
from ..graph.ops.compare import equal, less
from ..graph.ops.constant import constant
from ..graph.ops.control import with_dependencies
from ..graph.ops.convert import convert_to_tensor
from ..graph.ops.fills import zeros_like
from ..graph.ops.getitem import getitem
from ..graph.ops.loops import while_loop
from ..graph.ops.reduction import reduce_all
from ..graph.ops.reordering import reverse, reverse_sequence
from ..graph.ops.report import Assert
from ..graph.ops.reshaping import transpose
from ..graph.ops.sizes import shape
from ..graph.ops.tensor_array import TensorArray
from ..graph.shapes import TensorShape
from ..graph.structure import flatten, pack
from .recurrent import chosen
from .variable_scope import variable_scope


def dynamic_rnn(
    cell: Any, inputs: Any, sequence_length: Any = None, initial_state: Any = None, dtype: Any = None,
    parallel_iterations: int | None = None, swap_memory: bool = False, time_major: bool = False, scope: Any = None,
) -> tuple[Any, Any]:  # fmt: skip
    """A cell run over `inputs` [batch, time, ...]: its outputs [batch, time, ...], and the last state.

    With `time_major` both are [time, batch, ...]. `inputs` may be a structure of tensors, if the cell takes one. Begins with
    `initial_state`, or zeros of `dtype`. Past its `sequence_length` (int [batch]) a row's output is zero and its state
    stays. The other arguments are taken for compatibility. Source: `tf.nn.dynamic_rnn`. Raises TypeError for what is no
    cell, ValueError without state and dtype and where shapes do not fit.
    """
    _check_cell("cell", cell)
    with variable_scope(scope or "rnn"):
        tensors = [convert_to_tensor(leaf, name="input") for leaf in flatten(inputs)]
        steps = [tensor if time_major else _swapped(tensor) for tensor in tensors]
        time, batch = _extents(steps)
        lengths = None if sequence_length is None else _lengths(sequence_length, batch)
        if initial_state is None and dtype is None:
            raise ValueError("If there is no initial_state, you must give a dtype.")
        state = cell.zero_state(batch, dtype) if initial_state is None else initial_state
        state = pack(state, map(convert_to_tensor, flatten(state)))
        options = {"parallel_iterations": parallel_iterations or 32, "swap_memory": swap_memory}
        stacked, last = _loop(cell, pack(inputs, iter(steps)), lengths, state, dtype, (time, batch), options)
        outputs = stacked if time_major else [_swapped(tensor) for tensor in stacked]
        return pack(cell.output_size, iter(outputs)), last


def _loop(
    cell: Any, inputs: Any, lengths: Tensor | None, state: Any, dtype: Any, extents: tuple[Any, Any],
    options: dict[str, Any],
) -> tuple[list[Tensor], Any]:  # fmt: skip
    """The outputs [time, batch, ...] and the last state of a cell over inputs that have time first."""
    time, batch = extents
    rows = [TensorArray(tensor.dtype, time).unstack(tensor) for tensor in flatten(inputs)]
    kind = dtype or flatten(state)[0].dtype
    static = batch if isinstance(batch, int) else None
    element_dims = [(static, *_dims(size)) for size in flatten(cell.output_size)]
    made = [TensorArray(kind, time, element_shape=dims) for dims in element_dims]

    def step(at: Tensor, now: Any, arrays: list[TensorArray]) -> tuple[Tensor, Any, list[TensorArray]]:
        output, new = cell(pack(inputs, iter([row.read(at) for row in rows])), now)
        new = pack(now, map(convert_to_tensor, flatten(new)))
        values = flatten(output)
        if lengths is not None:
            going = less(at, lengths)
            values = [chosen(going, value, zeros_like(value)) for value in values]
            new = chosen(going, new, now)
        return at + 1, new, [array.write(at, value) for array, value in zip(arrays, values, strict=True)]

    _, last, arrays = while_loop(lambda at, *_: less(at, time), step, (constant(0), state, made), **options)
    outputs = [array.stack() for array in arrays]
    for tensor, dims in zip(outputs, element_dims, strict=True):
        tensor.set_shape([time if isinstance(time, int) else None, *dims])
    return outputs, last


def bidirectional_dynamic_rnn(
    cell_fw: Any, cell_bw: Any, inputs: Any, sequence_length: Any = None, initial_state_fw: Any = None,
    initial_state_bw: Any = None, dtype: Any = None, parallel_iterations: int | None = None, swap_memory: bool = False,
    time_major: bool = False, scope: Any = None,
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:  # fmt: skip
    """One cell run over `inputs` forwards, another backwards: the pair of their outputs, and that of their last states.

    The second begins at each row's end (`sequence_length`); its outputs stand where its inputs did. Arguments otherwise as
    of `dynamic_rnn`. Source: `tf.nn.bidirectional_dynamic_rnn`. Raises as `dynamic_rnn`.
    """
    _check_cell("cell_fw", cell_fw)
    _check_cell("cell_bw", cell_bw)
    lengths = None if sequence_length is None else convert_to_tensor(sequence_length, name="sequence_length")
    time_axis = 0 if time_major else 1

    def turned(value: Any) -> Any:
        leaves = [convert_to_tensor(leaf) for leaf in flatten(value)]
        if lengths is None:
            return pack(value, iter([reverse(leaf, [time_axis]) for leaf in leaves]))
        return pack(value, iter([reverse_sequence(leaf, lengths, time_axis, 1 - time_axis) for leaf in leaves]))

    common = (dtype, parallel_iterations, swap_memory, time_major)
    with variable_scope(scope or "bidirectional_rnn"):
        with variable_scope("fw") as forwards:
            ahead, state_fw = dynamic_rnn(cell_fw, inputs, lengths, initial_state_fw, *common, scope=forwards)
        with variable_scope("bw") as backwards:
            back, state_bw = dynamic_rnn(cell_bw, turned(inputs), lengths, initial_state_bw, *common, scope=backwards)
            back = turned(back)
    return (ahead, back), (state_fw, state_bw)


def _check_cell(name: str, cell: Any) -> None:
    if not (callable(cell) and all(hasattr(cell, part) for part in ("output_size", "state_size", "zero_state"))):
        raise TypeError(
            f"The argument {name!r} ({cell!r}) is not an RNNCell: it needs output_size, state_size, zero_state"
        )


def _swapped(tensor: Tensor) -> Tensor:
    """[batch, time, ...] as [time, batch, ...], or back."""
    if tensor.dims is None or len(tensor.dims) < 2:
        raise ValueError(f"Expected a tensor of rank 2 at least, with batch and time, got shape {tensor.shape}")
    return transpose(tensor, [1, 0, *range(2, len(tensor.dims))])


def _extents(steps: list[Tensor]) -> tuple[Any, Any]:
    """How many steps and how many rows there are: ints, or scalar tensors where that is not known yet."""
    for tensor in steps:
        if tensor.dims is None or len(tensor.dims) < 2:
            raise ValueError(f"Expected inputs of rank 2 at least, with time and batch, got shape {tensor.shape}")
        if None in tensor.dims[2:]:
            raise ValueError("Input size (depth of inputs) must be accessible via shape inference, but saw value None.")
    found: list[Any] = []
    for axis, what in enumerate(("time steps", "batch size")):
        known = {size for tensor in steps for size in (tensor.dims or ())[axis : axis + 1] if size is not None}
        if len(known) > 1:
            raise ValueError(f"The inputs differ in their {what}: {sorted(known)}")
        found.append(known.pop() if known else getitem(shape(steps[0]), axis))
    return found[0], found[1]


def _lengths(sequence_length: Any, batch: Any) -> Tensor:
    """The lengths as int32, checked at the run to be one a row."""
    lengths = cast(convert_to_tensor(sequence_length, name="sequence_length"), int32)
    if lengths.dims is not None and len(lengths.dims) != 1:
        raise ValueError(f"sequence_length must be a vector of length batch_size, but saw shape: {lengths.shape}")
    if isinstance(batch, int):
        TensorShape(lengths.dims).assert_is_compatible_with(TensorShape([batch]))
        if lengths.dims == (batch,):
            return lengths
    there = shape(lengths)
    message = "Expected shape for Tensor sequence_length is "
    fits = reduce_all(equal(there, batch))
    checked: Tensor = with_dependencies([Assert(fits, [message, batch, " but saw shape: ", there])], lengths)
    return checked


def _dims(size: Any) -> tuple[int | None, ...]:
    """The shape of an output without its rows, from a cell's `output_size`."""
    return (size,) if isinstance(size, int) else tuple(TensorShape(size).as_tuple() or ())
