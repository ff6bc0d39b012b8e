"""explain_gradient: what it says agrees with what `gradients` does, and names the operation and the line."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph.indexed_slices import IndexedSlices
from weft.graph.ir import Tensor, get_default_graph
from weft.graph.ops.fills import zeros_like


def explained(y: Any, x: Any) -> str:
    """The text, checked against the gradient itself, and that nothing was added to the graph."""
    before = get_default_graph().version
    text = wf.explain_gradient(y, x)
    assert get_default_graph().version == before
    try:
        (grad,) = wf.gradients(y, x)
    except LookupError:
        assert "cannot be built" in text
    else:
        assert ("is not None" in text, "is None" in text) == (grad is not None, grad is None)
    return text


def line(text: str, name: str) -> str:
    """The one line of the text that tells of an operation."""
    (found,) = [each for each in text.splitlines() if each.strip().startswith(f"'{name}'")]
    return found


def test_the_same_tensor() -> None:
    x = wf.constant(1.0)
    assert "they are the same tensor" in explained(x, x)


# no path


def test_no_path() -> None:
    x, y = wf.constant(1.0, name="x"), wf.constant(2.0, name="y")
    assert explained(y * 2, x) == "The gradient of 'mul:0' by 'x:0' is None: no path leads from 'x:0' to 'mul:0'."
    assert explained(y, x).endswith("no path leads from 'x:0' to 'y:0'.")


def test_no_path_but_one_the_other_way() -> None:
    x = wf.constant(1.0, name="x")
    assert explained(x, x * 2).endswith("But one leads from 'x:0' to 'mul:0'.")


def test_a_read_of_a_variable_is_not_the_variable() -> None:
    v = wf.Variable(1.0, name="v")
    read = v.value()
    assert "ask by the variable itself" in explained(v * 2, read)


def test_another_output_of_the_same_operation() -> None:
    first, second = wf.split(wf.constant([1.0, 2.0]), 2)
    assert "no path" in explained(first, second)


# paths that are cut


def test_a_stop() -> None:
    x = wf.constant(1.0)
    text = explained(3 * wf.stop_gradient(x * 2, name="wall"), x)
    assert "is None: each path between them is cut" in text
    assert "(StopGradient)" in line(text, "wall")
    assert "test_explain.py" in line(text, "wall")
    assert line(text, "wall").endswith("it stops gradients")


def test_each_cut_is_told() -> None:
    x = wf.constant([1.0, 2.0])
    through_int = wf.cast(wf.cast(x, "int32", name="to_int") + 1, "float32")
    text = explained(wf.stop_gradient(x, name="wall") * through_int + wf.cast(wf.shape(wf.tile(x, [2])), "float32"), x)
    assert "'wall'" in text
    assert "its result is of type int32" in text


@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_types_that_have_no_gradient(dtype: str) -> None:
    x = wf.constant([1.0, 2.0])
    text = explained(wf.cast(wf.cast(x, dtype, name="narrow"), "float32"), x)
    assert f"its result is of type {dtype}" in line(text, "narrow")


def test_an_integer_y_and_an_integer_x() -> None:
    x, n = wf.constant([1.0, 2.0]), wf.constant(3, name="n")
    assert "y: 'ArgMax'" in explained(wf.argmax(x), x)
    assert "x: 'n'" in explained(wf.cast(n, "float32") * 2.0, n)


def test_a_kind_of_operation_that_is_not_differentiable() -> None:
    x = wf.constant([1.5])
    text = explained(wf.floor(x, name="down"), x)
    assert "operations of type Floor are not differentiable" in line(text, "down")


def test_an_operation_whose_gradient_is_none_for_an_input() -> None:
    x = wf.placeholder("float32", [None])
    text = explained(wf.zeros_like(x, name="zeros"), x)
    assert "its gradient function gives None for input 0" in line(text, "zeros")


def test_a_name_that_was_registered_as_not_differentiable() -> None:
    wf.NoGradient("explained: none")
    x = wf.constant(1.0)
    with x.graph.gradient_override_map({"Neg": "explained: none"}):
        text = explained(-x, x)
    assert "explained: none are not differentiable" in line(text, "Neg")


def test_a_path_that_is_cut_does_not_hide_another() -> None:
    x = wf.constant(1.0)
    assert "is not None" in explained(wf.stop_gradient(x) * x, x)


# errors


def test_an_operation_that_forbids_gradients() -> None:
    x = wf.constant(1.0)
    text = explained(wf.prevent_gradient(x, "not here", name="wall") * x, x)
    assert "Gradient explicitly disabled. Reason: not here" in line(text, "wall")


def test_an_operation_whose_gradient_nobody_registered() -> None:
    x = wf.constant(1.0)
    with x.graph.gradient_override_map({"Neg": "explained: nobody"}):
        text = explained(-x, x)
    assert "No gradient defined for operation 'Neg'" in text


@pytest.mark.parametrize("value", [3.0, None, "x", np.ones(2)], ids=["float", "None", "str", "array"])
def test_what_is_no_tensor(value: Any) -> None:
    x = wf.constant(1.0)
    with pytest.raises(TypeError, match=r"must be a tensor or a variable"):
        wf.explain_gradient(x, value)
    with pytest.raises(TypeError, match=r"must be a tensor or a variable"):
        wf.explain_gradient(value, x)


def test_tensors_of_two_graphs() -> None:
    with wf.Graph().as_default():
        stranger = wf.constant(1.0)
    with pytest.raises(ValueError, match="must be from the same graph as"):
        wf.explain_gradient(wf.constant(1.0), stranger)


# paths


def test_the_operations_on_the_path_are_told_from_x_to_y() -> None:
    x = wf.constant([1.0, 2.0])
    a = wf.tanh(x, name="a")
    y = wf.reduce_sum(wf.stop_gradient(a) * a, name="y")
    text = explained(y, x)
    names = [each.split("'")[1] for each in text.splitlines()[1:]]
    assert names == ["a", "mul", "y"]
    assert all("made at" in each and "test_explain.py" in each for each in text.splitlines()[1:])


def test_of_a_long_path_both_ends_are_told() -> None:
    x = wf.constant(1.0)
    y = x
    for index in range(100):
        y = wf.identity(y, name=f"step{index}")
    lines = explained(y, x).splitlines()
    assert len(lines) == 22
    assert ["'step0'" in lines[1], "80 more" in lines[11], "'step99'" in lines[-1]] == [True, True, True]


def test_variables() -> None:
    v, w = wf.Variable(1.0, name="v"), wf.Variable(2.0, name="w")
    assert "(ReadVariableOp)" in explained(v * 2, v)
    assert "no path" in explained(v * 2, w)
    text = wf.explain_gradient(v, v)
    assert "is not None" in text
    assert "'v/" in text


def test_slices_stand_for_their_values() -> None:
    x = wf.constant([1.0, 2.0])
    rows = IndexedSlices(x * 2, wf.constant([0, 1]), None)
    assert "is not None" in wf.explain_gradient(rows, x)


def test_gradient_functions_of_the_program_are_not_called() -> None:
    calls: list[Any] = []

    @wf.custom_gradient
    def f(x: Tensor) -> Any:
        def grad(dy: Tensor) -> Any:
            calls.append(dy)
            return [None]

        return x * 2, grad

    x = wf.constant(1.0)
    y = f(x)
    text = wf.explain_gradient(y, x)
    assert calls == []
    assert wf.gradients(y, x) == [None]
    assert "unless a gradient function of the program returns None" in text
    assert "(IdentityN)" in text.splitlines()[-1]


def test_a_tensor_captured_by_a_function_with_a_custom_gradient_gets_none() -> None:
    x, captured = wf.constant(1.0), wf.constant(2.0)
    y = wf.custom_gradient(lambda a: (a * captured, lambda dy: dy))(x)
    text = explained(y, captured)
    assert "the gradient goes to the arguments of the function" in text


# agreement, and cost


PROGRAMS: dict[str, Callable[[Tensor], Tensor]] = {
    "where": lambda x: wf.where(x > 0.0, x, zeros_like(x)),
    "gather": lambda x: wf.gather(x, [1, 0]),
    "round trip": lambda x: wf.cast(wf.cast(x, "float64"), "float32"),
    "split": lambda x: wf.split(x, 2)[1],
    "reshape": lambda x: wf.reshape(x, [2, 1]),
    "dynamic": lambda x: wf.reshape(x * 2.0, wf.shape(x)),
    "one hot of argmax": lambda x: wf.one_hot(wf.argmax(x), 2),
    "floor": lambda x: wf.floor(x),
    "sort of size": lambda x: wf.cast(wf.size(wf.tile(x, [2])), "float32"),
    "softmax": lambda x: wf.nn.softmax(x),
    "batch matmul": lambda x: wf.matmul(wf.reshape(x, [2, 1]), wf.reshape(x, [1, 2])),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_agrees_with_gradients(name: str) -> None:
    for shape in ([2], None):
        if shape is None and name in ("split", "one hot of argmax", "batch matmul"):
            continue
        x = wf.placeholder("float32", shape)
        explained(PROGRAMS[name](x), x)


def test_it_needs_no_recursion_and_costs_what_lies_between() -> None:
    x = wf.constant(1.0)
    y = x
    for _ in range(5000):
        y = wf.identity(y)
    graph = x.graph
    end = wf.stop_gradient(y)
    for _ in range(5000):
        wf.identity(end)
    assert "it stops gradients" in wf.explain_gradient(end, x)
    assert graph.version == 10_002
