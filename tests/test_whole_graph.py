"""A session looks at the whole graph: an operation that could run nowhere makes every run fail, needed or not."""

from collections.abc import Callable
from typing import Any

import pytest
import weft as wf


def nowhere(name: str = "bad") -> wf.Tensor:
    with wf.device("/job:nosuch/task:0"):
        return wf.constant(1.0, name=name)


def contradiction() -> wf.Tensor:
    tensors = []
    for index in (0, 1):
        with wf.device(f"/cpu:{index}"):
            tensors.append(wf.random_uniform([2], name=f"x{index}"))
    with wf.colocate_with(tensors[0]), wf.colocate_with(tensors[1]):
        return wf.add(tensors[0], tensors[1], name="z")


TWO = wf.ConfigProto(device_count={"CPU": 2})


def test_what_no_run_needs_must_have_a_device_too() -> None:
    x = wf.constant(2.0)
    nowhere()
    with wf.Session() as sess:
        for _ in range(2):
            with pytest.raises(wf.errors.InvalidArgumentError) as info:
                sess.run(x)
            assert "Cannot assign a device for operation bad: {{node bad}}" in info.value.message
            assert "test_whole_graph.py" in info.value.message
            assert info.value.op is not None


def test_what_is_added_later_counts_at_the_next_run() -> None:
    x = wf.constant(2.0)
    with wf.Session() as sess:
        call = sess.make_callable(x)
        assert (sess.run(x), call()) == (2.0, 2.0)
        nowhere()
        runs: list[Callable[[], Any]] = [lambda: sess.run(x), call]
        for run in runs:
            with pytest.raises(wf.errors.InvalidArgumentError, match="operation bad"):
                run()


def test_colocations_that_contradict_each_other() -> None:
    x = wf.constant(2.0)
    contradiction()
    refused = pytest.raises(wf.errors.InvalidArgumentError, match=r"Cannot colocate nodes .*incompatible ids")
    with wf.Session(config=TWO) as sess, refused:
        sess.run(x)


def test_soft_placement_finds_a_device_for_all() -> None:
    x = wf.constant(2.0)
    nowhere()
    contradiction()
    with wf.Session(config=wf.ConfigProto(allow_soft_placement=True, device_count={"CPU": 2})) as sess:
        assert sess.run(x) == 2.0


@pytest.mark.parametrize("interactive", [False, True])
def test_a_session_may_look_at_what_it_needs_alone(interactive: bool) -> None:
    x = wf.constant(2.0)
    bad = nowhere()
    config = wf.ConfigProto()
    config.graph_options.place_pruned_graph = not interactive
    sess = wf.InteractiveSession() if interactive else wf.Session(config=config)
    assert sess.run(x) == 2.0
    with pytest.raises(wf.errors.InvalidArgumentError, match="operation bad"):
        sess.run(bad)
    sess.close()


def test_users_of_a_variable_go_where_it_is() -> None:
    with wf.device("/cpu:0"):
        v = wf.Variable(1.0)
    with wf.device("/cpu:7"):
        step = wf.train.GradientDescentOptimizer(0.5).apply_gradients([(wf.constant(1.0), v)])
    with wf.Session(config=wf.ConfigProto(allow_soft_placement=True)) as sess:
        sess.run(v.initializer)
        sess.run(step)
        assert sess.run(v) == 0.5


def test_partial_requests_of_a_group_are_merged() -> None:
    with wf.device("/job:localhost"):
        a = wf.random_uniform([2])
    with wf.device("/cpu:1"):
        b = wf.random_uniform([2])
    with wf.colocate_with(a), wf.colocate_with(b):
        c = a + b
    with wf.Session(config=TWO) as sess:
        assert sess.run(c).shape == (2,)


def test_options_that_programs_set() -> None:
    config = wf.ConfigProto(allow_soft_placement=True)
    config.gpu_options.allow_growth = True
    config.gpu_options.per_process_gpu_memory_fraction = 0.3
    config.graph_options.optimizer_options.global_jit_level = wf.OptimizerOptions.ON_1
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.device_count["CPU"] = 2
    with wf.Session(config=config) as sess:
        assert len(sess.list_devices()) == 2
    assert wf.ConfigProto().gpu_options.allow_growth is False
    with pytest.raises(AttributeError):
        config.alow_soft_placement = True  # type: ignore[attr-defined]
