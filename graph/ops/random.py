"""Random operations. Counter-based: numbers follow from seeds and from how often the operation ran, and nothing else."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from .. import errors, shapes
from ..dtypes import DType, as_dtype, bfloat16, float16, float32, float64, int32, int64
from ..ir import Tensor, graph_of
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..random_seed import seed_attributes
from ..record import record
from .arithmetic import AddV2, Mul, Sub
from .constant import known_dims
from .convert import convert_to_tensor, int_vector

#: Bits of a number in [0, 1) that the 16-bit types hold exactly: rounding to them could give 1.
_FRACTION_BITS = {float16: 11, bfloat16: 8}


@record
class Random(Op):
    """Base: the two seeds. (0, 0) means that the session's seed and the operation's name decide."""

    seed: int = 0
    seed2: int = 0
    stateful = True
    not_differentiable = True

    def generator(self, state: Any) -> np.random.Generator:
        """The numbers of this run: the key tells the operation, the counter how often it ran before."""
        if self.seed == self.seed2 == 0:
            text = f"{state.session.seed}/{state.name}".encode()
            key = int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")
        else:
            key = self.seed | self.seed2 << 64
        return np.random.Generator(np.random.Philox(key=key, counter=state.next_count() << 192))


@record
class RandomFloats(Random):
    """Base of the random floats: a shape as input, a float type as output."""

    dtype: DType = float32

    def infer(self, shape: TensorLike) -> Spec:
        if not self.dtype.is_floating:
            raise TypeError(f"{self.type} makes floats, not {self.dtype.name}")
        return Spec(self.dtype, known_dims(shape))

    @property
    def drawn(self) -> Any:
        """The type that the generator draws: float64, or float32 for this type and the 16-bit ones."""
        return np.float64 if self.dtype is float64 else np.float32


@op
class RandomUniform(RandomFloats):
    """Uniform floats in [0, 1)."""

    def compute(self, state: Any, shape: Any) -> Any:
        generator = self.generator(state)
        bits = _FRACTION_BITS.get(self.dtype)
        if bits is None:
            return np.asarray(generator.random(sizes(shape), dtype=self.drawn))
        numbers = generator.integers(0, 1 << bits, sizes(shape), dtype=np.uint16)
        return np.asarray(np.float32(2.0**-bits) * numbers).astype(self.dtype.np)


@op
class RandomStandardNormal(RandomFloats):
    """Normal floats of mean 0 and deviation 1."""

    def compute(self, state: Any, shape: Any) -> Any:
        numbers = self.generator(state).standard_normal(sizes(shape), dtype=self.drawn)
        return np.asarray(numbers).astype(self.dtype.np, copy=False)


@op
class TruncatedNormal(RandomFloats):
    """Normal floats of mean 0 and deviation 1; those beyond 2 are drawn again."""

    def compute(self, state: Any, shape: Any) -> Any:
        generator = self.generator(state)
        numbers = np.asarray(generator.standard_normal(sizes(shape), dtype=self.drawn))
        flat = numbers.reshape(-1)
        beyond = np.flatnonzero(np.abs(flat) > 2)
        while beyond.size:
            flat[beyond] = generator.standard_normal(beyond.size, dtype=self.drawn)
            beyond = beyond[np.abs(flat[beyond]) > 2]
        return numbers.astype(self.dtype.np, copy=False)


@op
class RandomUniformInt(Random):
    """Uniform integers in [minval, maxval). Inputs: shape, minval, maxval."""

    def infer(self, shape: TensorLike, minval: TensorLike, maxval: TensorLike) -> Spec:
        if minval.dtype is not maxval.dtype or minval.dtype not in (int32, int64):
            raise TypeError(f"minval and maxval must both be int32 or int64: {minval.dtype.name}, {maxval.dtype.name}")
        if not (shapes.compatible(minval.dims, ()) and shapes.compatible(maxval.dims, ())):
            raise ValueError("minval and maxval of random integers must be scalars")
        return Spec(minval.dtype, known_dims(shape))

    def compute(self, state: Any, shape: Any, minval: Any, maxval: Any) -> Any:
        if minval >= maxval:
            raise errors.InvalidArgumentError(None, None, f"Need minval < maxval, got {minval} >= {maxval}")
        return np.asarray(self.generator(state).integers(minval, maxval, sizes(shape), dtype=minval.dtype))


@op
class RandomShuffle(Random):
    """The slices along the first dimension in a random order."""

    def infer(self, value: TensorLike) -> Spec:
        return Spec(value.dtype, value.dims)

    def compute(self, state: Any, value: Any) -> Any:
        value = np.asarray(value)
        return value[self.generator(state).permutation(len(value))] if value.ndim else value.copy()


@op
class Multinomial(Random):
    """Draws of class numbers, for each row of unnormalized log-probabilities. Inputs: logits, number of draws."""

    output_dtype: DType = int64

    def infer(self, logits: TensorLike, num_samples: TensorLike) -> Spec:
        if not logits.dtype.is_floating:
            raise TypeError(f"the logits of Multinomial must be floats, got {logits.dtype.name}")
        if logits.dims is not None and len(logits.dims) != 2:
            raise ValueError(f"Shape must be rank 2 but is rank {len(logits.dims)}: {shapes.text(logits.dims)}")
        if not shapes.compatible(num_samples.dims, ()):
            raise ValueError(f"num_samples must be a scalar, got shape {shapes.text(num_samples.dims)}")
        count = num_samples.known if isinstance(num_samples.known, int) else None
        return Spec(self.output_dtype, (None if logits.dims is None else logits.dims[0], count))

    def compute(self, state: Any, logits: Any, num_samples: Any) -> Any:
        rows, classes = logits.shape
        if rows == 0 or num_samples == 0:
            return np.zeros((rows, int(num_samples)), self.output_dtype.np)
        ends = _cumulative(logits) + np.arange(rows)[:, None]
        # 32 bits of fraction, so that adding the row's number loses none of them
        draws = self.generator(state).integers(0, 1 << 32, (rows, int(num_samples))) * 2.0**-32
        found = np.searchsorted(ends.reshape(-1), draws + np.arange(rows)[:, None], side="right")
        return (found - np.arange(rows)[:, None] * classes).astype(self.output_dtype.np)


def _cumulative(logits: Any) -> Any:
    """The probabilities of each row summed from the left; the last sum is exactly 1."""
    wide = logits.astype(np.float64)
    highest = wide.max(axis=1, keepdims=True) if wide.shape[1] else np.full((len(wide), 1), -np.inf)
    if not np.isfinite(highest).all():
        row = int(np.flatnonzero(~np.isfinite(highest))[0])
        raise errors.InvalidArgumentError(None, None, f"row {row} of the logits has no finite maximum to draw by")
    sums = np.cumsum(np.exp(wide - highest), axis=1)
    return sums / sums[:, -1:]


def sizes(shape: Any) -> tuple[int, ...]:
    """A run's shape vector as ints. Raises InvalidArgumentError below zero."""
    if any(size < 0 for size in shape):
        raise errors.InvalidArgumentError(
            None, None, f"Dimensions must be at least 0, got {np.asarray(shape).tolist()}"
        )
    return tuple(int(size) for size in shape)


# the public functions

_FLOATS = (float16, bfloat16, float32, float64)


def random_uniform(shape: Any, minval: Any = 0, maxval: Any = None, dtype: Any = "float32", seed: int | None = None,
                   name: str | None = None) -> Tensor:  # fmt: skip
    """Uniform numbers in [minval, maxval): floats (by default in [0, 1)), or int32 or int64.

    Source: `tf.random_uniform`. Raises ValueError for another type, and for integers without `maxval`.
    """
    kind = as_dtype(dtype)
    if kind not in (*_FLOATS, int32, int64):
        raise ValueError(f"Invalid dtype {kind.name}: random_uniform makes floats, int32 and int64")
    if maxval is None and kind.is_integer:
        raise ValueError(f"Must specify maxval for integer dtype {kind.name}")
    with graph_of((shape, minval, maxval)).name_scope(name or "random_uniform") as scope:
        dims = int_vector(shape, "shape")
        plain = not kind.is_integer and _is(minval, 0) and (maxval is None or _is(maxval, 1))
        if plain:
            return RandomUniform(*seed_attributes(seed), kind)(dims, name="RandomUniform")
        low = convert_to_tensor(minval, kind, "min")
        high = convert_to_tensor(1 if maxval is None else maxval, kind, "max")
        if kind.is_integer:
            return RandomUniformInt(*seed_attributes(seed))(dims, low, high, name=scope)
        numbers = RandomUniform(*seed_attributes(seed), kind)(dims)
        return AddV2()(Mul()(numbers, Sub()(high, low, name="sub"), name="mul"), low, name=scope)


def _is(value: Any, number: int) -> bool:
    return isinstance(value, (int, float)) and value == number


def random_normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = "float32", seed: int | None = None,
                  name: str | None = None) -> Tensor:  # fmt: skip
    """Normal floats of a mean and a standard deviation. Source: `tf.random_normal`. Raises TypeError for other types."""
    return _normal(RandomStandardNormal, shape, mean, stddev, dtype, seed, name or "random_normal")


def truncated_normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = "float32", seed: int | None = None,
                     name: str | None = None) -> Tensor:  # fmt: skip
    """Normal floats, those more than two deviations from the mean drawn again. Source: `tf.truncated_normal`."""
    return _normal(TruncatedNormal, shape, mean, stddev, dtype, seed, name or "truncated_normal")


def _normal(definition: type[RandomFloats], shape: Any, mean: Any, stddev: Any, dtype: Any, seed: int | None,
            name: str) -> Tensor:  # fmt: skip
    kind = as_dtype(dtype)
    with graph_of((shape, mean, stddev)).name_scope(name) as scope:
        dims = int_vector(shape, "shape")
        center, spread = convert_to_tensor(mean, kind, "mean"), convert_to_tensor(stddev, kind, "stddev")
        numbers = definition(*seed_attributes(seed), kind)(dims)
        return AddV2()(Mul()(numbers, spread, name="mul"), center, name=scope)


def random_shuffle(value: Any, seed: int | None = None, name: str | None = None) -> Tensor:
    """`value` with its slices along the first dimension in a random order. Source: `tf.random_shuffle`."""
    tensor = convert_to_tensor(value)
    return RandomShuffle(*seed_attributes(seed))(tensor, name=name)


def multinomial(logits: Any, num_samples: Any, seed: int | None = None, name: str | None = None,
                output_dtype: Any = None) -> Tensor:  # fmt: skip
    """Class numbers [batch, num_samples] drawn by the rows of `logits` [batch, classes], unnormalized log-probabilities.

    int64, or `output_dtype` int32. Source: `tf.multinomial`. Raises ValueError for another rank, TypeError for no floats.
    """
    kind = int64 if output_dtype is None else as_dtype(output_dtype)
    if kind not in (int32, int64):
        raise TypeError(f"output_dtype must be int32 or int64, got {kind.name}")
    rows, count = convert_to_tensor(logits), convert_to_tensor(num_samples, int32)
    return Multinomial(*seed_attributes(seed), kind)(rows, count, name=name or "multinomial")
