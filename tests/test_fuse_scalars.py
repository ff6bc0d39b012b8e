"""Fused arithmetic of single numbers: the bits of unfused operations, what goes together, errors, loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import weft as wf
from fusing import names, regions
from hypothesis import HealthCheck, given, settings, strategies as st
from programs import same_bits
from weft.runtime.backends import scalars
from weft.runtime.regions import scalars as fuse_scalars
from weft.runtime.stages.fused import Fused

bounded = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

#: Each takes two numbers of one type and gives one of it.
FLOATS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a, b: -a,
    "square": lambda a, b: wf.square(a),
    "tanh": lambda a, b: wf.tanh(a),
    "exp": lambda a, b: wf.exp(a),
    "log": lambda a, b: wf.log(a),
    "sqrt": lambda a, b: wf.sqrt(a),
    "sigmoid": lambda a, b: wf.sigmoid(b),
    "sine": lambda a, b: wf.sin(a),
    "whole": lambda a, b: wf.floor(a),
    "many": lambda a, b: wf.add_n([a, b, a, a]),
    "slope": lambda a, b: wf.gradients(wf.tanh(a) * b, a)[0],
    "other slope": lambda a, b: wf.gradients(wf.sigmoid(a) + b * b, [a])[0],
    "chosen": lambda a, b: wf.where(wf.logical_and(a < b, wf.logical_not(wf.equal(a, b))), a, b),
    "rounded": lambda a, b: wf.cast(wf.cast(a, wf.float16), a.dtype),
    "vector": lambda a, b: wf.reduce_sum(wf.stack([a, b]) * 2.0),
}
WHOLE: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "neg": lambda a, b: -a,
    "square": lambda a, b: wf.square(a),
    "quotient": lambda a, b: a // (wf.abs(b) + 1),
    "chosen": lambda a, b: wf.where(wf.logical_or(a >= b, wf.not_equal(a, 3)), a, b),
}
NUMBERS: dict[Any, list[Any]] = {
    wf.float32: [0.0, -0.0, 1.5, -2.25, 1e-42, 3e38, np.inf, -np.inf, 0.1],
    wf.float64: [0.0, -0.0, 1.5, -2.25, 5e-324, 1e308, np.inf, -np.inf, 0.1],
    wf.int32: [0, 1, -1, 3, 2**31 - 1, -(2**31)],
    wf.int64: [0, 1, -1, 3, 2**63 - 1, -(2**63)],
}


def without_fusing(run: Callable[[], list[Any]]) -> list[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fuse_scalars, "FEWEST", 1 << 60)
        return run()


@st.composite
def recipes(draw: st.DrawFn) -> tuple[Any, list[Any], list[tuple[str, int, int]]]:
    dtype: Any = draw(st.sampled_from([*NUMBERS]))
    kinds = FLOATS if dtype.is_floating else WHOLE
    steps = st.lists(
        st.tuples(st.sampled_from([*kinds]), st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=14
    )
    return dtype, [draw(st.sampled_from(NUMBERS[dtype])) for _ in range(2)], draw(steps)


def values_of(dtype: Any, fed: list[Any], steps: list[tuple[str, int, int]], fetched: int) -> list[Any]:
    """The last values of a program on two numbers and a variable, which is written in its middle and at its end."""
    kinds = FLOATS if dtype.is_floating else WHOLE
    with wf.Graph().as_default():
        feeds = [wf.placeholder(dtype, []) for _ in fed]
        variable = wf.Variable(wf.constant(2, dtype))
        values = [*feeds, variable.read_value()]
        for number, (kind, first, second) in enumerate(steps):
            values.append(kinds[kind](values[-1 - first % len(values)], values[-1 - second % len(values)]))
            if number == len(steps) // 2:
                with wf.control_dependencies([values[-1]]):
                    write = variable.assign_sub(values[-1])
                with wf.control_dependencies([write]):
                    values.append(variable.read_value())
        with wf.Session() as session:
            session.run(wf.global_variables_initializer())
            numbers = dict(zip(feeds, np.array(fed, dtype.as_numpy_dtype), strict=True))
            return [*session.run(values[-fetched:], numbers), *session.run(values[-fetched:], numbers)]


@pytest.mark.filterwarnings("ignore::weft.RaceWarning")
@bounded
@given(recipes(), st.integers(1, 4))
def test_arithmetic_of_numbers_has_the_bits_of_unfused_operations(recipe: Any, fetched: int) -> None:
    dtype, fed, steps = recipe
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fuse_scalars, "FEWEST", 1)
        found = values_of(dtype, fed, steps, fetched)
    wanted = without_fusing(lambda: values_of(dtype, fed, steps, fetched))
    assert [value.dtype for value in found] == [value.dtype for value in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert np.isnan(one) == np.isnan(other)  # the sign of a nan is nobody's promise
        assert np.isnan(one) or same_bits([one], [other])


def test_a_chain_of_numbers_is_one_region() -> None:
    h = x = wf.placeholder(wf.float32, [], name="x")
    for _ in range(3):
        h = wf.tanh(h * x) - 0.5
    (region,) = regions([h, wf.gradients(h, x)[0]])
    assert names(region)[:4] == ["mul", "Tanh", "sub", "mul_1"]
    assert len(region.outputs) == 2


def test_few_numbers_stay_as_they_are() -> None:
    x = wf.placeholder(wf.float32, [])
    assert not regions(wf.tanh(x * x) - 0.5)


def test_big_operations_that_need_a_number_end_its_region_and_small_ones_wait() -> None:
    x, big = wf.placeholder(wf.float32, []), wf.placeholder(wf.float32, [4096])
    first = wf.tanh(x * x + 1.0) * x
    small = wf.stack([first, x])
    second = wf.tanh(first * x + 1.0) * x
    scaled = big * second
    third = wf.tanh(second * x + 1.0) * x
    found = regions([small, scaled, third])
    assert [len(names(region)) for region in found] == [8, 4]
    with wf.Session() as session:
        got = session.run([small, scaled, third], {x: 0.5, big: np.ones(4096)})
        wanted = without_fusing(lambda: session.run([small, scaled, third], {x: 0.5, big: np.ones(4096)}))
    assert same_bits(got, wanted)


def test_a_region_does_not_reach_over_a_write() -> None:
    variable = wf.Variable(1.0)
    x = wf.placeholder(wf.float32, [])
    before = variable.read_value() * x * x * x + 1.0
    with wf.control_dependencies([variable.assign(before)]):
        after = variable.read_value() * x * x * x + 1.0
    with wf.Session() as session:
        session.run(variable.initializer)
        assert len(regions([before, after])) == 2
        assert session.run([before, after], {x: 2.0}) == [9.0, 73.0]


def test_an_error_names_its_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(value: Any) -> Any:
        raise ArithmeticError("no root today")

    def changed(definition: Fused, inputs: int, kernels: Any) -> Any:
        kernels = [k if k.scalar[1] is not np.sqrt else type(k)(fails, scalar=("{k}({0})", fails)) for k in kernels]
        return written(definition, inputs, kernels)

    written: Callable[..., Any] = scalars._function
    monkeypatch.setattr(scalars, "_function", changed)
    x = wf.placeholder(wf.float32, [])
    y = wf.sqrt(wf.tanh(x * x), name="the_root") + x
    with wf.Session() as session, pytest.raises(wf.errors.OpError, match="the_root"):
        session.run(y + 1.0, {x: 1.0})


def test_numbers_of_a_loop_are_fused_with_the_same_bits() -> None:
    def run() -> list[Any]:
        with wf.Graph().as_default():
            x = wf.placeholder(wf.float32, [])
            _, h = wf.while_loop(
                lambda step, h: step < 7, lambda step, h: (step + 1, wf.tanh(h * x + 0.25) * 1.5 - h), [0, x]
            )
            with wf.Session() as session:
                found: list[Any] = session.run([h, wf.gradients(h, x)[0]], {x: 0.75})
                return found

    assert same_bits(run(), without_fusing(run))
