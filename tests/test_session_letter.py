"""Sessions to the letter: structures that are fetched, arguments of the wrong kind, the default session's graph."""

from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from typing import Any

import attr
import numpy as np
import pytest
import weft as wf


@attr.s(auto_attribs=True)
class Pair:
    left: Any
    _right: Any


@dataclass(frozen=True)
class Frozen:
    left: Any
    right: Any


def run(fetches: Any, feed_dict: Any = None) -> Any:
    with wf.Session() as sess:
        return sess.run(fetches, feed_dict)


def test_classes_of_attrs_and_dataclasses_are_fetched() -> None:
    x, y = wf.constant(1.0), wf.constant(2.0)
    assert run(Pair(x, [y, {"z": x}])) == Pair(1.0, [2.0, {"z": 1.0}])
    assert run([Frozen(x, y)]) == [Frozen(1.0, 2.0)]


def test_dicts_keep_their_kind() -> None:
    x = wf.constant(1.0)
    found = run([defaultdict(list, a=x), OrderedDict(b=x, a=x)])
    assert found == [{"a": 1.0}, OrderedDict(b=1.0, a=1.0)]
    assert found[0]["nothing"] == []
    assert type(found[1]) is OrderedDict


def test_feeds_of_the_wrong_form() -> None:
    x, y = wf.placeholder(wf.float32), wf.placeholder(wf.float32)
    with pytest.raises(TypeError, match="feed_dict must be a dict"):
        run(x, [(x, 1.0)])
    with pytest.raises(ValueError, match="A key of 2 tensors is fed 1 values"):
        run(x, {(x, y): (1.0,)})


def test_arguments_of_the_wrong_kind() -> None:
    with pytest.raises(TypeError, match=r"graph must be a wf.Graph"):
        wf.Session(graph="x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Session\(config=config\)"):
        wf.Session(wf.ConfigProto())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("intra_op_parallelism_threads", "2"), ("intra_op_parallelism_threads", 1.5), ("inter_op_parallelism_threads", None),
        ("operation_timeout_in_ms", "5"), ("schedule_seed", "x"), ("device_count", 3), ("device_count", {"CPU": "2"}),
    ],
)  # fmt: skip
def test_a_field_of_a_config_that_is_no_number_is_named(field: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"{field}.* must be .*, but got"):
        wf.Session(config=wf.ConfigProto(**{field: value}))


def test_a_timeout_below_zero_is_no_limit() -> None:
    x = wf.constant(2.0)
    with wf.Session(config=wf.ConfigProto(operation_timeout_in_ms=-1)) as session:
        assert session.run(x, options=wf.RunOptions(timeout_in_ms=-1)) == 2.0


def test_the_default_session_runs_its_own_graph() -> None:
    with wf.Graph().as_default():
        x = wf.constant(2.0)
        op = wf.no_op()
        own = wf.Session()
    wf.constant(1.0)
    with wf.Session():
        with pytest.raises(ValueError, match="Cannot use the default session to evaluate tensor"):
            x.eval()
        with pytest.raises(ValueError, match="Cannot use the default session to execute operation"):
            op.run()
        assert x.eval(session=own) == 2.0
    own.close()


def test_the_graph_of_a_session_as_data() -> None:
    wf.constant(2.0, name="two")
    with wf.Session() as sess:
        assert [node.name for node in sess.graph_def.node] == ["two"]


def test_callables_take_slices_as_one_value() -> None:
    slices = wf.IndexedSlices(wf.placeholder(wf.float32), wf.placeholder(wf.int32), wf.placeholder(wf.int32))
    with wf.Session() as sess:
        call = sess.make_callable(slices, [slices])
        value = call(wf.IndexedSlicesValue([[1.0]], [4], [9, 1]))
        without = wf.IndexedSlices(slices.values, slices.indices)
        rows = sess.make_callable(without, [without])(([[2.0]], [5], None))
    assert [part.tolist() for part in value] == [[[1.0]], [4], [9, 1]]
    assert (rows.values.tolist(), rows.indices.tolist(), rows.dense_shape) == ([[2.0]], [5], None)


def test_callables_from_options() -> None:
    a, b = wf.placeholder(wf.float32, name="a"), wf.placeholder(wf.float32, name="b")
    v = wf.Variable(0.0)
    wf.add(a, b, name="sum")
    step = v.assign_add(1.0, read_value=False)
    options = wf.CallableOptions()
    options.feed.extend(["a:0", "b:0"])
    options.fetch.append("sum:0")
    options.target.append(step.name)
    with wf.Session() as sess:
        sess.run(v.initializer)
        call = sess._make_callable_from_options(options)
        assert (call(1.0, np.float32(2.0)), sess.run(v)) == ([3.0], 1.0)
        options.run_options.trace_level = wf.RunOptions.FULL_TRACE
        metadata = wf.RunMetadata()
        call(1.0, 2.0, run_metadata=metadata)
        assert metadata.step_stats.dev_stats
        with pytest.raises(TypeError, match="takes 2 feeds, got 1"):
            call(1.0)
        options.feed[1] = "nothing:0"
        with pytest.raises(KeyError, match="refers to a Tensor which does not exist"):
            sess._make_callable_from_options(options)


def test_the_values_of_operations() -> None:
    x, y = wf.split(wf.constant([1.0, 2.0], name="both"), 2)
    assert (x.op.values(), wf.no_op().values()) == ((x, y), ())


def test_a_fed_variable_is_fed_to_all_that_reads_it() -> None:
    rate = wf.Variable(1.0)
    w = wf.Variable(4.0)
    step = wf.train.GradientDescentOptimizer(rate).minimize(w * 2.0)
    early = rate * 10.0
    with wf.Session() as sess:
        assert sess.run([rate, early], {rate: 3.0}) == [3.0, 30.0]  # not initialized, not needed
        sess.run(wf.global_variables_initializer())
        sess.run(step, {rate: 0.5})
        assert sess.run(w) == 3.0
        assert sess.run([early, rate + 1.0], {rate: 2.0}) == [20.0, 3.0]
        assert sess.run(rate) == 1.0
        assert sess.make_callable([rate, early], [rate])(5.0) == [5.0, 50.0]
        handle = sess.partial_run_setup([early], [rate])
        assert sess.partial_run(handle, early, {rate: 6.0}) == 60.0
