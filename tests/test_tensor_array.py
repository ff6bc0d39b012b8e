"""Tests of TensorArray's methods one after the other on one array, of their gradients, and of arrays of gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph.errors import InvalidArgumentError


def run(fetches: Any) -> Any:
    with wf.Session() as session:
        return session.run(fetches)


def array(size: int, **options: Any) -> Any:
    return wf.TensorArray(wf.float64, size, **options)


#: Of each program of arrays what TensorFlow 2.21 gives.
VALUES: list[tuple[Callable[[], Any], Any]] = [
    (lambda: array(3).write(0, 1.0).scatter([1, 2], [2.0, 3.0]).stack(), [1.0, 2.0, 3.0]),
    (lambda: array(3).scatter([1, 2], [2.0, 3.0]).write(0, 1.0).stack(), [1.0, 2.0, 3.0]),
    (lambda: array(3).scatter([1, 2], [2.0, 3.0]).scatter([0], [1.0]).stack(), [1.0, 2.0, 3.0]),
    (lambda: array(0, dynamic_size=True).scatter([1, 5], [2.0, 3.0]).size(), 6),
    (lambda: array(5).unstack([1.0, 2.0]).size(), 5),
    (lambda: array(5).unstack([1.0, 2.0]).stack(), [1.0, 2.0, 0.0, 0.0, 0.0]),
    (lambda: array(3).unstack([1.0, 2.0]).write(2, 5.0).stack(), [1.0, 2.0, 5.0]),
    (lambda: array(0, dynamic_size=True).unstack([1.0, 2.0]).size(), 2),
    (lambda: array(0, dynamic_size=True, infer_shape=False).split([1.0, 2.0, 3.0], [1, 2]).size(), 2),
    (lambda: array(2).write(0, [1.0, 2.0]).concat(), [1.0, 2.0, 0.0, 0.0]),
    (lambda: array(0, element_shape=[2]).concat(), []),
    (lambda: array(3).write(0, 5.0).grad("g").write(0, 1.0).write(0, 2.0).read(0), 3.0),
    (lambda: array(3).write(0, 5.0).grad("g").size(), 3),
    (lambda: array(3).write(0, [5.0, 6.0]).grad("g").read(0), [0.0, 0.0]),
    (lambda: array(0, dynamic_size=True).write(3, 5.0).grad("g").size(), 4),
    (lambda: array(3).write(0, 5.0).grad("g").write(0, 3.0).scatter([0, 1, 0], [1.0, 4.0, 1.0]).stack(), [5.0, 4.0, 0.0]),
    (lambda: array(2).unstack([1.0, 3.0]).grad("g").unstack([4.0, 5.0]).stack(), [4.0, 5.0]),
    (
        lambda: array(2, infer_shape=False).split([1.0, 2.0, 3.0], [1, 2]).grad("g")
        .split([4.0, 5.0, 6.0], [1, 2]).write(1, [1.0, 1.0]).concat(), [4.0, 6.0, 7.0],
    ),
]  # fmt: skip


@pytest.mark.parametrize("at", range(len(VALUES)))
def test_one_method_after_the_other(at: int) -> None:
    build, expected = VALUES[at]
    assert run(build()).tolist() == expected


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: array(3).scatter([1, 1], [2.0, 3.0]).read(1), "already been written"),
        (lambda: array(3).scatter([1, 2], [2.0, 3.0]).write(1, 2.0).read(1), "already been written"),
        (lambda: array(2, infer_shape=False).write(0, [1.0]).split([1.0, 2.0], [1, 1]).concat(), "already been written"),
        (lambda: array(3).scatter([1, 5], [2.0, 3.0]).read(1), r"Max scatter index must be < array size \(5 vs. 3\)"),
        (lambda: array(3).scatter([-1], [2.0]).read(1), "index -1"),
        (lambda: array(1).unstack([1.0, 2.0]).stack(), "Max scatter index"),
        (lambda: array(3).split([1.0, 2.0, 3.0], [1, 2]).read(0), r"not equal to the size of lengths \(3 vs. 2\)"),
        (lambda: array(2).split([1.0, 2.0, 3.0], [1, 1]).read(0), "sum of lengths"),
        (lambda: array(2).split([1.0, 2.0, 3.0], [4, -1]).read(0), "sum of lengths"),
        (lambda: array(2).write(-1, 1.0).stack(), "Tried to write to index -1"),
        (lambda: array(2).write(0, 1.0).read(-1), "Tried to read from index -1"),
        (lambda: array(2, infer_shape=False).write(0, [1.0]).write(1, [1.0, 2.0]).stack(), "inconsistent shapes"),
        (lambda: array(2, infer_shape=False).write(0, [[1.0]]).write(1, [[1.0, 2.0]]).concat(), "inconsistent shapes"),
        (lambda: array(1, infer_shape=False).write(0, 1.0).concat(), "scalar"),
        (lambda: array(2, infer_shape=False).write(0, [1.0]).concat(), "never written"),
        (lambda: array(0, dynamic_size=True).write(1, 5.0).grad("g").write(4, 1.0).read(4), "not resizeable"),
        (
            lambda: array(2, infer_shape=False).write(0, 1.0).grad("g").write(0, [4.0, 5.0]).read(0),
            r"Could not aggregate to TensorArray index 0 because the existing shape is \[\] but the new .* is \[2\]",
        ),
    ],
)  # fmt: skip
def test_what_a_run_refuses(build: Callable[[], Any], words: str) -> None:
    with pytest.raises(InvalidArgumentError, match=words):
        run(build())


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: array(2).write(0, 1.0).concat(), "scalars"),
        (lambda: array(2).grad(""), "source"),
        (lambda: array(2).grad("g").grad("h"), "array of gradients"),
        (lambda: array(2).write(0, 1.0).grad("g").write(0, [1.0]), "Inconsistent shapes"),
    ],
)
def test_what_building_refuses(build: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()


#: Programs of a vector of three numbers, and the weights of its gradient where it is linear.
LINEAR: list[tuple[Callable[[Any], Any], list[float]]] = [
    (lambda x: array(3).write(0, x[2]).write(2, x[0]).stack() * [1.0, 2.0, 3.0], [3.0, 0.0, 1.0]),
    (lambda x: array(3).write(0, x).read(0), [1.0, 1.0, 1.0]),
    (lambda x: array(3).unstack(x).gather([2, 2, 0]) * [1.0, 2.0, 4.0], [4.0, 0.0, 3.0]),
    (lambda x: array(5).scatter([4, 0, 1], x).write(2, x[0]).stack() * [1.0, 2.0, 3.0, 4.0, 5.0], [8.0, 1.0, 2.0]),
    (lambda x: array(4).write(3, x[0]).scatter([1, 0, 2], x).stack() * [1.0, 2.0, 3.0, 4.0], [6.0, 1.0, 3.0]),
    (lambda x: array(5).unstack(x).stack() * [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0]),
    (lambda x: array(2, infer_shape=False).split(x, [1, 2]).read(1) * [1.0, 2.0], [0.0, 1.0, 2.0]),
    (
        lambda x: array(3, infer_shape=False).write(2, x[:1]).write(0, x[:2]).write(1, x[:0]).concat() * [1.0, 2.0, 4.0],
        [5.0, 2.0, 0.0],
    ),
    (lambda x: array(3, element_shape=[3]).write(0, x).write(2, x).concat() * np.arange(9.0), [6.0, 8.0, 10.0]),
    (lambda x: array(3).unstack(x).identity().stack() * [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
    (lambda x: array(1).write(0, x).grad("g").write(0, x).write(0, 3.0 * x).read(0), [4.0, 4.0, 4.0]),
    (lambda x: array(3).unstack(x).grad("g").scatter([0, 0, 1], x).stack() * [1.0, 2.0, 3.0], [1.0, 1.0, 2.0]),
]  # fmt: skip


@pytest.mark.parametrize("at", range(len(LINEAR)))
def test_gradients(at: int) -> None:
    build, weights = LINEAR[at]
    x = wf.constant([0.5, -1.5, 2.0], wf.float64)
    first = wf.gradients(build(x), x)[0]
    curved = wf.gradients(wf.reduce_sum(build(x * x) ** 2), x)[0]
    second = wf.gradients(curved, x)[0]
    assert run(first).tolist() == weights

    def numerical(step: float) -> np.ndarray[Any, Any]:
        found = np.zeros(3)
        with wf.Session() as session:
            for place in range(3):
                sides = []
                for moved in (step, -step):
                    value = np.array([0.5, -1.5, 2.0])
                    value[place] += moved
                    sides.append(np.sum(session.run(curved, {x: value})))
                found[place] = (sides[0] - sides[1]) / (2 * step)
        return found

    np.testing.assert_allclose(run(second), numerical(1e-6), rtol=1e-6, atol=1e-6)


def test_an_array_of_gradients_in_a_loop() -> None:
    x = wf.constant([1.0, 2.0, 3.0], wf.float64)
    forward = array(3).unstack(x)
    _, grads = wf.while_loop(
        lambda i, _: i < 6, lambda i, g: (i + 1, g.write(i % 3, forward.read(i % 3) * wf.cast(i, wf.float64))),
        (0, forward.grad("loop", flow=forward.flow)),
    )  # fmt: skip
    found = grads.stack()
    assert run([found, wf.gradients(found, x)[0]])[0].tolist() == [3.0, 10.0, 21.0]
    assert run(wf.gradients(found, x)[0]).tolist() == [3.0, 5.0, 7.0]


WAYS: dict[str, Callable[[Any], Any]] = {
    "a map": lambda x: wf.map_fn(lambda row: row * row, x),
    "a scan": lambda x: wf.scan(lambda so_far, row: so_far * row, x),
    "elements": lambda x: array(2).write(0, x[0]).write(1, x[1] * x[2]).read(1),
    "pieces": lambda x: array(2).split(x * x, [1, 2]).concat(),
    "rows": lambda x: array(3).unstack(x * x).gather([2, 0]),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("colocate", [False, True])
def test_gradients_that_are_asked_for_on_another_device_go_where_the_array_is(way: str, colocate: bool) -> None:
    def gradients(forward: str | None, backward: str | None) -> Any:
        with wf.Graph().as_default():
            x = wf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], wf.float64)
            with wf.device(forward):
                y = WAYS[way](x)
            with wf.device(backward):
                first = wf.gradients(y, x, colocate_gradients_with_ops=colocate)[0]
                after = first * 2.0
                second = wf.gradients(first, x)[0]
            assert after.device == (backward or "")
            with wf.Session(config=wf.ConfigProto(device_count={"CPU": 2})) as session:
                return [value.tolist() for value in session.run([first, after, second])]

    assert gradients("/device:CPU:0", "/device:CPU:1") == gradients(None, None)
