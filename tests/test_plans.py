"""Plans: golden texts, one send a destination, buffers that never meet, and copies of reads exactly where a write shows."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import programs
import pytest
import weft as wf
from audit import audit
from hypothesis import HealthCheck, given, settings
from programs import build, recipes, runs, same_bits
from weft.graph.ops.activations import ReluGrad
from weft.graph.ops.transcendental import TanhGrad
from weft.runtime.interpret import interpret
from weft.runtime.stages.plan import Fetch, Free, Plan, Receive, Run, Send, StepPlan

GOLDEN = Path(__file__).parent / "golden"
CONFIG = wf.ConfigProto(device_count={"CPU": 3})
SIDE = 16

bounded = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def training_step(variables: str, gradients: str) -> list[Any]:
    """The loss and the update of a small MLP, on devices for its variables and for its gradients."""
    x, y = wf.placeholder(wf.float32, [4, 3], "x"), wf.placeholder(wf.float32, [4, 1], "y")
    with wf.device(variables):
        w = wf.Variable(wf.ones([3, 8]), name="w")
        b = wf.Variable(wf.zeros([8]), name="b")
        v = wf.Variable(wf.ones([8, 1]), name="v")
    loss = wf.reduce_mean(wf.square(wf.matmul(wf.nn.relu(wf.matmul(x, w) + b), v) - y), name="loss")
    optimizer = wf.train.GradientDescentOptimizer(0.1)
    with wf.device(gradients):
        grads = optimizer.compute_gradients(loss, [w, b, v])
    return [loss, optimizer.apply_gradients(grads)]


@pytest.mark.parametrize(
    ("name", "variables", "gradients"), [("mlp_one_device", "", ""), ("mlp_three_devices", "/cpu:1", "/cpu:2")]
)
def test_golden_plan(name: str, variables: str, gradients: str, request: pytest.FixtureRequest) -> None:
    with wf.Session(config=CONFIG) as sess:
        text = f"{sess.plan(training_step(variables, gradients))}\n"
    path = GOLDEN / f"{name}.txt"
    if request.config.getoption("--renew-golden"):
        path.write_text(text)
    assert text == path.read_text(), "the plan changed; if it is right: pytest --renew-golden"


def plan_of(fetches: Any, feeds: Any = None) -> StepPlan:
    with wf.Session(config=CONFIG) as sess:
        return sess.plan(fetches, feeds)


def instructions(step: StepPlan, kind: type) -> list[Any]:
    return [instruction for plan in step.plans for instruction in plan.instructions if isinstance(instruction, kind)]


def on(index: int) -> Any:
    return wf.device(f"/cpu:{index}")


# what crosses


def test_a_value_crosses_once_to_each_device_that_uses_it() -> None:
    with on(0):
        x = wf.random_uniform([2])
    uses: list[Any] = []
    for device in (1, 1, 2, 1):
        with on(device):
            uses.append(wf.exp(x) + float(len(uses)))
    step = plan_of(uses)
    sends = instructions(step, Send)
    assert sorted(send.device[-5:] for send in sends) == ["CPU:1", "CPU:2"]
    assert sorted(send.edge for send in sends) == sorted(receive.edge for receive in instructions(step, Receive))


def test_each_output_of_an_operation_crosses_by_itself() -> None:
    with on(0):
        parts = wf.split(wf.random_uniform([4]), 2)
    with on(1):
        step = plan_of([parts[0] + 1.0, parts[1] + 2.0])
    assert len(instructions(step, Send)) == 2


def test_feeds_and_constants_never_cross() -> None:
    x, c = wf.placeholder(wf.float32, [2]), wf.constant([1.0, 2.0])
    made = []
    for device in range(3):
        with on(device):
            made.append(wf.exp(x) * c)
    assert instructions(plan_of(made), Send) == []


def test_a_control_dependency_crosses_as_a_signal() -> None:
    with on(0):
        v = wf.Variable(0.0)
        update = v.assign_add(1.0, read_value=False)
    with on(1), wf.control_dependencies([update]):
        x = wf.random_uniform([2]) + wf.random_uniform([2])
    sends = instructions(plan_of(x), Send)
    assert [send.slot for send in sends] == [None]


def test_a_strided_view_that_crosses_gives_the_same_bits() -> None:
    x = wf.placeholder(wf.float32, [33, 50])
    with on(1):
        y = wf.transpose(x + 1.0)
    with on(2):
        total = wf.reduce_sum(y, 0)
    alone = wf.reduce_sum(wf.transpose(x + 1.0), 0)
    fed = {x: np.random.default_rng(3).normal(size=(33, 50))}
    with wf.Session(config=CONFIG) as sess:
        assert same_bits([sess.run(total, fed)], [sess.run(alone, fed)])


# memory


def buffers(plan: Plan) -> list[Any]:
    return [buffer for run in plan.instructions if isinstance(run, Run) for buffer in run.buffered.values()]


def test_a_chain_of_arithmetic_works_in_one_place() -> None:
    x = wf.placeholder(wf.float32, [100])
    y = x + 1.0
    for _ in range(5):
        y = y * 2.0
    (plan,) = plan_of(wf.exp(y)).plans
    assert {buffer.offset for buffer in buffers(plan)} == {0}
    assert plan.arena_bytes == 448  # 400 bytes, rounded up to 64


def test_arithmetic_spares_what_is_needed_once_more() -> None:
    x = wf.placeholder(wf.float32, [100])
    y = x + 1.0
    z = y * 2.0
    (plan,) = plan_of(wf.exp(z - y)).plans
    first, second, third = (buffer.offset for buffer in buffers(plan))
    assert first != second
    assert third in (first, second)


def test_memory_is_shared_in_time() -> None:
    x = wf.placeholder(wf.float32, [100])
    y = x
    for _ in range(10):
        y = wf.tanh(wf.exp(y))
    (plan,) = plan_of(y).plans
    assert plan.arena_bytes == 2 * 448


def test_a_fetch_is_computed_in_memory_of_its_own() -> None:
    x = wf.placeholder(wf.float32, [100])
    (plan,) = plan_of(x * 2.0 + 1.0, {x: np.zeros(100)}).plans
    *_, last = (run for run in plan.instructions if isinstance(run, Run))
    assert not last.buffered
    assert [fetch.copied for fetch in plan.instructions if isinstance(fetch, Fetch)] == [False]


def test_values_of_unknown_shape_have_no_buffer() -> None:
    x = wf.placeholder(wf.float32, [None])
    (plan,) = plan_of(wf.exp(x * 2.0)).plans
    assert buffers(plan) == []
    assert plan.arena_bytes == 0


def reads(step: StepPlan) -> dict[str, bool]:
    """Whether each read of a variable is copied."""
    return {run.name: run.copied for run in instructions(step, Run) if run.definition.type == "ReadVariableOp"}


def test_a_read_is_copied_exactly_where_a_later_write_would_show() -> None:
    v = wf.Variable([1.0, 2.0])
    read = v.read_value()
    doubled = read * 2.0
    with wf.control_dependencies([doubled]):
        update = v.assign_add([1.0, 1.0], read_value=False)
    assert list(reads(plan_of([doubled, update])).values()) == [False]
    with wf.control_dependencies([update]):
        late = read * 3.0
    assert list(reads(plan_of(late)).values()) == [True]
    assert list(reads(plan_of([read, update])).values()) == [True]  # fetched at the end of the step
    assert list(reads(plan_of(read)).values()) == [False]


@pytest.mark.filterwarnings("ignore::weft.RaceWarning")
def test_a_view_of_a_read_is_protected_too() -> None:
    v = wf.Variable([1.0, 2.0])
    view = wf.reverse(v.read_value(), [0])
    with wf.control_dependencies([view, v.assign([5.0, 6.0])]):
        late = view + 0.0
    with wf.Session() as sess:
        sess.run(v.initializer)
        assert sess.run(late).tolist() == [2.0, 1.0]


def test_what_is_sent_is_protected_until_the_step_ends() -> None:
    with on(1):
        v = wf.Variable([1.0, 2.0])
        read = v.read_value()
    with on(0):
        late = read * 2.0
    with wf.control_dependencies([read]):
        update = v.assign([5.0, 6.0], read_value=False)
    assert list(reads(plan_of([late, update])).values()) == [True]


def test_another_variables_write_does_not_matter() -> None:
    v, w = wf.Variable([1.0]), wf.Variable([1.0])
    read = v.read_value()
    with wf.control_dependencies([w.assign([2.0])]):
        late = read * 3.0
    assert not any(reads(plan_of(late)).values())


def test_frees_name_each_value_once_and_after_its_last_use() -> None:
    step = plan_of(training_step("", ""))
    (plan,) = step.plans
    freed: set[int] = set()
    for instruction in plan.instructions:
        if isinstance(instruction, Run):
            assert freed.isdisjoint(instruction.inputs)
        if isinstance(instruction, Fetch):
            assert instruction.slot not in freed
        if isinstance(instruction, Free):
            assert freed.isdisjoint(instruction.slots)
            freed.update(instruction.slots)


@bounded
@given(recipes())
def test_no_value_changes_while_it_is_needed(recipe: list[programs.Step]) -> None:
    """Each plan is run one instruction at a time, and every value compared at each use with what it was when made."""
    built = build(recipe)
    with wf.Session(config=CONFIG) as sess:
        sess.run([v.initializer for v in built.variables])
        step = sess.plan([built.values, built.writes], built.feed_dict())
    found = audit(step, list(built.feed_dict().values()), built.state())
    assert same_bits([found[i] for i in range(len(found))], unique(built, runs(built, CONFIG, times=1)))
    for plan in step.plans:
        check_copies(plan)


def unique(built: programs.Built, values: list[Any]) -> list[Any]:
    """The values of a run without those of tensors that were fetched before, as a plan has its fetches."""
    return list(dict(zip(built.values, values, strict=False)).values())


def check_copies(plan: Plan) -> None:
    """Each copied read is followed by a write to its variable, or the copy is for nothing."""
    for at, run in enumerate(plan.instructions):
        if isinstance(run, Run) and run.copied:
            later = [i for i in plan.instructions[at + 1 :] if isinstance(i, Run) and i.definition.access == "write"]
            assert any(set(write.inputs[:1]) & set(run.inputs) for write in later)


# steady state


def test_training_for_long_keeps_its_memory() -> None:
    step = training_step("", "")
    fed = dict(zip(("x:0", "y:0"), (np.ones((4, 3)), np.ones((4, 1))), strict=True))
    with wf.Session() as sess:
        sess.run(wf.global_variables_initializer())
        sess.run(step, fed)
        (before,) = [frames(sess, request) for request in sess._prepared if len(request.fetches) == 1]
        for _ in range(200):
            sess.run(step, fed)
        (after,) = [frames(sess, request) for request in sess._prepared if len(request.fetches) == 1]
        assert len(before) == len(after) == 1
        assert before[0] is after[0]
        assert len(sess._prepared) == 2


def test_a_step_allocates_far_less_than_its_activations() -> None:
    size, depth = 256, 8
    x = wf.placeholder(wf.float32, [size, size])
    y = x
    for _ in range(depth):
        y = wf.nn.relu(wf.matmul(y, wf.Variable(wf.eye(size))) + wf.Variable(wf.zeros([size])))
    train = wf.train.GradientDescentOptimizer(0.1).minimize(wf.reduce_mean(wf.square(y)))
    fed = {x: np.ones((size, size), np.float32)}
    with wf.Session() as sess:
        sess.run(wf.global_variables_initializer())
        sess.run(train, fed)
        tracemalloc.start()
        sess.run(train, fed)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 1.5 * x.dtype.size * size * size  # of 16 activations and their gradients


def frames(sess: wf.Session, request: Any) -> list[Any]:
    """The functions, over buffers of their own, that a request's only plan has made so far."""
    ((_, loaded),) = sess._prepared[request].loaded.values()
    (compiled,) = loaded.plans
    return list(compiled._frames._idle)


def test_a_kernel_that_may_replace_an_input_does_not_where_another_lies_in_its_memory() -> None:
    x = wf.placeholder(wf.float32, [SIDE, SIDE])
    feed = np.random.default_rng(2).normal(size=(SIDE, SIDE)).astype(np.float32)
    h = wf.tanh(x)
    for dy, same in ((wf.transpose(h), False), (wf.sin(x), True)):
        for grad in (ReluGrad()(dy, h), TanhGrad()(h, dy), wf.add_n([h, h, dy])):
            with wf.Session() as sess:
                plan = sess.plan(wf.exp(grad), {x: feed})
                (found,) = interpret([wf.exp(grad)], {x: feed})
                assert same_bits(sess.run([wf.exp(grad)], {x: feed}), [found])
            (run,) = [run for run in instructions(plan, Run) if run.name == grad.op.name]
            buffers = {slot: buffer for made in instructions(plan, Run) for slot, buffer in made.buffered.items()}
            if run.definition.type != "AddN":
                assert (run.buffers[0] in [buffers[slot] for slot in run.inputs if slot in buffers]) == same
