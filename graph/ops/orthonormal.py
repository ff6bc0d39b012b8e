"""An orthonormal basis of the columns of a matrix, for random orthogonal weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import shapes
from ..op import Op, op
from ..opdef import Spec, TensorLike


@op
class Orthonormal(Op):
    """The Q of x = Q R with a positive diagonal of R: from normal numbers, every orthogonal matrix is equally likely.

    x [m, n] with m >= n; types of 16 bits are computed as float32.
    """

    not_differentiable = True

    def infer(self, x: TensorLike) -> Spec:
        if not x.dtype.is_floating:
            raise TypeError(f"Orthonormal takes floating-point numbers, got {x.dtype.name}")
        dims = shapes.merge(x.dims, (None, None))
        rows, columns = dims or (None, None)
        if rows is not None and columns is not None and rows < columns:
            raise ValueError(f"a matrix of shape {shapes.text(dims)} has more columns than rows")
        return Spec(x.dtype, dims)

    def compute(self, x: Any) -> Any:
        wide: Any = np.asarray(x, np.float64 if x.dtype == np.float64 else np.float32)
        q, r = np.linalg.qr(wide)
        return np.asarray(q * np.where(np.diagonal(r) < 0, -1, 1).astype(q.dtype), x.dtype)
