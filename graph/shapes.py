"""Static shapes: plain tuples with None inside weft, TensorShape and Dimension as TensorFlow 1 shows them outside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, SupportsIndex

#: A static shape: None when not even the rank is known; an unknown dimension is None.
Dims = tuple[int | None, ...] | None


def text(dims: Dims) -> str:
    """`[2,?]`, or `<unknown>`: as in TF's messages."""
    return "<unknown>" if dims is None else "[" + ",".join("?" if d is None else str(d) for d in dims) + "]"


def count(dims: Dims) -> int | None:
    """How many elements, if that is known."""
    if dims is None:
        return None
    total = 1
    for dim in dims:
        if dim is None:
            return None
        total *= dim
    return total


def is_full(dims: Dims) -> bool:
    """Whether every dimension is known."""
    return dims is not None and None not in dims


def compatible(a: Dims, b: Dims) -> bool:
    """Whether one value could have both shapes."""
    if a is None or b is None:
        return True
    return len(a) == len(b) and all(x is None or y is None or x == y for x, y in zip(a, b, strict=True))


def merge(a: Dims, b: Dims) -> Dims:
    """What is known of a value that has both shapes. Raises ValueError where they contradict."""
    if a is None or a == b:
        return b
    if b is None:
        return a
    if not compatible(a, b):
        raise ValueError(f"Shapes {text(a)} and {text(b)} are not compatible")
    return tuple(y if x is None else x for x, y in zip(a, b, strict=True))


def broadcast(a: Dims, b: Dims) -> Dims:
    """The shape of an elementwise operation on both, by NumPy's rule. Raises ValueError where they do not fit."""
    if a == b and is_full(a):
        return a
    if a is None or b is None:
        return None
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    lead = len(longer) - len(shorter)
    tail = [_broadcast_dim(x, y, a, b) for x, y in zip(longer[lead:], shorter, strict=True)]
    return longer[:lead] + tuple(tail)


def broadcasts_to(a: Dims, b: Dims) -> bool:
    """Whether a value of shape `a` may broadcast to shape `b`, as far as they are known."""
    if a is None or b is None:
        return True
    if len(a) > len(b):
        return False
    tail = b[len(b) - len(a) :]
    return all(x in (1, None) or y is None or x == y for x, y in zip(a, tail, strict=True))


def _broadcast_dim(x: int | None, y: int | None, a: Dims, b: Dims) -> int | None:
    if x == y or y == 1:
        return x
    if x == 1:
        return y
    if x is None or y is None:
        return x if y is None else y  # one is known and above 1: the other must be it, or 1
    raise ValueError(f"Dimensions must be equal, but are {x} and {y}: shapes {text(a)} and {text(b)} do not broadcast")


def normal_axis(axis: int, rank: int) -> int:
    """An axis counted from the front. Raises ValueError outside of [-rank, rank)."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is out of range for rank {rank}: expected [{-rank}, {rank})")
    return axis % rank


class Dimension:
    """One dimension of a TensorShape: behaves as an int where it is known, and tells `None` by `.value`.

    Source: `tf.Dimension`.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value: int | None = as_dim(value)

    def __int__(self) -> int:
        return self.__index__()

    def __index__(self) -> int:
        if self.value is None:
            raise TypeError("the value of this Dimension is not known statically")
        return self.value

    def __bool__(self) -> bool:
        return bool(self.value)

    def __eq__(self, other: object) -> Any:
        other_value = other.value if isinstance(other, Dimension) else other
        return None if self.value is None or other_value is None else self.value == other_value

    def __ne__(self, other: object) -> Any:
        equal = self == other
        return None if equal is None else not equal

    def __hash__(self) -> int:
        return hash(self.value)

    def is_compatible_with(self, other: Any) -> bool:
        """Whether both may be the same dimension: they are equal, or one is unknown."""
        return self.value is None or as_dim(other) in (None, self.value)

    def assert_is_compatible_with(self, other: Any) -> None:
        """Raises ValueError where the two differ."""
        if not self.is_compatible_with(other):
            raise ValueError(f"Dimensions {self} and {other} are not compatible")

    def merge_with(self, other: Any) -> Dimension:
        """What is known of a dimension that is both. Raises ValueError where they differ."""
        self.assert_is_compatible_with(other)
        return Dimension(other if self.value is None else self.value)

    def _arithmetic(self, other: Any, operation: str) -> Any:
        if not isinstance(other, Dimension | SupportsIndex | None):
            return NotImplemented
        other_value = as_dim(other)
        if self.value is None or other_value is None:
            return Dimension(None)
        return Dimension(getattr(self.value, operation)(other_value))

    def __add__(self, other: Any) -> Any:
        return self._arithmetic(other, "__add__")

    def __sub__(self, other: Any) -> Any:
        return self._arithmetic(other, "__sub__")

    def __mul__(self, other: Any) -> Any:
        return self._arithmetic(other, "__mul__")

    def __floordiv__(self, other: Any) -> Any:
        return self._arithmetic(other, "__floordiv__")

    def __mod__(self, other: Any) -> Any:
        return self._arithmetic(other, "__mod__")

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: Any) -> Any:
        return Dimension(other) - self

    def __rfloordiv__(self, other: Any) -> Any:
        return Dimension(other) // self

    def __rmod__(self, other: Any) -> Any:
        return Dimension(other) % self

    def _order(self, other: Any, operation: str) -> Any:
        other_value = as_dim(other)
        return None if self.value is None or other_value is None else getattr(self.value, operation)(other_value)

    def __lt__(self, other: Any) -> Any:
        return self._order(other, "__lt__")

    def __le__(self, other: Any) -> Any:
        return self._order(other, "__le__")

    def __gt__(self, other: Any) -> Any:
        return self._order(other, "__gt__")

    def __ge__(self, other: Any) -> Any:
        return self._order(other, "__ge__")

    def __str__(self) -> str:
        return "?" if self.value is None else str(self.value)

    def __repr__(self) -> str:
        return f"Dimension({self.value})"


class TensorShape:
    """A static shape as the public API shows it; unknown ranks and dimensions allowed.

    Source: `tf.TensorShape`. Raises TypeError, ValueError for what is no dimension.
    """

    __slots__ = ("_dims",)

    def __init__(self, dims: Any) -> None:
        self._dims: Dims = as_dims(dims)

    @property
    def dims(self) -> list[Dimension] | None:
        return None if self._dims is None else [Dimension(d) for d in self._dims]

    @property
    def ndims(self) -> int | None:
        return None if self._dims is None else len(self._dims)

    rank = ndims

    def as_list(self) -> list[int | None]:
        """The dimensions as a list, None where unknown. Raises ValueError when the rank is unknown."""
        return list(self._ranked())

    def as_tuple(self) -> Dims:
        """The shape as weft holds it inside: a tuple, or None."""
        return self._dims

    def _ranked(self) -> tuple[int | None, ...]:
        if self._dims is None:
            raise ValueError("the rank of this TensorShape is not known")
        return self._dims

    def num_elements(self) -> int | None:
        return count(self._dims)

    def is_fully_defined(self) -> bool:
        return is_full(self._dims)

    def is_compatible_with(self, other: Any) -> bool:
        return compatible(self._dims, as_dims(other))

    def assert_is_compatible_with(self, other: Any) -> None:
        """Raises ValueError where no value could have both shapes."""
        if not self.is_compatible_with(other):
            raise ValueError(f"Shapes {self} and {TensorShape(other)} are incompatible")

    def assert_is_fully_defined(self) -> None:
        """Raises ValueError where a dimension is unknown."""
        if not self.is_fully_defined():
            raise ValueError(f"Shape {self} is not fully defined")

    def assert_has_rank(self, rank: int) -> None:
        """Raises ValueError for another rank."""
        self.with_rank(rank)

    def assert_same_rank(self, other: Any) -> None:
        """Raises ValueError where the two have different ranks."""
        other = TensorShape(other)
        if None not in (self.ndims, other.ndims) and self.ndims != other.ndims:
            raise ValueError(f"Shapes {self} and {other} must have the same rank")

    def merge_with(self, other: Any) -> TensorShape:
        """What is known of a value that has both shapes. Raises ValueError where they contradict."""
        return TensorShape(merge(self._dims, as_dims(other)))

    def most_specific_compatible_shape(self, other: Any) -> TensorShape:
        """The shape that says of a value of either shape what both have in common."""
        other_dims = as_dims(other)
        if self._dims is None or other_dims is None or len(self._dims) != len(other_dims):
            return TensorShape(None)
        return TensorShape([x if x == y else None for x, y in zip(self._dims, other_dims, strict=True)])

    def with_rank(self, rank: int) -> TensorShape:
        """The same shape, of that rank. Raises ValueError where it has another."""
        if self._dims is not None and len(self._dims) != rank:
            raise ValueError(f"Shape {self} must have rank {rank}")
        return self.merge_with((None,) * rank)

    def with_rank_at_least(self, rank: int) -> TensorShape:
        """The same shape. Raises ValueError where its rank is known and smaller."""
        if self._dims is not None and len(self._dims) < rank:
            raise ValueError(f"Shape {self} must have rank at least {rank}")
        return self

    def with_rank_at_most(self, rank: int) -> TensorShape:
        """The same shape. Raises ValueError where its rank is known and larger."""
        if self._dims is not None and len(self._dims) > rank:
            raise ValueError(f"Shape {self} must have rank at most {rank}")
        return self

    def concatenate(self, other: Any) -> TensorShape:
        other_dims = as_dims(other)
        return TensorShape(None if self._dims is None or other_dims is None else self._dims + other_dims)

    def __len__(self) -> int:
        return len(self._ranked())

    def __bool__(self) -> bool:
        return self._dims is not None

    def __iter__(self) -> Iterator[Dimension]:
        return iter([Dimension(d) for d in self._ranked()])

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice) and self._dims is None:
            start, stop = key.start or 0, key.stop
            bounded = key.step is None and stop is not None and start >= 0 and stop >= 0
            return TensorShape((None,) * max(stop - start, 0) if bounded else None)
        if isinstance(key, slice):
            return TensorShape(self._ranked()[key])
        return Dimension(None if self._dims is None else self._dims[key])

    def __add__(self, other: Any) -> TensorShape:
        return self.concatenate(other)

    def __radd__(self, other: Any) -> TensorShape:
        return TensorShape(other).concatenate(self)

    def __eq__(self, other: object) -> bool:
        try:
            return self._dims == as_dims(other)
        except TypeError:
            return False

    def __hash__(self) -> int:
        return hash(self._dims)

    def __str__(self) -> str:
        if self._dims is None:
            return "<unknown>"
        inner = ", ".join("?" if d is None else str(d) for d in self._dims)
        return f"({inner},)" if len(self._dims) == 1 else f"({inner})"

    def __repr__(self) -> str:
        return f"TensorShape({self.dims})"


def as_dim(value: Any) -> int | None:
    """One dimension as weft holds it. Raises TypeError for what is no integer, ValueError below zero."""
    if value is None:
        return None
    if isinstance(value, Dimension):
        return value.value
    if not isinstance(value, SupportsIndex):
        raise TypeError(f"Dimension value must be an integer or None, got {value!r}")
    dim = value.__index__()
    if dim < 0:
        raise ValueError(f"Dimension {dim} must be >= 0")
    return dim


def as_dims(value: Any) -> Dims:
    """A shape as weft holds it, from a TensorShape, a sequence, one dimension, or None for unknown."""
    if value is None:
        return None
    if isinstance(value, TensorShape):
        return value.as_tuple()
    if isinstance(value, (Dimension, SupportsIndex)) and not isinstance(value, Iterable):
        return (as_dim(value),)
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return tuple(as_dim(d) for d in value)
    raise TypeError(f"cannot make a shape of {value!r}")


def dimension_value(dimension: Any) -> int | None:
    """The int of a Dimension, None where it is unknown; anything else as it is. Source: `tf.dimension_value`."""
    value: int | None = dimension.value if isinstance(dimension, Dimension) else dimension
    return value


def dimension_at_index(shape: TensorShape, index: int) -> Dimension:
    """One dimension of a shape, unknown where the rank is. Source: `tf.dimension_at_index`."""
    return Dimension(None if shape.ndims is None else as_dim(shape[index]))


def broadcast_static_shape(shape_x: TensorShape, shape_y: TensorShape) -> TensorShape:
    """The shape that two broadcast to, as far as it is known. Raises ValueError. Source: `tf.broadcast_static_shape`."""
    return TensorShape(broadcast(as_dims(shape_x), as_dims(shape_y)))
