"""Each pass of the optimizer by itself, on random programs full of what it looks for, gives the bits of no pass at all."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import weft as wf
from hypothesis import given, settings, strategies as st
from optimizing import optimized
from weft.runtime.stages import optimize
from weft.runtime.stages.report import Report

#: What is fed: zeros of both signs, and what is not finite.
NUMBERS = np.array([0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 1e-40, 3e38, 0.1, -7.0, 2.5], np.float32)
SIZE = len(NUMBERS)
#: Enough for a sum of its terms to be split.
LARGE = 4096


def neutral(x: Any, k: int) -> Any:
    ways: list[Callable[[], Any]] = [
        lambda: x * 1.0, lambda: x + wf.constant(-0.0), lambda: wf.negative(-x), lambda: x - 0.0, lambda: x / 1.0,
        lambda: x + 0.0, lambda: x * 0.0,
    ]  # fmt: skip
    return ways[k % len(ways)]()


def square(x: Any, k: int) -> Any:
    return wf.reshape(x, [[3, 4], [4, 3], [2, 6], [12, 1]][k % 4])


def pooled(x: Any, y: Any) -> Any:
    """The gradient through the largest of rectified numbers."""
    pool = wf.nn.max_pool(wf.nn.relu(wf.reshape(x, [1, 4, 3, 1])), [1, 2, 1, 1], [1, 2, 1, 1], "VALID")
    return wf.gradients(pool, x, grad_ys=wf.reshape(y[:6], [1, 2, 3, 1]))[0]


def part_of_product(x: Any, y: Any, k: int) -> Any:
    """One piece of a product that was cut into several, so many times that a trial of the bits tells something."""
    left, right = (wf.tile(square(z, 1), [5, 6]) for z in (x, y))
    product = wf.matmul(left, right, transpose_a=k % 3 < 1, transpose_b=k % 3 > 0)
    return wf.reshape(wf.split(product, [2, 4, -1] if k % 2 else [1, 3, -1], k % 4 // 2)[1], [-1])[:SIZE]


STEPS: dict[str, Callable[[Any, Any, int], Any]] = {
    "identity": lambda x, y, k: wf.stop_gradient(x) if k % 2 else wf.identity(x),
    "reshapes": lambda x, y, k: wf.reshape(wf.reshape(square(x, k), [2, 3, 2]), [SIZE]),
    "transposes": lambda x, y, k: wf.reshape(wf.transpose(wf.transpose(square(x, k)), [[1, 0], [0, 1]][k % 2]), [SIZE]),
    "packed": lambda x, y, k: wf.reshape(wf.transpose(wf.stack([x[:6], y[:6]], k % 2), [1, 0]), [SIZE]),
    "casts": lambda x, y, k: wf.cast(wf.cast(x, [wf.float64, wf.float16][k % 2]), wf.float32),
    "neutral": lambda x, y, k: neutral(x, k),
    "constants": lambda x, y, k: x * (wf.exp(wf.constant(0.25 * k)) - wf.constant(0.5)),
    "shapes": lambda x, y, k: x + wf.cast(wf.size(y) * k, wf.float32),
    "broadcasts": lambda x, y, k: wf.reshape(wf.broadcast_to(y[:4], [3, 4]) * square(x, 0), [SIZE]),
    "equals": lambda x, y, k: wf.sin(x * y) + wf.sin(x * y),
    "sum of two": lambda x, y, k: wf.add_n([x, y]),
    "product": lambda x, y, k: wf.reshape(wf.matmul(wf.transpose(square(x, 1)), square(y, 1)), [9])[:1] + x,
    "part of a product": lambda x, y, k: part_of_product(x, y, k),
    "gate": lambda x, y, k: wf.tuple([x * y, y - x])[k % 2],
    "pooled": lambda x, y, k: pooled(x, y),
    "long sum": lambda x, y, k: wf.add_n([wf.tile(z, [LARGE]) for z in (x, y, x * y, x - y)])[:SIZE],
}

Recipe = list[tuple[str, int, int, int]]
recipes = st.lists(
    st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20)),
    min_size=3, max_size=8,
)  # fmt: skip


def build(recipe: Recipe) -> tuple[wf.Tensor, list[wf.Variable], list[Any]]:
    """What is fed, variables, and what is fetched: all values, and updates of the variables with some of them."""
    fed = wf.placeholder(wf.float32, [SIZE])
    values = [fed, wf.reverse(fed, [0])]
    for name, x, y, k in recipe:
        values.append(STEPS[name](values[x % len(values)], values[y % len(values)], k))
    a, b, c = (wf.Variable(wf.fill([SIZE], 0.5)) for _ in range(3))
    updates = [
        a.assign_sub(wf.constant(0.1) * values[-1], read_value=False),
        b.assign(b + values[-1], read_value=False),
        c.assign(c - values[-2], read_value=False),
    ]
    return fed, [a, b, c], [*values[2:], *updates]


def same_nan(value: Any) -> Any:
    """With one NaN for all: which sign that of inf - inf has, or of two NaNs, depends on the loop that NumPy takes."""
    return np.where(np.isnan(value), np.float32(np.nan), value)


def bits(recipe: Recipe) -> list[bytes]:
    """What is fetched and what the variables hold afterwards."""
    with wf.Graph().as_default():
        fed, variables, fetches = build(recipe)
        with wf.Session(config=wf.ConfigProto(race_check="off")) as sess:
            sess.run(wf.global_variables_initializer())
            found = [value for value in sess.run(fetches, {fed: NUMBERS}) if value is not None]
            return [same_nan(value).tobytes() for value in [*found, *sess.run(variables)]]


def use(patch: pytest.MonkeyPatch, *names: str) -> None:
    """Let the optimizer do these passes and no others."""
    at_nodes = tuple(each for each in optimize.AT_EACH_NODE if each.name in names)
    whole = [each for each in optimize.PASSES if each[0] in names or (at_nodes and each[1] is optimize.rewrite_nodes)]
    patch.setattr(optimize, "AT_EACH_NODE", at_nodes)
    patch.setattr(optimize, "PASSES", tuple(whole))


NAMES = [name for name, _ in optimize.passes()]
#: What comes before a pass that by itself has nothing to do: a program that was cut to what is fetched has nothing dead.
BEFORE = {"drop dead": "open gates"}


@pytest.mark.parametrize("name", NAMES)
def test_a_pass_alone_keeps_every_bit_and_finds_something_to_do(name: str) -> None:
    done: Counter[str] = Counter()

    @settings(max_examples=50, deadline=None, derandomize=True)
    @given(recipes)
    def check(recipe: Recipe) -> None:
        with pytest.MonkeyPatch.context() as patch:
            use(patch)
            expected = bits(recipe)
        with pytest.MonkeyPatch.context() as patch:
            use(patch, name, BEFORE.get(name, name))
            assert bits(recipe) == expected
            report = Report()
            with wf.Graph().as_default():
                fed, _, fetches = build(recipe)
                optimized(*fetches, feeds={fed: (SIZE,)}, report=report)
            done.update(report.counts)

    check()
    assert done[name] > 0


@settings(max_examples=40, deadline=None)
@given(recipes)
def test_all_passes_together_keep_every_bit(recipe: Recipe) -> None:
    together = bits(recipe)
    with pytest.MonkeyPatch.context() as patch:
        use(patch)
        assert bits(recipe) == together
