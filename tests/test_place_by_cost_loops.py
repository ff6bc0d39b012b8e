"""placer="cost" with branches and loops: what they ask for inside is kept, the whole goes where costs say, with the same bits."""

import itertools
import re
from collections.abc import Sequence
from typing import Any

import nested
import numpy as np
import pytest
import weft as wf
from hypothesis import HealthCheck, given, settings, strategies as st
from nested import B, C, three_devices
from programs import same_bits
from weft.graph.opdef import Spec
from weft.runtime.placing.cost_model import Client, Cost, Link, pair_of, whole_key
from weft.runtime.stages.plan import Run

DEVICES = [wf.DeviceSpec("localhost", 0, 0, "CPU", index) for index in range(3)]
FREE = Link(1e-6, 0.0, 0.0, 1.0, 1.0)
bounded = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def model(costs: dict[str, float] | None = None) -> wf.CostModel:
    """Devices that share nothing, each operation expensive: what can be elsewhere will be. `costs`: of loops, by name."""
    known = {whole_key("While", name): Cost(seconds, 3, 8, 0) for name, seconds in (costs or {}).items()}
    links = {pair_of(a, b): FREE for a, b in itertools.combinations(DEVICES, 2)}
    clients = {str(device): Client(1e-6, 0.0, 0.0) for device in DEVICES}
    return wf.CostModel(known, links, clients, between=1e-3)


def config(placer: str = "cost", devices: int = 3, costs: dict[str, float] | None = None) -> wf.ConfigProto:
    """One device takes all requests."""
    return wf.ConfigProto(
        device_count={"CPU": devices}, allow_soft_placement=True, race_check="off", placer=placer, cost_model=model(costs)
    )  # fmt: skip


def values(given: wf.ConfigProto, fetches: Any, feeds: Any = None) -> list[Any]:
    """What a new session gives, in two runs."""
    limit = wf.RunOptions(timeout_in_ms=30_000)
    with wf.Session(config=given) as session:
        session.run(wf.global_variables_initializer())
        return [value for _ in range(2) for value in session.run(fetches, feeds, options=limit)]


def check(fetches: Any, feeds: Any = None) -> None:
    """The bits of one device."""
    assert same_bits(values(config(), fetches, feeds), values(config("", 1), fetches, feeds))


def kinds(session: wf.Session, fetches: Any) -> dict[str, list[str]]:
    """For each device the branches and loops, and their parts, that it runs."""
    found = {}
    for plan in session.plan(fetches).plans:
        runs = [each.definition.type for each in plan.instructions if isinstance(each, Run)]
        found[plan.device[-5:]] = [kind for kind in runs if kind in ("If", "While", "IfPart", "WhilePart")]
    return found


def places(session: wf.Session, fetches: Any, variables: Sequence[wf.Variable]) -> list[str]:
    """Where variables are."""
    placement = session.plan(fetches).placement
    assert placement is not None
    return [placement.device(variable.op.name) for variable in variables]


@bounded
@given(nested.recipes(), st.integers(0, 1))
def test_random_programs_have_the_bits_of_one_device(recipe: Any, pinned: int) -> None:
    built = nested.Building(recipe, ("/cpu:0", "/cpu:1", "/cpu:2") if pinned else ("", "/cpu:1", ""))
    check([*built.values, *built.variables], built.feed_dict())


@settings(bounded, max_examples=8)
@given(nested.recipes([*nested.KINDS, "random", "read"]), st.booleans())
def test_gradients_of_random_programs_have_the_bits_of_one_device(recipe: Any, colocate: bool) -> None:
    built = nested.Building(recipe, ("", "/cpu:1", ""))
    found = wf.gradients(
        wf.reduce_sum(wf.tanh(built.values[-1])), [*built.feeds, *built.variables],
        colocate_gradients_with_ops=colocate, unconnected_gradients="zero",
    )  # fmt: skip
    check([wf.convert_to_tensor(each) for each in found], built.feed_dict())


def pinned_variables() -> list[wf.Tensor]:
    with wf.device(B):
        v = wf.Variable(2.0)
    with wf.device(C):
        w = wf.Variable(3.0)
    return list(wf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, a * v + w), [0, wf.constant(1.0)]))


def branch() -> list[wf.Tensor]:
    x = wf.constant(np.ones(8, np.float32))

    def then() -> Any:
        with wf.device(B):
            y = wf.exp(x)
        with wf.device(C):
            return wf.square(y)

    return [wf.cond(wf.placeholder_with_default(True, []), then, lambda: -x)]


def all_on_another() -> list[wf.Tensor]:
    def body(i: Any, a: Any) -> Any:
        with wf.device(B):
            return i + 1, a * 2.0

    with wf.device(B):
        return list(wf.while_loop(lambda i, a: i < 3, body, [0, wf.constant(1.0)]))


@pytest.mark.parametrize("build", [three_devices, pinned_variables, branch, all_on_another])
def test_what_is_asked_for_inside_is_kept_as_without_costs(build: Any) -> None:
    fetches = build()
    with wf.Session(config=config("")) as plain, wf.Session(config=config()) as session:
        wanted = kinds(plain, fetches)
        assert any(wanted.values())
        assert kinds(session, fetches) == wanted
    check(fetches)


def test_a_device_that_is_not_there_is_an_error_inside_too() -> None:
    def body(i: Any, a: Any) -> Any:
        with wf.device("/cpu:7"):
            return i + 1, wf.exp(a)

    fetches = wf.while_loop(lambda i, a: i < 3, body, [0, wf.constant(1.0)])
    given = wf.ConfigProto(device_count={"CPU": 2}, placer="cost", cost_model=model())
    with wf.Session(config=given) as session, pytest.raises(wf.errors.InvalidArgumentError, match=r"while/.*CPU:7"):
        session.run(fetches)


def test_a_loop_as_a_whole_goes_where_costs_say() -> None:
    x = wf.placeholder_with_default(np.ones((4, 4), np.float32), [4, 4])
    loops = [
        wf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, wf.tanh(a) + 0.5), [0, x + float(n)], name=f"loop{n}")[1]
        for n in range(3)
    ]
    names = [loop.op.name for loop in loops]
    with wf.Session(config=config(costs=dict.fromkeys(names, 0.1))) as session:
        placement = session.plan(loops).placement
        assert placement is not None
        assert {placement.device(name) for name in names} == {str(device) for device in DEVICES}
        assert all(placement.measured[position] for position in map(placement._position, names))
        assert kinds(session, loops) == {f"CPU:{n}": ["While"] for n in range(3)}
    check(loops)


def test_a_loop_that_was_not_measured_is_estimated_by_what_is_in_it() -> None:
    def built(width: int) -> tuple[float, bool]:
        first = [0, wf.zeros([width, width])]
        op = wf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, wf.matmul(a, a)), first)[1].op
        inputs, outputs = ([Spec(each.dtype, each.dims) for each in tensors] for tensors in (op.inputs, op.outputs))
        return wf.CostModel().seconds(op.name, op.definition, inputs, outputs)

    (small, measured), (large, _) = built(8), built(256)
    assert not measured
    assert large > 10 * small


def test_variables_that_costs_have_put_apart_are_used_by_one_loop() -> None:
    """It has parts where they are, or takes from there what is the same in each iteration; nothing asked for that."""
    weights = [wf.Variable(np.full((8, 8), 0.1 * n, np.float32), name=f"v{n}") for n in range(3)]
    x = wf.placeholder_with_default(np.ones((8, 8), np.float32), [8, 8])
    first = [wf.reduce_sum(wf.tanh(wf.matmul(x, weight))) for weight in weights]
    wf.add_to_collection(wf.GraphKeys.TRAIN_OP, wf.group(*first))

    def body(i: Any, a: Any) -> Any:
        return i + 1, wf.tanh(
            wf.matmul(wf.matmul(a, weights[0]), weights[1]) + weights[2] + wf.random_uniform([8, 8], seed=3)
        )

    _, y = wf.while_loop(lambda i, a: i < 3, body, [0, x])
    fetches = [y, *wf.gradients(wf.reduce_sum(y), weights)]
    with wf.Session(config=config()) as session:
        session.run(wf.global_variables_initializer())
        where = places(session, weights, weights)
        assert len({*where}) == 3
        assert ["WhilePart"] in kinds(session, y).values()
        found = [session.run(fetches) for _ in range(2)]
        assert where == places(session, fetches, weights)
    with wf.Session(config=config("", 1)) as session:
        session.run(wf.global_variables_initializer())
        assert same_bits([v for vs in found for v in vs], [v for _ in range(2) for v in session.run(fetches)])


def test_a_loop_that_spans_devices_is_measured_by_the_longest_of_its_parts() -> None:
    fetches = three_devices()
    with wf.Session(config=wf.ConfigProto(device_count={"CPU": 3})) as session:
        found = wf.measure_costs(session, fetches, steps=2)
    name = fetches[1].op.name
    assert whole_key("While", name) in found.costs
    assert not [key for key in found.costs if "Part" in key]
    with wf.Session(config=config()) as session:
        assert re.search(f"{name} is on .*: it may span devices", session.plan(fetches).placement.why(name))  # type: ignore[union-attr]


def test_the_graphs_of_a_run_show_the_loop() -> None:
    fetches = three_devices()
    with wf.Session(config=config()) as session:
        metadata = wf.RunMetadata()
        session.run(fetches, options=wf.RunOptions(output_partition_graphs=True), run_metadata=metadata)
    assert "While" in {node.op for graph in metadata.partition_graphs for node in graph.node}
