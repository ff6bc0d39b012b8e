"""Random programs of operations, branches, loops and effects: the interpreter's values, numerical gradients, and a session's."""

from typing import Any

import numpy as np
import weft as wf
from hypothesis import HealthCheck, given, settings, strategies as st
from weft.graph.context import reset_default_graph
from weft.graph.state import State
from weft.runtime.interpret import interpret

#: A program: a leaf (which value to take), or an operation on programs.
LEAVES = st.one_of(
    st.tuples(st.just("leaf"), st.integers(0, 5)),
    st.tuples(st.just("read"), st.integers(0, 1)),
)
#: Which of the values in reach.
PLACES = st.integers(0, 5)


def larger(smaller: Any) -> Any:
    return st.one_of(
        st.tuples(st.just("sin"), smaller),
        st.tuples(st.just("mul"), smaller, smaller),
        st.tuples(st.just("add"), smaller, smaller),
        st.tuples(st.just("cond"), PLACES, smaller, smaller),
        st.tuples(st.just("case"), PLACES, smaller, smaller, smaller),
        st.tuples(st.just("while"), st.integers(0, 3), smaller, smaller),
        st.tuples(st.just("pair"), st.integers(0, 3), smaller, smaller),
        st.tuples(st.just("scan"), st.booleans(), smaller),
        st.tuples(st.just("map"), smaller, smaller),
        st.tuples(st.just("fold"), st.booleans(), smaller),
        st.tuples(st.just("write"), st.integers(0, 1), smaller),
        st.tuples(st.just("after"), smaller, smaller),
        st.tuples(st.just("slope"), smaller),
    )


PROGRAMS = st.recursive(LEAVES, larger, max_leaves=7)


class Builder:
    """Builds the result of a program from the values in reach (the innermost last) and two variables.

    What decides on a branch is compared with numbers that no sum of such values is near to: there nothing has a derivative.
    """

    def __init__(self) -> None:
        starts = np.array([[0.5, -0.2, 0.4], [-0.6, 0.1, 0.8]])
        self.variables = [wf.Variable(start, dtype=wf.float64, use_resource=True) for start in starts]

    def build(self, program: Any, values: list[Any]) -> Any:
        kind, *parts = program
        return getattr(self, kind)(*parts, values)

    def both(self, x: Any, y: Any, values: list[Any]) -> tuple[Any, Any]:
        """One after the other, so that the order of their reads and writes is said."""
        left = self.build(x, values)
        with wf.control_dependencies([left]):
            return left, self.build(y, values)

    def leaf(self, place: int, values: list[Any]) -> Any:
        return values[-1 - place % len(values)]

    def read(self, which: int, _: list[Any]) -> Any:
        return self.variables[which].read_value()

    def sin(self, x: Any, values: list[Any]) -> Any:
        return wf.sin(self.build(x, values))

    def mul(self, x: Any, y: Any, values: list[Any]) -> Any:
        left, right = self.both(x, y, values)
        return left * right * 0.5

    def add(self, x: Any, y: Any, values: list[Any]) -> Any:
        left, right = self.both(x, y, values)
        return left + right

    def cond(self, place: int, then: Any, orelse: Any, values: list[Any]) -> Any:
        decided = wf.reduce_sum(self.leaf(place, values)) > 0.1173
        return wf.cond(decided, lambda: self.build(then, values), lambda: self.build(orelse, values))

    def case(self, place: int, *rest: Any) -> Any:
        *programs, values = rest
        index = wf.cast(wf.floor(wf.reduce_sum(self.leaf(place, values)) * 3.0137), wf.int32)
        return wf.switch_case(index, [lambda each=each: self.build(each, values) for each in programs])

    def loop(self, times: int, step: Any, start: Any) -> Any:
        return wf.while_loop(lambda i, _: i < times, lambda i, a: (i + 1, step(a)), (0, start))[1]

    def __getattr__(self, name: str) -> Any:
        if name == "while":
            return self.repeat
        raise AttributeError(name)

    def repeat(self, times: int, start: Any, step: Any, values: list[Any]) -> Any:
        return self.loop(times, lambda a: self.build(step, [*values, a]), self.build(start, values))

    def pair(self, limit: int, start: Any, step: Any, values: list[Any]) -> Any:
        """Two loop variables that change places, for as long as a value allows and no longer than the limit."""
        found = wf.while_loop(
            lambda a, _: wf.reduce_sum(a) < 2.0137,
            lambda a, more: (more["b"] * 0.9, {"b": self.build(step, [*values, a, more["b"]])}),
            (self.build(start, values), {"b": values[-1]}),
            maximum_iterations=wf.constant(limit),
        )
        return found[0] + found[1]["b"]

    def scan(self, reverse: bool, x: Any, values: list[Any]) -> Any:
        return wf.scan(lambda a, row: a * row + 0.25, self.build(x, values), reverse=reverse)

    def map(self, x: Any, step: Any, values: list[Any]) -> Any:
        """Uses the rows in any case: what nobody uses is not computed, with its effects."""

        def each(row: Any) -> Any:
            return wf.reduce_sum(self.build(step, [*values, values[-1] * row])) + 0.1 * row

        return wf.map_fn(each, self.build(x, values))

    def fold(self, right: bool, x: Any, values: list[Any]) -> Any:
        return (wf.foldr if right else wf.foldl)(lambda a, row: wf.sin(a) * row, self.build(x, values), values[-1])

    def write(self, which: int, x: Any, values: list[Any]) -> Any:
        """By constants, so that what is read later has the same derivatives."""
        with wf.control_dependencies([self.variables[which].assign_add([0.1, -0.2, 0.3])]):
            return self.build(x, values) + 0.0

    def after(self, first: Any, x: Any, values: list[Any]) -> Any:
        with wf.control_dependencies([self.build(first, values)]):
            return self.build(x, values) + 0.0

    def slope(self, x: Any, values: list[Any]) -> Any:
        """A gradient that is taken inside of what is being built."""
        near = values[-1] * 1.0
        y = self.build(x, [*values, near])
        grad = wf.gradients(y, near)[0]
        return y if grad is None else y + grad


def arrays() -> list[np.ndarray[Any, Any]]:
    return [np.array([0.3, -0.7, 0.9]), np.array([-0.4, 0.8, 0.2])]


def check(program: Any) -> None:
    """Hold two orders of gradients against differences of values, and a session against the interpreter."""
    reset_default_graph()
    builder = Builder()
    xs = [wf.placeholder(wf.float64, (3,)) for _ in range(2)]
    starts = [variable.initial_value for variable in builder.variables]
    init = [variable.initializer for variable in builder.variables]
    with wf.control_dependencies(init):  # so that one run is the whole: the variables' first values, then the program
        outputs = [wf.reduce_sum(builder.build(program, [wf.identity(x) for x in xs]))]
    by = [*xs, *builder.variables]
    feeds = dict(zip([*xs, *starts], [*arrays(), *interpret(starts, {})], strict=True))
    everything = list(outputs)
    for order in (1, 2):
        grads = wf.gradients(outputs, by)
        present = [wf.convert_to_tensor(grad) for grad in grads if grad is not None]
        exact = iter(interpret(present, feeds, State(seed=0)))
        for at, (x, grad) in enumerate(zip([*xs, *starts], grads, strict=True)):
            found = np.zeros(3) if grad is None else next(exact)
            expected = central(outputs, feeds, x)
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=f"order {order}, by {at}")
        everything += present
        outputs = present
        if not outputs:
            break
    state, left = State(seed=0), [variable.value() for variable in builder.variables]
    said = interpret(everything, feeds, state) + interpret(left, {}, state)
    with wf.Session() as session:
        for mine, other in zip(session.run(everything, feeds) + session.run(left), said, strict=True):
            np.testing.assert_array_equal(mine, other)


def central(outputs: list[Any], feeds: dict[Any, Any], by: Any) -> np.ndarray[Any, Any]:
    """The derivative of the sum of all outputs by each element."""
    result = np.zeros(3)
    for at in range(3):
        sides = []
        for step in (1e-6, -1e-6):
            moved = feeds[by].copy()
            moved[at] += step
            sides.append(sum(float(np.sum(value)) for value in interpret(outputs, {**feeds, by: moved})))
        result[at] = (sides[0] - sides[1]) / 2e-6
    return result


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(PROGRAMS)
def test_values_and_two_orders_of_gradients(program: Any) -> None:
    check(program)
