"""Rows for einsum.py and image_functions.py, both composed of other operations."""

import numpy as np
from case import Case, floats
from weft.graph.ops.einsum import einsum
from weft.nn import image

A, B, C = floats(2, 3, 4), floats(2, 4, 3, seed=1), floats(3, 2)
IMAGES = floats(2, 3, 4, 1)


def product(equation: str, *arrays: object, op: str) -> Case:
    return Case(op, lambda *x: einsum(equation, *x), arrays, label=equation, needs_shapes=True,
                expected=lambda *x: np.einsum(equation, *x))  # fmt: skip


CASES = [
    product("ij,jk->ik", C, floats(2, 4), op="MatMul"),
    product("bij,bjk->bik", A, B, op="BatchMatMulV2"),
    product("bij,bkj", A, floats(2, 2, 4), op="MatMul"),
    product("bij,ki->kjb", A, floats(5, 3), op="MatMul"),
    product("ij,kl->lijk", C, floats(2, 2), op="Mul"),
    product("ijk->ki", A, op="Sum"),
    product("ij,ij->", C, floats(3, 2, seed=2), op="MatMul"),
    product("bij,jl,bil->i", A, floats(4, 2), floats(2, 3, 2), op="BatchMatMulV2"),
    Case("GatherV2", lambda x: image.resize_nearest_neighbor(x, [6, 2]), (IMAGES,), label="nearest", needs_shapes=True,
         expected=lambda x: x[:, [0, 0, 1, 1, 2, 2]][:, :, [0, 2]]),
    Case("ReverseV2", lambda x: image.flip_up_down(x), (IMAGES,), label="image", needs_shapes=True,
         expected=lambda x: x[:, ::-1]),
]  # fmt: skip
