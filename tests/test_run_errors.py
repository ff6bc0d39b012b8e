"""Runs that fail: the type of the error, and what its message names: operation, line, and for gradients the forward one."""

import inspect
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import weft as wf
from spying import spy
from weft.graph.ops import variables
from weft.graph.ops.broadcasting import SumTo
from weft.runtime.execution.failures import error_class


@pytest.fixture
def sess() -> Iterator[wf.Session]:
    """A session of the test's default graph."""
    with wf.Session() as session:
        yield session


def here() -> str:
    """The caller's line, as errors name it."""
    frame = inspect.stack()[1]
    return f"{frame.filename}:{frame.lineno}, in {frame.function}"


def test_an_uninitialized_variable(sess: wf.Session) -> None:
    v, line = wf.Variable([1.0], name="v"), here()
    with pytest.raises(wf.errors.FailedPreconditionError, match="Attempting to use uninitialized value v") as info:
        sess.run(v)
    assert "v/Read" in info.value.message
    assert line in info.value.message
    assert info.value.op.type == "ReadVariableOp"


def test_a_failing_kernel_names_its_operation_and_line(sess: wf.Session) -> None:
    x = wf.placeholder(wf.float32)
    y, line = wf.matmul(x, [[1.0], [2.0]], name="product"), here()
    with pytest.raises(wf.errors.InvalidArgumentError) as info:
        sess.run([y, wf.constant(1)], {x: np.ones((2, 3))})
    assert info.value.op is y.op
    assert info.value.error_code == 3
    assert "{{node product}}" in info.value.message
    assert f"(op: '{y.op.type}') was made at {line}" in info.value.message


def test_a_failing_gradient_names_the_forward_operation(sess: wf.Session) -> None:
    x = wf.placeholder(wf.float32, [None])
    y, line = wf.check_numerics(x, "not good", name="checked"), here()
    (dx,) = wf.gradients(y, x, grad_ys=wf.log(x))
    with pytest.raises(wf.errors.InvalidArgumentError) as info:
        sess.run(dx, {x: [-1.0]})
    assert info.value.op.name.startswith("gradients/checked_grad/")
    assert f"as part of the gradient of 'checked' (op: 'CheckNumerics'), made at {line}" in info.value.message


@pytest.mark.parametrize(("value", "what"), [(np.nan, "NaN"), (np.inf, "Inf")])
def test_check_numerics(sess: wf.Session, value: float, what: str) -> None:
    x = wf.placeholder(wf.float32, [2])
    checked = wf.check_numerics(x, "the loss")
    assert sess.run(checked, {x: [1.0, 2.0]}).tolist() == [1.0, 2.0]
    with pytest.raises(wf.errors.InvalidArgumentError, match=f"the loss : Tensor had {what} values"):
        sess.run(checked, {x: [1.0, value]})


def test_assert(sess: wf.Session) -> None:
    x = wf.placeholder(wf.float32, [])
    with wf.control_dependencies([wf.Assert(x > 0.0, ["x is", x])]):
        y = wf.sqrt(x)
    assert sess.run(y, {x: 4.0}) == 2.0
    with pytest.raises(wf.errors.InvalidArgumentError, match=r"assertion failed.*x is.*-4"):
        sess.run(y, {x: -4.0})


def test_a_run_after_a_failed_one_is_right(sess: wf.Session) -> None:
    x = wf.placeholder(wf.float32, [None])
    y = wf.check_numerics(x * 2.0, "bad") + 1.0
    with pytest.raises(wf.errors.InvalidArgumentError):
        sess.run(y, {x: [np.nan]})
    assert sess.run(y, {x: [1.0]}).tolist() == [3.0]


def test_two_handles_of_one_name_that_do_not_agree(sess: wf.Session) -> None:
    one = variables.VarHandleOp(wf.float32, (2,), "shared")(name="one")
    two = variables.VarHandleOp(wf.float32, (3,), "shared")(name="two")
    first = variables.AssignVariableOp(wf.float32, (2,)).node(one, wf.zeros([2]))
    second = variables.AssignVariableOp(wf.float32, (3,)).node(two, wf.zeros([3]))
    sess.run(first)
    with pytest.raises(wf.errors.InvalidArgumentError, match="shared") as info:
        sess.run(second)
    assert info.value.op is two.op


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (ValueError("x"), wf.errors.InvalidArgumentError),
        (ZeroDivisionError("x"), wf.errors.InvalidArgumentError),
        (MemoryError(), wf.errors.ResourceExhaustedError),
        (NotImplementedError(), wf.errors.UnimplementedError),
        (AttributeError("x"), wf.errors.InternalError),
        (wf.errors.OutOfRangeError(None, None, "x"), wf.errors.OutOfRangeError),
    ],
)
def test_kernels_exceptions_become_errors_of_a_run(cause: Exception, expected: type[wf.errors.OpError]) -> None:
    assert error_class(cause) is expected


# several devices


def three_cpus(**options: Any) -> wf.ConfigProto:
    return wf.ConfigProto(device_count={"CPU": 3}, **options)


def test_the_failure_of_one_device_is_the_steps_error() -> None:
    x = wf.placeholder(wf.float32, [None])
    with wf.device("/cpu:1"):
        checked = wf.check_numerics(x, "bad", name="checked")
    with wf.device("/cpu:2"):
        last = checked * 2.0
    with wf.device("/cpu:0"):
        first = wf.exp(last)
    with wf.Session(config=three_cpus()) as sess:
        for _ in range(3):
            with pytest.raises(wf.errors.InvalidArgumentError, match="bad") as info:
                sess.run([first, last], {x: [np.nan]})
            assert info.value.op is checked.op
            assert sess.run(first, {x: [0.0]}).tolist() == [1.0]


def slow(seconds: Iterator[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the next sigmoids take that long."""
    spy(monkeypatch, lambda _: time.sleep(next(seconds)))


def test_the_operation_timeout_ends_a_step_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    slow(iter([0.0, 2.0, 0.0]), monkeypatch)
    patient = wf.RunOptions(timeout_in_ms=60_000)
    x = wf.placeholder(wf.float32, [])
    with wf.device("/cpu:1"):
        y = wf.sigmoid(x)
    with wf.device("/cpu:0"):
        z = y * 2.0
    with wf.Session(config=three_cpus(operation_timeout_in_ms=400)) as sess:
        assert sess.run(z, {x: 0.0}, patient) == 1.0  # so that the time is not spent on making the plan
        with pytest.raises(
            wf.errors.DeadlineExceededError,
            match=r"it waited for 'Sigmoid' of /job:localhost/replica:0/task:0/device:CPU:1 for ",
        ):
            sess.run(z, {x: 0.0})
        assert sess.run(z, {x: 0.0}, patient) == 1.0


def test_a_step_on_one_device_that_took_too_long(sess: wf.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(iter([0.05, 0.05]), monkeypatch)
    x = wf.placeholder(wf.float32, [])
    y = wf.sigmoid(x)
    with pytest.raises(wf.errors.DeadlineExceededError, match=r"longer than 0\.01 s"):
        sess.run(y, {x: 0.0}, wf.RunOptions(timeout_in_ms=10))
    assert sess.run(y, {x: 0.0}) == 0.5


def test_closing_cancels_running_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    entered, go = threading.Event(), threading.Event()

    def hold(_: Any) -> None:
        entered.set()
        assert go.wait(60)

    spy(monkeypatch, hold)
    x = wf.placeholder(wf.float32, [])
    with wf.device("/cpu:1"):
        y = wf.sigmoid(x)
    with wf.device("/cpu:0"):
        z = y * 2.0
    sess = wf.Session(config=three_cpus())
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(sess.run, z, {x: 0.0})
        assert entered.wait(60)
        sess.close()
        go.set()
        with pytest.raises(wf.errors.CancelledError, match="Session::Close"):
            running.result()


def fed(*values: Any) -> tuple[list[wf.Tensor], dict[wf.Tensor, Any]]:
    """Placeholders of unknown shape, and what to feed them."""
    tensors = [wf.placeholder(wf.float32) for _ in values]
    return tensors, dict(zip(tensors, values, strict=True))


MISFITS: dict[str, tuple[Any, list[Any], str]] = {
    "matrices": (wf.matmul, [np.ones((2, 3)), np.ones((4, 5))], "equal, but are 3 and 4; the inputs have shapes [2,3], [4,5]"),
    "a vector": (wf.matmul, [np.ones((2, 3)), np.ones(3)], "at least rank 2 but is rank 1"),
    "broadcasting": (wf.add, [np.ones(2), np.ones(3)], "shapes [2] and [3] do not broadcast"),
    "an axis": (lambda x: wf.reduce_sum(x, 3), [np.ones(2)], "axis 3 is out of range for rank 1"),
    "a bias that would broadcast": (wf.nn.bias_add, [np.ones((2, 3)), np.ones(1)], "3 channels and a bias of 1"),
    "a sum that would broadcast": (lambda x, y: wf.add_n([x, y]), [np.ones(2), 1.0], "Shapes [2] and [] are not compatible"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_shapes_that_turn_out_not_to_fit_are_told_as_when_building(sess: wf.Session, name: str) -> None:
    build, values, words = MISFITS[name]
    inputs, feeds = fed(*values)
    with pytest.raises(wf.errors.InvalidArgumentError, match=re.escape(words)):
        sess.run(build(*inputs), feeds)


@pytest.mark.parametrize("steps", [1, 1500])
def test_shapes_that_only_the_values_tell(sess: wf.Session, steps: int) -> None:
    """In plans of one piece and of several."""
    (x,), feeds = fed([1.0, 2.0, 3.0])
    first, second = wf.dynamic_partition(x, [0, 1, 0], 2)
    for _ in range(steps):
        first = first + 1.0
    y = wf.concat([wf.reshape(first, [1, -1]), wf.reshape(second, [1, -1])], 0)
    with pytest.raises(wf.errors.InvalidArgumentError, match=r"have shapes \[1,2\], \[1,1\]") as info:
        sess.run(y, feeds)
    assert info.value.op is y.op


def test_an_assertion_before_an_operation_that_cannot_run_is_what_fails(sess: wf.Session) -> None:
    (x, y), feeds = fed([1.0, 2.0], [1.0])
    with wf.control_dependencies([wf.Assert(wf.equal(wf.size(x), wf.size(y)), ["as many, please"])]):
        z = wf.add_n([x, y])
    with pytest.raises(wf.errors.InvalidArgumentError, match="as many, please"):
        sess.run(z, feeds)


@pytest.mark.parametrize("function", [lambda x: x * 2.0, lambda x: x + 1.0])
@pytest.mark.parametrize(("shape", "given"), [((2,), ()), ((2,), (3,)), ((1, 2), (2,))])
def test_a_gradient_of_a_wrong_shape_is_no_sum(sess: wf.Session, function: Any, shape: Any, given: Any) -> None:
    x = wf.placeholder(wf.float32, [None] * len(shape))
    dy = wf.placeholder(wf.float32)
    (dx,) = wf.gradients(function(x), x, grad_ys=dy)
    with pytest.raises(wf.errors.InvalidArgumentError, match=r"\] does not broadcast to \["):
        sess.run(dx, {x: np.ones(shape), dy: np.ones(given)})
    with pytest.raises(wf.errors.InvalidArgumentError, match=r"\] does not broadcast to \["):
        SumTo().compute(np.ones(given), np.array(shape))
