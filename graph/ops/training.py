"""The updates of optimizers on whole variables, in place: each as one operation on the variable and its slots."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from .. import shapes
from ..dtypes import DType
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..parallel import for_blocks
from ..shapes import Dims
from .rooms import BLOCK, BLOCK_SIZE, Array
from .variables import check_form, check_handle, updatable

#: From how many blocks on threads share an update: where they are many, and where a block is much work. Below, they would wait
#: for each other and for the interpreter's lock longer than they help (and on a cluster other tasks want the processor).
MANY_BLOCKS, SOME_BLOCKS = 64, 12
#: How many arrays to work in a step has that is much work.
_MUCH = 2

#: A step of an optimizer on arrays of one form, in place: the variable and its slots, the gradient, and memory to work in.
Step = Callable[..., None]


def on_blocks(step: Step, slots: tuple[Any, ...], grad: Any = None, work: int = 0) -> None:
    """`step(*slots, grad, *work)` on equal blocks of the variables, of the gradient (if any) and of `work` arrays.

    Small variables are one block, in their own shape (a scalar as a vector); of big ones blocks are flat. Of the biggest they
    go to as many threads as there are, so an element's result must not depend on where in a block it lies.
    Raises FailedPreconditionError for an uninitialized variable, InvalidArgumentError for a gradient of another shape.
    """
    shaped = slots[0].read() if grad is None else grad
    moving = [at for at, slot in enumerate(slots) if slot.spare is not None and slot.spare.size > BLOCK_SIZE]
    arrays = [slot.spare if at in moving else updatable(slot, shaped) for at, slot in enumerate(slots)]
    for at in moving:
        check_form(slots[at], slots[at].value, shaped)
    dtype, size = arrays[0].dtype, arrays[0].size
    if grad is not None:
        for target in arrays:
            if shares_memory(grad, target):  # a view of the variable itself must not change under the update
                grad = np.array(grad)
        arrays.append(grad)
    if size <= BLOCK_SIZE:
        if not shaped.ndim:
            arrays = [array.reshape(-1) for array in arrays]
        step(*arrays, *(BLOCK.shaped(dtype, arrays[0].shape, work) if work else ()))
        return
    flat = [array.reshape(-1, copy=False) for array in arrays[: len(slots)]]
    flat += [array.reshape(-1) for array in arrays[len(slots) :]]
    sources = [(at, slots[at].value.reshape(-1, copy=False)) for at in moving]

    def block(index: int, thread: int) -> None:
        parts = [array[index * BLOCK_SIZE : (index + 1) * BLOCK_SIZE] for array in flat]
        for at, source in sources:
            np.copyto(parts[at], source[index * BLOCK_SIZE : (index + 1) * BLOCK_SIZE])
        step(*parts, *BLOCK.vectors(dtype, parts[0].size, work))

    count = -(-size // BLOCK_SIZE)
    if count >= (SOME_BLOCKS if work >= _MUCH else MANY_BLOCKS):
        for_blocks(block, count)
    else:
        for index in range(count):
            block(index, 0)
    for at in moving:
        slots[at].move()


def shares_memory(value: Array, target: Array) -> bool:
    """Whether a value may lie in a variable's memory. Mostly both stand in memory of their own, which is seen at once."""
    owner = value.base
    if target.base is None and (owner is None or (type(owner) is np.ndarray and owner.base is None)):
        return value is target or owner is target
    return np.may_share_memory(value, target)


def update_inputs(
    definition: Any, handles: tuple[TensorLike, ...], scalars: tuple[TensorLike, ...], grad: TensorLike
) -> None:
    """Raises TypeError, ValueError where handles, hyperparameters and gradient do not fit the definition's type and shape."""
    for handle in handles:
        check_handle(handle)
    for tensor in (*scalars, grad):
        if tensor.dtype is not definition.dtype:
            raise TypeError(f"the variable holds {definition.dtype.name}, got a tensor of {tensor.dtype.name}")
    for tensor in scalars:
        if not shapes.compatible(tensor.dims, ()):
            raise ValueError(f"hyperparameters are scalars, got shape {shapes.text(tensor.dims)}")


def dense_inputs(
    definition: Any, handles: tuple[TensorLike, ...], scalars: tuple[TensorLike, ...], grad: TensorLike
) -> tuple[Spec, ...]:
    """No outputs. Raises as `update_inputs`, and ValueError for a gradient of another shape than the definition's."""
    update_inputs(definition, handles, scalars, grad)
    shapes.merge(definition.shape, grad.dims)
    return ()


class DenseUpdate(Op):
    """Base of updates by a gradient, which come in blocks: the first inputs are the variable and its slots, `slots` in all.

    `step` makes of the others what is done to a block, with `work` arrays to work in. Their gradient is only one of them: the
    step is given its block.
    """

    __slots__ = ()
    slots: ClassVar[int] = 1
    work: ClassVar[int] = 2
    #: Which of the other inputs is the gradient: the last one, mostly.
    gradient: ClassVar[int] = -1

    def step(self, *others: Any) -> Step:
        raise NotImplementedError(f"{self.type} has no step")

    def compute(self, state: Any, *inputs: Any) -> None:
        others = inputs[self.slots :]
        on_blocks(self.step(*others), inputs[: self.slots], others[self.gradient], self.work)


@op
class ResourceApplyGradientDescent(DenseUpdate):
    """var -= alpha * delta."""

    dtype: DType
    shape: Dims
    stateful = True
    access = "write"
    work = 1

    def infer(self, var: TensorLike, alpha: TensorLike, delta: TensorLike) -> tuple[Spec, ...]:
        return dense_inputs(self, (var,), (alpha,), delta)

    def step(self, alpha: Any, delta: Any) -> Step:
        def step(value: Array, grad: Array, work: Array) -> None:
            np.multiply(alpha, grad, work)
            np.subtract(value, work, value)

        return step


@op
class ResourceApplyMomentum(DenseUpdate):
    """accum = momentum * accum + grad, then var -= lr * accum (Nesterov: var -= lr * (grad + momentum * accum))."""

    dtype: DType
    shape: Dims
    use_nesterov: bool = False
    stateful = True
    access = "write"
    slots, work, gradient = 2, 1, 1

    def infer(
        self, var: TensorLike, accum: TensorLike, lr: TensorLike, grad: TensorLike, momentum: TensorLike
    ) -> tuple[Spec, ...]:
        return dense_inputs(self, (var, accum), (lr, momentum), grad)

    def step(self, lr: Any, grad: Any, momentum: Any) -> Step:
        return momentum_step(lr, momentum, self.use_nesterov)


def momentum_step(lr: Any, momentum: Any, nesterov: bool) -> Step:
    """A step of momentum on the variable and its accumulator."""

    def step(value: Array, total: Array, grad: Array, work: Array) -> None:
        np.multiply(total, momentum, out=total)
        np.add(total, grad, out=total)
        if nesterov:
            np.multiply(total, momentum, out=work)
            np.add(work, grad, out=work)
            np.multiply(work, lr, out=work)
        else:
            np.multiply(total, lr, out=work)
        np.subtract(value, work, out=value)

    return step


@op
class ResourceApplyAdam(DenseUpdate):
    """m = beta1 m + (1 - beta1) grad, v = beta2 v + (1 - beta2) grad^2, var -= lr_t m / (sqrt(v) + epsilon).

    lr_t = lr sqrt(1 - beta2_power) / (1 - beta1_power); Nesterov takes beta1 m + (1 - beta1) grad for the last m.
    """

    dtype: DType
    shape: Dims
    use_nesterov: bool = False
    stateful = True
    access = "write"
    slots = 3

    def infer(
        self, var: TensorLike, m: TensorLike, v: TensorLike, beta1_power: TensorLike, beta2_power: TensorLike,
        lr: TensorLike, beta1: TensorLike, beta2: TensorLike, epsilon: TensorLike, grad: TensorLike,
    ) -> tuple[Spec, ...]:  # fmt: skip
        return dense_inputs(self, (var, m, v), (beta1_power, beta2_power, lr, beta1, beta2, epsilon), grad)

    def step(
        self, beta1_power: Any, beta2_power: Any, lr: Any, beta1: Any, beta2: Any, epsilon: Any, grad: Any
    ) -> Step:
        rate = adam_rate(lr, beta1_power, beta2_power)
        rest1, rest2, nesterov = rest(beta1), rest(beta2), self.use_nesterov

        def step(value: Array, mean: Array, square: Array, dy: Array, work: Array, scale: Array) -> None:
            np.multiply(dy, dy, work)
            np.multiply(work, rest2, work)
            np.multiply(square, beta2, square)
            np.add(square, work, square)
            np.multiply(rest1, dy, work)
            np.multiply(mean, beta1, mean)
            np.add(mean, work, mean)
            if nesterov:
                np.multiply(mean, beta1, scale)
                np.add(scale, work, work)
            adam_step(value, work if nesterov else mean, square, rate, epsilon, work, scale)

        return step


def rest(rate: Any) -> Array:
    """1 - rate, as an array: with a scalar of NumPy's a ufunc takes twice its time."""
    return _rest(rate.dtype, rate.tobytes())


@lru_cache(maxsize=64)
def _rest(dtype: np.dtype[Any], rate: bytes) -> Array:
    return _kept(1 - np.frombuffer(rate, dtype)[0])


def adam_rate(lr: Any, beta1_power: Any, beta2_power: Any) -> Array:
    """Adam's learning rate with the correction of the first steps' bias."""
    return _adam_rate(lr.dtype, lr.tobytes(), beta1_power.tobytes(), beta2_power.tobytes())


@lru_cache(maxsize=64)
def _adam_rate(dtype: np.dtype[Any], *numbers: bytes) -> Array:
    """Kept, for all variables of a model have the same in a step; by their bits, for 0 and -0 are equal."""
    lr, beta1_power, beta2_power = [np.frombuffer(number, dtype)[0] for number in numbers]
    return _kept(lr * np.sqrt(1 - beta2_power) / (1 - beta1_power))


def _kept(number: Any) -> Array:
    array = np.asarray(number)
    array.flags.writeable = False
    return array


def adam_step(value: Array, mean: Array, square: Array, rate: Any, epsilon: Any, work: Array, scale: Array) -> None:
    """value -= rate * mean / (sqrt(square) + epsilon), in place. `mean` may be `work`."""
    np.sqrt(square, scale)
    np.add(scale, epsilon, scale)
    np.multiply(rate, mean, work)
    np.divide(work, scale, work)
    np.subtract(value, work, value)
