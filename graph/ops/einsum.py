"""einsum: products summed over named dimensions, as transposes, matrix products and sums."""

from __future__ import annotations

from typing import Any

from ..ir import Tensor, get_default_graph
from .arithmetic import multiply
from .broadcasting import reduce_sum
from .convert import convert_to_tensor
from .getitem import getitem
from .linalg import matmul
from .reshaping import reshape, transpose
from .sizes import shape


def einsum(equation: str, *inputs: Any, name: str | None = None) -> Tensor:
    """The sum of products that `equation` names: "ij,jk->ik" is the matrix product. Any number of tensors.

    Without "->" the result has the labels that come once, in alphabetical order. Source: `tf.einsum`. Raises ValueError
    for an equation that does not fit, tensors of unknown rank, repeated labels in one tensor, and "...".
    """
    terms, result = _parsed(equation, len(inputs))
    with get_default_graph().name_scope(name or "einsum"):
        tensors = [convert_to_tensor(value) for value in inputs]
        for tensor, labels in zip(tensors, terms, strict=True):
            if tensor.dims is None or len(tensor.dims) != len(labels):
                raise ValueError(f"'{labels}' of '{equation}' does not fit a tensor of shape {tensor.shape}")
        _check_sizes(equation, tensors, terms)
        now, have = tensors[0], terms[0]
        for index, (tensor, labels) in enumerate(zip(tensors[1:], terms[1:], strict=True), 1):
            needed = set(result).union(*terms[index + 1 :])
            now, have = _product(now, have, tensor, labels, needed)
        now, have = _without(now, have, set(result))
        return transpose(now, [have.index(label) for label in result])


def _parsed(equation: str, count: int) -> tuple[list[str], str]:
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not all(part.isalpha() or part == "" for part in (*terms, right)):
        raise ValueError(f"weft's einsum takes letters, got '{equation}'")
    if len(terms) != count:
        raise ValueError(f"'{equation}' is of {len(terms)} tensors, given were {count}")
    every = "".join(terms)
    if not arrow:
        right = "".join(sorted(label for label in set(every) if every.count(label) == 1))
    for labels in (*terms, right):
        if len(set(labels)) != len(labels):
            raise ValueError(f"Subscript not supported: the labels '{labels}' of '{equation}' repeat one")
    if not set(right) <= set(every):
        raise ValueError(f"the result of '{equation}' has a label that no tensor has")
    return terms, right


def _check_sizes(equation: str, tensors: list[Tensor], terms: list[str]) -> None:
    sizes: dict[str, int] = {}
    for tensor, labels in zip(tensors, terms, strict=True):
        for label, size in zip(labels, tensor.dims or (), strict=True):
            if size is not None and sizes.setdefault(label, size) != size:
                raise ValueError(f"'{label}' of '{equation}' is {sizes[label]} and {size}")


def _without(tensor: Tensor, labels: str, needed: set[str]) -> tuple[Tensor, str]:
    """The tensor summed over the labels that nobody needs any more."""
    gone = [at for at, label in enumerate(labels) if label not in needed]
    if not gone:
        return tensor, labels
    return reduce_sum(tensor, gone), "".join(label for label in labels if label in needed)


def _product(a: Tensor, in_a: str, b: Tensor, in_b: str, needed: set[str]) -> tuple[Tensor, str]:
    """The product of two, summed over the labels that nobody needs after it."""
    a, in_a = _without(a, in_a, needed | set(in_b))
    b, in_b = _without(b, in_b, needed | set(in_a))
    shared = [label for label in in_a if label in in_b]
    batch = [label for label in shared if label in needed]
    summed = [label for label in shared if label not in needed]
    rows = [label for label in in_a if label not in shared]
    columns = [label for label in in_b if label not in shared]
    left = _grouped(a, in_a, [batch, rows, summed])
    right = _grouped(b, in_b, [batch, summed, columns])
    product = matmul(left, right) if summed else multiply(left, right)
    sizes = [_size(a, in_a, label) for label in (*batch, *rows)] + [_size(b, in_b, label) for label in columns]
    return reshape(product, sizes), "".join((*batch, *rows, *columns))


def _grouped(tensor: Tensor, labels: str, groups: list[list[str]]) -> Tensor:
    """Transposed to the groups' order, the dimensions of the last two groups as one each."""
    first = transpose(tensor, [labels.index(label) for group in groups for label in group])
    return reshape(first, [*(_size(tensor, labels, label) for label in groups[0]), *(
        _together(tensor, labels, group) for group in groups[1:]
    )])  # fmt: skip


def _together(tensor: Tensor, labels: str, group: list[str]) -> Any:
    total: Any = 1
    for label in group:
        total = total * _size(tensor, labels, label)
    return total


def _size(tensor: Tensor, labels: str, label: str) -> Any:
    """An int, or a scalar tensor where it is not known."""
    at = labels.index(label)
    known = None if tensor.dims is None else tensor.dims[at]
    return getitem(shape(tensor), at) if known is None else known
