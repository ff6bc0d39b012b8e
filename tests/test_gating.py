"""gate_gradients: all gradients of one operation exist before any of them is used."""

from weft.autodiff.gradients import gradients
from weft.graph import ir
from weft.graph.indexed_slices import IndexedSlices
from weft.graph.ops import arithmetic, gathering, reshaping
from weft.graph.ops.constant import constant
from weft.runtime.interpret import interpret


def product() -> tuple[ir.Tensor, ir.Tensor, ir.Tensor]:
    x, y = constant(2.0, name="x"), constant(3.0, name="y")
    return x, y, arithmetic.multiply(x, y, name="z")


def test_the_gradients_of_an_operation_wait_for_each_other() -> None:
    x, y, z = product()
    by_x, by_y = gradients(z, [x, y], gate_gradients=True)
    names = ["gradients/z_grad/tuple/control_dependency", "gradients/z_grad/tuple/control_dependency_1"]
    assert [grad.op.name for grad in (by_x, by_y)] == names
    ((gate,), (same,)) = by_x.op.control_inputs, by_y.op.control_inputs
    assert gate is same
    assert (gate.type, gate.name) == ("NoOp", "gradients/z_grad/tuple/group_deps")
    assert [op.name for op in gate.control_inputs] == ["gradients/z_grad/Mul", "gradients/z_grad/Mul_1"]
    assert interpret([by_x, by_y], {}) == [3.0, 2.0]


def test_each_gated_gradient_is_where_the_gradient_is() -> None:
    x, y, z = product()
    with x.graph.device("/cpu:1"):
        grads = gradients(z, [x, y], gate_gradients=True)
    for grad in grads:
        (source,) = grad.op.inputs
        assert (grad.device, grad.op.colocation_groups()) == (source.device, [f"loc:@{source.op.name}".encode()])
    assert grads[0].device == "/device:CPU:1"


def test_the_gate_itself_is_on_the_device_of_what_it_waits_for_and_colocated_with_nothing() -> None:
    x, y, z = product()
    with x.graph.device("/cpu:1"):
        grads = gradients(z, [x, y], gate_gradients=True, colocate_gradients_with_ops=True)
    (gate,) = grads[0].op.control_inputs
    assert (gate.device, gate.colocation) == ("", ())  # as the gradients, which are where z is


def test_an_operation_with_one_gradient_is_not_gated() -> None:
    x = constant([2.0])
    before = x.graph.version
    gradients(reshaping.reshape(arithmetic.negative(x), []), x, gate_gradients=True)
    assert "NoOp" not in {operation.type for operation in x.graph.get_operations()[before:]}


def test_nothing_is_gated_by_default() -> None:
    x, y, z = product()
    assert {grad.op.type for grad in gradients(z, [x, y])} == {"Mul"}


def test_gated_gradients_belong_to_the_forward_operation() -> None:
    x, y, z = product()
    (grad, _) = gradients(z, [x, y], gate_gradients=True)
    assert (grad.op.original, grad.op.control_inputs[0].original) == (z.op, z.op)


def test_slices_are_gated_on_all_their_parts() -> None:
    params, w = constant([1.0, 2.0]), constant([5.0])
    rows = gathering.gather(params, [1])
    y = arithmetic.add_n([rows, w])
    from_registry(y.op)
    by_rows, _ = gradients(y, [rows, w], gate_gradients=True)
    assert isinstance(by_rows, IndexedSlices)
    (gate,) = by_rows.values.op.control_inputs
    assert [op.name for op in gate.control_inputs] == ["v", "i", "s", gate.control_inputs[3].name]
    assert [value.tolist() for value in interpret([by_rows.values, by_rows.indices], {})] == [[7.0], [0]]


def from_registry(operation: ir.Operation) -> None:
    """Give it a gradient of which one part is slices."""

    def slices_and_tensor(operation: ir.Operation, dy: ir.Tensor) -> list[object]:
        with operation.graph.name_scope(None):
            return [IndexedSlices(constant([7.0], name="v"), constant([0], name="i"), constant([1], name="s")), dy]

    operation.gradient_override = slices_and_tensor
