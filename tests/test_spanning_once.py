"""What is the same in each iteration of a loop over several devices is computed and sent once: what that is, and what not."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import weft as wf
from clustered import SERVE, local_cluster, programs
from endpoints import in_background
from nested import A, B, C
from programs import same_bits
from tasks import TASKS, session_of_tasks
from weft.cluster.wire.plans import decode_plan, encode_plan
from weft.graph import errors
from weft.graph.ops import variables
from weft.runtime.execution.rendezvous import Rendezvous
from weft.runtime.stages.parts import DevicePart, OncePart, WhilePart, all_instructions
from weft.runtime.stages.plan import Run

LIMIT = wf.RunOptions(timeout_in_ms=60_000)


@contextlib.contextmanager
def session(devices: int = 3) -> Iterator[wf.Session]:
    """A session with initialized variables; with one device all requests are taken there."""
    config = wf.ConfigProto(device_count={"CPU": devices}, allow_soft_placement=True, race_check="off")
    with wf.Session(config=config) as made:
        made.run(wf.global_variables_initializer())
        yield made


def check(fetches: list[Any], feeds: Any = None) -> list[Any]:
    """The values in two runs, which are those of one device, bit for bit."""
    found = []
    for devices in (3, 1):
        with session(devices) as made:
            found.append([value for _ in range(2) for value in made.run(fetches, feeds, options=LIMIT)])
    assert same_bits(*found)
    return found[0]


def parts(fetches: Any) -> dict[str, list[DevicePart]]:
    """The parts of branches and loops of each device, also those inside of others."""
    with session() as made:
        plans = made.plan(fetches).plans
    runs = {plan.device[-5:]: [i for i in all_instructions(plan.instructions) if isinstance(i, Run)] for plan in plans}
    return {
        at: [run.definition for run in found if isinstance(run.definition, DevicePart)] for at, found in runs.items()
    }


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The edges of all that is sent between devices."""
    edges: list[int] = []
    put = Rendezvous.put

    def noted(self: Rendezvous, edge: int, value: Any) -> None:
        edges.append(edge)
        put(self, edge, value)

    monkeypatch.setattr(Rendezvous, "put", noted)
    return edges


def variable(device: str, value: Any = 1.5, **options: Any) -> wf.Variable:
    with wf.device(device):
        return wf.Variable(np.float32(value), **options)


def times(count: Any, body: Any, start: Any = 1.0) -> wf.Tensor:
    """What `body` makes of a number, applied so many times, on A."""
    with wf.device(A):
        made = wf.while_loop(lambda i, a: i < count, lambda i, a: (i + 1, body(a)), [0, wf.constant(start)])
        return wf.identity(made[1])


def messages(sent: list[int], fetches: Any, feeds: Any) -> int:
    """How much is sent in a run."""
    with session() as made:
        made.run(fetches, feeds)
        del sent[:]
        made.run(fetches, feeds)
    return len(sent)


# what is sent


def test_what_a_loop_only_reads_is_sent_once_and_its_device_has_no_part_in_the_iterations(sent: list[int]) -> None:
    v, w, count = variable(B), variable(C, 0.25), wf.placeholder(wf.int32, [])
    y = times(count, lambda a: wf.sin(a * v) + w)
    assert {device: [type(each) for each in found] for device, found in parts(y).items()} == {
        "CPU:0": [WhilePart], "CPU:1": [OncePart], "CPU:2": [OncePart],
    }  # fmt: skip
    assert [messages(sent, y, {count: n}) for n in (0, 1, 2, 50)] == [
        2,
        4,
        4,
        4,
    ]  # two hear whether there is an iteration
    check([y], {count: 5})


def test_what_is_computed_of_it_is_sent_once_too(sent: list[int]) -> None:
    v, x, count = variable(B), wf.placeholder_with_default(np.float32(0.5), []), wf.placeholder(wf.int32, [])

    def body(a: Any) -> Any:
        with wf.device(B):
            scaled = wf.exp(wf.identity(v) * x)
        return wf.sin(a) * scaled

    y = times(count, body)
    (part,) = parts(y)["CPU:1"]
    assert isinstance(part, OncePart)
    assert messages(sent, y, {count: 2}) == messages(sent, y, {count: 40})
    check([y], {count: 5})


def test_a_loop_that_computes_on_several_devices_sends_in_each_iteration_only_what_changes(sent: list[int]) -> None:
    v, count = variable(B), wf.placeholder(wf.int32, [])

    def loop(read: bool) -> Any:
        def body(a: Any) -> Any:
            with wf.device(C):
                b = wf.sin(a)
            return b * v if read else b + 0.5

        return times(count, body)

    with_variable, without = loop(True), loop(False)
    found = [messages(sent, y, {count: n}) for y in (with_variable, without) for n in (10, 20)]
    assert found[1] - found[0] == found[3] - found[2] > 0
    assert found[0] - found[2] == 2
    check([with_variable], {count: 5})


def test_what_the_condition_reads_is_sent_once(sent: list[int]) -> None:
    limit = variable(B, 10.0)
    with wf.device(A):
        y = wf.while_loop(lambda a: a < limit * 2.0, lambda a: a + 1.0, [wf.constant(0.0)])
    assert messages(sent, y, {}) == 1
    assert check([y]) == [20.0, 20.0]


def test_an_inner_loop_has_it_once_each_time_it_runs(sent: list[int]) -> None:
    v, w, count = variable(B), variable(C, 0.5), wf.placeholder(wf.int32, [])
    y = times(count, lambda a: times(3, lambda b: wf.sin(b * v), 0.5) * w + a)
    found = [messages(sent, y, {count: n}) for n in (10, 20)]
    assert (found[1] - found[0]) % 10 == 0
    check([y], {count: 4})
    inner = [each for each in parts(y)["CPU:1"] if isinstance(each, OncePart)]
    assert len(inner) == 1
    assert [type(each) for each in parts(y)["CPU:2"]] == [OncePart]


def test_a_branch_in_a_loop_reads_when_it_is_taken() -> None:
    v = variable(B, trainable=False)
    with wf.device(C):
        unset = wf.Variable(np.float32(3.0), collections=[])  # nothing gives it a value

    def body(a: Any) -> Any:
        return wf.cond(a < 100.0, lambda: wf.sin(a * v), lambda: a * unset)

    check([times(4, body)])


# what a value is when


def test_a_loop_that_runs_no_iteration_reads_nothing() -> None:
    with wf.device(B):
        unset = wf.Variable(np.float32(3.0), collections=[], name="unset")
    count = wf.placeholder(wf.int32, [])
    y = times(count, lambda a: wf.sin(a * unset))
    with session() as made:
        assert made.run(y, {count: 0}) == 1.0
        with pytest.raises(errors.FailedPreconditionError, match=r"(?s)unset.*test_spanning_once\.py") as caught:
            made.run(y, {count: 1})
        assert caught.value.op is not None
        assert caught.value.op.type == "ReadVariableOp"
        made.run(unset.initializer)
        assert made.run(y, {count: 1}) == np.sin(np.float32(3.0))


def test_what_may_have_no_value_is_read_where_it_is_known_to_have_one() -> None:
    with wf.device(B):
        unset = wf.Variable(np.float32(3.0), collections=[])
    y = times(3, lambda a: wf.cond(wf.is_variable_initialized(unset), lambda: a * unset, lambda: wf.cos(a)))
    with session() as made:
        before = made.run(y)
        made.run(unset.initializer)
        assert made.run(y) == 27.0 != before


def _writes(kind: str, v: Any) -> Any:
    """What writes to a variable, of a number, and gives one."""

    def alias(a: Any) -> Any:
        handle = variables.VarHandleOp(wf.float32, (), shared_name="shared")(name="another")
        with wf.control_dependencies([variables.AssignAddVariableOp(wf.float32, ()).node(handle, a)]):
            return wf.identity(a)

    def within(a: Any) -> Any:
        return wf.while_loop(lambda j, _: j < 2, lambda j, b: (j + 1, wf.identity(v.assign_add(b))), [0, a])[1]

    return {
        "itself": lambda a: wf.identity(v.assign_add(a)),
        "branch": lambda a: wf.cond(a > 1.0, lambda: wf.identity(v.assign_add(a)), lambda: a + 1.0),
        "loop": within,
        "alias": alias,
    }[kind]


@pytest.mark.parametrize("kind", ["itself", "branch", "loop", "alias"])
def test_what_something_in_the_loop_writes_is_read_again(kind: str) -> None:
    v = variable(B, 0.5, name="shared")

    def body(a: Any) -> Any:
        b = wf.sin(a * v)  # this read waits for nothing
        with wf.control_dependencies([b]):
            return b + _writes(kind, v)(a + 1.0) * 0.125

    y = times(4, body)
    plans = [plan for found in parts(y).values() for each in found for plan in each.once]
    assert not [i for plan in plans for i in plan.instructions]
    with wf.control_dependencies([y]):
        after = v.read_value()
    found = check([y, after])
    assert found[1] != 0.5


def test_writes_before_the_loop_are_seen_and_those_after_it_are_not() -> None:
    v = variable(B, 2.0)
    with wf.control_dependencies([v.assign_add(1.0)]):
        y = times(5, lambda a: wf.tanh(a * v) + v)
    with wf.control_dependencies([y]):
        later = v.assign(100.0)
    with wf.control_dependencies([later]):
        (grad,) = wf.gradients(y, v)  # goes back after the write, over what was read before it
        grad = wf.identity(grad)
    back = v.assign(2.0)
    found = []
    for devices in (3, 1):
        with session(devices) as made:
            for _ in range(2):
                found.append(made.run([y, grad], options=LIMIT))
                made.run(back)
    assert same_bits(found[0], found[1])
    assert same_bits(found[0], found[2])
    assert 3.5 < found[0][0] <= 4.0


def test_a_tape_keeps_what_was_read_also_on_the_device_of_the_variable() -> None:
    v = variable(B, np.linspace(0, 1, 5))

    def body(a: Any) -> Any:
        with wf.device(B):
            return wf.tanh(a * v) + wf.reduce_sum(v)

    with wf.device(A):
        y = wf.while_loop(lambda i, a: i < 4, lambda i, a: (i + 1, body(a)), [0, wf.ones([5])])[1]
    with wf.control_dependencies([y]), wf.control_dependencies([v.assign_add(wf.ones([5]))]):
        (grad,) = wf.gradients(y, v)
        grad = wf.identity(grad)
    assert "ReadVariableOp" in str(parts(y)["CPU:1"][0].once)
    check([y, grad])


@pytest.mark.parametrize("inside", [False, True])
def test_a_loop_that_waits_for_another_step_to_write_ends(inside: bool) -> None:
    v = variable(B, 0.0)
    with wf.device(A):
        if inside:
            y = wf.while_loop(lambda a: a < 1.0, lambda a: wf.identity(v.read_value()), [wf.constant(0.0)])
        else:
            y = wf.while_loop(lambda a: v < 1.0, lambda a: a, [wf.constant(0.0)])
    write = v.assign(1.0)
    with session() as made:
        waiting = in_background(lambda: made.run(y, options=LIMIT))
        made.run(write)
        waiting()


def test_a_loop_that_waits_for_other_steps_in_each_iteration_sees_what_they_wrote() -> None:
    v, given = variable(B, 0.0), wf.placeholder(wf.float32, [])
    with wf.device(C):
        queue, done = (wf.FIFOQueue(5, wf.float32, [[]]) for _ in range(2))

    def body(a: Any) -> Any:
        value = a + queue.dequeue() * v
        with wf.control_dependencies([done.enqueue(value)]):
            return wf.identity(value)

    y = times(3, body)
    write, feed, taken = v.assign(given), queue.enqueue(1.0), done.dequeue()
    with session() as made:
        waiting = in_background(lambda: made.run(y, options=LIMIT))
        for number in (1.0, 10.0, 100.0):
            made.run(write, {given: number})
            made.run(feed)
            made.run(taken)  # it has read; the next iteration may read before the next write, too
        assert waiting() in [1.0 + a + b + c for a in (0.0, 1.0) for b in (1.0, 10.0) for c in (10.0, 100.0)]


# gradients, and tasks


def net(worker: str, ps: str, steps: int = 5) -> tuple[list[Any], Any]:
    """The loss of an LSTM, its gradients and theirs, and a training step."""

    def place(operation: Any) -> str:
        return ps if operation.type == "VarHandleOp" else worker

    wf.set_random_seed(1)
    x = wf.constant(np.random.default_rng(3).normal(size=(2, steps, 3)).astype(np.float32))
    with wf.device(place), wf.variable_scope("net", reuse=wf.AUTO_REUSE):
        cell = wf.nn.rnn_cell.LSTMCell(4, initializer=wf.random_uniform_initializer(-0.5, 0.5, seed=7))
        outputs, _ = wf.nn.dynamic_rnn(cell, x, sequence_length=[steps, steps - 2], dtype=wf.float32)
        loss = wf.reduce_mean(wf.square(outputs))
        weights = wf.trainable_variables()
        first = wf.gradients(loss, weights)
        second = wf.gradients(wf.add_n([wf.reduce_sum(wf.square(each)) for each in first]), weights)
        train = wf.train.GradientDescentOptimizer(0.1).apply_gradients(zip(first, weights, strict=True))
    return [loss, *first, *second], train


def test_a_recurrent_net_has_its_weights_sent_once_for_all_steps_and_their_gradients_stay_with_it() -> None:
    fetches, _ = net(A, B)
    found = parts(fetches)
    assert [type(each) for each in found["CPU:1"]] == [OncePart]
    (forward,) = found["CPU:0"]
    assert isinstance(forward, WhilePart)
    check(fetches)


def test_what_crosses_in_a_training_step_does_not_grow_with_the_steps_of_a_recurrent_net(sent: list[int]) -> None:
    found = []
    for steps in (4, 12):
        wf.reset_default_graph()
        found.append(messages(sent, net(A, B, steps)[1], {}))
    assert found[0] == found[1] == 7  # whether there is a step, two weights, their gradients, and that both are applied


def test_over_tasks() -> None:
    fetches, _ = net(*TASKS)
    with session_of_tasks() as made:
        made.run(wf.global_variables_initializer())
        found = made.run(fetches, options=LIMIT)
    with session(1) as made:
        assert same_bits(found, made.run(fetches))


#: A worker that trains a recurrent net whose weights are on the ps, and says what comes of it.
TRAIN = """
server = wf.train.Server(cluster, job, index)
x = np.linspace(-1, 1, 24).reshape(2, 4, 3).astype(np.float32)
def trained(target):
    with wf.Graph().as_default():
        setter = wf.train.replica_device_setter(cluster=cluster, worker_device="/job:worker/task:0")
        with wf.device(setter if target else None):
            cell = wf.nn.rnn_cell.GRUCell(4, kernel_initializer=wf.random_uniform_initializer(-0.5, 0.5, seed=7))
            outputs, _ = wf.nn.dynamic_rnn(cell, wf.constant(x), dtype=wf.float32)
            loss = wf.reduce_mean(wf.square(outputs))
            train = wf.train.AdamOptimizer(0.1).minimize(loss)
        with wf.Session(target) as session:
            session.run(wf.global_variables_initializer())
            if target:
                print("OncePart" in str(session.plan(train)))
            return [session.run([loss, train])[0].tobytes() for _ in range(3)]
print(trained(server.target) == trained(""), flush=True)
"""


def test_a_recurrent_net_of_a_worker_with_its_weights_on_a_server() -> None:
    cluster = local_cluster(ps=1, worker=1)
    with programs() as start:
        start(SERVE.format(grace=600), cluster, "ps")
        status, out, err = start(TRAIN, cluster, "worker", 0).end()
        assert (status, out.split()) == (0, ["True", "True"]), err


# how it is seen


def test_it_is_printed_and_explained() -> None:
    v = variable(B)
    y = times(3, lambda a: a * v)
    with session() as made:
        plan = made.plan(y)
        assert "in the first iteration:" in str(plan)
        assert "hoist, 1 operation: Loops compute once what is the same in each iteration." in plan.explain()
        metadata = wf.RunMetadata()
        made.run(y, options=wf.RunOptions(trace_level=wf.RunOptions.FULL_TRACE), run_metadata=metadata)
    nodes = [node for device in metadata.step_stats.dev_stats for node in device.node_stats]
    assert sum("_Recv()" in node.timeline_label and "ReadVariableOp" in node.timeline_label for node in nodes) == 1


def once_part() -> tuple[list[Any], list[Any], Any]:
    """A plan with the part of a device that does nothing in the iterations, as data, its arrays, and the part in it."""
    v = variable(B)
    y = times(3, lambda a: a * v)
    with session() as made:
        (plan,) = [each for each in made.plan(y).plans if each.device.endswith("CPU:1")]
    data, arrays = encode_plan(plan)
    assert decode_plan(data, arrays) == plan
    rows = json.loads(data)
    (part,) = [row[2] for row in rows[2] if row[0] == "run" and row[2][0] == "OncePart"]
    return rows, list(arrays), part


#: The places in such a part as data.
PLANS, FEEDS, COUNT, START, ACCESSES = range(1, 6)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, "WhilePart"),
        (PLANS, []),
        (FEEDS, []),
        (FEEDS, [7]),
        (COUNT, 0),
        (COUNT, 1 << 40),
        (START, 1),
        (START, [-1, "x"]),
        (ACCESSES, ["call"]),
    ],
)
def test_a_part_that_is_none_is_refused(place: int, value: Any) -> None:
    rows, arrays, part = once_part()
    part[place] = value
    with pytest.raises(errors.DataLossError):
        decode_plan(json.dumps(rows).encode(), arrays)
