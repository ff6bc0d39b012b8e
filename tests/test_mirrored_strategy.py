"""What a strategy's scope, replicas and variables are to a program: names, collections, savers, feeds, hooks and errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from mirrored import bits


@pytest.fixture
def two() -> wf.distribute.MirroredStrategy:
    return wf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])


def session(**options: Any) -> wf.Session:
    return wf.Session(config=wf.ConfigProto(device_count={"CPU": 2}, **options))


# variables


def test_copies_begin_with_one_value_even_where_it_is_drawn(two: wf.distribute.MirroredStrategy) -> None:
    with two.scope():
        w = wf.Variable(wf.random_normal([3]), name="w")
        v = wf.get_variable("v", [4])
    with session() as running:
        running.run(wf.global_variables_initializer())
        assert set(bits(running, [w, v])) == {"w", "v"}
        first = running.run(w)
        running.run(w.initializer)
        assert not np.array_equal(first, running.run(w))  # drawn anew
        bits(running, [w])


def test_a_mirrored_variable_is_one_in_collections_with_a_copy_on_each_device(
    two: wf.distribute.MirroredStrategy,
) -> None:
    with two.scope():
        w = wf.get_variable("scope/w", [2])
        counter = wf.Variable(0, trainable=False, name="counter", collections=[wf.GraphKeys.LOCAL_VARIABLES])
    assert wf.global_variables() == wf.trainable_variables() == [w]
    assert wf.local_variables() == [counter]
    copies = two.experimental_local_results(w)
    assert [copy.name for copy in copies] == ["scope/w:0", "scope/w/replica_1:0"]
    assert [copy.device for copy in copies] == ["/device:CPU:0", "/device:CPU:1"]
    assert (w.name, w.shape.as_list(), w.dtype, w.trainable, counter.trainable) == (
        "scope/w:0",
        [2],
        wf.float32,
        True,
        False,
    )
    assert isinstance(w, wf.Variable)
    assert not isinstance(wf.Variable(0.0), type(w))  # outside of the scope


def test_each_replica_reads_its_own_copy(two: wf.distribute.MirroredStrategy) -> None:
    with two.scope():
        w = wf.Variable([1.0, 2.0])
    read = two.run(lambda: w + 0.0)
    assert [value.device for value in read] == ["/device:CPU:0", "/device:CPU:1"]
    with session() as running:
        running.run(wf.global_variables_initializer())
        running.run(two.experimental_local_results(w)[1].assign([5.0, 6.0]))  # which is not how it is meant to be used
        assert [value.tolist() for value in running.run(read)] == [[1.0, 2.0], [5.0, 6.0]]
        assert running.run(w).tolist() == [1.0, 2.0]


def test_a_write_outside_of_replicas_changes_all_copies(two: wf.distribute.MirroredStrategy) -> None:
    with two.scope():
        w = wf.Variable(np.arange(6.0).reshape(3, 2), name="w")
        n = wf.Variable(0, name="n")
    drawn = wf.random_normal([3, 2], dtype=wf.float64)
    writes = [
        w.assign_add(drawn), w.assign_sub(drawn * 2.0), w.assign(drawn), wf.scatter_add(w, [0, 2], [[1.0, 2.0]] * 2),
        w.scatter_nd_update([[1]], [[7.0, 8.0]]), n.count_up_to(5),
    ]  # fmt: skip
    with session(race_check="error") as running:
        running.run(wf.global_variables_initializer())
        before = bits(running, [w, n])
        for write in writes:
            value = running.run(write)
            after = bits(running, [w, n])
            assert after != before
            assert value.tobytes() == (after["w"] if value.shape else np.asarray(value).tobytes())
            before = after
        running.run(wf.group(w.assign_add(drawn, read_value=False)))
        assert bits(running, [w]) != before
        w.load(np.ones([3, 2]), running)
        assert bits(running, [w])["w"] == np.ones([3, 2]).tobytes()


def test_a_replica_cannot_change_a_copy_alone(two: wf.distribute.MirroredStrategy) -> None:
    with two.scope():
        w = wf.Variable([1.0], name="w")
    for change in (lambda: w.assign([2.0]), lambda: w.assign_add([2.0]), lambda: wf.scatter_add(w, [0], [1.0])):
        with pytest.raises(
            ValueError, match=r"Replica 0 changes its copy of the mirrored variable w:0 alone.*strategy.reduce"
        ):
            two.run(change)
    with two.scope():
        count = wf.Variable(0)
    with pytest.raises(ValueError, match="Replica 0 changes"):
        two.run(lambda: count.count_up_to(3))


def test_a_feed_of_a_mirrored_variable_is_fed_to_all_copies(two: wf.distribute.MirroredStrategy) -> None:
    with two.scope():
        w = wf.Variable([1.0])
    read = two.run(lambda: w * 1.0)
    with session() as running:
        assert [value.tolist() for value in running.run(read, {w: [9.0]})] == [[9.0], [9.0]]


def test_whether_it_has_a_value_is_asked_of_all_copies(two: wf.distribute.MirroredStrategy) -> None:
    with two.scope():
        w = wf.Variable([1.0], name="w")
    asked = w.is_initialized(), wf.report_uninitialized_variables()
    with session() as running:
        assert running.run(asked)[0] == False  # noqa: E712
        running.run(two.experimental_local_results(w)[0].initializer)
        assert running.run(asked)[1].tolist() == [b"w"]
        running.run(w.initializer)
        assert running.run(asked)[0] == True  # noqa: E712
        assert running.run(asked)[1].tolist() == []


def test_copies_that_are_synchronized_on_read_are_read_as_their_mean_or_the_first(
    two: wf.distribute.MirroredStrategy,
) -> None:
    on_read, kinds = wf.VariableSynchronization.ON_READ, wf.VariableAggregation
    with two.scope():
        mean = wf.Variable(1.0, name="mean", synchronization=on_read, aggregation=kinds.MEAN)
        first = wf.Variable(1.0, name="first", synchronization=on_read, aggregation=kinds.ONLY_FIRST_REPLICA)
    assert wf.trainable_variables() == []
    amounts = wf.distribute.PerReplica([1.0, 4.0])
    changes = two.run(
        lambda by: (mean.assign_add(by, read_value=False), first.assign_add(by, read_value=False)), (amounts,)
    )
    inside, outside = two.run(lambda: mean + 0.0), mean * 1.0
    with session() as running:
        running.run(wf.global_variables_initializer())
        running.run(changes)
        assert running.run([mean, first, outside, inside]) == [3.5, 2.0, 3.5, (2.0, 5.0)]
        assert mean.eval(running) == 3.5
        assert running.run(mean.assign(7.0)) == 7.0
        assert running.run(inside) == (7.0, 7.0)


def test_batch_normalization_trains_on_replicas(two: wf.distribute.MirroredStrategy, tmp_path: Path) -> None:
    def network(x: Any) -> Any:
        hidden = wf.layers.batch_normalization(wf.layers.dense(x, 3), training=True, momentum=0.5)
        return wf.reduce_mean(wf.square(hidden - 1.0))

    random = np.random.default_rng(0)
    parts = wf.distribute.PerReplica([random.normal(size=(6, 4)).astype(np.float32) for _ in range(2)])
    losses = two.run(network, (parts,))
    updates = wf.get_collection(wf.GraphKeys.UPDATE_OPS)
    assert len(updates) == 4
    train = wf.train.MirroredOptimizer(wf.train.MomentumOptimizer(0.1, 0.9), two).minimize(losses)
    average = next(v for v in wf.global_variables() if v.op.name.endswith("moving_mean"))
    copies = two.experimental_local_results(average)
    with session(race_check="error") as running:
        running.run(wf.global_variables_initializer())
        for _ in range(3):
            running.run([train, updates])
        bits(running, wf.trainable_variables())
        one, other = running.run(copies)
        assert not np.array_equal(one, other)
        assert np.array_equal(running.run(average), (one + other) / 2)
        path = wf.train.Saver().save(running, str(tmp_path / "model"))
        wf.train.Saver().restore(running, path)
        assert all(np.array_equal(value, (one + other) / 2) for value in running.run(copies))


# savers


def test_a_checkpoint_holds_one_copy_and_restores_all(two: wf.distribute.MirroredStrategy, tmp_path: Path) -> None:
    def build(strategy: wf.distribute.MirroredStrategy) -> wf.Operation:
        with strategy.scope():
            w = wf.Variable(wf.random_normal([5]), name="w")
        loss = strategy.run(lambda: wf.reduce_sum(wf.square(w)))
        return wf.train.MirroredOptimizer(wf.train.MomentumOptimizer(0.1, 0.9), strategy).minimize(loss)

    train = build(two)
    with session() as running:
        running.run(wf.global_variables_initializer())
        running.run(train)
        path = wf.train.Saver().save(running, str(tmp_path / "model"))
        saved = bits(running, wf.global_variables())
    assert path is not None
    assert sorted(name for name, _ in wf.train.list_variables(path)) == ["w", "w/Momentum"]
    wf.reset_default_graph()
    three = wf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1", "/cpu:2"])
    train = build(three)
    with wf.Session(config=wf.ConfigProto(device_count={"CPU": 3})) as running:
        wf.train.Saver().restore(running, path)
        assert bits(running, wf.global_variables()) == saved
        running.run(train)
        assert bits(running, wf.global_variables()) != saved


def test_a_checkpoint_of_a_parameter_server_goes_on_mirrored(
    two: wf.distribute.MirroredStrategy, tmp_path: Path
) -> None:
    with wf.Graph().as_default():
        w = wf.Variable([1.0, 2.0], name="w")
        train = wf.train.AdamOptimizer(0.1).minimize(wf.reduce_sum(wf.square(w)))
        with wf.Session() as running:
            running.run(wf.global_variables_initializer())
            running.run(train)
            path = wf.train.Saver().save(running, str(tmp_path / "model"))
            running.run(train)
            expected = bits(running, wf.global_variables())
    with two.scope():
        w = wf.Variable([0.0, 0.0], name="w")
    loss = two.run(lambda: wf.reduce_sum(wf.square(w)))
    train = wf.train.MirroredOptimizer(wf.train.AdamOptimizer(0.1), two).minimize(loss)
    with session() as running:
        wf.train.Saver().restore(running, path)
        running.run(train)
        assert bits(running, wf.global_variables()) == expected


def test_a_monitored_session_trains_and_resumes(two: wf.distribute.MirroredStrategy, tmp_path: Path) -> None:
    with two.scope():
        step = wf.train.get_or_create_global_step()
        w = wf.Variable([4.0], name="w")
    loss = two.run(lambda: wf.reduce_sum(wf.square(w)))
    train = wf.train.MirroredOptimizer(wf.train.GradientDescentOptimizer(0.1), two).minimize(loss, global_step=step)
    for last in (3, 5):
        with wf.train.MonitoredTrainingSession(
            checkpoint_dir=str(tmp_path), hooks=[wf.train.StopAtStepHook(last_step=last)], log_step_count_steps=None,
            config=wf.ConfigProto(device_count={"CPU": 2}),
        ) as running:  # fmt: skip
            while not running.should_stop():
                running.run(train)
    reader = wf.train.load_checkpoint(str(tmp_path))
    assert reader.get_tensor("global_step") == 5
    value = np.float32(4.0)
    for _ in range(5):
        value = np.float32(value - np.float32(0.1) * (np.float32(2.0) * value))
    assert np.allclose(reader.get_tensor("w"), value)


# replicas


def test_a_function_sees_its_replica_and_its_own_arguments(two: wf.distribute.MirroredStrategy) -> None:
    seen: list[Any] = []

    def fn(x: Any, pair: Any, *, scale: float) -> dict[str, Any]:
        replica = wf.distribute.get_replica_context()
        assert replica is not None
        assert (replica.strategy, replica.num_replicas_in_sync) == (two, 2)
        assert wf.distribute.get_strategy() is two
        assert wf.distribute.has_strategy()
        assert not wf.distribute.in_cross_replica_context()
        seen.append((replica.replica_id_in_sync_group, replica.devices, x, pair, scale))
        return {"sum": wf.add(x, pair[0]), "same": "text", "none": None}

    numbers = wf.distribute.PerReplica([1.0, 2.0])
    found = two.run(fn, (numbers, (numbers, "k")), {"scale": 3.0})
    assert seen == [(0, ("/device:CPU:0",), 1.0, (1.0, "k"), 3.0), (1, ("/device:CPU:1",), 2.0, (2.0, "k"), 3.0)]
    assert (found["same"], found["none"]) == ("text", None)
    with session() as running:
        assert running.run(found["sum"]) == (2.0, 4.0)
    assert wf.distribute.get_replica_context() is None
    assert not wf.distribute.has_strategy()
    with pytest.raises(RuntimeError, match="no strategy here"):
        wf.distribute.get_strategy()
    with two.scope():
        assert wf.distribute.in_cross_replica_context()


def test_layers_share_their_variables_among_replicas(two: wf.distribute.MirroredStrategy) -> None:
    def network(x: Any) -> Any:
        hidden = wf.layers.dense(x, 4, activation=wf.nn.relu)
        return wf.reduce_mean(wf.layers.dense(hidden, 1))

    parts = wf.distribute.PerReplica([np.ones([2, 3], np.float32), np.ones([5, 3], np.float32)])
    losses = two.run(network, (parts,))
    names = [v.name for v in wf.trainable_variables()]
    assert names == ["dense/kernel:0", "dense/bias:0", "dense_1/kernel:0", "dense_1/bias:0"]
    train = wf.train.MirroredOptimizer(wf.train.AdamOptimizer(), two).minimize(losses)
    with session() as running:
        running.run(wf.global_variables_initializer())
        first = running.run(losses)
        running.run(train)
        assert running.run(losses) != first
        bits(running, wf.global_variables())


def test_values_of_replicas_are_reduced_in_their_order(two: wf.distribute.MirroredStrategy) -> None:
    parts = wf.distribute.PerReplica([wf.constant([[1.0, 2.0]]), wf.constant([[3.0, 5.0]])])
    uneven = wf.distribute.PerReplica([wf.constant([1.0, 2.0]), wf.constant([6.0])])
    op = wf.distribute.ReduceOp
    with session() as running:
        assert running.run(two.reduce(op.SUM, parts)).tolist() == [[4.0, 7.0]]
        assert running.run(two.reduce(op.MEAN, parts)).tolist() == [[2.0, 3.5]]
        assert running.run(two.reduce("SUM", parts, axis=1)).tolist() == [11.0]
        assert running.run(two.reduce("MEAN", uneven, axis=0)) == 3.0
        assert running.run(two.reduce("SUM", 1.5)) == 3.0  # what is no value of replicas counts for each
    with pytest.raises(ValueError, match=r"expected ReduceOp.SUM or ReduceOp.MEAN, got 'MAX'"):
        two.reduce("MAX", parts)


def test_the_step_counts_once_also_where_it_is_not_mirrored(two: wf.distribute.MirroredStrategy) -> None:
    step = wf.train.get_or_create_global_step()
    with two.scope():
        w = wf.Variable([4.0])
    loss = two.run(lambda: wf.reduce_sum(w * w))
    opt = wf.train.MirroredOptimizer(wf.train.MomentumOptimizer(0.1, 0.9), two)
    train = opt.minimize(loss, global_step=step)
    assert wf.get_collection(wf.GraphKeys.TRAIN_OP) == [train]
    assert opt.get_slot_names() == ["momentum"]
    assert opt.get_slot(w, "momentum") in opt.variables()
    assert wf.find_races(train) == []
    with session(race_check="error") as running:
        running.run(wf.global_variables_initializer())
        for _ in range(3):
            running.run(train)
        assert running.run(step) == 3


def test_reduced_gradients_can_be_clipped_before_they_are_applied(two: wf.distribute.MirroredStrategy) -> None:
    with two.scope():
        w = wf.Variable([30.0, 40.0], name="w")
    loss = two.run(lambda: wf.reduce_sum(w * w) * 0.5)
    opt = wf.train.MirroredOptimizer(wf.train.GradientDescentOptimizer(1.0), two)
    ((grad, var),) = opt.compute_gradients(loss)
    clipped = two.run(lambda g: wf.clip_by_norm(g, 5.0), two.all_reduce("mean", [grad]))
    train = opt.apply_gradients([(clipped, var)], reduced=True)
    with session() as running:
        running.run(wf.global_variables_initializer())
        running.run(train)
        assert np.allclose(running.run(w), [27.0, 36.0])
        bits(running, [w])


def test_a_constraint_holds_for_every_copy(two: wf.distribute.MirroredStrategy) -> None:
    with two.scope():
        w = wf.Variable([0.1, 3.0], name="w", constraint=lambda value: wf.maximum(value, 0.0))
    loss = two.run(lambda: wf.reduce_sum(w))
    train = wf.train.MirroredOptimizer(wf.train.GradientDescentOptimizer(1.0), two).minimize(loss)
    with session(race_check="error") as running:
        running.run(wf.global_variables_initializer())
        running.run(train)
        assert running.run(w).tolist() == [0.0, 2.0]
        bits(running, [w])


# errors


def test_devices_are_named_once_each_and_there_is_at_least_one() -> None:
    wrong: list[Any] = [[], "/cpu:0"]
    for devices in wrong:
        with pytest.raises(ValueError, match="list of one device a replica"):
            wf.distribute.MirroredStrategy(devices)
    with pytest.raises(ValueError, match=r"named more than once: /device:CPU:1"):
        wf.distribute.MirroredStrategy(["/cpu:1", "/cpu:0", "/device:CPU:1"])
    with pytest.raises(ValueError, match="bucket_bytes must be positive"):
        wf.distribute.MirroredStrategy(["/cpu:1"], bucket_bytes=0)
    with pytest.raises(ValueError, match=r"no task for device /job:worker/task:2 in the cluster"):
        wf.distribute.MirroredStrategy(["/job:worker/task:2"], cluster={"worker": ["a:1", "b:1"]})


def test_a_device_that_is_not_there_is_named_with_the_line_that_asks_for_it(
    two: wf.distribute.MirroredStrategy,
) -> None:
    with two.scope():
        w = wf.Variable([1.0], name="w")
    with wf.Session() as running, pytest.raises(wf.errors.InvalidArgumentError) as caught:
        running.run(w.initializer)
    assert "w/replica_1" in str(caught.value)
    assert "available devices are [ /job:localhost/replica:0/task:0/device:CPU:0 ]" in str(caught.value)
    assert Path(__file__).name in str(caught.value)


def test_gradients_must_be_alike_in_all_replicas(two: wf.distribute.MirroredStrategy) -> None:
    with two.scope():
        w = wf.Variable([[1.0, 2.0]], name="w")
        table = wf.Variable([[1.0]], name="table")
    opt = wf.train.MirroredOptimizer(wf.train.GradientDescentOptimizer(0.1), two)

    def first_only() -> Any:
        replica = wf.distribute.get_replica_context()
        assert replica is not None
        return wf.reduce_sum(w) if replica.replica_id_in_sync_group == 0 else wf.reduce_sum(table)

    with pytest.raises(ValueError, match=r"gradient of w:0 is None in replica 1 and not in the others"):
        opt.minimize(two.run(first_only))
    shapes = wf.distribute.PerReplica([wf.zeros([1, 2]), wf.zeros([2, 1])])
    with pytest.raises(ValueError, match=r"replicas' shapes of the gradient of w:0 differ: Shapes \[1,2\] and \[2,1\]"):
        opt.apply_gradients([(shapes, w)])
    types = wf.distribute.PerReplica([wf.zeros([1, 2]), wf.zeros([1, 2], wf.float64)])
    with pytest.raises(ValueError, match=r"replicas' types of the gradient of w:0 differ"):
        opt.apply_gradients([(types, w)])
    kinds = wf.distribute.PerReplica([wf.zeros([1, 1]), wf.IndexedSlices(wf.zeros([1, 1]), wf.constant([0]))])
    with pytest.raises(ValueError, match="is a Tensor and in others IndexedSlices"):
        opt.apply_gradients([(kinds, table)])
    with pytest.raises(ValueError, match="PerReplica of 2 gradients of w:0"):
        opt.apply_gradients([(wf.zeros([1, 2]), w)])
    with pytest.raises(ValueError, match="No gradients provided for any variable"):
        opt.apply_gradients([(None, w)])


def test_an_optimizer_that_is_not_mirrored_would_change_one_copy_alone(two: wf.distribute.MirroredStrategy) -> None:
    descent = wf.train.GradientDescentOptimizer(0.1)

    def loss() -> Any:
        return wf.reduce_sum(wf.square(w))

    with two.scope():
        w = wf.get_variable("w", [3])
    losses = two.run(loss)
    message = r"w:0 has a copy on each of 2 devices.*MirroredOptimizer\(optimizer, strategy\), outside of the replicas"
    with pytest.raises(ValueError, match=message):
        descent.minimize(losses)
    with pytest.raises(ValueError, match=message):
        two.run(lambda: descent.minimize(loss()))
    wf.train.MirroredOptimizer(descent, two).minimize(losses)


def test_what_cannot_be_replicated_says_so(two: wf.distribute.MirroredStrategy) -> None:
    alone = wf.Variable([1.0], name="alone")
    descent = wf.train.GradientDescentOptimizer(0.1)
    opt = wf.train.MirroredOptimizer(descent, two)
    with pytest.raises(ValueError, match=r"alone.*has no copies on the strategy's devices"):
        opt.minimize(two.run(lambda: wf.reduce_sum(alone * 1.0)))
    with pytest.raises(TypeError, match="losses, as strategy"):
        opt.minimize(wf.reduce_sum(alone))
    with pytest.raises(TypeError, match="leaves the gradients as they are"):
        wf.train.MirroredOptimizer(wf.train.SyncReplicasOptimizer(descent, 2), two)
    with pytest.raises(TypeError, match="expected a MirroredStrategy"):
        wf.train.MirroredOptimizer(descent, "/cpu:0")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Replica 1 makes a variable of its own, own.*get_variable"):
        two.run(lambda: wf.Variable([1.0], name="own"))
    with pytest.raises(RuntimeError, match="a replica has no replicas"):
        two.run(lambda: two.run(lambda: None))
    with two.scope(), pytest.raises(NotImplementedError, match="give aggregation=MEAN or ONLY_FIRST_REPLICA"):
        wf.Variable([1.0], synchronization=wf.VariableSynchronization.ON_READ)
    structures = iter([(1, 2), (1,)])
    with pytest.raises(ValueError, match="same nested structure"):
        two.run(lambda: next(structures))
    wf.reset_default_graph()
    wf.enable_eager_execution()
    with pytest.raises(RuntimeError, match="eager execution"), two.scope():
        pass
