"""What `gradients` says to arguments and gradient functions that do not fit."""

from typing import Any

import numpy as np
import pytest
from weft.autodiff.gradients import gradients
from weft.autodiff.registry import RegisterGradient
from weft.graph import context, ir
from weft.graph.indexed_slices import IndexedSlices
from weft.graph.ops import broadcasting, identity, placeholders, transcendental
from weft.graph.ops.constant import constant as const
from weft.graph.variable import Variable
from weft.runtime.interpret import interpret

HERE = "test_gradients_arguments.py"


def test_eager_execution_is_refused() -> None:
    context.set_eager(True)
    with pytest.raises(RuntimeError, match="not supported when eager execution is enabled"):
        gradients([], [])


@pytest.mark.parametrize("argument", ["ys", "xs", "stop_gradients"])
@pytest.mark.parametrize("value", [None, [None]], ids=["None", "list"])
def test_none_is_no_tensor(argument: str, value: Any) -> None:
    if argument == "stop_gradients" and value is None:
        assert gradients(const(1.0), [const(2.0)], stop_gradients=None) == [None]
        return
    arguments: dict[str, Any] = {"ys": const(1.0), "xs": const(2.0), argument: value}
    with pytest.raises(AttributeError, match=argument):
        gradients(**arguments)


@pytest.mark.parametrize("stop", ["name", 3.0, np.ones(2)], ids=["str", "float", "array"])
def test_a_stop_gradient_must_be_a_tensor(stop: Any) -> None:
    with pytest.raises(AttributeError, match="stop_gradients"):
        gradients(const(1.0), [const(2.0)], stop_gradients=[stop])


@pytest.mark.parametrize("x", [lambda x: [x], lambda x: (x,), lambda x: {"a": x}], ids=["list", "tuple", "dict"])
def test_xs_do_not_nest(x: Any) -> None:
    tensor = const(1.0)
    with pytest.raises(TypeError, match="xs is a tensor or a list of tensors"):
        gradients(tensor * 2, [x(tensor)])


def test_an_operation_is_no_tensor() -> None:
    x = const(1.0)
    with pytest.raises(TypeError):
        gradients(x, [x.op])


@pytest.mark.parametrize("value", ["foo", "ZERO", None, 3])
def test_unknown_unconnected_gradients(value: Any) -> None:
    with pytest.raises(ValueError, match=f"Unknown value for unconnected_gradients: {value!r}"):
        gradients(const(1.0), [const(1.0)], unconnected_gradients=value)


def test_unknown_aggregation_method() -> None:
    x = const(1.0)
    with pytest.raises(ValueError, match=r"Invalid `aggregation_method` specified 7. Accepted values are \[0, 1, 2\]"):
        gradients(2 * x, [x], aggregation_method=7)


def test_the_aggregation_method_does_not_matter_where_nothing_is_differentiated() -> None:
    assert gradients([], [const(1.0)], aggregation_method=7) == [None]


@pytest.mark.parametrize("argument", ["xs", "grad_ys", "stop_gradients"])
def test_tensors_of_two_graphs(argument: str) -> None:
    x = const(1.0)
    with ir.Graph().as_default():
        stranger = const(1.0)
    arguments: dict[str, Any] = {"ys": 2 * x, "xs": [x], argument: [stranger]}
    with pytest.raises(ValueError, match="must be from the same graph as"):
        gradients(**arguments)


def test_a_variable_of_another_graph() -> None:
    x = const(1.0)
    with ir.Graph().as_default():
        stranger = Variable(1.0)
    with pytest.raises(ValueError, match="must be from the same graph as"):
        gradients(x, [stranger])


def test_a_finalized_graph() -> None:
    x = const(1.0)
    y = 2 * x
    x.graph.finalize()
    with pytest.raises(RuntimeError, match="finalized"):
        gradients(y, x)


# grad_ys


def test_as_many_grad_ys_as_ys() -> None:
    x = const(1.0)
    with pytest.raises(ValueError, match="Passed 2 grad_ys for 1 ys"):
        gradients(2 * x, [x], grad_ys=[x, x])


@pytest.mark.parametrize(
    ("y", "grad_y", "message"),
    [
        (1.0, 1j, "complex128 generated for real or integer-valued tensor .* must be real or integer"),
        (1.0, "s", "string generated for real or integer-valued tensor .* must be real or integer"),
        (1.0, True, "bool generated for real or integer-valued tensor .* must be real or integer"),
        (1j, 1.0, "float32 generated for complex-valued tensor .* must be complex"),
        (1j, None, r"Gradients of complex tensors .* must set grad_ys \(y.dtype = complex128\)"),
        (True, 1.0, "with type bool must be numeric to obtain a default gradient"),
        ("s", "s", "with type string must be numeric to obtain a default gradient"),
    ],
)
def test_types_of_grad_ys(y: Any, grad_y: Any, message: str) -> None:
    x = const(y)
    with pytest.raises(TypeError, match=message):
        gradients(x, [x], grad_ys=[grad_y])


def test_a_resource_takes_no_resource_as_its_gradient() -> None:
    handle = Variable(1.0).handle
    with pytest.raises(TypeError, match="should not be a resource"):
        gradients(handle, [handle], grad_ys=[handle])
    with pytest.raises(TypeError, match="must be numeric"):
        gradients(handle, [handle])


def test_an_integer_gradient_is_not_converted() -> None:
    x = const(1.0)
    assert gradients(identity.identity(x), x, grad_ys=3)[0].dtype.name == "int32"
    with pytest.raises(TypeError, match="float32"):
        gradients(x * 2, x, grad_ys=3)


def test_a_gradient_of_another_shape_fails_where_it_does_not_fit() -> None:
    x = const([1.0, 2.0])
    with pytest.raises(ValueError, match="Incompatible shapes between op input and calculated input gradient") as error:
        gradients(identity.identity(x, name="forward"), x, grad_ys=[const([1.0, 2.0, 3.0])])
    for part in ("'forward'", HERE, "Input index: 0", "Original input shape: (2,)", "gradient shape: (3,)"):
        assert part in str(error.value)
    with pytest.raises(ValueError, match="broadcast") as error:
        gradients(x * 2, x, grad_ys=[const([1.0, 2.0, 3.0])])
    assert HERE in error.value.__notes__[0]


@pytest.mark.parametrize("seed", [3.0, [1.0], [1.0, 2.0, 3.0], [[1.0, 2.0]]], ids=str)
def test_a_gradient_of_another_shape_through_a_product_and_a_sum(seed: Any) -> None:
    x = const([1.0, 2.0])
    for y in (x * 2, x + x):
        with pytest.raises(ValueError, match="Incompatible shapes between"):
            gradients(y, x, grad_ys=[const(seed)])


def test_a_gradient_that_is_larger_than_its_y() -> None:
    x, scalar = const([1.0, 2.0]), const(1.0)
    for y, by in ((broadcasting.reduce_sum(x), x), (scalar * 2, scalar)):
        with pytest.raises(ValueError, match=r"Incompatible shapes between .* and the gradient .* that grad_ys gives"):
            gradients(y, by, grad_ys=[const([1.0, 2.0])])


def test_a_gradient_that_broadcasts_does_where_the_operation_lets_it() -> None:
    x = const([0.0, 0.0])
    assert interpret(gradients(transcendental.sin(x), x, grad_ys=[const(3.0)]), {})[0].tolist() == [3.0, 3.0]


def test_slices_as_grad_ys() -> None:
    x = const([1.0, 2.0, 3.0])
    seed = IndexedSlices(const([5.0]), const([1]), const([3]))
    dense, sparse = gradients(x * 2, x, grad_ys=[seed])[0], gradients(identity.identity(x), x, grad_ys=[seed])[0]
    assert interpret([dense], {})[0].tolist() == [0.0, 10.0, 0.0]
    assert [part.op.name for part in (sparse.values, sparse.indices, sparse.dense_shape)] == [
        "gradients_1/grad_ys_0_values", "gradients_1/grad_ys_0_indices", "gradients_1/grad_ys_0_shape",
    ]  # fmt: skip


def test_given_grad_ys_pass_an_identity_in_the_scope() -> None:
    x = const(1.0)
    seed = const(2.0)
    (grad,) = gradients(identity.identity(x), x, grad_ys=[seed])
    assert (grad.name, grad.op.inputs) == ("gradients/grad_ys_0:0", (seed,))


# gradient functions that do not do their part


def with_gradient(name: str, result: Any) -> tuple[ir.Tensor, ir.Tensor]:
    """x and an operation on it whose gradient function returns `result`."""
    RegisterGradient(name)(lambda operation, dy: result)
    x = placeholders.placeholder("float32", [2])
    with x.graph.gradient_override_map({"Identity": name}):
        return x, identity.identity(x, name="forward")


def test_the_number_of_gradients() -> None:
    x, y = with_gradient("two", [None, None])
    with pytest.raises(
        ValueError, match=r"Num gradients 2 generated for op 'forward' .* do not match num inputs 1"
    ) as error:
        gradients(y, x)
    assert HERE in str(error.value)


@pytest.mark.parametrize("result", ["hi", 3.0, np.ones(2, np.float32)], ids=["str", "float", "array"])
def test_a_gradient_that_is_no_tensor(result: Any) -> None:
    x, y = with_gradient(f"returns {result!r}", result)
    with pytest.raises(TypeError, match=r"all Tensors or all IndexedSlices.*'forward'"):
        gradients(y, x)


def test_none_is_a_gradient() -> None:
    x, y = with_gradient("none", None)
    assert gradients(y, x) == [None]


def test_an_error_in_a_gradient_function_says_where_the_operation_was_made() -> None:
    @RegisterGradient("raises")
    def raises(operation: ir.Operation, dy: ir.Tensor) -> ir.Tensor:
        raise KeyError("mine")

    x = const(1.0)
    with x.graph.gradient_override_map({"Identity": "raises"}):
        y = identity.identity(x, name="forward")
    with pytest.raises(KeyError, match="mine") as error:
        gradients(y, x)
    assert "'forward'" in error.value.__notes__[0]
    assert HERE in error.value.__notes__[0]
