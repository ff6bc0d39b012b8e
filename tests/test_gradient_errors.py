"""What errors in gradients name: the forward operation and its line, at build, when shapes are checked and at run time."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph.ir import Tensor

Body = Callable[[Any], Any]

PLACES: dict[str, Callable[[Body, Any], Tensor]] = {
    "plain": lambda body, x: body(x),
    "loop": lambda body, x: wf.while_loop(lambda i, a: i < 2, lambda i, a: (i + 1, body(a)), (0, x), name="outside")[1],
    "branch": lambda body, x: wf.cond(wf.reduce_sum(x) > -100.0, lambda: body(x), lambda: x, name="outside"),
    "branch in a loop": lambda body, x: PLACES["loop"](lambda a: wf.cond(a[0] > -9e9, lambda: body(a), lambda: a), x),
}

every_place = pytest.mark.parametrize("place", PLACES)


def minus(x: Any, gradient: Callable[..., Any], lines: list[str]) -> Tensor:
    """-x as an operation with that gradient, whose line is noted as errors name it."""
    frame = inspect.stack()[0]
    y: Tensor = wf.negative(x, name="minus")
    lines.append(f"{frame.filename}:{frame.lineno + 1}, in {frame.function}")
    y.op.gradient_override = gradient
    return y


# at build


@every_place
def test_what_a_gradient_function_raises_notes_each_operation_around(place: str) -> None:
    def broken(operation: Any, dy: Any) -> Any:
        raise RuntimeError("mine")

    lines: list[str] = []
    x = wf.constant([2.0, 3.0])
    y = PLACES[place](lambda a: minus(a, broken, lines), x)
    with pytest.raises(RuntimeError, match="mine") as info:
        wf.gradients(y, x)
    notes = info.value.__notes__
    assert "minus' (op type: Neg), made at " + lines[0] in notes[0]
    assert len(notes) == {"plain": 1, "branch in a loop": 3}.get(place, 2)
    if place != "plain":
        assert "in the gradient of 'outside'" in notes[-1]


@every_place
@pytest.mark.parametrize(
    ("returned", "kind", "words"),
    [
        (lambda dy: [dy, dy], ValueError, "Num gradients 2 generated for op {} do not match num inputs 1"),
        (lambda dy: wf.zeros([5]), ValueError, "Forward operation: {}. Input index: 0. Original input shape: (2,)."),
        (lambda dy: 3.0, TypeError, "the gradient function of {} returned 3.0 for input 0"),
    ],
    ids=["count", "shape", "no tensor"],
)
def test_what_a_gradient_function_returns_is_checked(
    place: str, returned: Any, kind: type[Exception], words: str
) -> None:
    lines: list[str] = []
    x = wf.constant([2.0, 3.0])
    y = PLACES[place](lambda a: minus(a, lambda operation, dy: returned(dy), lines), x)
    with pytest.raises(kind) as info:
        wf.gradients(y, x)
    before, _, after = words.partition("{}")
    text = str(info.value)
    assert before in text
    assert f"minus' (op type: Neg), made at {lines[0]}" in text
    assert after in text


def test_an_operation_built_wrongly_notes_the_forward_one() -> None:
    lines: list[str] = []
    x = wf.constant([2.0, 3.0])
    y = minus(x, lambda operation, dy: wf.matmul(dy, dy), lines)
    with pytest.raises(ValueError, match="MatMul") as info:
        wf.gradients(y, x)
    assert info.value.__notes__ == [f"in the gradient of 'minus' (op type: Neg), made at {lines[0]}"]


# at run time


@every_place
def test_a_kernel_that_fails_names_the_forward_operation(place: str) -> None:
    lines: list[str] = []
    x = wf.placeholder("float32", [2])
    y = PLACES[place](lambda a: minus(a, lambda operation, dy: wf.check_numerics(wf.log(-dy), "bad"), lines), x)
    (grad,) = wf.gradients(y, x)
    with wf.Session() as session, pytest.raises(wf.errors.InvalidArgumentError, match="bad") as info:
        session.run(grad, {x: [1.0, 2.0]})
    assert info.value.op.type == "CheckNumerics"
    assert info.value.op.original.type == "Neg"
    assert f"minus' (op: 'Neg'), made at {lines[0]}" in info.value.message


@every_place
def test_shapes_that_turn_out_not_to_fit_name_the_forward_operation(place: str) -> None:
    lines: list[str] = []
    x = wf.placeholder("float32", [None])
    y = PLACES[place](
        lambda a: minus(a, lambda operation, dy: wf.add(dy, np.ones(3, np.float32), name="late"), lines), x
    )
    (grad,) = wf.gradients(y, x)
    with wf.Session() as session:
        with pytest.raises(wf.errors.InvalidArgumentError, match="shapes") as info:
            session.run(grad, {x: [1.0, 2.0]})
        assert session.run(grad, {x: [1.0, 2.0, 3.0]}).shape == (3,)
    assert info.value.op.name.endswith("late")
    assert f"minus' (op: 'Neg'), made at {lines[0]}" in info.value.message


def test_of_higher_orders_each_operation_behind_is_named() -> None:
    lines: list[str] = []
    x = wf.placeholder("float32", [2])
    y = minus(x, lambda operation, dy: wf.check_numerics(dy * x * x, "first"), lines)
    (first,) = wf.gradients(y, x)
    (second,) = wf.gradients(first, x, grad_ys=wf.log(x))
    with wf.Session() as session, pytest.raises(wf.errors.InvalidArgumentError) as info:
        session.run(second, {x: [-1.0, 2.0]})
    message = info.value.message
    behind = [line for line in message.splitlines() if line.startswith("as part of the gradient of ")]
    assert "CheckNumerics" in behind[0]
    assert behind[1] == f"as part of the gradient of 'minus' (op: 'Neg'), made at {lines[0]}"
    assert len(behind) == 2


# shapes inside of bodies, without gradients


@pytest.mark.parametrize("place", ["loop", "branch"])
def test_shapes_that_turn_out_not_to_fit_inside_of_a_body(place: str) -> None:
    x = wf.placeholder("float32", [None])
    y = PLACES[place](lambda a: wf.multiply(a * 2.0, x[1:] + a[1:], name="inner")[:0] + a, x)
    misfit = pytest.raises(wf.errors.InvalidArgumentError, match=r"shapes \[3\] and \[2\] do not broadcast")
    with wf.Session() as session, misfit as info:
        session.run(y, {x: [1.0, 2.0, 3.0]})
    assert info.value.op.name.endswith("inner")


def test_a_branch_that_does_not_fit_and_is_not_taken_does_no_harm() -> None:
    x, pred = wf.placeholder("float32", [None]), wf.placeholder("bool", [])
    y = wf.cond(pred, lambda: x * 2.0, lambda: x + np.ones(3, np.float32))
    with wf.Session() as session:
        assert session.run(y, {x: [1.0, 2.0], pred: True}).tolist() == [2.0, 4.0]
        with pytest.raises(wf.errors.InvalidArgumentError, match="do not broadcast"):
            session.run(y, {x: [1.0, 2.0], pred: False})
