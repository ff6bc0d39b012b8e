"""partial_run: one step fed and fetched in several calls, as TF 1 does it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import weft as wf
from tasks import TASKS, session_of_tasks

InvalidArgument = wf.errors.InvalidArgumentError


@pytest.fixture
def sess() -> Iterator[wf.Session]:
    """A session of the test's default graph."""
    with wf.Session() as session:
        yield session


def abc() -> tuple[Any, Any, Any, Any, Any]:
    """TF's own example: (a, b, c, a + b, (a + b) * c)."""
    a, b, c = (wf.placeholder(wf.float32, [], name) for name in "abc")
    first = a + b
    return a, b, c, first, first * c


def test_the_example_of_the_documentation(sess: wf.Session) -> None:
    a, b, c, first, second = abc()
    handle = sess.partial_run_setup([first, second], [a, b, c])
    res = sess.partial_run(handle, first, {a: 1, b: 2})
    assert res == 3.0
    assert sess.partial_run(handle, second, {c: res}) == 9.0


def test_structures_names_and_feeds_without_fetches(sess: wf.Session) -> None:
    a, _, _, first, second = abc()
    handle = sess.partial_run_setup({"x": first, "y": [second.name]}, [a, "b:0", "c:0"])
    assert sess.partial_run(handle, [], {a: 1.0, "b:0": 2.0}) == []
    assert sess.partial_run(handle, {"q": (first, second)}, {"c:0": 2.0}) == {"q": (3.0, 6.0)}


def test_a_fetch_may_be_fed_in_the_same_call(sess: wf.Session) -> None:
    a, b, _, first, _ = abc()
    handle = sess.partial_run_setup(first, [a, b])
    assert sess.partial_run(handle, [a, first], {a: 1.0, b: 2.0}) == [1.0, 3.0]


def test_handles_end_when_all_is_fed_and_fetched(sess: wf.Session) -> None:
    a, b, c, first, second = abc()
    handle = sess.partial_run_setup([first, second], [a, b, c])
    sess.partial_run(handle, [first, second], {a: 1, b: 2, c: 3})
    with pytest.raises(InvalidArgument, match="Must run 'setup' before performing partial runs!"):
        sess.partial_run(handle, second)
    assert not sess._partial


def test_setups_do_not_disturb_each_other(sess: wf.Session) -> None:
    a, b, c, first, second = abc()
    handles = [sess.partial_run_setup([first, second], [a, b, c]) for _ in range(3)]
    for number, handle in enumerate(handles):
        assert sess.partial_run(handle, first, {a: number, b: 1}) == number + 1.0
    for number, handle in enumerate(handles):
        assert sess.partial_run(handle, second, {c: 2}) == 2.0 * (number + 1)
    assert len(sess._prepared) == 2  # the calls of all three have the same two plans


# one step


def test_nothing_runs_twice(sess: wf.Session) -> None:
    a, b, _, _, _ = abc()
    drawn = wf.random_uniform([])
    v = wf.Variable(0.0)
    with wf.control_dependencies([v.assign_add(1.0)]):
        counted = wf.identity(drawn)
    first, second = counted + a, counted + b
    sess.run(v.initializer)
    handle = sess.partial_run_setup([first, second], [a, b])
    one = sess.partial_run(handle, first, {a: 0.0})
    two = sess.partial_run(handle, second, {b: 0.0})
    assert one == two
    assert sess.run(v) == 1.0


def test_operations_run_as_soon_as_they_can(sess: wf.Session) -> None:
    a, b, _, first, _ = abc()
    v = wf.Variable(1.0)
    added = v.assign_add(a)
    sess.run(v.initializer)
    handle = sess.partial_run_setup([first, wf.get_default_graph().as_graph_element(added).op], [a, b])
    assert sess.run(v) == 1.0
    assert sess.partial_run(handle, first, {a: 1.0, b: 2.0}) == 3.0
    assert sess.run(v) == 2.0


def test_what_needs_no_feeds_runs_at_setup(sess: wf.Session) -> None:
    a = wf.placeholder(wf.float32, [])
    v = wf.Variable(1.0)
    total = v + a
    sess.run(v.initializer)
    handle = sess.partial_run_setup(total, [a])
    sess.run(v.assign(100.0))
    assert sess.partial_run(handle, total, {a: 1.0}) == 2.0


def test_control_dependencies_hold_from_call_to_call(sess: wf.Session) -> None:
    a, b, _, _, _ = abc()
    v = wf.Variable([1.0, 1.0])
    before = v * a
    with wf.control_dependencies([before]):
        update = v.assign_add([1.0, 1.0])
    with wf.control_dependencies([update, b]):
        after = v + 0.0
    sess.run(v.initializer)
    handle = sess.partial_run_setup([before, after], [a, b])
    np.testing.assert_array_equal(sess.partial_run(handle, before, {a: 3.0}), [3.0, 3.0])
    np.testing.assert_array_equal(sess.partial_run(handle, after, {b: 0.0}), [2.0, 2.0])


def test_any_tensor_may_be_fed(sess: wf.Session) -> None:
    *_, first, second = abc()
    handle = sess.partial_run_setup([second], [first, "c:0"])
    sess.partial_run(handle, [], {first: 10.0})
    assert sess.partial_run(handle, second, {"c:0": 2.0}) == 20.0


def test_one_fed_output_of_several(sess: wf.Session) -> None:
    x, y = wf.placeholder(wf.float32, [4]), wf.placeholder(wf.float32, [])
    left, right = wf.split(x, 2)
    total = left + right * y
    handle = sess.partial_run_setup([right, total], [x, left, y])
    assert sess.partial_run(handle, right, {x: [1, 2, 3, 4]}).tolist() == [3.0, 4.0]
    assert sess.partial_run(handle, total, {y: 10.0, left: [0, 1]}).tolist() == [30.0, 41.0]


def test_changing_what_was_fed_or_fetched_changes_nothing(sess: wf.Session) -> None:
    x, c = wf.placeholder(wf.float32, [2]), wf.placeholder(wf.float32, [])
    first = x + 1.0
    second = first * c + x
    handle = sess.partial_run_setup([first, second], [x, c])
    fed = np.array([1, 2], np.float32)
    fetched = sess.partial_run(handle, first, {x: fed})
    fetched[:] = fed[:] = 99.0
    assert sess.partial_run(handle, second, {c: 1.0}).tolist() == [3.0, 5.0]


def test_over_several_devices() -> None:
    a, b, c, first, _ = abc()
    with wf.device("/cpu:1"):
        second = wf.exp(first) * c
    with wf.Session(config=wf.ConfigProto(device_count={"CPU": 2})) as sess:
        handle = sess.partial_run_setup([first, second], [a, b, c])
        assert sess.partial_run(handle, first, {a: 1, b: -1}) == 0.0
        assert sess.partial_run(handle, second, {c: 4}) == 4.0


def test_over_tasks() -> None:
    a, b, c, first, _ = abc()
    with wf.device(f"{TASKS[1]}/cpu:0"):
        v = wf.Variable(3.0)
        second = wf.exp(first) * c + v
    with session_of_tasks() as sess:
        sess.run(v.initializer)
        handle = sess.partial_run_setup([first, second], [a, b, c])
        sess.run(v.assign(50.0))
        assert sess.partial_run(handle, first, {a: 1, b: -1}) == 0.0
        assert sess.partial_run(handle, second, {c: 4}) == 7.0


# what does not fit


def test_wrong_arguments_of_a_call_leave_the_step_as_it_was(sess: wf.Session) -> None:
    a, b, c, first, second = abc()
    handle = sess.partial_run_setup([first, second], [a, b, c])
    with pytest.raises(InvalidArgument, match=f"The fetch {(first + 1.0).name} was not specified"):
        sess.partial_run(handle, wf.get_default_graph().get_operations()[-1].outputs[0], {a: 1})
    with pytest.raises(InvalidArgument, match=f"The feed {first.name} was not specified in partial_run_setup"):
        sess.partial_run(handle, second, {first: 1})
    with pytest.raises(InvalidArgument, match=f"Fetch {second.name} can't be computed from the feeds .* so far"):
        sess.partial_run(handle, second, {a: 1, b: 2})
    with pytest.raises(ValueError, match="Cannot feed value of shape"):
        sess.partial_run(handle, first, {a: [1, 2], b: 2})
    assert sess.partial_run(handle, first, {a: 1, b: 2}) == 3.0
    with pytest.raises(InvalidArgument, match="The feed a:0 has already been fed"):
        sess.partial_run(handle, second, {a: 1, c: 2})
    with pytest.raises(InvalidArgument, match=f"The fetch {first.name} has already been fetched"):
        sess.partial_run(handle, [first, second], {c: 2})
    assert sess.partial_run(handle, second, {c: 3}) == 9.0


def test_operations_cannot_be_fetched_bit_by_bit(sess: wf.Session) -> None:
    a, b, _, first, _ = abc()
    handle = sess.partial_run_setup([first, first.op], [a, b])
    with pytest.raises(RuntimeError, match="partial_run"):
        sess.partial_run(handle, first.op, {a: 1, b: 1})


@pytest.mark.parametrize("handle", ["nothing", None])
def test_an_unknown_handle(sess: wf.Session, handle: Any) -> None:
    *_, first, _ = abc()
    with pytest.raises(InvalidArgument, match="Must run 'setup' before performing partial runs!"):
        sess.partial_run(handle, first, {"a:0": 1, "b:0": 2})


def test_setups_that_make_no_sense(sess: wf.Session) -> None:
    a, b, _, first, _ = abc()
    with pytest.raises(InvalidArgument, match="Must specify at least one target to fetch or execute"):
        sess.partial_run_setup([])
    with pytest.raises(InvalidArgument, match="a:0 is both fed and fetched"):
        sess.partial_run_setup([a, first], [a, b])
    with pytest.raises(InvalidArgument, match='"a:0" fed more than once'):
        sess.partial_run_setup(first, [a, "a:0"])
    with pytest.raises(TypeError, match="Cannot interpret feed_dict key as Tensor"):
        sess.partial_run_setup(first, ["nothing:0"])


def test_a_placeholder_that_is_never_fed(sess: wf.Session) -> None:
    a, b, _, first, second = abc()
    handle = sess.partial_run_setup([first, second], [a, b])
    with pytest.raises(InvalidArgument, match="You must feed a value for placeholder tensor 'c'"):
        sess.partial_run(handle, first, {a: 1, b: 2})


def test_a_failing_operation_ends_the_step(sess: wf.Session) -> None:
    a, b, c, first, second = abc()
    checked = wf.check_numerics(first, "the sum", name="checked")
    handle = sess.partial_run_setup([checked, second], [a, b, c])
    with pytest.raises(InvalidArgument, match="the sum : Tensor had NaN values") as info:
        sess.partial_run(handle, checked, {a: 1, b: np.nan})
    assert info.value.op is checked.op
    with pytest.raises(InvalidArgument, match="Must run 'setup'"):
        sess.partial_run(handle, second, {c: 1})


def test_a_closed_session() -> None:
    a, b, _, first, _ = abc()
    sess = wf.Session()
    handle = sess.partial_run_setup(first, [a, b])
    sess.close()
    with pytest.raises(RuntimeError, match="closed Session"):
        sess.partial_run(handle, first, {a: 1, b: 2})
    with pytest.raises(RuntimeError, match="closed Session"):
        sess.partial_run_setup(first, [a, b])
