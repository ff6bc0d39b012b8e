"""The backend "llvm" on a cluster: each task compiles its part of a plan, with the bits of one process with NumPy."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import replicas
import weft as wf
from clustered import SERVE, Program, local_cluster, programs
from machine_code import LLVM
from programs import same_bits
from scripted import CPU_A, A, session as engine_on, workers
from tasks import TASKS, session_of_tasks

pytest.importorskip("llvmlite", reason="the backend 'llvm' needs llvmlite: pip install 'weft[llvm]'")

from weft.runtime.backends.llvm import compiling
from weft.runtime.stages.plan import Plan, StepPlan

STEPS = 4
#: One process, NumPy's kernels.
ALONE = wf.ConfigProto(allow_soft_placement=True)
#: A task whose Python has no llvmlite, and one in which arrays lie otherwise than the code thinks.
WITHOUT = "sys.modules['llvmlite'] = None" + SERVE.format(grace=60)
STRANGE = """
from weft.runtime.backends.llvm import frame
frame._NDIM += 8
""" + SERVE.format(grace=60)


#: A worker that trains alone, and tells its losses, and whether this process has compiled anything.
MONITORED = """
import os
from weft.runtime.backends.llvm import compiling
server = wf.train.Server(cluster, job, index)
with wf.device(wf.train.replica_device_setter(cluster=cluster, worker_device="/job:worker/task:0")):
    x = wf.constant(np.linspace(-1, 1, 6000, dtype=np.float32).reshape(60, 100))
    w = wf.get_variable("w", initializer=np.full([100, 20], 0.01, np.float32))
    loss = wf.reduce_mean(wf.square(wf.tanh(wf.matmul(x, w) * 2.0 + 0.5) - 0.25))
    train_op = wf.train.AdamOptimizer(0.1).minimize(loss, global_step=wf.train.get_or_create_global_step())
with wf.train.MonitoredTrainingSession(
    server.target, config=wf.ConfigProto(backend=os.environ["BACKEND"]), hooks=[wf.train.StopAtStepHook(last_step=5)]
) as session:
    losses = []
    while not session.should_stop():
        losses.append(float(session.run([loss, train_op])[0]))
compiled = compiling.compiler.cache_info().currsize and compiling.compiler().count > 0
print("compiled", bool(compiled), losses, flush=True)
"""


@contextmanager
def servers(worker: str = SERVE.format(grace=60)) -> Iterator[tuple[str, Any, list[Program]]]:
    """The target of a cluster of a ps and two workers, processes of their own, what starts more, and the workers."""
    cluster = local_cluster(ps=1, worker=2)
    with programs() as start:
        made = [start(SERVE.format(grace=60), cluster, "ps")]
        made += [start(SERVE.format(grace=60), cluster, "worker", 0), start(worker, cluster, "worker", 1)]
        for each in made:
            each.says("up")
        yield f"weft://{cluster['worker'][0]}", lambda: start(worker, cluster, "worker", 1), made[1:]


@pytest.mark.parametrize("name", sorted(replicas.TRAININGS))
def test_trainings_on_servers_have_the_bits_of_one_process_with_numpy(name: str) -> None:
    training = replicas.TRAININGS[name]()
    with servers() as (target, _, _), wf.Session(target, config=LLVM) as session:
        found = training.run(session, range(STEPS))
        told = session.plan(training.fetches, training.step(0)).explain()
    assert same_bits(found, training.alone(STEPS))
    for task in ("worker/replica:0/task:0", "worker/replica:0/task:1", "ps/replica:0/task:0"):
        assert f"on /job:{task}, when the plan comes there." in told
    assert "can be compiled with the same bits" in told


@pytest.mark.ray
def test_a_training_on_ray_has_the_bits_of_one_process_with_numpy() -> None:
    training = replicas.digits()
    with wf.cluster.start({"ps": 1, "worker": 2}) as cluster, wf.Session(cluster.target, config=LLVM) as session:
        found = training.run(session, range(STEPS))
    assert same_bits(found, training.alone(STEPS))


def test_a_task_without_llvmlite_is_named_when_the_session_is_made() -> None:
    with servers(WITHOUT) as (target, _, made):
        with pytest.raises(wf.errors.UnimplementedError) as caught:
            wf.Session(target, config=LLVM)
        message = caught.value.message
        assert message.startswith("/job:worker/replica:0/task:1 on ")
        assert f"process {made[1].process.pid} cannot serve this session: " in message
        assert message.endswith("backend='llvm' needs llvmlite: pip install 'weft[llvm]'")
        with wf.Session(target) as session:  # it serves others
            assert session.run(wf.constant(1.0) + 1.0) == 2


def test_a_task_where_it_does_not_work_is_named_when_the_first_plan_comes() -> None:
    with wf.device("/job:worker/task:1"):
        value = wf.reduce_sum(wf.random_uniform([100], seed=1) * 2.0 + 1.0)
    with servers(STRANGE) as (target, _, _), wf.Session(target, config=LLVM) as session:
        with pytest.raises(
            wf.errors.UnimplementedError, match=r"does not know this .*\(on /job:worker/replica:0/task:1"
        ):
            session.run(value)
        assert session.run(wf.constant(1.0) + 1.0) == 2


def test_a_worker_that_is_killed_and_comes_again_compiles_again() -> None:
    training = replicas.digits()
    with servers() as (target, start, made):
        with wf.Session(target, config=LLVM) as session:
            first = training.run(session, range(2))
            os.kill(made[1].process.pid, signal.SIGKILL)
            with pytest.raises(wf.errors.UnavailableError, match="worker/replica:0/task:1"):
                session.run(training.fetches[1], training.step(2))
        start().says("up")
        with wf.Session(target, config=LLVM) as session:
            second = training.run(session, range(2, STEPS), initialize=False)
    assert same_bits([*first[:2], *second], training.alone(STEPS))


def test_a_between_graph_program_asks_for_it_with_its_session() -> None:
    said = []
    for backend in ("llvm", "numpy"):
        cluster = local_cluster(ps=1, worker=1)
        with programs() as start:
            start(SERVE.format(grace=60), cluster, "ps")
            status, out, err = start(MONITORED, cluster, "worker", 0, BACKEND=backend).end()
            assert status == 0, err
            said.append(out)
    assert said[0].startswith("compiled True [0.")
    assert said[0].removeprefix("compiled True") == said[1].removeprefix("compiled False")


# two tasks in this process


def test_a_backend_that_tasks_cannot_have_is_refused() -> None:
    with workers(A) as made:
        for name in ("cuda", ""):
            with (
                pytest.raises(wf.errors.UnimplementedError, match=rf"{A} .* there is no backend '{name}' for tasks"),
                engine_on(made, backend=name),
            ):
                pass
        with engine_on(made) as engine:
            assert engine.devices


def _slow(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Each function takes so long to compile."""
    plain = compiling.Compiler._compiled

    def slowly(self: Any, text: str, single: bool) -> Any:
        time.sleep(seconds)
        return plain(self, text, single)

    monkeypatch.setattr(compiling.Compiler, "_compiled", slowly)


def test_no_step_compiles_and_what_is_in_branches_loops_and_convolutions_is_compiled_with_the_rest() -> None:
    compiler = compiling.compiler()
    x = wf.placeholder(wf.float32, [2, 9, 9, 3])
    filters = wf.Variable(np.full([3, 3, 3, 16], 0.25, np.float32))
    made = wf.nn.relu(wf.nn.conv2d(x, filters, strides=[1, 1, 1, 1], padding="VALID") + 0.125)
    rows = wf.reshape(made, [2, -1])
    looped = wf.while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, v * 0.5 + 0.0625 * v), [0, rows])[1]
    chosen = wf.cond(wf.reduce_sum(x) > 0, lambda: rows * 3.0 - 17.0, lambda: rows * 5.0 + 19.0)
    fetches = [looped, chosen, *wf.gradients(chosen, [filters, x])]
    feeds = {x: np.ones([2, 9, 9, 3], np.float32)}
    counts = []
    with session_of_tasks(LLVM) as session:
        session.run(filters.initializer)
        run = session._engine.run
        session._engine.run = lambda *given: counts.append(compiler.count) or run(*given)  # type: ignore[method-assign, func-returns-value]
        before = compiler.count
        found = [session.run(fetches, {x: sign * feeds[x]}) for sign in (1, -1)]
        after = compiler.count
    assert before < counts[0] == after
    with wf.Session() as session:
        session.run(filters.initializer)
        wanted = [session.run(fetches, {x: sign * feeds[x]}) for sign in (1, -1)]
    for one, other in zip(found, wanted, strict=True):
        assert same_bits(one, other)


def test_a_task_that_compiles_for_long_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    _slow(monkeypatch, 1.5)
    x = wf.placeholder(wf.float32, [77])
    value = wf.tanh(x * 2.0 + 1.0) * 3.0
    with wf.Session(config=LLVM) as local:
        found = local.plan(value).plans[0]
        plan = Plan(CPU_A, found.instructions, found.arena_bytes)
    with workers(A) as made, engine_on(made, heartbeat=0.4, backend="llvm") as engine:
        started = time.monotonic()
        handle = engine.load(StepPlan((plan,), 1))
        assert time.monotonic() - started > 1.5
        (found,) = engine.run(handle, [np.ones(77, np.float32)], 5)
    with wf.Session(config=ALONE) as local:
        assert same_bits([found], [local.run(value, {x: np.ones(77)})])


def test_a_deadline_that_compiling_takes_longer_than_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    _slow(monkeypatch, 1.0)
    with wf.device(TASKS[1]):
        x = wf.placeholder(wf.float32, [78])
        value = wf.tanh(x * 2.0 + 1.0) * 3.0
    with session_of_tasks(LLVM) as session:
        with pytest.raises(wf.errors.DeadlineExceededError) as caught:
            session.run(value, {x: np.ones(78)}, options=wf.RunOptions(timeout_in_ms=200))
        text = f"The step took longer than 0.2 s: {TASKS[1]} had not made its plan ready, for which it compiles machine code"
        assert caught.value.message == text
        found = session.run(value, {x: np.ones(78)})  # what was compiled meanwhile is not compiled again
    with wf.Session(config=ALONE) as local:
        assert same_bits([found], [local.run(value, {x: np.ones(78)})])


def test_loops_over_tasks_traces_and_rows_of_steps() -> None:
    x = wf.placeholder(wf.float32, [40_000])

    def body(i: Any, a: Any) -> Any:
        with wf.device(TASKS[1]):
            b = wf.sin(a) * 1.5 + a
        return i + 1, b * 0.5 - wf.sqrt(wf.abs(b))

    with wf.device(TASKS[0]):
        start = wf.tanh(x) * 2.0 + 1.0
        value = wf.while_loop(lambda i, a: i < 5, body, [0, start])[1]
    with wf.device(TASKS[1]):
        sent = (start * 3.0 - 1.0) * wf.sqrt(wf.abs(start))
    gradient = wf.gradients(value, x)[0]
    feeds = [{x: np.linspace(-k, 1, 40_000, dtype=np.float32)} for k in range(4)]
    metadata = wf.RunMetadata()
    with session_of_tasks(LLVM) as session:
        found = [session.run([value, sent, gradient], each) for each in feeds]
        rows = list(session.run_many([value, sent, gradient], feeds, limit=3))
        traced = session.run(
            [value, sent, gradient], feeds[0], wf.RunOptions(trace_level=wf.RunOptions.FULL_TRACE), metadata
        )
    with wf.Session(config=ALONE) as local:
        wanted = [local.run([value, sent, gradient], each) for each in feeds]
    for one, row, other in zip(found, rows, wanted, strict=True):
        assert same_bits(one, other)
        assert same_bits(row, other)
    assert same_bits(traced, wanted[0])
    assert metadata.step_stats.dev_stats


def test_results_are_written_where_the_other_task_reads_them_and_no_array_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What comes over a connection, and the memory that two tasks share, is as compiled code wants arrays."""
    from weft.cluster.task.step import TaskStep

    placed: list[int] = []
    place = TaskStep.place
    monkeypatch.setattr(TaskStep, "place", lambda self, *given: placed.append(given[1]) or place(self, *given))  # type: ignore[func-returns-value]
    x = wf.placeholder(wf.float32, [50_000])
    with wf.device(TASKS[0]):
        sent = wf.sqrt(x * 2.0 + 1.0) * 3.0
    with wf.device(TASKS[1]):
        value = sent * 0.5 - 1.0
    with session_of_tasks(LLVM) as session:
        session.run(value, {x: np.ones(50_000)})
        callers: list[str] = []
        copy = np.copyto

        def watched(*given: Any) -> None:
            callers.append(sys._getframe(1).f_code.co_name)
            copy(*given)

        monkeypatch.setattr(np, "copyto", watched)
        found = session.run(value, {x: np.ones(50_000)})
    monkeypatch.undo()
    assert len(placed) >= 2
    assert "again" not in callers, "which lets NumPy compute what code does not take"
    with wf.Session(config=ALONE) as local:
        assert same_bits([found], [local.run(value, {x: np.ones(50_000)})])
