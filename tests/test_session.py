"""Session.run: what may be fetched and fed, what comes back, and the life of a session."""

import threading
from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.graph import context
from weft.runtime.session import SHAPES_A_REQUEST

Pair = namedtuple("Pair", ["first", "second"])


@dataclass(frozen=True)
class Losses:
    train: Any
    test: Any


@pytest.fixture
def sess() -> Iterator[wf.Session]:
    """A session of the test's default graph."""
    with wf.Session() as session:
        yield session


def rows(*dims: Any) -> wf.Tensor:
    return wf.placeholder(wf.float32, dims or (None, 3), "x")


# what may be fetched


def test_a_scalar_is_a_numpy_scalar(sess: wf.Session) -> None:
    value = sess.run(wf.constant(1.5) + 1.0)
    assert type(value) is np.float32
    assert value == 2.5


def test_an_array_is_an_array_of_the_tensors_type(sess: wf.Session) -> None:
    value = sess.run(wf.constant([1, 2], wf.int64) * 2)
    assert value.dtype == np.int64
    assert value.tolist() == [2, 4]


def test_strings_are_bytes(sess: wf.Session) -> None:
    assert sess.run(wf.constant("häuser")) == "häuser".encode()
    assert sess.run(wf.constant(["a", b"b"])).tolist() == [b"a", b"b"]


def test_structures_come_back_as_they_were_asked_for(sess: wf.Session) -> None:
    a, b = wf.constant(1), wf.constant(2)
    assert sess.run([a, b]) == [1, 2]
    assert sess.run((a, b)) == (1, 2)
    assert sess.run(Pair(a, b)) == Pair(1, 2)
    assert sess.run({"x": a, "y": [b, (a,)]}) == {"x": 1, "y": [2, (1,)]}
    assert sess.run(Losses(a, {"b": b})) == Losses(1, {"b": 2})
    assert type(sess.run(OrderedDict(x=a))) is OrderedDict
    assert sess.run([]) == []


def test_an_operation_gives_none_and_runs(sess: wf.Session) -> None:
    v = wf.Variable(1.0)
    assert sess.run(v.initializer) is None
    assert sess.run([v.assign_add(1.0).op, wf.no_op()]) == [None, None]
    assert sess.run(v) == 2.0


def test_only_a_constants_operation(sess: wf.Session) -> None:
    assert sess.run(wf.constant(1).op) is None


def test_names_and_variables(sess: wf.Session) -> None:
    wf.constant(3.0, name="three")
    v = wf.Variable([1.0, 2.0])
    assert sess.run(["three:0", "three"]) == [3.0, None]
    sess.run(v.initializer)
    assert sess.run(v).tolist() == [1.0, 2.0]


def test_duplicates_are_computed_once_and_given_twice(sess: wf.Session) -> None:
    x = wf.random_uniform([2])
    first, second = sess.run([x, x])
    np.testing.assert_array_equal(first, second)


def test_indexed_slices(sess: wf.Session) -> None:
    slices = wf.IndexedSlices(wf.constant([[1.0]]), wf.constant([4]), wf.constant([9, 1]))
    value = sess.run(slices)
    assert isinstance(value, wf.IndexedSlicesValue)
    assert (value.values.tolist(), value.indices.tolist(), value.dense_shape.tolist()) == ([[1.0]], [4], [9, 1])
    without = sess.run(wf.IndexedSlices(wf.constant([[1.0]]), wf.constant([4])))
    assert without.dense_shape is None


@pytest.mark.parametrize("fetch", [None, 1.0, object(), [None]])
def test_what_is_no_graph_element_raises_type_error(sess: wf.Session, fetch: Any) -> None:
    wf.constant(1)
    with pytest.raises(TypeError):
        sess.run(fetch)


@pytest.mark.parametrize("name", ["nosuch:0", "nosuch", "one:7", "one:x"])
def test_an_unknown_name_raises_value_error(sess: wf.Session, name: str) -> None:
    wf.constant(1, name="one")
    with pytest.raises(ValueError, match=name):
        sess.run(name)


def test_another_graphs_tensor_raises_value_error(sess: wf.Session) -> None:
    wf.constant(1)
    with wf.Graph().as_default():
        other = wf.constant(2)
    with pytest.raises(ValueError, match="not an element of this graph"):
        sess.run(other)


# what comes back belongs to the caller


@pytest.mark.filterwarnings("ignore::weft.RaceWarning")
def test_fetched_arrays_stay_as_they_are_in_later_steps(sess: wf.Session) -> None:
    x, v = rows(), wf.Variable([[1.0, 2.0, 3.0]])
    y = wf.nn.relu(x) * 2.0
    update = v.assign_add([[1.0, 1.0, 1.0]])
    fetches = [y, y + 1.0, v, wf.transpose(y), wf.identity(x), update]
    sess.run(v.initializer)
    kept = sess.run(fetches, {x: np.full((2, 3), 1.0, np.float32)})
    copies = [array.copy() for array in kept]
    for step in range(3):
        sess.run(fetches, {x: np.full((2, 3), 2.0 + step, np.float32)})
    for array, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("dims", [(3, 4), (None, None)])
@pytest.mark.parametrize("joined", [lambda a, b: wf.concat([a, b], 0), lambda a, b: wf.stack([a, b], 1)])
def test_what_is_joined_of_strided_values_is_row_major(sess: wf.Session, joined: Any, dims: tuple[Any, ...]) -> None:
    """NumPy keeps the order in memory of its inputs, where they agree."""
    x = wf.placeholder(wf.float32, dims)
    turned = wf.transpose(x)
    both = joined(turned, turned)
    value, again = sess.run([both, wf.sigmoid(turned)], {x: np.zeros((3, 4), np.float32)})
    assert value.flags.c_contiguous
    assert again.flags.c_contiguous


def test_fetched_arrays_may_be_written_and_share_no_memory(sess: wf.Session) -> None:
    x = rows(2, 3)
    y = x * 2.0
    constant = wf.constant([1.0, 2.0])
    fetches = [y, wf.identity(y), wf.transpose(y), wf.broadcast_to(y, [2, 2, 3]), y[:, 1:], constant, wf.identity(x)]
    fed = np.ones((2, 3), np.float32)
    values = sess.run(fetches, {x: fed})
    for index, value in enumerate(values):
        assert value.flags.writeable
        assert value.flags.c_contiguous
        assert not any(np.shares_memory(value, other) for other in [*values[:index], fed])
    for value in values:
        value[...] = 7.0
    again = sess.run(fetches, {x: fed})
    assert again[0].tolist() == [[2.0] * 3] * 2
    assert again[5].tolist() == [1.0, 2.0]


def test_feeding_does_not_copy_contiguous_arrays(sess: wf.Session) -> None:
    x = wf.placeholder(wf.float32, [None])
    fed = np.ones(3, np.float32)
    assert sess.run(x, {x: fed}) is fed
    strided = np.ones(6, np.float32)[::2]
    assert sess.run(x + 1.0, {x: strided}).tolist() == [2.0] * 3
    assert strided.tolist() == [1.0] * 3


# feeding


def test_feeding_overrides_whatever_a_tensor_comes_from(sess: wf.Session) -> None:
    a = wf.constant(2.0)
    unfed = wf.placeholder(wf.float32, [])
    b = a * unfed
    c = b + 1.0
    assert sess.run(c, {b: 5.0}) == 6.0
    assert sess.run(c, {a: 3.0, unfed: 4.0}) == 13.0
    assert sess.run([b, c], {b: 5.0}) == [5.0, 6.0]


def test_waiting_for_a_fed_placeholder(sess: wf.Session) -> None:
    x = wf.placeholder(wf.float32, [])
    with wf.control_dependencies([x, wf.group(x)]):
        y = wf.constant(1.0) + 1.0
    assert sess.run([y, x.op], {x: 3.0}) == [2.0, None]
    assert "feed 0" in str(sess.plan(y * x, {x: 3.0}))
    with pytest.raises(wf.errors.InvalidArgumentError, match="You must feed"):
        sess.run(y)


def test_waiting_for_the_operation_of_another_fed_tensor_runs_it(sess: wf.Session) -> None:
    v = wf.Variable(0.0)
    update = v.assign_add(1.0)
    with wf.control_dependencies([update]):
        y = wf.constant(2.0) * 3.0
    sess.run(v.initializer)
    assert sess.run(y, {update: 5.0}) == 6.0
    assert sess.run(v) == 1.0


def test_feeding_one_output_of_several(sess: wf.Session) -> None:
    left, right = wf.split(wf.constant([1.0, 2.0, 3.0, 4.0]), 2)
    assert sess.run(left + right, {left: [10.0, 20.0]}).tolist() == [13.0, 24.0]


def test_feeding_variables_names_and_slices(sess: wf.Session) -> None:
    v = wf.Variable(1.0, name="v")
    doubled = wf.multiply(2.0, wf.identity(v._snapshot))
    assert sess.run(doubled, {v: 4.0}) == 8.0
    x = wf.placeholder(wf.float32, [], "x")
    assert sess.run(x * 2.0, {"x:0": 4.0}) == 8.0
    slices = wf.IndexedSlices(wf.placeholder(wf.float32), wf.placeholder(wf.int32))
    assert sess.run(wf.reduce_sum(slices.values), {slices: ([1.0, 2.0], [0, 1])}) == 3.0
    assert sess.run(x + slices.values, {(x, slices.values): (1.0, [2.0])}).tolist() == [3.0]


def test_values_take_the_tensors_type(sess: wf.Session) -> None:
    x = wf.placeholder(wf.float32, [2])
    assert sess.run(x * 1.0, {x: np.array([1, 2])}).dtype == np.float32
    text = wf.placeholder(wf.string, [])
    assert sess.run(text, {text: "ä"}) == "ä".encode()


def test_a_feed_of_another_shape_raises_value_error(sess: wf.Session) -> None:
    x = rows()
    message = r"Cannot feed value of shape \(2, 2\) for Tensor x:0, which has shape \(\?, 3\)"
    with pytest.raises(ValueError, match=message):
        sess.run(x, {x: np.zeros((2, 2))})


def test_a_feed_of_another_type_raises(sess: wf.Session) -> None:
    x = wf.placeholder(wf.int32, [], "x")
    with pytest.raises((TypeError, ValueError), match="x:0"):
        sess.run(x, {x: "text"})
    with pytest.raises((TypeError, ValueError), match="x:0"):
        sess.run(x, {x: [[1], [2, 3]]})


def test_a_tensor_as_value_raises_type_error(sess: wf.Session) -> None:
    x = rows(1)
    with pytest.raises(TypeError, match="cannot be a"):
        sess.run(x, {x: wf.constant([1.0])})


@pytest.mark.parametrize("key", [3, "nosuch:0", None, object()])
def test_a_bad_key_raises_type_error(sess: wf.Session, key: Any) -> None:
    x = wf.constant(1.0)
    with pytest.raises(TypeError, match="Cannot interpret feed_dict key as Tensor"):
        sess.run(x, {key: 1.0})


def test_an_operation_as_key_raises_type_error(sess: wf.Session) -> None:
    x = wf.constant(1.0)
    with pytest.raises(TypeError, match="Cannot interpret feed_dict key as Tensor"):
        sess.run(x, {x.op: 1.0})


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("bool", 1, True), ("bool", [1, 0], [True, False]), ("bool", np.array([2, 0]), [True, False]),
        ("bool", [0.0, 0.5], [False, True]), ("int32", 1.5, 1), ("int32", [1.0, -2.7], [1, -2]),
        ("int32", np.array([1.0, -2.7]), [1, -2]), ("int32", True, 1), ("int32", "7", 7), ("uint8", [300, -1], [44, 255]),
        ("uint8", np.array([300, -1]), [44, 255]), ("int8", np.int64(300), 44), ("int32", [2**31], [-(2**31)]),
        ("float32", np.array([1, 2.5], object), [1, 2.5]), ("float32", Decimal("1.5"), 1.5), ("float32", b"1", 1.0),
        ("float32", ["1", "2"], [1, 2]), ("float32", [1e300], [np.inf]), ("float32", np.array([1e300]), [np.inf]),
        ("float32", 2**24 + 1, 2.0**24), ("float16", 70000, np.inf), ("bfloat16", [1, 2.5], [1, 2.5]),
        ("complex64", 1.5, 1.5), ("float32", [np.ones(2), [1, 2]], [[1, 1], [1, 2]]),
    ],
)  # fmt: skip
def test_feeds_are_converted_as_numpy_does(sess: wf.Session, dtype: str, value: Any, expected: Any) -> None:
    x = wf.placeholder(dtype)
    found = sess.run(wf.identity(x), {x: value})
    assert found.dtype == x.dtype.np
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("dtype", "value", "error"),
    [
        ("bool", 2, TypeError), ("int8", 300, TypeError), ("uint8", -1, TypeError), ("int64", 2**63, TypeError),
        ("float64", 10**400, TypeError), ("string", 1, TypeError), ("string", True, TypeError), ("string", [1, "a"], TypeError),
        ("float32", 1j, TypeError), ("float32", np.array([1j]), TypeError), ("float32", None, ValueError),
        ("float32", [None, 1.0], TypeError), ("float32", "abc", ValueError), ("float32", {"a": 1}, TypeError),
        ("float32", [[1], [2, 3]], ValueError),
    ],
)  # fmt: skip
def test_feeds_that_are_refused(sess: wf.Session, dtype: str, value: Any, error: Any) -> None:
    x = wf.placeholder(dtype)
    with pytest.raises(error, match=f"Cannot feed .* of type {dtype}"):
        sess.run(wf.identity(x), {x: value})


def test_feeding_twice_raises_value_error(sess: wf.Session) -> None:
    x = wf.placeholder(wf.float32, [], "x")
    with pytest.raises(ValueError, match="x:0 is fed twice"):
        sess.run(x, {x: 1.0, "x:0": 2.0})


def test_a_variables_handle_cannot_be_fed(sess: wf.Session) -> None:
    v = wf.Variable(1.0)
    with pytest.raises(TypeError, match="handle"):
        sess.run(v, {v.handle: 1.0})


def test_an_unfed_placeholder(sess: wf.Session) -> None:
    x = wf.placeholder(wf.float32, [2], "p")
    with pytest.raises(
        wf.errors.InvalidArgumentError, match="You must feed a value for placeholder tensor 'p'"
    ) as info:
        sess.run(x * 2.0)
    assert info.value.op is x.op
    assert "test_session.py" in info.value.message


# shapes that change from run to run


def test_alternating_shapes(sess: wf.Session) -> None:
    x = wf.placeholder(wf.float32, [None])
    y = wf.reduce_sum(x * 2.0)
    for count in [1, 2, 1, 3, 2]:
        assert sess.run(y, {x: np.ones(count)}) == 2.0 * count


def test_more_shapes_than_plans_are_kept(sess: wf.Session) -> None:
    x = wf.placeholder(wf.float32, [None])
    y = wf.exp(x) + wf.cast(wf.shape(x)[0], wf.float32)
    for count in [*range(1, SHAPES_A_REQUEST + 9), 3, SHAPES_A_REQUEST + 5]:
        np.testing.assert_array_equal(sess.run(y, {x: np.zeros(count)}), np.full(count, 1.0 + count))
    (prepared,) = sess._prepared.values()
    assert len(prepared.loaded) == SHAPES_A_REQUEST + 1


# the graph and the session's life


def test_an_empty_graph_raises_runtime_error() -> None:
    with wf.Session() as sess, pytest.raises(RuntimeError, match="The Session graph is empty"):
        sess.run([])


def test_a_closed_session_raises_runtime_error() -> None:
    x = wf.constant(1)
    sess = wf.Session()
    call = sess.make_callable(x)
    sess.close()
    sess.close()
    for use in (lambda: sess.run(x), lambda: sess.plan(x), lambda: sess.make_callable(x), call):
        with pytest.raises(RuntimeError, match="Attempted to use a closed Session"):
            use()


def test_leaving_the_block_closes() -> None:
    x = wf.constant(1)
    with wf.Session() as sess:
        assert sess.run(x) == 1
    with pytest.raises(RuntimeError, match="closed"):
        sess.run(x)


def test_a_finalized_graph_runs(sess: wf.Session) -> None:
    x = wf.constant(1) + 1
    sess.graph.finalize()
    assert sess.run(x) == 2
    with pytest.raises(RuntimeError, match="Graph is finalized"):
        wf.constant(1)


def test_the_graph_may_grow_between_runs(sess: wf.Session) -> None:
    v = wf.Variable(1.0)
    sess.run(v.initializer)
    w = wf.Variable(2.0)
    sess.run(w.initializer)
    assert sess.run(v + w) == 3.0
    assert sess.run([v + w, v * w]) == [3.0, 2.0]


def test_each_session_has_variables_of_its_own() -> None:
    v = wf.Variable(1.0)
    with wf.Session() as one, wf.Session() as two:
        one.run(v.initializer)
        two.run(v.assign(5.0))
        assert (one.run(v), two.run(v)) == (1.0, 5.0)


def test_the_default_session_evaluates_and_runs() -> None:
    v = wf.Variable(2.0)
    x = wf.placeholder(wf.float32, [])
    with wf.Session() as sess:
        assert wf.get_default_session() is sess
        v.initializer.run()
        assert v.eval() == 2.0
        assert (v * x).eval({x: 3.0}) == 6.0
    assert wf.get_default_session() is None
    with pytest.raises(ValueError, match="default session"):
        x.eval({x: 1.0})
    with pytest.raises(ValueError, match="default session"):
        v.initializer.run()


def test_as_default_does_not_close() -> None:
    x = wf.constant(1)
    sess = wf.Session()
    with sess.as_default():
        assert x.eval() == 1
    assert x.eval(session=sess) == 1
    sess.close()


def test_a_session_of_another_graph() -> None:
    graph = wf.Graph()
    with graph.as_default():
        x = wf.constant(3)
    with wf.Session(graph=graph) as sess:
        assert sess.graph is graph
        assert wf.get_default_graph() is graph
        assert sess.run(x) == 3
    assert wf.get_default_graph() is not graph


def test_the_default_session_is_the_threads_own(sess: wf.Session) -> None:
    seen = []
    thread = threading.Thread(target=lambda: seen.append(context.get_default_session()))
    thread.start()
    thread.join()
    assert seen == [None]


def test_an_interactive_session_is_the_default_until_closed() -> None:
    x = wf.constant(4)
    sess = wf.InteractiveSession()
    assert x.eval() == 4
    sess.close()
    assert wf.get_default_session() is None


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="target must be a string"):
        wf.Session(target=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="config must be"):
        wf.Session(config={})  # type: ignore[arg-type]
    with pytest.raises(wf.errors.NotFoundError, match="nosuch://"):
        wf.Session("nosuch://here")


def test_list_devices_and_target() -> None:
    sess = wf.Session(config=wf.ConfigProto(device_count={"CPU": 2}))
    devices = sess.list_devices()
    assert [device.name for device in devices] == [f"/job:localhost/replica:0/task:0/device:CPU:{i}" for i in range(2)]
    assert {device.device_type for device in devices} == {"CPU"}
    assert sess.sess_str == ""
    sess.close()
    with pytest.raises(RuntimeError, match="closed Session"):
        sess.list_devices()


# callables


def test_make_callable(sess: wf.Session) -> None:
    x, y = wf.placeholder(wf.float32, [None]), wf.placeholder(wf.float32, [])
    call = sess.make_callable({"sum": x + y, "x": x}, [x, y])
    values = call([1.0, 2.0], 3.0)
    assert values["sum"].tolist() == [4.0, 5.0]
    assert values["x"].tolist() == [1.0, 2.0]
    assert call([1.0], 1.0)["sum"].tolist() == [2.0]
    with pytest.raises(TypeError, match="takes 2 feeds, got 1"):
        call([1.0])
    with pytest.raises(ValueError, match="Cannot feed value of shape"):
        call([[1.0]], 1.0)


def test_run_metadata_tells_the_plans(sess: wf.Session) -> None:
    x = wf.constant([1.0]) + wf.random_uniform([1])
    metadata = wf.RunMetadata()
    sess.run(x, options=wf.RunOptions(output_partition_graphs=True), run_metadata=metadata)
    (part,) = metadata.partition_graphs
    assert "RandomUniform" in {node.op for node in part.node}


def test_the_plan_prints(sess: wf.Session) -> None:
    x = wf.placeholder(wf.float32, [None, 2], "x")
    w = wf.Variable(wf.zeros([2, 3]), name="w")
    text = str(sess.plan(wf.matmul(x, w)))
    assert text.startswith("plan for /job:localhost/replica:0/task:0/device:CPU:0: ")
    for part in ("= feed 0 (x:0)", "VarHandleOp() ", "(w)", "= MatMul(", "float32[?,3]", "fetch 0 = "):
        assert part in text
    assert "float32[5,3]" in str(sess.plan(wf.matmul(x, w), {x: np.zeros((5, 2))}))


# several threads


def test_threads_running_the_same_plan_do_not_disturb_each_other() -> None:
    x = wf.placeholder(wf.float32, [64, 64])
    y = x
    for _ in range(8):
        y = wf.tanh(y * 2.0) + y
    with wf.Session() as sess:
        check_in_threads(sess, x, wf.reduce_sum(y, 0))


def test_threads_running_over_several_devices() -> None:
    """What one device sends stays in its buffers: no other step may take them while a device still reads."""
    x = wf.placeholder(wf.float32, [64, 64])
    y = x
    for depth in range(8):
        with wf.device(f"/cpu:{depth % 3}"):
            y = wf.tanh(y * 2.0) + y
    with wf.device("/cpu:2"):
        for _ in range(40):
            y = wf.tanh(y + x)
    with wf.Session(config=wf.ConfigProto(device_count={"CPU": 3})) as sess:
        check_in_threads(sess, x, wf.reduce_sum(y, 0))


def check_in_threads(sess: wf.Session, x: wf.Tensor, y: wf.Tensor) -> None:
    fed = [np.random.default_rng(i).normal(size=(64, 64)).astype(np.float32) for i in range(4)]
    alone = [sess.run(y, {x: value}) for value in fed]

    def often(index: int) -> bool:
        return all(np.array_equal(sess.run(y, {x: fed[index]}), alone[index]) for _ in range(25))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(often, range(4))) == [True] * 4


def test_updates_from_threads_are_not_lost(sess: wf.Session) -> None:
    v = wf.Variable(np.zeros(1000), dtype=wf.float64)
    update = v.assign_add(np.ones(1000)).op
    sess.run(v.initializer)
    threads = [threading.Thread(target=lambda: [sess.run(update) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sess.run(v).tolist() == [200.0] * 1000


@pytest.mark.filterwarnings("ignore::weft.RaceWarning")
def test_a_read_that_nothing_orders_after_a_write_gives_the_value_before_it(sess: wf.Session) -> None:
    step = wf.train.get_or_create_global_step()
    w = wf.Variable(1.0)
    train_op = wf.train.GradientDescentOptimizer(0.1).minimize(w * w, global_step=step)
    with wf.control_dependencies([train_op]):
        after = step.read_value()
    sess.run(wf.global_variables_initializer())
    found = [sess.run([train_op, step, after])[1:] for _ in range(3)]
    assert [[int(value) for value in pair] for pair in found] == [[0, 1], [1, 2], [2, 3]]
