"""Odd cases of `gradients`: what TensorFlow 2.21 answers, as measured, case by case."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph.indexed_slices import IndexedSlices

Program = Callable[[], Any]


def one(function: Callable[[Any], Any], x: Any, dtype: Any = "float32", **kwargs: Any) -> Program:
    """The gradient of a function of one constant by it."""

    def build() -> Any:
        tensor = wf.constant(x, dtype)
        return wf.gradients(function(tensor), tensor, **{key: make() for key, make in kwargs.items()})[0]

    return build


def variable(build: Callable[[Any], Any]) -> Program:
    """A program about a variable."""
    return lambda: build(wf.Variable(3.0))


def split_and_stop() -> Any:
    x = wf.constant([1.0, 2.0])
    a, b = wf.split(x, 2)
    return wf.gradients(a * b, [x, a, b], stop_gradients=[a])


def ancestors_with_a_stop() -> Any:
    a = wf.constant(1.0)
    b = a * 2
    c = b * 3
    return wf.gradients(c, [a, b, c], stop_gradients=[a])


def stop_of_y_itself() -> Any:
    x = wf.constant(2.0)
    y = x * x
    return wf.gradients(y, [x, y], stop_gradients=y)


def stop_of_x_itself() -> Any:
    x = wf.constant(2.0)
    return wf.gradients(x * x, x, stop_gradients=[x])


def output_and_descendant() -> Any:
    x = wf.constant([1.0, 2.0])
    a, b = wf.split(x, 2)
    return wf.gradients([a, a * b], [a, x])


def same_y_with_two_gradients() -> Any:
    x = wf.constant(1.0)
    y = x * 2
    return wf.gradients([y, y], x, grad_ys=[wf.constant(1.0), wf.constant(10.0)])


def stop_of_a_read(v: Any) -> Any:
    read = wf.identity(v)
    return wf.gradients(read * v, [v, read], stop_gradients=[read])


def stop_of_the_variable(v: Any) -> Any:
    read = wf.identity(v)
    return wf.gradients(read * v, [v, read], stop_gradients=[v])


def one_read_of_two(v: Any) -> Any:
    read = v.value()
    return wf.gradients(v * read, [read])


def through_an_assignment(v: Any) -> Any:
    x = wf.constant(2.0)
    return wf.gradients(wf.assign(v, x * 2), [x, v])


def unknown_shape_zeros() -> Any:
    return wf.gradients(wf.constant(1.0), wf.Variable([1.0, 2.0], validate_shape=False), unconnected_gradients="zero")


def power_at_zero() -> Any:
    x, exponent = wf.constant(0.0), wf.constant(2.0)
    return wf.gradients(wf.pow(x, exponent), [x, exponent])


def remainder() -> Any:
    x, y = wf.constant(5.0), wf.constant(3.0)
    return wf.gradients(wf.floormod(x, y), [x, y])


def gated_slices() -> Any:
    x, z = wf.constant([1.0, 2.0]), wf.constant([3.0])
    by_x, by_z = wf.gradients(wf.gather(x, [0]) * z, [x, z], gate_gradients=True)
    return [by_x.values, by_x.indices, by_z]


def gather_of_gather() -> Any:
    x = wf.constant([[1.0], [2.0], [3.0]])
    (grad,) = wf.gradients(wf.gather(wf.gather(x, [2, 1, 0]), [0, 0]), x)
    return [grad.values, grad.indices, grad.dense_shape]


def two_gathers() -> Any:
    x = wf.constant([1.0, 2.0, 3.0])
    (grad,) = wf.gradients([wf.gather(x, [1]), wf.gather(x, wf.constant([0], "int64"))], x)
    assert grad.indices.dtype.name == "int64"
    return [grad.values, grad.indices]


def second_order_of_slices() -> Any:
    x = wf.constant([1.0, 2.0, 3.0])
    (grad,) = wf.gradients(wf.gather(x, [1]) ** 3.0, x)
    (second,) = wf.gradients(grad.values, x)
    return [second.values, second.indices]


CASES: dict[str, tuple[Program, Any]] = {
    "y is x, an int with a given gradient": (one(lambda x: x, 3, "int32", grad_ys=lambda: wf.constant(5)), 5),
    "an int y with a given gradient": (one(lambda x: x * 2, 3, "int32", grad_ys=lambda: wf.constant(5)), None),
    "y is x, a bool": (one(lambda x: x, True, None), True),
    "an int gradient of a float passes an identity": (one(wf.identity, 1.0, grad_ys=lambda: wf.constant(3)), 3),
    "a list as grad_ys is a list of gradients": (
        one(lambda x: x * 2, [1.0, 2.0], grad_ys=lambda: [[3.0, 4.0]]),
        [6, 8],
    ),
    "complex": (one(lambda x: x * x, 1 + 2j, None, grad_ys=lambda: wf.constant(1 + 0j)), 2 - 4j),
    "complex to real": (one(lambda x: wf.real(x * x), 1 + 2j, None), 2 - 4j),
    "the absolute value of a complex number": (one(wf.abs, 3 + 4j, None), 0.6 + 0.8j),
    "real to complex": (one(lambda x: wf.real(wf.cast(x, "complex64") * (1 + 2j)), 2.0), 1.0),
    "zeros for an int": (one(lambda x: wf.constant(1.0), 3, "int32", unconnected_gradients=lambda: "zero"), 0),
    "zeros for a bool": (one(lambda x: wf.constant(1.0), [True], None, unconnected_gradients=lambda: "zero"), [False]),
    "zeros for a string": (one(lambda x: wf.constant(1.0), "s", None, unconnected_gradients=lambda: "zero"), b""),
    "zeros for a variable of unknown shape": (unknown_shape_zeros, [[0.0, 0.0]]),
    "zeros without any y": (one(lambda x: [], [1.0], unconnected_gradients=lambda: "zero"), [0.0]),
    "stopped at y": (stop_of_y_itself, [None, 1.0]),
    "stopped at x": (stop_of_x_itself, [4.0]),
    "stopped at one of two outputs": (split_and_stop, [None, [2.0], [1.0]]),
    "xs that follow from each other, the first stopped": (ancestors_with_a_stop, [6.0, 3.0, 1.0]),
    "an output and what follows from it": (output_and_descendant, [[3.0], [3.0, 1.0]]),
    "a y twice": (same_y_with_two_gradients, [22.0]),
    "the copy of a read is stopped": (variable(stop_of_a_read), [3.0, 3.0]),
    "a variable is stopped": (variable(stop_of_the_variable), [6.0, 3.0]),
    "one read of two": (variable(one_read_of_two), [3.0]),
    "the handle": (variable(lambda v: wf.gradients(v * v, [v.handle])), [6.0]),
    "through an assignment": (variable(through_an_assignment), [None, 1.0]),
    "through an addition to a variable": (variable(lambda v: wf.gradients(wf.assign_add(v, 4.0) ** 2.0, [v])), [14.0]),
    "a variable that becomes an int": (
        variable(lambda v: wf.gradients(wf.cast(wf.cast(v, "int32"), "float32"), v)),
        [None],
    ),
    "gated slices": (gated_slices, [[3.0], [0], [1.0]]),
    "a gather of a gather": (gather_of_gather, [[[2.0], [0.0], [0.0]], [2, 1, 0], [3, 1]]),
    "indices of two types": (two_gathers, [[1.0, 1.0], [1, 0]]),
    "the second order of slices": (second_order_of_slices, [[12.0], [1]]),
    "slices and a dense gradient": (one(lambda x: [wf.gather(x, [1]), x * 2], [1.0, 2.0, 3.0]), [2.0, 3.0, 2.0]),
    "float16": (one(lambda x: x * x, 2.0, "float16"), 4.0),
    "bfloat16": (one(lambda x: x * x, 2.0, "bfloat16"), 4.0),
    "a wider type in between": (one(lambda x: wf.cast(x, "float64") * 3, 2.0), 3.0),
    "empty": (one(lambda x: wf.reduce_sum(x * x), np.zeros((0, 3))), np.zeros((0, 3))),
    "the mean of nothing": (one(wf.reduce_mean, np.zeros(0)), []),
    "a branch that is not taken spoils the other": (one(lambda x: wf.where(x > 0, wf.log(x), x), 0.0), np.nan),
    "equal maxima share": (one(wf.reduce_max, [1.0, 1.0]), [0.5, 0.5]),
    "equal operands of maximum": (one(lambda x: wf.maximum(x, 1.0), 1.0), 1.0),
    "relu at 0": (one(wf.nn.relu, 0.0), 0.0),
    "abs at 0": (one(wf.abs, 0.0), 0.0),
    "sqrt at 0": (one(wf.sqrt, 0.0), np.inf),
    "pow at 0": (power_at_zero, [0.0, 0.0]),
    "a product with a zero": (one(wf.reduce_prod, [0.0, 2.0, 3.0]), [6.0, 0.0, 0.0]),
    "a product with two zeros": (one(wf.reduce_prod, [0.0, 0.0, 3.0]), [0.0, 0.0, 0.0]),
    "a norm at 0": (one(wf.norm, [0.0, 0.0]), [np.nan, np.nan]),
    "clipping": (one(lambda x: wf.clip_by_value(x, -1.0, 1.0), [-2.0, 0.0, 2.0]), [0.0, 1.0, 0.0]),
    "floormod": (remainder, [1.0, -1.0]),
    "backwards in steps": (one(lambda x: x[::-2], [1.0, 2.0, 3.0]), [1.0, 0.0, 1.0]),
    "ones_like": (one(lambda x: wf.ones_like(x) * x, [1.0, 2.0]), [1.0, 1.0]),
    "checked numbers": (one(lambda x: wf.check_numerics(x, "m"), 1.0), 1.0),
}


@pytest.mark.parametrize("name", CASES)
def test_it_answers_as_tensorflow(name: str) -> None:
    build, expected = CASES[name]
    found = build()
    parts, wanted = (found, expected) if isinstance(found, list) else ([found], [expected])
    assert [part is None for part in parts] == [value is None for value in wanted]
    with wf.Session() as session:
        session.run(wf.global_variables_initializer())
        for part, value in zip(parts, wanted, strict=True):
            if part is not None and isinstance(value, bytes):
                assert session.run(part) == value
            elif part is not None:
                result = session.run(part)
                assert np.shape(result) == np.shape(value)
                np.testing.assert_allclose(np.asarray(result, np.complex128), value, rtol=1e-6)


def test_names() -> None:
    x = wf.constant(1.0)
    y = x * 2
    assert [wf.gradients(y, x)[0].name for _ in range(3)] == [
        "gradients/mul_grad/Mul:0", "gradients_1/mul_grad/Mul:0", "gradients_2/mul_grad/Mul:0",
    ]  # fmt: skip
    assert wf.gradients(y, x, name="")[0].name == "mul_grad/Mul:0"
    assert wf.gradients(y, x, name="foo/")[0].name == "foo/mul_grad/Mul:0"
    with pytest.raises(ValueError, match=r"is not a valid .*scope name"):
        wf.gradients(y, x, name="a b")


def test_slices_whose_x_gets_nothing() -> None:
    rows = IndexedSlices(wf.constant([1.0]), wf.constant([0]), wf.constant([2]))
    assert wf.gradients(wf.constant(1.0), rows) == [None]
    (zeros,) = wf.gradients(wf.constant(1.0), rows, unconnected_gradients="zero")
    assert (isinstance(zeros, IndexedSlices), zeros.indices) == (True, rows.indices)


def test_values_as_y() -> None:
    x = wf.constant(1.0)
    assert wf.gradients(3.0, x) == [None]
    assert wf.gradients([[1.0, 2.0]], x) == [None]
    with pytest.raises(TypeError):
        wf.gradients((x * 2).op, x)


def test_lists_of_lists_of_ys_are_stacked() -> None:
    x = wf.placeholder(wf.float32, [None])
    found = [
        wf.gradients([[x * 2]], x),
        wf.gradients([[x * 2], [x * 3]], x),
        wf.gradients([[x * 2, x * 3]], x, grad_ys=[[[1.0], [2.0]]]),
    ]
    with wf.Session() as session:
        assert [session.run(dx, {x: [5.0]}).tolist() for (dx,) in found] == [[2.0], [5.0], [8.0]]
    with pytest.raises(ValueError, match="not compatible"):
        wf.gradients([[x * 2, 1.0]], x)


def test_a_gradient_of_zero_passes_roots_at_zero() -> None:
    """A gradient of 0 is 0 through the infinite slopes of roots and reciprocals at 0, so what a mask hides stays hidden."""
    x = wf.placeholder(wf.float32, [3])
    for function, slope in ((wf.sqrt, 0.25), (wf.rsqrt, -0.0625), (wf.reciprocal, -0.0625)):
        hidden = wf.where(x > 1, function(x), x)
        with wf.Session() as session:
            np.testing.assert_allclose(session.run(wf.gradients(hidden, x)[0], {x: [0, 1, 4]}), [1, 1, slope])


def test_the_gradient_of_an_average_norm_at_zero() -> None:
    x = wf.placeholder(wf.float32, [2])
    with wf.Session() as session:
        assert session.run(wf.gradients(wf.clip_by_average_norm(x, 1.0), x)[0], {x: [0, 0]}).tolist() == [1, 1]
