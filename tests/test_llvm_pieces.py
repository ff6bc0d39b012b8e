"""Pieces of rows in machine code: what is cut out of a larger matrix is read where it lies, with the bits of the CPU backend."""

from typing import Any

import numpy as np
import pytest
import weft as wf
from machine_code import LLVM, both, compiled, same

pytest.importorskip("llvmlite", reason="the backend 'llvm' needs llvmlite: pip install 'weft[llvm]'")

from weft.graph.opdef import Spec
from weft.graph.ops.transcendental import Exp
from weft.runtime.backends.llvm.backend import LLVM as BACKEND
from weft.runtime.stages.fused import Fused, Part


def numbers(*dims: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(5).standard_normal(dims).astype(dtype)


def gates(x: Any, axis: int) -> Any:
    i, f, g, o = wf.split(x * 2.0, 4, axis)
    c = wf.sigmoid(f + 1.0) * wf.tanh(i) + wf.sigmoid(g)
    return [c, wf.tanh(c) * o, wf.exp(o)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dims", [(5, 12), (1, 64), (32, 4 * 200), (3, 2, 20), (2, 3, 4, 4 * 33), (70, 4)])
def test_gates_are_one_region(dims: tuple[int, ...], dtype: Any) -> None:
    x = wf.placeholder(wf.as_dtype(dtype), dims)
    fetches, value = gates(x, -1), numbers(*dims, dtype=dtype)
    with wf.Session(config=LLVM) as session:
        region = compiled(session, fetches, {x: value})[-1]
    assert {part.definition.type for part in region.parts} >= {"Sigmoid", "Tanh", "Exp"}
    assert len(region.cut) == 4
    for found, wanted in zip(*both(fetches, {x: value}), strict=True):
        same(found, wanted)


def test_pieces_of_unequal_sizes_and_pieces_beside_whole_values() -> None:
    x, y, b = (wf.placeholder(wf.float32, dims) for dims in ((6, 50), (6, 20), (20,)))
    first, _, third = wf.split(wf.negative(x), [20, 10, 20], 1)
    fetches = [wf.tanh(first) * y + b, third - first]
    feeds = {x: numbers(6, 50), y: numbers(6, 20), b: numbers(20)}
    with wf.Session(config=LLVM) as session:
        assert [len(region.cut) for region in compiled(session, fetches, feeds)] == [2]
    for found, wanted in zip(*both(fetches, feeds), strict=True):
        same(found, wanted)


@pytest.mark.parametrize("axis", [0, 1])
def test_pieces_along_another_axis_are_no_pieces_of_rows(axis: int) -> None:
    x = wf.placeholder(wf.float32, [4, 8, 16])
    fetches, value = gates(x, axis), numbers(4, 8, 16)
    with wf.Session(config=LLVM) as session:
        assert not [region for region in compiled(session, fetches, {x: value}) if region.cut]
    for found, wanted in zip(*both(fetches, {x: value}), strict=True):
        same(found, wanted)


def test_pieces_of_what_may_lie_in_any_order() -> None:
    x = wf.placeholder(wf.float32, [16, 8])
    one, other = wf.split(wf.transpose(x), 2, 1)
    value = numbers(16, 8)
    with wf.Session(config=LLVM) as session:
        assert not [region for region in compiled(session, wf.exp(one) * other, {x: value}) if region.cut]
    same(*both(wf.exp(one) * other, {x: value}))


def test_a_piece_is_not_written_over() -> None:
    """The whole is fetched, too: no result may lie in the memory of a piece of it."""
    x = wf.placeholder(wf.float32, [64, 128])
    whole = x + 1.0
    one, other = wf.split(whole, 2, 1)
    fetches = [whole, wf.exp(one) * other, one - other]
    for found, wanted in zip(*both(fetches, {x: numbers(64, 128)}), strict=True):
        same(found, wanted)


def test_a_loop_over_gates() -> None:
    x, w = wf.placeholder(wf.float32, [8, 16]), wf.placeholder(wf.float32, [16, 64])

    def step(i: Any, c: Any, h: Any) -> tuple[Any, ...]:
        a, b, g, o = wf.split(wf.matmul(h, w) + x[:1, :1], 4, 1)
        c = wf.sigmoid(a) * c + wf.sigmoid(b) * wf.tanh(g)
        return i + 1, c, wf.tanh(c) * wf.sigmoid(o)

    _, c, h = wf.while_loop(lambda i, *_: i < 5, step, (0, x, x))
    fetches = [c, h, *wf.gradients([c, h], [x, w])]
    for found, wanted in zip(*both(fetches, {x: numbers(8, 16), w: numbers(16, 64)}), strict=True):
        same(found, wanted)


def test_arrays_that_lie_otherwise_are_left_to_numpy() -> None:
    """Rows with gaps between their numbers, or not all as far from each other, are seen before anything is computed."""
    spec = Spec(wf.float32, (2, 3, 4))
    definition = Fused((Part("e", Exp(), (0,), spec), Part("m", Exp(), (1,), spec)), (0, 1), False, False, (0,))
    kernel = BACKEND.kernel(definition, (spec,), (spec, spec))
    assert kernel is not None
    wide = numbers(4, 6, 8)
    for value in (wide[:2, :3, :4], wide[:2, ::2, ::2], wide[::2, :3, 2:6], wide[:2, ::2, 1:5], wide.T[:2, :3, :4]):
        out = [np.full((2, 3, 4), np.nan, np.float32) for _ in range(2)]
        kernel.function(value, out=tuple(out))
        same(out[0], np.exp(value))
        same(out[1], np.exp(np.exp(value)))
