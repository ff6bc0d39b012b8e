"""placer="cost": better where that is predicted, never predicted worse, variables stay, and any placement gives the same bits."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from hypothesis import given, settings, strategies as st
from weft.graph.opdef import Spec
from weft.runtime.placing.cost_model import Client, Cost, Link, MeasuredStep, key_of, pair_of, work_of
from weft.runtime.placing.place_by_cost import place_by_cost
from weft.runtime.placing.simulate import Machine, Work, simulate

DEVICES = [wf.DeviceSpec("localhost", 0, 0, "CPU", index) for index in range(3)]
#: Devices that share nothing, with a fast link: everything that can be computed at once should be.
APART = Link(1e-6, 1e-12, 1e-6, 1.0, 1.0)
CLIENT = Client(1e-6, 0.0, 0.0)


def model(link: Link = APART, **more: Any) -> wf.CostModel:
    links = {pair_of(a, b): link for a, b in itertools.combinations(DEVICES, 2)}
    return wf.CostModel(links=links, clients={str(device): CLIENT for device in DEVICES}, **more)


def config(cost_model: Any = None, devices: int = 2, **more: Any) -> wf.ConfigProto:
    return wf.ConfigProto(device_count={"CPU": devices}, placer="cost", cost_model=cost_model or model(), **more)


def towers(count: int = 2, depth: int = 3, width: int = 128) -> tuple[wf.Tensor, wf.Tensor, wf.Operation]:
    """Independent heavy products, with what trains their weights."""
    x = wf.placeholder(wf.float32, [None, width], name="x")
    ends = []
    for tower in range(count):
        value = x
        for layer in range(depth):
            start = np.random.default_rng(layer).normal(size=(width, width)).astype(np.float32) / width
            value = wf.matmul(value, wf.Variable(start, name=f"w{tower}_{layer}"))
        ends.append(wf.reduce_mean(wf.square(value)))
    loss = wf.add_n(ends, name="loss")
    return x, loss, wf.train.GradientDescentOptimizer(0.1).minimize(loss)


# the placer, on numbers


def machine(count: int, link: Link) -> Machine:
    def table(value: float, own: float) -> list[list[float]]:
        return [[own if a == b else value for b in range(count)] for a in range(count)]

    return Machine(
        count, table(link.latency, 0.0), table(link.byte_seconds, 0.0), table(link.joint, 0.0), table(link.light, 1.0),
        table(link.heavy, 1.0), [0.0] * count, [0.0] * count, [0.0] * count,
    )  # fmt: skip


def work(seconds: Sequence[float], edges: Sequence[tuple[int, int]], nbytes: int = 1000) -> Work:
    needs: list[list[tuple[int, int]]] = [[] for _ in seconds]
    users: list[list[tuple[int, int]]] = [[] for _ in seconds]
    for a, b in edges:
        needs[b].append((a, 0))
        users[a].append((b, 0))
    sizes = {(position, 0): nbytes for position in range(len(seconds))}
    zeros = [0] * len(seconds)
    return Work(list(seconds), list(range(len(seconds))), needs, users, sizes, zeros, zeros)


FREE = (0, 1)


def test_two_independent_chains_take_half_the_time_on_two_devices() -> None:
    step = work([1.0] * 8, [(0, 1), (1, 2), (2, 3), (4, 5), (5, 6), (6, 7)])
    choice = place_by_cost(step, range(8), dict.fromkeys(range(8), FREE), machine(2, APART))
    assert choice.homes in ([0] * 4 + [1] * 4, [1] * 4 + [0] * 4)
    assert choice.outcome.seconds == pytest.approx(4.0, abs=1e-3)
    assert choice.alone == {0: pytest.approx(8.0), 1: pytest.approx(8.0)}


def test_a_chain_stays_on_one_device() -> None:
    step = work([1.0] * 6, [(each, each + 1) for each in range(5)])
    choice = place_by_cost(step, range(6), dict.fromkeys(range(6), FREE), machine(2, APART))
    assert len(set(choice.homes)) == 1
    assert choice.how.startswith("all on one device")


def test_devices_that_share_all_they_have_gain_nothing() -> None:
    step = work([1.0] * 8, [(0, 1), (1, 2), (2, 3), (4, 5), (5, 6), (6, 7)])
    shared = machine(2, Link(1e-6, 0.0, 0.0, 2.0, 2.0))
    assert simulate(step, [0] * 4 + [1] * 4, shared).seconds == pytest.approx(8.0, rel=1e-3)
    half = machine(2, Link(1e-6, 0.0, 0.0, 2.0, 1.5))
    assert simulate(step, [0] * 4 + [1] * 4, half).seconds == pytest.approx(6.0, rel=1e-3)
    assert len(set(place_by_cost(step, range(8), dict.fromkeys(range(8), FREE), shared).homes)) == 1


def test_a_value_that_takes_long_to_cross_keeps_what_takes_it_at_home() -> None:
    step = work([1.0, 1.0, 1.0], [(0, 1), (0, 2)], nbytes=10**9)
    slow = machine(2, Link(1e-6, 1e-8, 0.0, 1.0, 1.0))
    assert len(set(place_by_cost(step, range(3), dict.fromkeys(range(3), FREE), slow).homes)) == 1
    fast = place_by_cost(step, range(3), dict.fromkeys(range(3), FREE), machine(2, APART))
    assert fast.homes[1] != fast.homes[2]


def test_each_value_is_sent_once_to_a_device() -> None:
    step = work([1.0, 1.0, 1.0, 1.0], [(0, 1), (0, 2), (0, 3)])
    assert simulate(step, [0, 1, 1, 0], machine(2, APART)).sent == {(0, 0, 1): 1000}


@st.composite
def steps(draw: st.DrawFn) -> tuple[Work, list[int], dict[int, tuple[int, ...]], Machine]:
    count = draw(st.integers(1, 30))
    seconds = draw(st.lists(st.floats(0, 1e-2), min_size=count, max_size=count))
    edges = [(draw(st.integers(0, b - 1)), b) for b in range(1, count) for _ in range(draw(st.integers(0, 2)))]
    units = [draw(st.integers(0, each)) for each in range(count)]
    units = [units[unit] for unit in units]
    devices = draw(st.integers(1, 4))
    allowed = {unit: tuple(draw(st.permutations(range(devices)))[: draw(st.integers(1, devices))]) for unit in {*units}}
    factors = st.floats(1.0, 2.0)
    link = Link(
        draw(st.floats(0, 1e-3)), draw(st.floats(0, 1e-6)), draw(st.floats(0, 1e-3)), draw(factors), draw(factors)
    )
    return work(seconds, list(dict.fromkeys(edges))), units, allowed, machine(devices, link)


@settings(max_examples=60, deadline=None)
@given(steps())
def test_it_is_never_predicted_worse_keeps_units_together_and_is_the_same_again(each: Any) -> None:
    step, units, allowed, devices = each
    choice = place_by_cost(step, units, allowed, devices)
    assert all(home in allowed[unit] for unit, home in zip(units, choice.homes, strict=True))
    assert len({*zip(units, choice.homes, strict=True)}) == len({*units})
    assert choice.outcome.seconds == pytest.approx(simulate(step, choice.homes, devices).seconds)
    if choice.alone:
        preferred = [choice.alone[device] for device in range(devices.count)]
        assert choice.outcome.seconds <= min(preferred) / 0.95 + 1e-12
    again = place_by_cost(step, units, allowed, devices)
    assert (again.homes, again.how) == (choice.homes, choice.how)


# a session


def test_towers_are_on_two_devices_and_the_plan_says_why() -> None:
    x, loss, train = towers(width=512)
    with wf.Session(config=config(devices=2)) as session:
        session.run(wf.global_variables_initializer())
        plan = session.plan([loss, train], {x: np.ones((512, 512), np.float32)})
        placement = plan.placement
        assert placement is not None
        assert len(plan.plans) == 2
        assert {placement.device(f"w0_{layer}") for layer in range(3)} == {placement.device("w0_0")}
        assert placement.device("w1_0") != placement.device("w0_0")
        assert placement.seconds < 0.6 * min(placement.alone.values())
        text = plan.explain()
        assert "placement by cost:\n  predicted: " in text
        assert "values cross" in text
        assert "all on /job:localhost" in text
        assert "the others are estimates" in text
        assert "(estimated)" in text
        assert "stays" in placement.why("w0_0")
        assert "elsewhere" in placement.why("MatMul")
        with pytest.raises(KeyError, match="no operation 'nosuch'"):
            placement.why("nosuch")
        session.run([loss, train], {x: np.ones((512, 512), np.float32)})


def test_variables_stay_where_the_training_step_wants_them_also_when_the_graph_grows() -> None:
    x, _, train = towers(width=256)
    feeds = {x: np.ones((64, 256), np.float32)}
    with wf.Session(config=config()) as session:
        session.run(wf.global_variables_initializer())
        before = session.run(wf.global_variables()[5])
        where = {v.op.name: session.plan(v).placement.device(v.op.name) for v in wf.global_variables()}  # type: ignore[union-attr]
        assert len(set(where.values())) == 2
        session.run(train, feeds)
        new = wf.Variable(np.ones((4, 4), np.float32), name="new")
        more = wf.matmul(new, new)
        session.run(new.initializer)
        assert session.run(more).tolist() == [[4.0] * 4] * 4
        assert {v.op.name: session.plan(v).placement.device(v.op.name) for v in wf.global_variables()[:6]} == where  # type: ignore[union-attr]
        assert (session.run(wf.global_variables()[5]) != before).any()


def test_requests_and_colocation_are_kept_and_wrong_ones_refused() -> None:
    x = wf.placeholder(wf.float32, [256, 256])
    with wf.device("/cpu:1"):
        y = wf.matmul(x, x, name="y")
    z = wf.matmul(x, x + 1.0, name="z")
    with wf.colocate_with(y):
        w = wf.matmul(x, x + 2.0, name="w")
    with wf.Session(config=config(devices=3)) as session:
        placement = session.plan([y, z, w]).placement
        assert placement is not None
        assert placement.device("y").endswith("CPU:1")
        assert placement.device("w").endswith("CPU:1")
        assert not placement.device("z").endswith("CPU:1")
        assert "/device:CPU:1 was requested" in placement.why("y")
        with wf.device("/job:nosuch"):
            bad = wf.exp(x)
        with pytest.raises(wf.errors.InvalidArgumentError, match="Cannot assign a device"):
            session.run(bad, {x: np.ones((256, 256))})
    with wf.Session(config=config(allow_soft_placement=True)) as session:
        assert session.run(bad, {x: np.ones((256, 256))}).shape == (256, 256)


def test_what_prints_or_has_a_queue_is_not_moved(capfd: pytest.CaptureFixture[str]) -> None:
    queue = wf.FIFOQueue(4, [wf.float32], [[]])
    put, taken = queue.enqueue(3.0), queue.dequeue()
    shown = wf.Print(taken, [taken], "shown")
    with wf.Session(config=config()) as session:
        session.run(put)
        placement = session.plan(shown).placement
        assert placement is not None
        assert {*placement.choice.homes} == {0}
        assert session.run(shown) == 3.0
    assert "shown" in capfd.readouterr().err


def test_the_measured_step_decides_and_gives_unknown_shapes() -> None:
    """The slow half of the graph, by what was measured, has a device to itself."""
    x, loss, train = towers(count=3, depth=1, width=64)
    costs = {}
    for operation in wf.get_default_graph().get_operations():
        if operation.type == "MatMul":
            specs = [Spec(t.dtype, (8, 64) if t.op.name == "x" else (64, 64)) for t in operation.inputs]
            costs[key_of(operation.name, operation.definition, specs)] = Cost(1e-3, 5, 1, 1)
    step = MeasuredStep((loss.name,), (train.name,), (("x:0", (8, 64)),), 1.0)
    with wf.Session(config=config(model(costs=costs, steps=(step,)), devices=3)) as session:
        session.run(wf.global_variables_initializer())
        placement = session.plan(train, {x: np.ones((8, 64), np.float32)}).placement
        assert placement is not None
        assert {placement.device(f"w{tower}_0") for tower in range(3)} == {str(device) for device in DEVICES}
        assert "the measured step of loss:0" in placement.why("w1_0")


def test_random_numbers_and_loops_are_the_same() -> None:
    def run(given: wf.ConfigProto) -> list[Any]:
        with wf.Graph().as_default():
            wf.set_random_seed(7)
            a, b = (wf.random_normal((4, 8), seed=seed) for seed in (1, 2))
            _, total = wf.while_loop(
                lambda i, _: i < 3,
                lambda i, value: (i + 1, value + wf.random_uniform((4, 8), seed=3)),
                [wf.constant(0), wf.zeros((4, 8))],
            )
            picked = wf.cond(wf.reduce_sum(a) > 0, lambda: a * 2.0, lambda: b * 3.0)
            with wf.Session(config=given) as session:
                found = [session.run([a, b, total, picked]), session.run([b, picked]), session.run([a, total])]
        return [value.tobytes() for values in found for value in values]

    assert run(config(devices=3)) == run(wf.ConfigProto())


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_same_bits_for_any_graph_and_any_costs(data: st.DataObject) -> None:
    """Random graphs with variables and updates, under random costs, give what one device gives."""
    seeds = data.draw(st.integers(0, 2**31))
    link = Link(data.draw(st.floats(0, 1e-5)), 0.0, 0.0, 1.0, data.draw(st.floats(1.0, 2.0)))
    choose = np.random.default_rng(seeds)
    with wf.Graph().as_default():
        fed = wf.placeholder(wf.float32, [None, 6])
        values: list[Any] = [fed, fed * 0.5]
        variables = [wf.Variable(choose.normal(size=(6, 6)).astype(np.float32)) for _ in range(3)]
        for _ in range(data.draw(st.integers(1, 15))):
            a, b = (values[index] for index in choose.integers(len(values), size=2))
            v = variables[int(choose.integers(3))]
            makers: list[Any] = [
                lambda a=a, v=v: wf.matmul(a, v),
                lambda a=a, b=b: wf.tanh(a) * b,
                lambda a=a, b=b: a - wf.exp(-b * b),
            ]
            values.append(makers[int(choose.integers(3))]())
        loss = wf.reduce_mean(wf.square(values[-1] + values[-2]))
        train: Any = (
            wf.train.MomentumOptimizer(0.01, 0.9).minimize(loss, var_list=variables)
            if _reaches(loss, variables)
            else []
        )
        rows = {fed: choose.normal(size=(5, 6)).astype(np.float32)}
        initialize = wf.global_variables_initializer()
        costly = model(link, between=1e-3)
        found = []
        for given_config in (wf.ConfigProto(), config(costly, devices=3)):
            with wf.Session(config=given_config) as session:
                session.run(initialize)
                steps_run = [session.run([values[-1], loss, train], rows)[:2] for _ in range(3)]
                found.append([np.asarray(each).tobytes() for step in steps_run for each in step])
                found[-1] += [each.tobytes() for each in session.run(variables)]
    assert found[0] == found[1]


def _reaches(loss: wf.Tensor, variables: Sequence[wf.Variable]) -> bool:
    return any(grad is not None for grad in wf.gradients(loss, list(variables)))


# the model


def test_what_is_measured_is_saved_and_read_again_and_printed(tmp_path: Path) -> None:
    x, loss, train = towers(depth=1, width=32)
    feeds = {x: np.ones((4, 32), np.float32)}
    with wf.Session(config=wf.ConfigProto(device_count={"CPU": 2})) as session:
        session.run(wf.global_variables_initializer())
        found = wf.measure_costs(session, [loss, train], feeds, steps=2)
        with pytest.raises(ValueError, match="at least 1"):
            wf.measure_costs(session, loss, feeds, steps=0)
    (step,) = found.steps
    assert (step.fetches, step.targets, step.feeds) == (("loss:0",), (train.name,), (("x:0", (4, 32)),))
    assert any(key.startswith("MatMul(") and key.endswith("float32[4,32] float32[32,32]") for key in found.costs)
    (link,) = found.links.values()
    assert 1.0 <= link.light <= 2.0
    assert 1.0 <= link.heavy <= 2.0
    assert {*found.clients} == {str(device) for device in DEVICES[:2]}
    found.save(tmp_path / "costs.json")
    assert wf.CostModel.load(tmp_path / "costs.json") == found
    assert "kinds of operations, 1 steps measured" in str(found)
    assert "MatMul(" in str(found)
    with wf.Session(config=config(tmp_path / "costs.json")) as session:
        session.run(wf.global_variables_initializer())
        placement = session.plan([loss, train], feeds).placement
        assert placement is not None
        assert sum(placement.measured) > 4
    merged = found.merged(wf.CostModel(costs={"x": Cost(1.0, 1, 1, 1)}))
    assert merged.steps == found.steps
    assert {*merged.costs} == {*found.costs, "x"}


GOOD = {"weft_cost_model": 2, "between": 0.0, "costs": {}, "links": {}, "clients": {}, "steps": []}


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "[]",
        "{",
        '{"weft_cost_model": 2}',
        json.dumps(GOOD | {"weft_cost_model": 1}),
        json.dumps(GOOD | {"between": -1}),
        json.dumps(GOOD | {"between": float("nan")}),
        json.dumps(GOOD | {"between": 10**400}),
        json.dumps(GOOD | {"costs": {"x": [1.0, 1]}}),
        json.dumps(GOOD | {"costs": {"x": [1.0, 1, 1.5, 0]}}),
        json.dumps(GOOD | {"links": {"one": asdict(APART)}}),
        json.dumps(GOOD | {"links": {"/cpu:0|/cpu:1": {**asdict(APART), "others": "none"}}}),
        json.dumps(GOOD | {"clients": {"x": {}}}),
        json.dumps(GOOD | {"steps": [{"fetches": [1], "targets": [], "feeds": [], "seconds": 1}]}),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(GOOD))
    assert wf.CostModel.load(path) == wf.CostModel()
    path.write_text(damage)
    with pytest.raises(wf.errors.DataLossError, match=r"costs\.json is no cost model"):
        wf.CostModel.load(path)


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(wf.errors.NotFoundError, match="There is no cost model at"):
        wf.Session(config=wf.ConfigProto(placer="cost", cost_model=tmp_path / "none.json"))
    with pytest.raises(ValueError, match="placer must be one of"):
        wf.Session(config=wf.ConfigProto(placer="best"))
    with pytest.raises(TypeError, match=r"cost_model must be a wf\.CostModel or the path"):
        wf.Session(config=wf.ConfigProto(placer="cost", cost_model=3))


def test_estimates_follow_what_was_measured_of_the_type() -> None:
    product = wf.matmul(wf.zeros([64, 64]), wf.zeros([64, 64])).op.definition
    small, large = [Spec(wf.float32, (64, 64))] * 3, [Spec(wf.float32, (128, 128))] * 3
    amount = work_of(product, small[:2], small[2:])
    assert amount == (3 * 64 * 64 * 4, 2 * 64**3)
    known = wf.CostModel(costs={key_of("", product, small[:2]): Cost(1e-3, 1, *amount)})
    assert known.seconds("", product, small[:2], small[2:]) == (1e-3, True)
    seconds, measured = known.seconds("", product, large[:2], large[2:])
    assert not measured
    assert 7e-3 < seconds < 9e-3
