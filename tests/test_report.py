"""Print and Assert: what they write and when they fail."""

from typing import Any

import numpy as np
import pytest
from weft.autodiff.gradients import gradients
from weft.graph import errors, ir
from weft.graph.ops import identity, report
from weft.graph.ops.constant import constant
from weft.graph.state import State
from weft.runtime.interpret import interpret

GRID = np.arange(12).reshape(3, 4)


def printed(capfd: Any, *fetches: ir.Tensor, times: int = 1) -> str:
    state = State(seed=0)
    for _ in range(times):
        interpret(fetches, {}, state)
    out, err = capfd.readouterr()
    assert out == ""
    return str(err)


def test_print_writes_to_stderr_and_passes_its_input_on(capfd: Any) -> None:
    x = constant([1.0, 2.0])
    y = report.Print(x, [x, x * 2, constant("a")], message="hey ", summarize=1)
    assert printed(capfd, y) == "hey [1...][2...][a]\n"
    assert interpret([y], {})[0].tolist() == [1.0, 2.0]
    assert y.dims == (2,)


def test_print_has_a_gradient(capfd: Any) -> None:
    x = constant([1.0, 2.0])
    (grad,) = gradients(report.Print(x * 3, [x]) * x, x)
    assert interpret([grad], {})[0].tolist() == [6.0, 12.0]
    assert gradients(report.Print(constant(1.0), [x]), x) == [None]


def test_print_stops_after_first_n_runs(capfd: Any) -> None:
    y = report.Print(constant(1), [constant(7)], first_n=2)
    assert printed(capfd, y, times=3) == "[7]\n[7]\n"


@pytest.mark.parametrize(
    ("value", "count", "expected"),
    [
        (GRID, 3, "[0 1 2...]..."),
        (GRID, 4, "[0 1 2 3]..."),
        (GRID, 5, "[0 1 2 3][4...]..."),
        (GRID, -1, "[0 1 2 3][4 5 6 7][8 9 10 11]"),
        (GRID, 0, "..."),
        (GRID.reshape(3, 2, 2), 3, "[[0 1][2...]]..."),
        (np.zeros((0, 3)), 3, ""),
        (np.zeros((2, 0)), 3, ""),
        (np.array([1e10, 1e-7, 1.0, np.nan, np.inf]), 5, "10000000000 1e-07 1 nan inf"),
        (np.float32(1 / 3), 3, "0.333333343"),
        (np.array([True, False]), 3, "1 0"),
        (np.array([b"a", b"\xff"], object), 3, "a \\xff"),
    ],
)
def test_values_are_summarized_as_in_tensorflow(value: Any, count: int, expected: str) -> None:
    assert report.summary(value, count) == expected


def test_an_assertion_fails_the_run_with_its_data() -> None:
    x = constant([1.0, 2.0, 3.0, 4.0])
    check = report.Assert(constant(False), [x, "foo", 3])
    with x.graph.control_dependencies([check]):
        y = identity.identity(x)
    with pytest.raises(errors.InvalidArgumentError, match=r"assertion failed: \[1 2 3...\] \[foo\] \[3\]"):
        interpret([y], {})


def test_an_assertion_that_holds_does_nothing() -> None:
    check = report.Assert(True, [1], summarize=1, name="check")
    assert (check.name, check.outputs) == ("check", ())
    with check.graph.control_dependencies([check]):
        assert interpret([constant(1)], {}) == [1]


def test_an_assertion_takes_a_bool_scalar_and_a_list() -> None:
    with pytest.raises(TypeError, match="bool"):
        report.Assert(1.0, [])
    with pytest.raises(ValueError, match="scalar"):
        report.Assert([True], [])
    with pytest.raises(TypeError, match="data must be a list"):
        report.Assert(True, constant(1.0))
