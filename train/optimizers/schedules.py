"""Learning rates that change with the global step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ...graph import context
from ...graph.defaults import name_scope
from ...graph.dtypes import DType, int32, int64
from ...graph.ir import Tensor
from ...graph.ops.cast import cast
from ...graph.ops.compare import equal, less_equal
from ...graph.ops.convert import convert_to_tensor
from ...graph.ops.identity import identity
from ...graph.ops.math import ceil, floor, minimum, pow as power_of
from ...graph.ops.random import random_normal
from ...graph.ops.selecting import where_v2
from ...graph.ops.sizes import shape
from ...graph.ops.transcendental import cos, exp, log, sqrt


def exponential_decay(
    learning_rate: Any, global_step: Any, decay_steps: Any, decay_rate: Any, staircase: bool = False, name: str | None = None
) -> Any:  # fmt: skip
    """learning_rate * decay_rate ^ (global_step / decay_steps); `staircase` rounds the exponent down.

    For this and the schedules below: `learning_rate` is a floating-point number or tensor, whose type the result has;
    `global_step` a number, tensor or variable; the result a tensor of its shape (in eager execution a function that makes
    one). Source: `tf.train.exponential_decay`. Raises ValueError without a global step, TypeError for other types.
    """

    def decayed(rate: Tensor, step: Tensor) -> Any:
        return rate * power_of(_as(decay_rate, rate), _periods(step, _as(decay_steps, rate), staircase))

    return _schedule(name or "ExponentialDecay", learning_rate, global_step, decayed)


def natural_exp_decay(
    learning_rate: Any, global_step: Any, decay_steps: Any, decay_rate: Any, staircase: bool = False, name: str | None = None
) -> Any:  # fmt: skip
    """learning_rate * e ^ (-decay_rate * global_step / decay_steps); `staircase` rounds the fraction down.

    Source: `tf.train.natural_exp_decay`. Raises as `exponential_decay`.
    """

    def decayed(rate: Tensor, step: Tensor) -> Any:
        return rate * exp(-_as(decay_rate, rate) * _periods(step, _as(decay_steps, rate), staircase))

    return _schedule(name or "ExponentialDecay", learning_rate, global_step, decayed)


def inverse_time_decay(
    learning_rate: Any, global_step: Any, decay_steps: Any, decay_rate: Any, staircase: bool = False, name: str | None = None
) -> Any:  # fmt: skip
    """learning_rate / (1 + decay_rate * global_step / decay_steps); `staircase` rounds the fraction down.

    Source: `tf.train.inverse_time_decay`. Raises as `exponential_decay`.
    """

    def decayed(rate: Tensor, step: Tensor) -> Any:
        return rate / (1 + _as(decay_rate, rate) * _periods(step, _as(decay_steps, rate), staircase))

    return _schedule(name or "InverseTimeDecay", learning_rate, global_step, decayed)


def polynomial_decay(
    learning_rate: Any, global_step: Any, decay_steps: Any, end_learning_rate: Any = 0.0001, power: Any = 1.0,
    cycle: bool = False, name: str | None = None,
) -> Any:  # fmt: skip
    """From learning_rate to `end_learning_rate` in `decay_steps`: (learning_rate - end) * (1 - step / steps) ^ power + end.

    After that it stays there or, with `cycle`, counts as if `decay_steps` were its next multiple. Source:
    `tf.train.polynomial_decay`. Raises as `exponential_decay`.
    """

    def decayed(rate: Tensor, step: Tensor) -> Any:
        end, steps = _as(end_learning_rate, rate), _as(decay_steps, rate)
        if cycle:
            # The first cycle has begun at step 0.
            steps = steps * where_v2(equal(step, 0), _as(1, rate), ceil(step / steps))
        else:
            step = minimum(step, steps)
        return (rate - end) * power_of(1 - step / steps, _as(power, rate)) + end

    return _schedule(name or "PolynomialDecay", learning_rate, global_step, decayed)


def piecewise_constant(x: Any, boundaries: Sequence[Any], values: Any, name: str | None = None) -> Any:
    """values[0] for x <= boundaries[0], values[i] for boundaries[i - 1] < x <= boundaries[i], else values[-1].

    `x`: a number, tensor or variable, of the boundaries' type (an int64 x takes int32 boundaries). Source:
    `tf.train.piecewise_constant`. Raises ValueError for other types, values of several types, and other than one value
    more than there are boundaries.
    """
    if len(boundaries) != len(values) - 1:
        raise ValueError("The length of boundaries should be 1 less than the length of values")

    def chosen() -> Tensor:
        with name_scope(name or "PiecewiseConstant") as scope:
            place = convert_to_tensor(x)
            limits = [_boundary(convert_to_tensor(boundary), place.dtype) for boundary in boundaries]
            choices = [convert_to_tensor(value) for value in values]
            _check_values(choices)
            result = choices[-1]
            for limit, choice in zip(reversed(limits), reversed(choices[:-1]), strict=True):
                result = where_v2(less_equal(place, limit), choice, result)
            return identity(result, name=scope)

    return chosen if context.executing_eagerly() else chosen()


piecewise_constant_decay = piecewise_constant


def cosine_decay(
    learning_rate: Any, global_step: Any, decay_steps: Any, alpha: Any = 0.0, name: str | None = None
) -> Any:
    """From learning_rate to alpha * learning_rate in `decay_steps`, along half a wave of a cosine.

    Source: `tf.train.cosine_decay` (Loshchilov and Hutter). Raises as `exponential_decay`.
    """

    def decayed(rate: Tensor, step: Tensor) -> Any:
        steps, least = _as(decay_steps, rate), _as(alpha, rate)
        wave = _wave(_done(step, steps))
        return rate * ((1 - least) * wave + least)

    return _schedule(name or "CosineDecay", learning_rate, global_step, decayed)


def cosine_decay_restarts(
    learning_rate: Any, global_step: Any, first_decay_steps: Any, t_mul: Any = 2.0, m_mul: Any = 1.0, alpha: Any = 0.0,
    name: str | None = None,
) -> Any:  # fmt: skip
    """Cosine decay again and again: each run takes `t_mul` times as many steps as the last and starts `m_mul` times as high.

    Source: `tf.train.cosine_decay_restarts` (Loshchilov and Hutter). Raises as `exponential_decay`.
    """

    def decayed(rate: Tensor, step: Tensor) -> Any:
        least, longer, higher = _as(alpha, rate), _as(t_mul, rate), _as(m_mul, rate)
        done = step / _as(first_decay_steps, rate)
        # Runs that get longer are counted by the sum of a geometric series, which equal ones have not.
        even = equal(longer, 1)
        ratio = where_v2(even, _as(2, rate), longer)
        number = floor(log(1 - done * (1 - ratio)) / log(ratio))
        length = power_of(ratio, number)
        within = (done - (1 - length) / (1 - ratio)) / length
        restarts = where_v2(even, floor(done), number)
        wave = power_of(higher, restarts) * _wave(where_v2(even, done - floor(done), within))
        return rate * ((1 - least) * wave + least)

    return _schedule(name or "SGDRDecay", learning_rate, global_step, decayed)


def linear_cosine_decay(
    learning_rate: Any, global_step: Any, decay_steps: Any, num_periods: Any = 0.5, alpha: Any = 0.0, beta: Any = 0.001,
    name: str | None = None,
) -> Any:  # fmt: skip
    """learning_rate * ((alpha + 1 - step / steps) * wave + beta), where the wave has `num_periods` in `decay_steps`.

    Source: `tf.train.linear_cosine_decay` (Bello and others). Raises as `exponential_decay`.
    """

    def decayed(rate: Tensor, step: Tensor) -> Any:
        done = _done(step, _as(decay_steps, rate))
        return rate * ((_as(alpha, rate) + (1 - done)) * _wave(2 * _as(num_periods, rate) * done) + _as(beta, rate))

    return _schedule(name or "LinearCosineDecay", learning_rate, global_step, decayed)


def noisy_linear_cosine_decay(
    learning_rate: Any, global_step: Any, decay_steps: Any, initial_variance: Any = 1.0, variance_decay: Any = 0.55,
    num_periods: Any = 0.5, alpha: Any = 0.0, beta: Any = 0.001, name: str | None = None,
) -> Any:  # fmt: skip
    """`linear_cosine_decay` with normal noise on the linear part, of variance initial / (1 + step) ^ variance_decay.

    Source: `tf.train.noisy_linear_cosine_decay` (Bello and others). Raises as `exponential_decay`.
    """

    def decayed(rate: Tensor, step: Tensor) -> Any:
        steps = _as(decay_steps, rate)
        step = minimum(step, steps)
        variance = _as(initial_variance, rate) / power_of(1 + step, _as(variance_decay, rate))
        done = step / steps
        linear = 1 - done + random_normal(shape(done), stddev=sqrt(variance), dtype=rate.dtype)
        return rate * ((_as(alpha, rate) + linear) * _wave(2 * _as(num_periods, rate) * done) + _as(beta, rate))

    return _schedule(name or "NoisyLinearCosineDecay", learning_rate, global_step, decayed)


def _schedule(name: str, learning_rate: Any, global_step: Any, decayed: Callable[[Tensor, Tensor], Any]) -> Any:
    """The tensor that `decayed` makes of learning rate and step, both of the rate's type; in eager execution a function."""
    if global_step is None:
        raise ValueError(f"global_step is required for {name}: None values not supported.")

    def made() -> Tensor:
        with name_scope(name) as scope:
            rate = convert_to_tensor(learning_rate, name="learning_rate")
            if not rate.dtype.is_floating:
                raise TypeError(f"learning_rate must be a floating-point number, got {rate.dtype.name}")
            return identity(decayed(rate, _as(global_step, rate)), name=scope)

    return made if context.executing_eagerly() else made()


def _as(value: Any, rate: Tensor) -> Tensor:
    """A number, tensor or variable in the type of the learning rate."""
    return cast(convert_to_tensor(value), rate.dtype)


def _periods(step: Tensor, steps: Tensor, staircase: bool) -> Any:
    return floor(step / steps) if staircase else step / steps


def _wave(x: Any) -> Any:
    """(1 + cos(pi x)) / 2: 1 at 0, 0 at 1."""
    return (1 + cos(x * math.pi)) * 0.5


def _done(step: Tensor, steps: Tensor) -> Any:
    """How much of the steps is done, at most all."""
    return minimum(step, steps) / steps


def _boundary(boundary: Tensor, dtype: DType) -> Tensor:
    """A boundary in the type of x. Raises ValueError where that could change it."""
    if boundary.dtype is int32 and dtype is int64:
        return cast(boundary, dtype)
    if boundary.dtype is not dtype:
        raise ValueError(f"Boundaries ({boundary.dtype.name}) must have the same dtype as x ({dtype.name}).")
    return boundary


def _check_values(values: list[Tensor]) -> None:
    for value in values[1:]:
        if value.dtype is not values[0].dtype:
            raise ValueError(
                f"Values must have elements all with the same dtype ({values[0].dtype.name} vs {value.dtype.name})."
            )
