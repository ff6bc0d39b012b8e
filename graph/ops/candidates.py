"""Classes drawn at random, to train with some of many: log_uniform_candidate_sampler and uniform_candidate_sampler."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..dtypes import float32, int64
from ..errors import InvalidArgumentError
from ..ir import Tensor
from ..op import op
from ..opdef import Spec, TensorLike
from ..random_seed import seed_attributes
from ..record import record
from .convert import convert_to_tensor
from .random import Random


@record
class Sampler(Random):
    """Base: class numbers below `range_max`, and how often each true and each drawn one is to be expected among them."""

    num_true: int = 1
    num_sampled: int = 1
    unique: bool = True
    range_max: int = 1

    def infer(self, true_classes: TensorLike) -> tuple[Spec, Spec, Spec]:
        if true_classes.dtype is not int64:
            raise TypeError(f"true_classes must be int64, got {true_classes.dtype.name}")
        if min(self.num_true, self.num_sampled, self.range_max) < 1:
            raise ValueError("num_true, num_sampled and range_max must be at least 1")
        dims = shapes.merge(true_classes.dims, (None, self.num_true))
        return Spec(int64, (self.num_sampled,)), Spec(float32, dims), Spec(float32, (self.num_sampled,))

    def drawn(self, generator: np.random.Generator, count: int) -> Any:
        """`count` independent class numbers."""
        raise NotImplementedError(f"{self.type} does not say how it draws")

    def probability(self, classes: Any) -> Any:
        """How probable each class is in one draw."""
        raise NotImplementedError(f"{self.type} does not say how probable a class is")

    def compute(self, state: Any, true_classes: Any) -> Any:
        if self.unique and self.num_sampled > self.range_max:
            raise InvalidArgumentError(
                None, None, f"Sampler's range is too small: {self.num_sampled} different numbers below {self.range_max}"
            )
        generator = self.generator(state)
        if not self.unique:
            sampled = self.drawn(generator, self.num_sampled)
            return sampled, *(self._expected(classes, self.num_sampled) for classes in (true_classes, sampled))
        sampled, tries = self._different(generator)
        return sampled, *(self._expected_once(classes, tries) for classes in (true_classes, sampled))

    def _different(self, generator: np.random.Generator) -> tuple[Any, int]:
        """Different numbers in the order in which they first came, and how many were drawn for that."""
        found: dict[int, None] = {}
        tries = 0
        while True:
            for number in self.drawn(generator, 2 * self.num_sampled).tolist():
                tries += 1
                found[number] = None
                if len(found) == self.num_sampled:
                    return np.array(list(found), np.int64), tries

    def _expected(self, classes: Any, tries: int) -> Any:
        return np.asarray(self.probability(classes) * tries, np.float32)

    def _expected_once(self, classes: Any, tries: int) -> Any:
        """The probability to come at least once in so many draws."""
        with np.errstate(divide="ignore"):  # of a class that comes for certain
            return np.asarray(-np.expm1(tries * np.log1p(-self.probability(classes))), np.float32)


@op
class LogUniformCandidateSampler(Sampler):
    """Class k with probability log((k + 2) / (k + 1)) / log(range_max + 1): as of words numbered by falling frequency."""

    def drawn(self, generator: np.random.Generator, count: int) -> Any:
        numbers = np.floor(np.exp(generator.random(count) * np.log1p(self.range_max))).astype(np.int64) - 1
        return np.minimum(numbers, self.range_max - 1)

    def probability(self, classes: Any) -> Any:
        return np.log((classes + 2.0) / (classes + 1.0)) / np.log1p(self.range_max)


@op
class UniformCandidateSampler(Sampler):
    """Each class as probable as the others."""

    def drawn(self, generator: np.random.Generator, count: int) -> Any:
        return generator.integers(0, self.range_max, count)

    def probability(self, classes: Any) -> Any:
        return np.full(np.shape(classes), 1 / self.range_max)


Sampled = tuple[Tensor, Tensor, Tensor]


def log_uniform_candidate_sampler(
    true_classes: Any, num_true: int, num_sampled: int, unique: bool, range_max: int, seed: int | None = None,
    name: str | None = None,
) -> Sampled:  # fmt: skip
    """`num_sampled` classes below `range_max`, small numbers more often (int64), different ones if `unique`; with the
    expected counts (float32) of the `true_classes` (int64 [batch, num_true]) and of these. Source:
    `tf.nn.log_uniform_candidate_sampler`. A run raises InvalidArgumentError for more different ones than there are.
    """
    return _sample(LogUniformCandidateSampler, true_classes, (num_true, num_sampled, unique, range_max), seed, name)


def uniform_candidate_sampler(
    true_classes: Any, num_true: int, num_sampled: int, unique: bool, range_max: int, seed: int | None = None,
    name: str | None = None,
) -> Sampled:  # fmt: skip
    """The same, with all classes alike. Source: `tf.nn.uniform_candidate_sampler`. Raises the same."""
    return _sample(UniformCandidateSampler, true_classes, (num_true, num_sampled, unique, range_max), seed, name)


def _sample(
    kind: type[Sampler], true_classes: Any, how: tuple[int, int, bool, int], seed: int | None, name: Any
) -> Sampled:
    num_true, num_sampled, unique, range_max = how
    definition = kind(*seed_attributes(seed), int(num_true), int(num_sampled), bool(unique), int(range_max))
    sampled, expected_true, expected = definition.outputs(convert_to_tensor(true_classes, int64), name=name)
    return sampled, expected_true, expected
