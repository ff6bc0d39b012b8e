"""Replication without a parameter server gives the bits of one: over optimizers, replicas, types, bucket sizes and rings."""

from typing import Any

import hypothesis
import numpy as np
import pytest
import weft as wf
from hypothesis import given, strategies as st
from mirrored import OPTIMIZERS, mirrored, through_a_ps
from weft.runtime.stages.plan import Send
from weft.train.mirrored import reduction_plan


def devices(count: int) -> list[str]:
    return [f"/cpu:{number}" for number in range(count)]


def config(count: int, **options: Any) -> wf.ConfigProto:
    return wf.ConfigProto(device_count={"CPU": count}, race_check="error", **options)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("optimizer", ["descent", "momentum", "adam"])
def test_replicas_end_with_the_bits_of_a_parameter_server(optimizer: str, count: int) -> None:
    strategy = wf.distribute.MirroredStrategy(devices(count))
    expected = through_a_ps(optimizer, devices(count), config=config(count))
    assert mirrored(optimizer, strategy, config=config(count)) == expected
    assert len(expected) >= 6


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("rows", [True, False])
def test_it_holds_for_every_optimizer_for_sums_and_for_gradients_of_rows(optimizer: str, rows: bool) -> None:
    strategy = wf.distribute.MirroredStrategy(devices(3), bucket_bytes=600)
    expected = through_a_ps(optimizer, devices(3), config=config(3), mean=False, rows=rows)
    assert mirrored(optimizer, strategy, config=config(3), mean=False, rows=rows) == expected


@pytest.mark.parametrize("dtype", [wf.float64, wf.float16, wf.bfloat16])
def test_it_holds_for_other_types(dtype: wf.DType) -> None:
    strategy = wf.distribute.MirroredStrategy(devices(3))
    expected = through_a_ps("momentum", devices(3), config=config(3), dtype=dtype, rows=False)
    assert mirrored("momentum", strategy, config=config(3), dtype=dtype, rows=False) == expected


def on_hosts(hosts: str, reduction: str, bucket_bytes: int = 1000) -> wf.distribute.MirroredStrategy:
    """A replica on each of these hosts, of which a local session with as many devices plays the part."""
    names = [f"/job:worker/task:{number}/cpu:{number}" for number in range(len(hosts))]
    cluster = {"worker": [f"{host}:{2222 + number}" for number, host in enumerate(hosts)]}
    return wf.distribute.MirroredStrategy(names, cluster, reduction, bucket_bytes)


@pytest.mark.parametrize("hosts", ["aabb", "abb", "aab", "abc"])
@pytest.mark.parametrize("optimizer", ["descent", "adam"])
def test_a_ring_over_hosts_gives_the_same_bits(optimizer: str, hosts: str) -> None:
    count = len(hosts)
    strategy = on_hosts(hosts, "ring")
    assert len(strategy.groups) == len(set(hosts))
    expected = through_a_ps(optimizer, devices(count), config=config(count))
    assert mirrored(optimizer, strategy, config=config(count, allow_soft_placement=True)) == expected


@given(
    data=st.data(),
    hosts=st.text("ab", min_size=1, max_size=4),
    reduction=st.sampled_from(["auto", "ring", "scatter"]),
    dtype=st.sampled_from([wf.float32, wf.float64, wf.float16, wf.bfloat16]),
    bucket_bytes=st.sampled_from([1, 64, 700, 5000, 1 << 20]),
    mean=st.booleans(),
)
@hypothesis.settings(
    max_examples=25, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], deadline=None
)
def test_every_replica_gets_the_sums_in_the_order_of_replicas(
    monkeypatch: pytest.MonkeyPatch,
    data: Any,
    hosts: str,
    reduction: str,
    dtype: wf.DType,
    bucket_bytes: int,
    mean: bool,
) -> None:
    monkeypatch.setattr(reduction_plan, "PIECE_BYTES", data.draw(st.sampled_from([32, 256, 1 << 14])))
    shapes = data.draw(st.lists(st.lists(st.integers(0, 19), max_size=2), min_size=1, max_size=6))
    unknown = data.draw(st.booleans())
    random = np.random.default_rng(data.draw(st.integers(0, 9)))
    strategy = on_hosts(hosts, reduction, bucket_bytes)
    drawn = [[random.normal(size=shape).astype(dtype.np) for _ in hosts] for shape in shapes]
    with wf.Graph().as_default():
        fed: dict[Any, Any] = {}
        values, expected = [], []
        for each in drawn:
            parts = [wf.placeholder(dtype, None if unknown else value.shape) for value in each]
            fed |= zip(parts, each, strict=True)
            values.append(wf.distribute.PerReplica(parts))
            total = wf.add_n(parts)
            expected.append(total / len(hosts) if mean else total)
        found = strategy.all_reduce("mean" if mean else "sum", values)
        with wf.Session(config=config(len(hosts), allow_soft_placement=True)) as session:
            sums, replicas = session.run([expected, found], fed)
    for total, each in zip(sums, replicas, strict=True):
        assert len(each) == len(hosts)
        for value in each:
            assert value.shape == total.shape
            assert value.tobytes() == total.tobytes()


def test_each_replica_adds_up_a_part_of_a_large_vector() -> None:
    strategy = wf.distribute.MirroredStrategy(devices(3))
    parts = []
    for device in strategy.devices:
        with wf.device(device):
            parts.append(wf.random_normal([300_000]))
    (reduced,) = strategy.all_reduce("sum", [wf.distribute.PerReplica(parts)])
    adding = [op for op in wf.get_default_graph().get_operations() if op.type == "AddN"]
    assert sorted(op.device for op in adding) == sorted(strategy.devices)
    assert sum(op.outputs[0].shape.num_elements() or 0 for op in adding) == 300_000
    assert [value.device for value in reduced] == list(strategy.devices)


def between_hosts(reduction: str) -> int:
    """How many elements a step sends from host a to b or back, where the replicas of "aabb" reduce 262,144 each."""
    with wf.Graph().as_default() as graph:
        strategy = on_hosts("aabb", reduction, 1 << 20)
        parts = []
        for device in strategy.devices:
            with wf.device(device):
                parts.append(wf.random_normal([1 << 18]))
        (reduced,) = strategy.all_reduce("sum", [wf.distribute.PerReplica(parts)])
        largest = []
        for value in reduced:
            with wf.device(value.device):
                largest.append(wf.reduce_max(value))
        with wf.Session(config=config(4, allow_soft_placement=True)) as session:
            plans = session.plan(largest).plans
        total = 0
        for plan in plans:
            for sent in plan.instructions:
                if isinstance(sent, Send) and (plan.device[-1] in "01") != (sent.device[-1] in "01"):
                    total += graph.get_tensor_by_name(f"{sent.name}:0").shape.num_elements() or 0
        return total


def test_a_ring_sends_each_sum_between_two_hosts_once_and_back() -> None:
    assert between_hosts("ring") == between_hosts("auto") == 2 * (1 << 18)
    assert between_hosts("scatter") == 4 * (1 << 18)
