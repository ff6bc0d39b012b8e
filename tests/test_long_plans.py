"""Steps of tens of thousands of operations: what making and running their plans costs, and that errors still name the line."""

import gc
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import programs
import pytest
import weft as wf
from hypothesis import given, settings
from spying import spy
from weft.runtime.execution import pieces

DEVICES = wf.ConfigProto(device_count={"CPU": 3})


@pytest.fixture
def sess() -> Iterator[wf.Session]:
    """A session of the test's default graph."""
    with wf.Session() as session:
        yield session


@pytest.fixture
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut what is long enough into pieces of three instructions."""
    monkeypatch.setattr(pieces, "LENGTH", 3)


def chain(length: int) -> tuple[wf.Tensor, wf.Tensor]:
    x = wf.placeholder(wf.float32, [4], "x")
    y = x
    for number in range(length):
        y = y * 0.5 if number % 2 else y + 1.0
    return x, y


def seconds_of_first_run(sess: wf.Session, length: int) -> float:
    """Processor time of an operation of a chain in the first run, where the plan is made: this thread's alone."""
    x, y = chain(length)
    gc.collect()
    start = time.thread_time()
    np.testing.assert_allclose(sess.run(y, {x: np.zeros(4)}), 1.0, rtol=1e-6)
    return (time.thread_time() - start) / length


def test_a_chain_of_50_000_operations(sess: wf.Session) -> None:
    short = min(seconds_of_first_run(sess, 2_000) for _ in range(3))
    long = seconds_of_first_run(sess, 50_000)
    assert long < 3 * short  # about 1.3 times, and 6 times when the step is one function
    prepared = list(sess._prepared.values())[-1]
    ((_, loaded),) = prepared.loaded.values()
    (frame,) = loaded.plans[0]._frames._idle
    assert len(frame.pieces) == 50
    start = time.thread_time()
    sess.run(prepared.request.fetches, {prepared.request.feeds[0]: np.zeros(4)})
    assert time.thread_time() - start < 3  # about 0.03 s


def test_a_deep_chain_is_differentiated_and_runs(sess: wf.Session) -> None:
    x = wf.placeholder(wf.float64, [2], "x")
    y = x
    for number in range(20_000):
        y = wf.sin(y) if number % 2 else y * 1.0001
    (gradient,) = wf.gradients(y, x)
    fed = np.array([0.5, -1.0])
    value, slope = fed, np.ones(2)
    for number in range(20_000):
        value, slope = (np.sin(value), np.cos(value) * slope) if number % 2 else (value * 1.0001, slope * 1.0001)
    results = sess.run([y, gradient], {x: fed})
    np.testing.assert_allclose(results[0], value, rtol=1e-9)
    np.testing.assert_allclose(results[1], slope, rtol=1e-6)


def test_buffers_of_one_place_are_one_array(sess: wf.Session) -> None:
    x, y = chain(1_000)
    sess.run(y, {x: np.zeros(4)})
    (prepared,) = sess._prepared.values()
    ((plan, loaded),) = prepared.loaded.values()
    assert sum(bool(getattr(i, "buffers", ())) for i in plan.plans[0].instructions) > 900
    (frame,) = loaded.plans[0]._frames._idle
    assert sum(isinstance(value, np.ndarray) and value.flags.writeable for value in frame.__globals__.values()) == 1


# what crosses from piece to piece


def test_values_that_live_long(sess: wf.Session, short_pieces: None) -> None:
    x = wf.placeholder(wf.float32, [None], "x")
    early = [wf.exp(x * float(number)) for number in range(1, 8)]
    total = x
    for value in reversed(early):
        total = wf.sqrt(wf.abs(total)) + value
    fed = np.array([0.5, -0.25], np.float32)
    expected = fed
    for number in range(7, 0, -1):
        expected = np.sqrt(np.abs(expected)) + np.exp(fed * np.float32(number))
    results = sess.run([total, early[0], x], {x: fed})
    np.testing.assert_allclose(results[0], expected, rtol=1e-6)
    np.testing.assert_allclose(results[1], np.exp(fed), rtol=1e-6)
    assert results[2].tolist() == fed.tolist()


def test_several_outputs_variables_and_constants(sess: wf.Session, short_pieces: None) -> None:
    x = wf.placeholder(wf.float32, [6], "x")
    v = wf.Variable([1.0, 2.0], name="v")
    one, two, three = wf.split(x, 3)
    before = v + one
    with wf.control_dependencies([before]):
        update = v.assign_add(two * 10.0)
    with wf.control_dependencies([update]):
        after = v + three
    middle = wf.exp(wf.exp(one) - wf.exp(two))
    sess.run(v.initializer)
    values = sess.run([before, after, middle, update], {x: np.zeros(6)})
    assert [value.tolist() for value in values] == [[1.0, 2.0], [1.0, 2.0], [1.0, 1.0], [1.0, 2.0]]


def test_training_in_pieces_is_training(monkeypatch: pytest.MonkeyPatch) -> None:
    x = wf.placeholder(wf.float32, [8, 3], "x")
    w = [wf.Variable(np.full((3, 3), 0.1 * layer + 0.1, np.float32)) for layer in range(3)]
    y: Any = x
    for weights in w:
        y = wf.tanh(wf.matmul(y, weights))
    train = wf.train.AdamOptimizer(0.1).minimize(wf.reduce_mean(wf.square(y - x)))
    fed = {x: np.linspace(-1, 1, 24).reshape(8, 3)}
    found = []
    for length in (3, 1000):
        monkeypatch.setattr(pieces, "LENGTH", length)
        with wf.Session() as sess:
            sess.run(wf.global_variables_initializer())
            for _ in range(3):
                sess.run(train, fed)
            found.append([value.tobytes() for value in sess.run(w)])
    assert found[0] == found[1]


def test_the_failing_line_is_found_in_any_piece(sess: wf.Session, short_pieces: None) -> None:
    x = wf.placeholder(wf.float32, [], "x")
    y: Any = x
    checks = []
    for number in range(8):
        y = wf.check_numerics(y * 1.5, f"check {number}", name=f"check{number}")
        checks.append(y)
        y = wf.sqrt(y) if number == 4 else y - 1e6
    with pytest.raises(wf.errors.InvalidArgumentError, match="check 5") as info:
        sess.run(y, {x: -1e6})
    assert info.value.op is checks[5].op
    with pytest.raises(wf.errors.InvalidArgumentError, match="check 0") as info:
        sess.run(y, {x: np.nan})
    assert info.value.op is checks[0].op


def test_places_are_used_again(sess: wf.Session, short_pieces: None) -> None:
    x = wf.placeholder(wf.float32, [None], "x")
    y: Any = x
    for _ in range(60):
        y = wf.sqrt(wf.abs(wf.sin(y)))
    (plan,) = sess.plan(y).plans  # of any shape, so there are no buffers, which are bound wherever they are used
    ends = pieces.piece_ends(plan.instructions)
    places = pieces.crossing_places(plan.instructions, ends)
    assert len(ends) > 50
    assert len(places) > 50
    assert len(set(places.values())) <= 3


@settings(max_examples=25, deadline=None)
@given(programs.recipes())
def test_any_program_gives_the_same_bits_in_pieces(recipe: list[programs.Step]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        built = programs.build(recipe)
        whole = programs.runs(built, DEVICES)
        patch.setattr(pieces, "LENGTH", 2)
        assert programs.same_bits(programs.runs(built, DEVICES), whole)


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_waits_for_the_plan(
    sess: wf.Session, enabled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    during: list[bool] = []
    spy(monkeypatch, lambda _: during.append(gc.isenabled()))
    try:
        if not enabled:
            gc.disable()
        sess.run(wf.sigmoid(wf.constant(1.0)))  # folded while the plan is made
        assert gc.isenabled() == enabled
        with pytest.raises(wf.errors.InvalidArgumentError, match="You must feed"):
            sess.run(wf.placeholder(wf.float32, []))
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
    assert during == [False]
