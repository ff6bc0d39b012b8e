"""Properties of random programs: the same bits on any placement, in any order the graph allows, and for any shapes."""

from typing import Any

import numpy as np
import programs
import pytest
import weft as wf
from hypothesis import HealthCheck, given, settings, strategies as st
from programs import Built, build, recipes, runs, same_bits
from weft.runtime.interpret import interpret
from weft.runtime.session import SHAPES_A_REQUEST

bounded = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def config(seed: int | None = None) -> wf.ConfigProto:
    return wf.ConfigProto(device_count={"CPU": 3}, schedule_seed=seed)


def interpreted(built: Built, times: int = 2) -> list[Any]:
    """What `runs` gives, by the reference interpreter."""
    state = built.state()
    with wf.control_dependencies(built.writes):
        everything = wf.no_op("everything")
        last = wf.identity(0.0)
    assert everything in last.op.graph.get_operations()
    results: list[Any] = []
    for _ in range(times):
        results += interpret([*built.values, last], built.feed_dict(), state)[:-1]
    return results + [state.variables["", variable.op.name].read() for variable in built.variables]


@bounded
@given(recipes(), st.booleans())
def test_three_devices_one_device_and_the_interpreter_give_the_same_bits(
    recipe: list[programs.Step], known: bool
) -> None:
    spread = build(recipe, known)
    found = runs(spread, config())
    assert same_bits(found, interpreted(spread))
    assert same_bits(found, runs(build(recipe, known, devices=False), config()))


@pytest.mark.filterwarnings("ignore::weft.RaceWarning")
@bounded
@given(recipes())
def test_without_an_order_of_reads_and_writes_placements_still_agree(recipe: list[programs.Step]) -> None:
    found = runs(build(recipe, ordered=False), config())
    assert same_bits(found, runs(build(recipe, ordered=False, devices=False), config()))


@bounded
@given(recipes(), st.integers(0, 1000), st.booleans())
def test_any_order_the_graph_allows_gives_the_same_bits(recipe: list[programs.Step], seed: int, devices: bool) -> None:
    found = runs(build(recipe, devices=devices), config(seed))
    assert same_bits(found, runs(build(recipe, devices=devices), config()))


@bounded
@given(recipes(sorted(programs.PURE), longest=8))
def test_gradients_have_the_interpreters_bits(recipe: list[programs.Step]) -> None:
    built = build(recipe)
    grads = wf.gradients(built.values[-1], built.feeds, unconnected_gradients="zero")
    with wf.Session(config=config()) as sess:
        found = sess.run(grads, built.feed_dict())
    assert same_bits(found, interpret(grads, built.feed_dict()))


@bounded
@given(st.lists(st.integers(0, 40), min_size=1, max_size=SHAPES_A_REQUEST + 10))
def test_any_sequence_of_shapes(counts: list[int]) -> None:
    wf.reset_default_graph()
    x, y = wf.placeholder(wf.float32, [None, 3]), wf.placeholder(wf.float32, [None])
    w = wf.constant(np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2))
    z = wf.nn.relu(wf.matmul(x, w)) * wf.expand_dims(y, 1) + wf.cast(wf.shape(x)[0], wf.float32)
    fetches = [z, wf.reduce_sum(z, 0), wf.reshape(z, [-1]), *wf.gradients(z, [x, y])]
    with wf.Session() as sess:
        for step, count in enumerate(counts):
            fed = {x: programs.FED[0, 0, :3] * np.ones((count, 1), np.float32), y: np.full(count, step, np.float32)}
            assert same_bits(sess.run(fetches, fed), interpret(fetches, fed))
