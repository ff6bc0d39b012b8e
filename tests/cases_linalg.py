"""Rows for graph/ops/linalg.py and diagonal.py."""

from collections.abc import Callable

import numpy as np
from case import Case, floats, ints
from weft.graph.ir import Tensor
from weft.graph.ops import complex, diagonal, linalg

A, B, ROW = floats(2, 3), floats(3, 4), floats(3)
BATCH, OTHERS = floats(2, 1, 2, 3), floats(3, 3, 2, seed=1)
SQUARES = floats(2, 3, 3) + 3 * np.eye(3)
Z = floats(2, 2) + 1j * floats(2, 2, seed=1)


def of_complex(op: str, function: Callable[[Tensor], Tensor], label: str = "of complex") -> Case:
    """A row for the gradient by a complex matrix: real and imaginary part of the function, by both parts of its argument."""

    def parts(x: Tensor, y: Tensor) -> list[Tensor]:
        value = function(complex.complex(x, y))
        return [complex.real(value), complex.imag(value)]

    return Case(op, parts, (floats(2, 2), floats(2, 2, seed=1)), label=label, needs_shapes=True)


CASES = [
    Case("MatMul", lambda a, b: a @ b, (A, B), expected=lambda a, b: np.einsum("ij,jk", a, b)),
    Case("MatMul", lambda a, b: linalg.matmul(a, b, transpose_a=True), (A.T, B), label="TN", expected=lambda a, b: a.T @ b),
    Case("MatMul", lambda a, b: linalg.matmul(a, b, transpose_b=True), (A, B.T), label="NT", expected=lambda a, b: a @ b.T),
    Case("MatMul", lambda a, b: linalg.matmul(a, b, True, True), (A.T, B.T), label="TT", expected=lambda a, b: a.T @ b.T,
         needs_shapes=True),
    Case("MatMul", lambda a: linalg.matmul(a, a, adjoint_a=True), (Z,), label="adjoint", needs_shapes=True,
         expected=lambda a: a.conj().T @ a),
    Case("MatMul", lambda a, b: a @ b, (ints(2, 3), ints(3, 2)), label="ints", expected=lambda a, b: a @ b),
    Case("BatchMatMulV2", linalg.matmul, (BATCH, OTHERS), expected=lambda x, y: np.einsum("aBij,bjk->abik", x, y)),
    Case("BatchMatMulV2", linalg.matmul, (BATCH, B), label="one matrix", expected=lambda x, y: x @ y),
    Case("BatchMatMulV2", lambda x, y: linalg.matmul(x, y, True, False), (BATCH.swapaxes(-1, -2).copy(), OTHERS), label="TN",
         expected=lambda x, y: x.swapaxes(-1, -2) @ y),
    Case("BatchMatMulV2", lambda x, y: linalg.matmul(x, y, adjoint_b=True), (BATCH, OTHERS.swapaxes(-1, -2).copy()),
         label="NT", expected=lambda x, y: x @ y.swapaxes(-1, -2)),
    Case("BatchMatMulV2", lambda x: linalg.matmul(x, x, transpose_a=True, adjoint_b=True), (Z[None],), label="complex",
         expected=lambda x: x.swapaxes(-1, -2) @ x.swapaxes(-1, -2).conj()),
    Case("MatrixInverse", linalg.matrix_inverse, (SQUARES,), expected=np.linalg.inv),
    Case("MatrixInverse", lambda x: linalg.matrix_inverse(x, adjoint=True), (SQUARES[0],), label="adjoint",
         expected=lambda x: np.linalg.inv(x.T)),
    Case("MatrixDeterminant", linalg.matrix_determinant, (SQUARES,), expected=np.linalg.det),
    Case("MatMul", lambda a, b: linalg.tensordot(a, b, [[1, 0], [0, 2]]), (A, floats(3, 4, 2)), label="tensordot",
         expected=lambda a, b: np.tensordot(a, b, ([1, 0], [0, 2])), needs_shapes=True),
    Case("MatMul", lambda a, b: linalg.tensordot(a, b, 1), (A, ROW), label="tensordot vector",
         expected=lambda a, b: a @ b, needs_shapes=True),
    Case("Diag", diagonal.diag, (ROW,), expected=np.diag),
    Case("Diag", diagonal.diag, (A,), label="matrix", expected=lambda x: np.diag(x.ravel()).reshape(2, 3, 2, 3)),
    Case("DiagPart", diagonal.diag_part, (floats(3, 3),), expected=np.diag),
    Case("DiagPart", diagonal.diag_part, (floats(2, 2, 2, 2),), label="matrix", expected=lambda x: np.einsum("ijij->ij", x)),
    Case("MatrixDiag", diagonal.matrix_diag, (A,), expected=lambda x: np.stack([np.diag(x[0]), np.diag(x[1])])),
    Case("MatrixDiagPart", diagonal.matrix_diag_part, (A,), expected=np.diag),
    Case("MatrixDiagPart", diagonal.trace, (floats(2, 3, 2),), label="trace", expected=lambda x: np.trace(x, 0, 1, 2)),
    Case("MatrixSetDiag", diagonal.matrix_set_diag, (BATCH[0], floats(1, 2)), expected=lambda x, d: np.where(
        np.eye(2, 3) > 0, np.pad(d, ((0, 0), (0, 1)))[:, None], x)),
    Case("MatrixSetDiag", lambda: diagonal.eye(2, 3, [2]), label="eye", expected=lambda: np.stack([np.eye(2, 3)] * 2)),
    of_complex("MatMul", lambda z: linalg.matmul(z, z * z, adjoint_a=True)),
    of_complex("MatMul", lambda z: linalg.matmul(z, z * z, transpose_b=True), "of complex transposed"),
    of_complex("BatchMatMulV2", lambda z: linalg.BatchMatMulV2(True, False)(z, z)),
    of_complex("BatchMatMulV2", lambda z: linalg.BatchMatMulV2(False, True)(z, z * z), "of complex, adjoint"),
    of_complex("MatrixInverse", lambda z: linalg.matrix_inverse(z, adjoint=True)),
    of_complex("MatrixDeterminant", linalg.matrix_determinant),
]  # fmt: skip
