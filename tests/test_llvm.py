"""The backend "llvm": every bit is the CPU backend's, whatever is computed, on which arrays and in how many threads."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import programs
import pytest
import weft as wf
from beside_numpy import cases_of, check_table
from hypothesis import HealthCheck, given, settings, strategies as st
from machine_code import LLVM, both, compiled, same
from programs import build, recipes, runs
from weft.runtime.regions import compiled as fuse_compiled

pytest.importorskip("llvmlite", reason="the backend 'llvm' needs llvmlite: pip install 'weft[llvm]'")

from test_cases import TABLES, build as build_case
from weft.runtime.backends.formula_table import _OPERATIONS, _UFUNCS

bounded = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def everything_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regions even of one operation."""
    monkeypatch.setattr(fuse_compiled, "FEWEST", 1)


KNOWN = {kind.__name__ for kind in _OPERATIONS} | {"Cast"}


@pytest.mark.parametrize("table", sorted({table for table in TABLES if any(c.op in KNOWN for c in cases_of(table))}))
def test_operations_give_what_their_kernels_give(table: str) -> None:
    check_table("llvm", table, KNOWN, same)


def test_every_formula_has_a_case_that_is_compiled() -> None:
    seen: set[str] = set()
    for case in [case for table in TABLES for case in cases_of(table)]:
        outputs, feeds = build_case(case, "full")
        with wf.Session(config=LLVM) as session:
            seen |= {part.definition.type for region in compiled(session, outputs, feeds) for part in region.parts}
        wf.reset_default_graph()
    assert seen >= KNOWN
    assert len(_UFUNCS) > 20


_ODD = [
    0.0,
    -0.0,
    np.inf,
    -np.inf,
    np.nan,
    1.0,
    -1.5,
    0.5,
    2.5,
    -2.5,
    3.5,
    88.0,
    -88.0,
    300.0,
    1e-40,
    -1e-40,
    1e-45,
    6.0,
]
_UNARY: list[Any] = [
    wf.negative, wf.square, wf.abs, wf.sign, wf.sqrt, wf.rsqrt, wf.reciprocal, wf.exp, wf.log, wf.log1p, wf.expm1,
    wf.sin, wf.cos, wf.tan, wf.asin, wf.acos, wf.atan, wf.sinh, wf.cosh, wf.asinh, wf.acosh, wf.atanh, wf.tanh, wf.sigmoid,
    wf.floor, wf.ceil, wf.round, wf.nn.relu, wf.nn.relu6, wf.is_nan,
]  # fmt: skip
_BINARY: list[Any] = [
    wf.add, wf.subtract, wf.multiply, wf.divide, wf.maximum, wf.minimum, wf.equal, wf.not_equal, wf.less, wf.less_equal,
    wf.greater, wf.greater_equal, wf.squared_difference,
]  # fmt: skip


@pytest.mark.parametrize("dtype", [wf.float32, wf.float64], ids=str)
def test_nan_inf_denormals_and_signs_of_zero_are_numpys(dtype: wf.DType) -> None:
    odd = np.array(_ODD, dtype.np)
    column, row = np.meshgrid(odd, odd, indexing="ij")
    x, y = (wf.placeholder(dtype, column.shape) for _ in range(2))
    fetches: dict[str, Any] = {f.__name__: f(x) for f in _UNARY}
    fetches |= {f.__name__: f(x, y) for f in _BINARY}
    fetches["where"] = wf.where(x > y, x, y)
    fetches["gradients"] = wf.gradients(
        [wf.sqrt(x), wf.rsqrt(x), wf.reciprocal(x), wf.tanh(x), wf.sigmoid(x), wf.nn.relu(x), wf.nn.relu6(x)],
        x,
        [y] * 7,
    )
    feeds = {x: column, y: row}
    with wf.Session(config=LLVM) as session:
        assert sum(len(region.parts) for region in compiled(session, fetches, feeds)) > len(_UNARY) + len(_BINARY)
    found, wanted = both(fetches, feeds)
    for name in fetches:
        same(found[name], wanted[name], name)


@pytest.mark.parametrize("dtype", [wf.int32, wf.int64], ids=str)
def test_integers_and_truths_are_numpys(dtype: wf.DType) -> None:
    top = 2 ** (8 * dtype.size - 1)
    odd = np.array([0, 1, -1, 7, top - 1, -top, 12345], dtype.np)
    x, y = (wf.placeholder(dtype, (7, 7)) for _ in range(2))
    less, more = x < y, x >= y
    fetches = {
        "sum": x + y, "product": x * y, "negative": -x, "square": wf.square(x), "sign": wf.sign(x),
        "largest": wf.maximum(x, y), "smallest": wf.minimum(x, y), "and": wf.logical_and(less, more),
        "or": wf.logical_or(less, wf.logical_not(more)), "single": wf.cast(x, wf.float32), "double": wf.cast(x, wf.float64),
        "truth": wf.cast(less, wf.float32), "narrow": wf.cast(x, wf.int32) + 1, "wide": wf.cast(x, wf.int64) + 1,
    }  # fmt: skip
    found, wanted = both(fetches, dict(zip((x, y), np.meshgrid(odd, odd, indexing="ij"), strict=True)))
    for name in fetches:
        same(found[name], wanted[name], name)


def _mixed(values: Sequence[wf.Tensor], draw: Sequence[tuple[int, int, int]]) -> list[wf.Tensor]:
    """Values made of these and of each other."""
    made = list(values)
    kinds: list[Any] = [
        lambda a, b: a * b, lambda a, b: a - b, lambda a, b: a / b, wf.maximum, lambda a, b: wf.where_v2(a > b, a, b),
        lambda a, b: wf.tanh(a) + b, lambda a, b: wf.exp(-wf.abs(a)) * b, lambda a, b: wf.sigmoid(wf.sqrt(wf.abs(b))) - a,
        lambda a, b: wf.cast(wf.cast(a, wf.float64) * 3.0, wf.float32) + b, lambda a, b: wf.log(wf.square(a)) + b,
        lambda a, b: wf.cast(wf.logical_and(a > b, a < 1.0), wf.float32) * a, lambda a, b: wf.sin(wf.cos(a)) * b,
    ]  # fmt: skip
    for kind, first, second in draw:
        made.append(kinds[kind % len(kinds)](made[-1 - first % len(made)], made[-1 - second % len(made)]))
    return made[len(values) :]


@bounded
@given(
    st.sampled_from(
        [(1,), (5,), (16,), (700,), (3, 1), (40, 33), (7, 513), (2, 3, 20), (1, 17), (600, 4), (4, 3, 5, 2)]
    ),
    st.lists(st.tuples(*[st.integers(0, 30)] * 3), min_size=1, max_size=12),
    st.integers(0, 99),
    st.booleans(),
)
def test_random_regions_over_rows_columns_and_numbers(
    dims: tuple[int, ...], draw: list[tuple[int, int, int]], seed: int, odd: bool
) -> None:
    wf.reset_default_graph()
    random = np.random.default_rng(seed)
    shapes: list[tuple[int, ...]] = [dims, (), dims[-1:], (*dims[:-1], 1), (1,) * len(dims)]
    arrays = [random.normal(size=shape).astype(np.float32) for shape in shapes]
    if odd:
        arrays = [
            np.where(random.random(a.shape) < 0.2, random.choice(_ODD, a.shape), a).astype(np.float32) for a in arrays
        ]
    feeds = [wf.placeholder(wf.float32, array.shape) for array in arrays]
    fetches = _mixed(feeds, draw)
    found, wanted = both(fetches, dict(zip(feeds, arrays, strict=True)))
    for one, other in zip(found, wanted, strict=True):
        same(one, other)


@pytest.mark.filterwarnings("ignore::weft.RaceWarning")
@bounded
@given(recipes())
def test_random_programs_give_the_same_bits(recipe: list[programs.Step]) -> None:
    wanted = runs(build(recipe), wf.ConfigProto(device_count={"CPU": 3}))
    found = runs(build(recipe), wf.ConfigProto(device_count={"CPU": 3}, backend="llvm"))
    assert programs.same_bits(found, wanted)
