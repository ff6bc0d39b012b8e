"""explain_gradient through branches and loops: what it says agrees with `gradients`, and names the operation inside."""

from collections.abc import Callable
from typing import Any

import pytest
import weft as wf
from hypothesis import HealthCheck, given, settings, strategies as st
from weft.graph.context import reset_default_graph
from weft.graph.ir import Tensor, get_default_graph

Body = Callable[[Tensor], Tensor]


def explained(y: Any, x: Any) -> str:
    """The text, checked against the gradient itself, and that nothing was added to the graph."""
    before = get_default_graph().operations_made
    text = wf.explain_gradient(y, x)
    assert get_default_graph().operations_made == before
    try:
        (grad,) = wf.gradients(y, x)
    except (LookupError, ValueError):
        assert "cannot be built" in text
    else:
        assert ("is not None" in text, "is None" in text) == (grad is not None, grad is None)
    return text


def told(text: str) -> dict[str, str]:
    """What is said of each operation, by its name without its scopes."""
    lines = [line.strip().partition("' (") for line in text.splitlines() if line.startswith("  ")]
    return {name.lstrip("'").rpartition("/")[2]: rest for name, _, rest in lines}


@pytest.fixture
def x() -> Tensor:
    return wf.placeholder("float32", [2], name="x")


@pytest.fixture
def pred() -> Tensor:
    return wf.placeholder("bool", [], name="pred")


def looped(body: Callable[[Tensor], Tensor], start: Any, **options: Any) -> Tensor:
    """The result of three iterations."""
    result: Tensor = wf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, body(a)), (0, start), **options)[1]
    return result


# branches


def test_each_branch_tells_what_cuts_it(x: Tensor, pred: Tensor) -> None:
    y = wf.cond(pred, lambda: wf.stop_gradient(x * 2, name="wall"), lambda: wf.floor(x, name="down"), name="choice")
    found = told(explained(y, x))
    assert found["wall"].startswith("StopGradient) in the true branch of 'choice', made at ")
    assert f"{__file__}:" in found["wall"]
    assert found["wall"].endswith("it stops gradients")
    assert "in the false branch of 'choice'" in found["down"]
    assert "gradient_override_map({'Floor': 'Identity'})" in found["down"]


def test_a_branch_that_is_cut_gives_zeros(x: Tensor, pred: Tensor) -> None:
    y = wf.cond(pred, lambda: wf.stop_gradient(x, name="wall"), lambda: wf.sin(x, name="wave"), name="choice")
    text = explained(y, x)
    path, _, zeros = text.partition("It is 0 where the true branch of 'choice' runs:\n")
    assert list(told(path)) == ["choice", "wave"]
    assert list(told(zeros)) == ["wall"]


def test_a_branch_that_does_not_use_x_gives_zeros(x: Tensor, pred: Tensor) -> None:
    text = explained(wf.cond(pred, lambda: x * 2.0, lambda: wf.zeros([2]), name="choice"), x)
    assert text.endswith("It is 0 where the false branch of 'choice' runs.")


def test_what_only_the_predicate_depends_on(x: Tensor) -> None:
    y = wf.cond(wf.greater(x[0], 0.0, name="positive"), lambda: wf.ones([2]), lambda: wf.zeros([2]))
    assert "its result is of type bool" in told(explained(y, x))["positive"]


def test_a_result_that_another_input_leads_to(x: Tensor, pred: Tensor) -> None:
    z = wf.constant([1.0, 2.0])
    first, second = wf.cond(pred, lambda: (x * 2.0, z * 3.0), lambda: (x, z), name="choice")
    assert "no path leads from its input 'x:0' to the result that is used" in told(explained(second, x))["choice"]
    assert "is not None" in explained(first, x)


def test_a_branch_that_forbids_gradients(x: Tensor, pred: Tensor) -> None:
    y = wf.cond(pred, lambda: wf.prevent_gradient(x, "not here", name="wall"), lambda: x)
    found = told(explained(y, x))["wall"]
    assert "in the true branch of 'cond'" in found
    assert "Gradient explicitly disabled. Reason: not here" in found


# loops


def test_a_body_that_cuts_what_it_uses_from_around(x: Tensor) -> None:
    y = looped(lambda a: a * wf.stop_gradient(x, name="wall"), wf.ones([2]), name="loop")
    assert "in the body of 'loop'" in told(explained(y, x))["wall"]


def test_a_body_that_cuts_its_variable_gives_zeros(x: Tensor) -> None:
    """The first value is the result of a loop that does not run, so there is a gradient."""
    text = explained(looped(lambda a: wf.stop_gradient(a, name="wall") * 2.0, x, name="loop"), x)
    path, _, zeros = text.partition("It is 0 where the body of 'loop' runs:\n")
    assert (list(told(path)), list(told(zeros))) == (["loop"], ["wall"])


def test_a_path_that_takes_several_iterations(x: Tensor) -> None:
    z = wf.constant([3.0, 4.0])

    def body(a: Tensor, b: Tensor, c: Tensor) -> Any:
        return a * 2.0, a + b, wf.multiply(b, c, name="late")

    a, _, c = wf.while_loop(lambda a, b, c: c[0] < 3.0, body, (x, z, wf.ones([2])))
    assert "late" in told(explained(c, x))
    assert "late" in told(explained(c, z))
    assert "no path leads from its input" in explained(a, z)


def test_a_loop_without_back_prop(x: Tensor) -> None:
    y = looped(lambda a: a * 2.0, x, back_prop=False, name="loop")
    assert told(explained(y, x))["loop"].endswith("the loop was made with back_prop=False")


def test_a_counter_is_not_blamed_for_what_does_not_depend_on_x(x: Tensor) -> None:
    """The integers of a loop are only told where x leads to them."""
    y = wf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, wf.cast(i, "float32") * wf.floor(a * x)), (0, x * 0.0))[
        1
    ]
    assert "int32" not in explained(y, x)
    z = wf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, a * wf.floor(x)), (0, wf.ones([2])))[1]
    assert list(told(explained(z, x))) == ["Floor"]


def test_rows_that_a_map_cuts(x: Tensor) -> None:
    y = wf.map_fn(lambda row: wf.cast(wf.cast(row, "int32", name="narrow"), "float32"), x)
    assert "its result is of type int32" in told(explained(y, x))["narrow"]
    assert "(TensorArrayReadV3) in the body of" in explained(wf.map_fn(lambda row: row * row, x), x)


def test_a_variable_read_in_a_body() -> None:
    v = wf.Variable([1.0, 2.0], name="v")
    assert "ReadVariableOp" in told(explained(looped(lambda a: a * v, wf.ones([2])), v))
    assert "wall" in told(explained(looped(lambda a: a * wf.stop_gradient(v, name="wall"), wf.ones([2])), v))


# nested, and through gradients


def test_a_branch_in_a_loop(x: Tensor, pred: Tensor) -> None:
    y = looped(
        lambda a: wf.cond(pred, lambda: wf.floor(a * x, name="down"), lambda: a * wf.sign(x, name="side")), wf.ones([2])
    )
    text = explained(y, x)
    assert "in the true branch of 'while/cond'" in told(text)["down"]
    assert "is not None" in text  # the gradient of Sign is zeros
    z = looped(lambda a: wf.cond(pred, lambda: wf.floor(a * x), lambda: a * wf.round(x, name="near")), wf.ones([2]))
    assert "in the false branch of 'while_1/cond'" in told(explained(z, x))["near"]


@pytest.mark.parametrize(
    ("function", "connected"),
    [(wf.sin, True), (lambda a: a * a, True), (lambda a: a * 3.0, False), (wf.identity, False)],
    ids=["sin", "square", "times 3", "identity"],
)
@pytest.mark.parametrize("kind", ["cond", "while", "cond in while", "map_fn"])
def test_the_second_order(function: Any, connected: bool, kind: str, x: Tensor, pred: Tensor) -> None:
    """What a gradient depends on comes over the tape of the forward operation."""

    def chosen(a: Tensor) -> Tensor:
        result: Tensor = wf.cond(pred, lambda: function(a), lambda: a)
        return result

    kinds: dict[str, Callable[[Tensor], Tensor]] = {
        "cond": chosen,
        "while": lambda x: looped(function, x),
        "cond in while": lambda x: looped(chosen, x),
        "map_fn": lambda x: wf.map_fn(function, x),
    }
    y = kinds[kind](x)
    (first,) = wf.gradients(y, x)
    text = explained(first, x)
    assert connected == ("is not None" in text)
    if connected:
        assert "in the gradient of the" in text
        assert "(for the gradient of '" in text


def test_gradient_functions_of_the_program_inside_are_not_called(x: Tensor, pred: Tensor) -> None:
    calls: list[Any] = []

    @wf.custom_gradient
    def f(a: Tensor) -> Any:
        def grad(dy: Tensor) -> list[None]:
            calls.append(dy)
            return [None]

        return a * 2, grad

    y = wf.cond(pred, lambda: f(x), lambda: f(x))
    text = wf.explain_gradient(y, x)
    assert calls == []
    assert "unless a gradient function of the program returns None" in text
    assert wf.gradients(y, x) == [None]


# asked inside of a body


def test_asked_inside_of_a_body(x: Tensor) -> None:
    texts: list[str] = []
    z = wf.constant([1.0, 2.0])

    def body(i: Tensor, a: Tensor) -> Any:
        stopped = wf.stop_gradient(z, name="wall") * a
        texts.extend([explained(stopped, z), explained(stopped, a), explained(stopped * z, z), explained(a, z)])
        return i + 1, stopped

    wf.while_loop(lambda i, a: i < 3, body, (0, x), name="loop")
    assert "in the body of 'loop'" in told(texts[0])["wall"]
    assert "is not None" in texts[1]
    assert "is not None" in texts[2]
    assert "no path" in texts[3]


def test_asked_inside_for_where_the_loop_starts(x: Tensor) -> None:
    texts: list[str] = []

    def body(i: Tensor, a: Tensor) -> Any:
        texts.append(explained(a * 2.0, x))
        return i + 1, a

    wf.while_loop(lambda i, a: i < 3, body, (0, wf.sin(x)))
    assert "cannot be built" in texts[0]
    assert "Cannot compute gradient inside while loop with respect to op 'Sin'" in texts[0]


def test_asked_inside_for_what_is_two_graphs_further_out(x: Tensor, pred: Tensor) -> None:
    texts: list[str] = []
    z = wf.constant([1.0, 2.0])
    before = wf.multiply(z, 2.0, name="before")

    def inner(a: Tensor) -> Tensor:
        result = wf.multiply(a, before, name="inner")
        texts.append(explained(result, z))
        return result

    looped(lambda a: wf.cond(pred, lambda: inner(a), lambda: a), x)
    assert list(told(texts[0])) == ["before", "inner"]


def test_a_tensor_of_a_branch_asked_for_from_outside(x: Tensor, pred: Tensor) -> None:
    inside: list[Tensor] = []

    def branch() -> Tensor:
        inside.append(x * 2.0)
        return inside[0]

    y = wf.cond(pred, branch, lambda: x)
    with pytest.raises(ValueError, match="must be from the same graph as"):
        wf.explain_gradient(y, inside[0])


def test_the_same_tensor_as_variable_and_from_around(x: Tensor) -> None:
    y = wf.while_loop(
        lambda i, a, b: i < 3, lambda i, a, b: (i + 1, a * 2.0, wf.multiply(b, x, name="inner")), (0, x, x)
    )[2]
    assert list(told(explained(y, x))) == ["while", "inner"]


# any program


def larger(smaller: Any) -> Any:
    one = st.sampled_from(["sin", "stop", "floor", "int", "slope", "map"])
    two = st.sampled_from(["mul", "zeros", "cond", "while", "pair"])
    return st.one_of(st.tuples(one, smaller), st.tuples(two, smaller, smaller))


PROGRAMS = st.recursive(st.tuples(st.just("leaf"), st.integers(0, 3)), larger, max_leaves=6)

UNARY: dict[str, Body] = {
    "sin": wf.sin,
    "stop": wf.stop_gradient,
    "floor": wf.floor,
    "int": lambda a: wf.cast(wf.cast(a, "int32"), "float32"),
    "map": lambda a: wf.map_fn(lambda row: row * row, a),
}


def built(program: Any, values: list[Tensor]) -> Any:
    """The result of a program from the values in reach, the innermost last."""
    kind, first, *rest = program
    if kind == "leaf":
        return values[-1 - first % len(values)]
    if kind in UNARY:
        return UNARY[kind](built(first, values))
    if kind == "slope":
        slope = wf.gradients(built(first, values), values[-1])[0]
        return wf.zeros([2]) if slope is None else wf.convert_to_tensor(slope)
    (second,) = rest
    if kind == "cond":
        pred = wf.placeholder_with_default(True, [])
        return wf.cond(pred, lambda: built(first, values), lambda: built(second, values))
    if kind == "while":
        return looped(lambda a: built(second, [*values, a]), built(first, values))
    if kind == "pair":
        return wf.while_loop(
            lambda i, a, b: i < 2,
            lambda i, a, b: (i + 1, built(first, [*values, a, b]), built(second, [*values, b])),
            (0, wf.ones([2]), built(first, values)),
        )[1]
    left, right = built(first, values), built(second, values)
    return left * right if kind == "mul" else left + wf.zeros_like(right)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(PROGRAMS)
def test_it_agrees_with_gradients_of_any_program(program: Any) -> None:
    reset_default_graph()
    leaves = [wf.placeholder("float32", [2], name=f"leaf{index}") for index in range(3)]
    try:
        y = built(program, leaves)
    except ValueError as error:
        if "Cannot compute gradient inside while loop" not in str(error):
            raise
        return
    for leaf in leaves:
        if y is not leaf:
            explained(y, leaf)
