"""An operation knows the line of the user's program that made it."""

import sys
import threading
from typing import Any

import weft as wf
from weft.graph import location


def here() -> int:
    """The line that calls this."""
    return sys._getframe(1).f_lineno


def made_at(element: Any, line: int, function: str) -> bool:
    operation = element.op if isinstance(element, wf.Tensor) else element
    return bool(operation.location == location.Location(__file__, line, function))


def test_the_line_that_calls_weft() -> None:
    a, line = wf.constant(1.0), here()
    assert made_at(a, line, "test_the_line_that_calls_weft")
    b, line = -a, here()
    assert made_at(b, line, "test_the_line_that_calls_weft")
    assert str(b.op.location) == f"{__file__}:{line}, in test_the_line_that_calls_weft"


def test_the_line_within_a_statement() -> None:
    first = here()
    made = [
        wf.constant(1.0),
        wf.constant(
            2.0,
        ),
    ]
    assert [tensor.op.location.line for tensor in made] == [first + 2, first + 3]


def test_the_function_of_the_users_library() -> None:
    def layer(x: wf.Tensor) -> wf.Tensor:
        return wf.nn.relu(x)

    assert layer(wf.constant(1.0)).op.location.function == "layer"


def test_each_operation_of_a_composed_function_has_the_users_line() -> None:
    x = wf.placeholder(wf.float32, [2, 3])
    before = wf.get_default_graph().version
    wf.nn.softmax_cross_entropy_with_logits(labels=x, logits=x); line = here()  # noqa: E702  # fmt: skip
    made = wf.get_default_graph().get_operations()[before:]
    assert made
    assert {operation.location.line for operation in made} == {line}


def test_gradients_have_the_line_of_gradients() -> None:
    x = wf.placeholder(wf.float32, [2])
    y = wf.reduce_sum(wf.tanh(x) * x)
    before = wf.get_default_graph().version
    wf.gradients(y, [x]); line = here()  # noqa: E702  # fmt: skip
    made = wf.get_default_graph().get_operations()[before:]
    assert len(made) > 4
    assert all(made_at(operation, line, "test_gradients_have_the_line_of_gradients") for operation in made)


def test_what_an_optimizer_makes_has_the_line_of_minimize() -> None:
    v = wf.Variable([1.0, 2.0])
    loss = wf.reduce_sum(v * v)
    before = wf.get_default_graph().version
    wf.train.AdamOptimizer(0.1).minimize(loss); line = here()  # noqa: E702  # fmt: skip
    made = wf.get_default_graph().get_operations()[before:]
    assert len(made) > 10
    assert all(made_at(operation, line, "test_what_an_optimizer_makes_has_the_line_of_minimize") for operation in made)


def test_an_operation_made_in_a_thread() -> None:
    graph = wf.get_default_graph()
    found: list[wf.Tensor] = []

    def work() -> None:
        with graph.as_default():
            found.append(wf.constant(1.0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0].op.location.function == "work"


def test_code_that_no_file_holds() -> None:
    scope: dict[str, Any] = {"wf": wf}
    exec(compile("\n\nx = wf.constant(1.0)", "<typed in>", "exec"), scope)
    assert scope["x"].op.location == ("<typed in>", 3, "<module>")


def test_where_the_caller_stands() -> None:
    found, line = location.user_location(), here()
    assert found == location.Location(__file__, line, "test_where_the_caller_stands")
