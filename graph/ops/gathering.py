"""Gathers and scatters: rows and elements by their indices, their adjoints, and one-hot vectors."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np

from .. import shapes
from ..dtypes import as_dtype, float32
from ..errors import InvalidArgumentError
from ..indexed_slices import IndexedSlices
from ..ir import Operation, Tensor
from ..op import Op, op
from ..opdef import Spec, TensorLike
from ..shapes import Dims, normal_axis
from .array import concat
from .constant import const, known_dims, static_int
from .convert import convert_to_tensor, int_vector
from .getitem import getitem
from .reshaping import reshape
from .rows import check_range, flat_ids, summed_rows
from .sizes import shape, size


def index_type(op_type: str, indices: TensorLike) -> None:
    """Raises TypeError for a type that cannot be an index."""
    if indices.dtype.name not in ("int32", "int64", "int16"):
        raise TypeError(
            f"Value passed to parameter 'indices' of {op_type} has DataType {indices.dtype.name} "
            "not in list of allowed values: int16, int32, int64"
        )


@op
class GatherV2(Op):
    """Slices of a tensor along an axis, those that the indices name; the indices' dimensions replace the axis."""

    axis: int = 0

    def infer(self, params: TensorLike, indices: TensorLike) -> Spec:
        index_type("GatherV2", indices)
        if params.dims is None:
            return Spec(params.dtype, None)
        if not params.dims:
            raise ValueError("Shape must be at least rank 1 but is rank 0: a scalar has nothing to gather")
        axis = normal_axis(self.axis, len(params.dims))
        known = None
        if isinstance(params.known, tuple) and isinstance(indices.known, int) and indices.known < len(params.known):
            known = params.known[indices.known] if indices.known >= 0 else None
        if indices.dims is None:
            return Spec(params.dtype, None)
        return Spec(params.dtype, params.dims[:axis] + indices.dims + params.dims[axis + 1 :], known)

    def compute(self, params: Any, indices: Any) -> Any:
        check_range(indices, params.shape[self.axis])
        axis = self.axis % params.ndim
        taken = np.take(params, indices.reshape(-1), axis=axis)
        return taken.reshape(params.shape[:axis] + indices.shape + params.shape[axis + 1 :])

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | IndexedSlices | None]:
        params, indices = operation.inputs
        if self.axis and (params.dims is None or normal_axis(self.axis, len(params.dims))):
            return [GatherGrad(self.axis)(dy, indices, shape(params)), None]
        return [IndexedSlices(_as_rows(dy, params, indices), reshape(indices, [-1]), _shape_there(params)), None]


def _shape_there(params: Tensor) -> Tensor:
    """The shape of a tensor, computed where the tensor is: only its shape travels, not all its rows."""
    if shapes.is_full(params.dims):
        return shape(params)
    with params.graph.colocate_with(params.op, ignore_existing=True):
        return shape(params)


def _as_rows(dy: Tensor, params: Tensor, indices: Tensor) -> Tensor:
    """`dy` as one list of rows of `params`."""
    count = shapes.count(indices.dims)
    if count is not None and params.dims is not None and shapes.is_full(params.dims[1:]):
        return reshape(dy, [count, *(d for d in params.dims[1:] if d is not None)])
    return reshape(dy, concat([[size(indices)], getitem(_shape_there(params), slice(1, None))], 0))


@op
class GatherGrad(Op):
    """The adjoint of GatherV2: slices along an axis added up in a tensor of a shape, in the order of the indices."""

    axis: int

    def infer(self, dy: TensorLike, indices: TensorLike, dims: TensorLike) -> Spec:
        return Spec(dy.dtype, known_dims(dims))

    def compute(self, dy: Any, indices: Any, dims: Any) -> Any:
        axis = normal_axis(self.axis, len(dims))
        count = int(dims[axis])
        check_range(indices, count)
        rows = np.moveaxis(dy.reshape(*dims[:axis], indices.size, *dims[axis + 1 :]), axis, 0)
        return np.ascontiguousarray(np.moveaxis(summed_rows(count, indices.reshape(-1), rows), 0, axis))

    def grad(self, operation: Operation, ddx: Tensor) -> list[Tensor | None]:
        return [GatherV2(self.axis)(ddx, operation.inputs[1]), None, None]


@op
class GatherNd(Op):
    """Slices of a tensor by multi-indices: the last dimension of the indices runs over the leading dimensions."""

    def infer(self, params: TensorLike, indices: TensorLike) -> Spec:
        index_type("GatherNd", indices)
        depth = _depth(indices.dims)
        if params.dims is None or indices.dims is None or depth is None:
            return Spec(params.dtype, None)
        if depth > len(params.dims):
            raise ValueError(
                f"indices.shape[-1] must be <= params.rank, but saw indices shape: {shapes.text(indices.dims)} "
                f"and params shape: {shapes.text(params.dims)}"
            )
        return Spec(params.dtype, indices.dims[:-1] + params.dims[depth:])

    def compute(self, params: Any, indices: Any) -> Any:
        depth = indices.shape[-1]
        ids = flat_ids(indices, params.shape[:depth])
        rows = params.reshape(int(np.prod(params.shape[:depth], dtype=np.int64)), *params.shape[depth:])
        return np.take(rows, ids, axis=0).reshape(indices.shape[:-1] + params.shape[depth:])

    def grad(self, operation: Operation, dy: Tensor) -> list[Tensor | None]:
        params, indices = operation.inputs
        return [ScatterNd()(indices, dy, shape(params)), None]


@op
class ScatterNd(Op):
    """The adjoint of GatherNd: slices added up at multi-indices in zeros of a shape, in the order of the indices."""

    def infer(self, indices: TensorLike, updates: TensorLike, dims: TensorLike) -> Spec:
        index_type("ScatterNd", indices)
        out, depth = known_dims(dims), _depth(indices.dims)
        if out is not None and depth is not None and indices.dims is not None:
            if depth > len(out):
                raise ValueError(f"indices of {depth} numbers do not index into the shape {shapes.text(out)}")
            expected = indices.dims[:-1] + out[depth:]
            if not shapes.compatible(expected, updates.dims):
                raise ValueError(
                    f"the updates have shape {shapes.text(updates.dims)}, but the indices and the shape want "
                    f"{shapes.text(expected)}: the dimensions must match"
                )
        return Spec(updates.dtype, out)

    def compute(self, indices: Any, updates: Any, dims: Any) -> Any:
        whole = tuple(dims.tolist())
        lead, rest = whole[: indices.shape[-1]], whole[indices.shape[-1] :]
        if updates.shape != (*indices.shape[:-1], *rest):
            raise InvalidArgumentError(
                None, None, f"the updates have shape {list(updates.shape)}, not {[*indices.shape[:-1], *rest]}"
            )
        ids = flat_ids(indices, lead)
        count = int(np.prod(lead, dtype=np.int64))
        return summed_rows(count, ids, updates.reshape(ids.size, *rest)).reshape(whole)

    def grad(self, operation: Operation, ddx: Tensor) -> list[Tensor | None]:
        return [None, GatherNd()(ddx, operation.inputs[0]), None]


def _depth(dims: Dims) -> int | None:
    """How many numbers a multi-index has, if that is known. Raises ValueError for a scalar."""
    if dims == ():
        raise ValueError("indices must be at least a vector")
    return None if dims is None else dims[-1]


@op
class OneHot(Op):
    """For each index a vector of `depth` along a new axis: one value at the index, another elsewhere."""

    axis: int = -1
    not_differentiable = True

    def infer(self, indices: TensorLike, depth: TensorLike, on_value: TensorLike, off_value: TensorLike) -> Spec:
        if indices.dtype.name not in ("uint8", "int8", "int32", "int64"):
            raise TypeError(f"the indices of one_hot must be uint8, int8, int32 or int64, got {indices.dtype.name}")
        if on_value.dtype is not off_value.dtype:
            raise TypeError(f"on_value has type {on_value.dtype.name}, off_value {off_value.dtype.name}")
        if self.axis < -1:
            raise ValueError(f"axis must be >= -1, got {self.axis}")
        known = depth.known if isinstance(depth.known, int) else None
        if known is not None and known < 0:
            raise ValueError(f"depth must be non-negative but is {known}")
        if indices.dims is None:
            return Spec(on_value.dtype, None)
        axis = normal_axis(self.axis, len(indices.dims) + 1)
        return Spec(on_value.dtype, (*indices.dims[:axis], known, *indices.dims[axis:]))

    def compute(self, indices: Any, depth: Any, on_value: Any, off_value: Any) -> Any:
        if depth < 0:
            raise InvalidArgumentError(None, None, f"depth must be non-negative, got: {depth}")
        axis = normal_axis(self.axis, indices.ndim + 1)
        before, after = math.prod(indices.shape[:axis]), math.prod(indices.shape[axis:])
        out = np.full((before, int(depth), after), off_value, np.asarray(on_value).dtype)
        table = indices.reshape(before, after)
        i, j = np.nonzero((table >= 0) & (table < depth))
        out[i, table[i, j], j] = on_value
        return out.reshape(*indices.shape[:axis], int(depth), *indices.shape[axis:])


# the public functions


def gather(
    params: Any,
    indices: Any,
    validate_indices: Any = None,
    name: str | None = None,
    axis: Any = None,
    batch_dims: int = 0,
) -> Tensor:
    """Slices of `params` along `axis` (static, by default 0): shape params[:axis] + indices + params[axis+1:].

    The gradient of axis 0 is IndexedSlices. An index out of range is an InvalidArgumentError of the run;
    `validate_indices` says nothing, as in TF. Source: `tf.gather`. Raises NotImplementedError for `batch_dims`.
    """
    if batch_dims:
        raise NotImplementedError("gather with batch_dims other than 0: use gather_nd, or a one-hot matrix product")
    along = 0 if axis is None else static_int("axis", axis)
    if along == 0 and hasattr(params, "sparse_read"):
        # Only the rows leave the variable's device.
        return cast(Tensor, params.sparse_read(indices, name=name))
    return GatherV2(along)(convert_to_tensor(params), convert_to_tensor(indices), name=name)


def gather_nd(params: Any, indices: Any, name: str | None = None, batch_dims: int = 0) -> Tensor:
    """Slices of `params` at multi-indices: `indices` [..., K], result [...] + params.shape[K:]. Source: `tf.gather_nd`."""
    if batch_dims:
        raise NotImplementedError("gather_nd with batch_dims other than 0: put the batch's number into the indices")
    return GatherNd()(convert_to_tensor(params), convert_to_tensor(indices), name=name)


def scatter_nd(indices: Any, updates: Any, shape: Any, name: str | None = None) -> Tensor:
    """`updates` added at multi-indices into zeros of `shape`; repeated ones add up. Source: `tf.scatter_nd`."""
    return ScatterNd()(convert_to_tensor(indices), convert_to_tensor(updates), int_vector(shape), name=name)


def one_hot(indices: Any, depth: Any, on_value: Any = None, off_value: Any = None, axis: Any = None, dtype: Any = None,
            name: str | None = None) -> Tensor:  # fmt: skip
    """For each index a vector of `depth` along `axis` (by default last): `on_value` (1) there, `off_value` (0) elsewhere.

    An index out of range gives only `off_value`. The type is `dtype`, that of the values, or float32.
    Source: `tf.one_hot`. Raises TypeError where the types do not agree.
    """
    wanted = None if dtype is None else as_dtype(dtype)
    values = []
    for given, what in ((on_value, "on_value"), (off_value, "off_value")):
        tensor = None if given is None else convert_to_tensor(given, name=what)
        if tensor is not None and wanted is not None and tensor.dtype is not wanted:
            raise TypeError(
                f"dtype {tensor.dtype.name} of {what} does not match dtype {wanted.name} of the one-hot tensor"
            )
        wanted = wanted if tensor is None else tensor.dtype
        values.append(tensor)
    wanted = wanted or float32
    if None in values and not (wanted.is_numeric or wanted.is_bool):
        raise TypeError(f"one_hot of type {wanted.name} needs on_value and off_value")
    on, off = (const(np.array(i, wanted.np), n) if v is None else v for v, i, n in
               zip(values, (1, 0), ("on_value", "off_value"), strict=True))  # fmt: skip
    where = -1 if axis is None else int(axis)
    return OneHot(where)(convert_to_tensor(indices), convert_to_tensor(depth, "int32"), on, off, name=name)
