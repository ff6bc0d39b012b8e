"""SyncReplicasOptimizer: updates by the mean of several workers, in threads of one session and in sessions of a cluster."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
import weft as wf
from endpoints import in_background
from scripted import nothing_left_soon, session as engine_of, workers
from weft.runtime import targets

pytestmark = pytest.mark.counts

PS, W0, W1 = (f"/job:{task}" for task in ("ps/replica:0/task:0", "worker/replica:0/task:0", "worker/replica:0/task:1"))
SETTINGS = wf.ConfigProto(operation_timeout_in_ms=60_000, race_check="error")


class Replica:
    """A worker's part: placeholders for its gradients, and its operation."""

    def __init__(self, aggregate: int, total: int, opt: Any = None, averages: Any = None) -> None:
        self.dense, self.rows = wf.placeholder(wf.float32, [2]), wf.placeholder(wf.int64, [None])
        self.v = wf.get_variable("v", initializer=[1.0, 2.0])
        self.table = wf.get_variable("table", initializer=np.ones((4, 2), np.float32))
        self.step = wf.train.get_or_create_global_step()
        opt = opt or wf.train.GradientDescentOptimizer(0.5)
        self.opt = wf.train.SyncReplicasOptimizer(opt, aggregate, total, variable_averages=averages,
                                                  variables_to_average=[self.v] if averages else None)  # fmt: skip
        loss = wf.reduce_sum(self.v * self.dense) + wf.reduce_sum(wf.gather(self.table, self.rows))
        self.train = self.opt.minimize(loss, self.step, var_list=[self.v, self.table])

    def fed(self, dense: Any, rows: Any = (0,)) -> dict[Any, Any]:
        return {self.dense: dense, self.rows: list(rows)}


def replicas(count: int, aggregate: int, **more: Any) -> list[Replica]:
    """Several workers in one graph, of the same variables."""
    with wf.variable_scope("model", reuse=wf.AUTO_REUSE):
        return [Replica(aggregate, count, **more) for _ in range(count)]


@contextmanager
def begun(made: list[Replica], tokens: int = 0) -> Iterator[wf.Session]:
    """A session in which the workers are ready; the first is the chief."""
    hooks = [each.opt.make_session_run_hook(number == 0, tokens) for number, each in enumerate(made)]
    for hook in hooks:
        hook.begin()
    with wf.Session(config=SETTINGS) as session:
        session.run([wf.global_variables_initializer(), wf.local_variables_initializer()])
        coord = wf.train.Coordinator()
        for hook in hooks:
            hook.after_create_session(session, coord)
        yield session
        coord.request_stop()
        coord.join(stop_grace_period_secs=60)  # the chief's thread does not wait for gradients any more


def together(session: wf.Session, made: list[Replica], *feeds: Any) -> None:
    """Each worker runs one step, with its feeds."""
    results = [in_background(session.run, each.train, each.fed(*fed)) for each, fed in zip(made, feeds, strict=True)]
    for result in results:
        result()


def test_the_update_is_that_of_the_mean() -> None:
    made = replicas(2, 2)
    with begun(made) as session:
        for number in range(3):
            together(session, made, ([1.0, number], [0, 1]), ([2.0, number], [1, 1]))
        v, table, step = session.run([made[0].v, made[0].table, made[0].step])
    assert v.tolist() == [1 - 0.5 * 1.5 * 3, 2 - 0.5 * 3]
    # Row 0 is the first worker's alone; row 1 has 1 from it and 2 from the other.
    assert table.tolist() == [[1 - 0.5 * 3] * 2, [1 - 0.5 * 1.5 * 3] * 2, [1, 1], [1, 1]]
    assert step == 3


def test_three_workers_give_the_same_bits_whoever_comes_first() -> None:
    gradients = np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)
    found = set()
    made = replicas(3, 3, opt=wf.train.AdamOptimizer(0.1))
    counted = wf.ConditionalAccumulator(wf.float32, [2], shared_name="model/v:0/grad_accum").num_accumulated()
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        with begun(made) as session:
            waiting = []
            for number, at in enumerate(order):
                while number and session.run(counted) < number:  # the one before has not come yet
                    pass
                waiting.append(in_background(session.run, made[at].train, made[at].fed(gradients[at])))
            for result in waiting:
                result()
            found.add(session.run(made[0].v).tobytes())
    assert len(found) == 1


def test_a_gradient_of_an_older_step_is_dropped() -> None:
    """Of three workers two are enough: the third comes too late, gets a token, and is up to date again."""
    made = replicas(3, 2)
    with begun(made) as session:
        together(session, made[:2], ([2.0, 0.0],), ([4.0, 0.0],))
        assert session.run(made[0].v).tolist() == [1 - 0.5 * 3, 2]
        session.run(made[2].train, made[2].fed([1000.0, 1000.0]))
        assert session.run(made[0].v).tolist() == [1 - 0.5 * 3, 2]
        together(session, [made[0], made[2]], ([2.0, 0.0],), ([2.0, 0.0],))
        assert session.run(made[0].v).tolist() == [1 - 0.5 * 3 - 0.5 * 2, 2]


def test_one_worker_may_bring_all_the_gradients() -> None:
    """With fewer workers than gradients each begins with tokens enough to bring several."""
    (made,) = replicas(1, 2)
    with pytest.raises(ValueError, match=r"Too few tokens to finish the first step: 0 \(given\) vs 1 \(needed\)"):
        made.opt.get_init_tokens_op(0)
    with begun([made], tokens=1) as session:
        session.run(made.train, made.fed([1.0, 0.0]))
        session.run(made.train, made.fed([3.0, 0.0]))
        assert session.run([made.v[0], made.step]) == [1 - 0.5 * 2, 1]


def test_averages_are_kept_after_each_update() -> None:
    averages = wf.train.ExponentialMovingAverage(0.5)
    with wf.variable_scope("model"):
        made = Replica(1, 1, averages=averages)
    with begun([made]) as session:
        session.run(made.train, made.fed([1.0, 2.0]))
        session.run(made.train, made.fed([0.0, 0.0]))
        average = averages.average(made.v)
        assert average is not None
        assert session.run(average[0]) in (0.75, 0.625)  # of the first update, or of both


def test_it_answers_for_the_optimizer_inside() -> None:
    with wf.variable_scope("model"):
        made = Replica(1, 1, opt=wf.train.MomentumOptimizer(0.1, 0.9))
    assert made.opt.get_slot_names() == ["momentum"]
    slot = made.opt.get_slot(made.v, "momentum")
    assert slot is not None
    assert slot in made.opt.variables()
    assert made.train.type == "AssignVariableOp"
    assert [op.type for op in wf.get_default_graph().get_operations() if op.name.startswith("sync_token_q")][:1] == [
        "SyncTokens"
    ]


def test_it_refuses_what_cannot_be() -> None:
    opt = wf.train.SyncReplicasOptimizer(wf.train.GradientDescentOptimizer(0.1), 2)
    v = wf.Variable(1.0)
    for error, build, message in [
        (ValueError, lambda: opt.apply_gradients([]), "at least one variable"),
        (ValueError, lambda: opt.apply_gradients([(wf.constant(1.0), v)]), "Global step is required"),
        (ValueError, lambda: opt.get_chief_queue_runner(), "after apply_gradients"),
        (ValueError, lambda: opt.get_init_tokens_op(), "after apply_gradients"),
        (ValueError, lambda: opt.make_session_run_hook(True).begin(), "should be called before using the hook"),
    ]:
        with pytest.raises(error, match=message):
            build()  # type: ignore[no-untyped-call]


def test_the_hook_wants_variables_that_have_values() -> None:
    with wf.variable_scope("model"):
        made = Replica(1, 1)
    hook = made.opt.make_session_run_hook(True)
    hook.begin()
    with wf.Session() as session, pytest.raises(RuntimeError, match=r"Variables not initialized: .*model/v"):
        hook.after_create_session(session, wf.train.Coordinator())


# in sessions of their own


@pytest.fixture
def tasks() -> Iterator[Any]:
    """Sessions over one ps and two workers, which are in this process."""
    lock = threading.Lock()
    with nothing_left_soon(), workers(PS, W0, W1) as made, ExitStack() as stack:

        def session(graph: wf.Graph, **options: Any) -> wf.Session:
            with lock:
                engine = stack.enter_context(engine_of(made))
                targets.register_engine("here", lambda target, config: engine)
                opened = wf.Session("here://", graph=graph, config=wf.ConfigProto(**options))
                stack.callback(opened.close)
                return opened

        yield session
        del targets._SERVED["here"]


def test_two_clients_train_together_through_a_ps(tasks: Any) -> None:
    """Each has a graph and a session of its own, as programs of the between-graph kind have."""
    rows = np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32)
    errors: list[BaseException] = []
    initialized, finished = threading.Event(), threading.Barrier(2)
    found: list[Any] = []

    def client(number: int) -> None:
        try:
            with wf.Graph().as_default() as graph:
                setter = wf.train.replica_device_setter(1, worker_device=f"/job:worker/task:{number}")
                with wf.device(setter), wf.variable_scope("model"):
                    made = Replica(2, 2)
                    ready = wf.report_uninitialized_variables(wf.global_variables())
                    setup = [wf.global_variables_initializer(), wf.local_variables_initializer()]
                hook = made.opt.make_session_run_hook(number == 0, 0)
                hook.begin()
                session = tasks(graph, operation_timeout_in_ms=60_000)
                if number:
                    assert initialized.wait(60)
                session.run(setup if number == 0 else setup[1])
                initialized.set()
                assert len(session.run(ready)) == 0
                coord = wf.train.Coordinator()
                hook.after_create_session(session, coord)
                for row in rows[number]:
                    session.run(made.train, made.fed(row, [number]))
                finished.wait(60)
                found.append(session.run([made.v, made.table, made.step]))
                finished.wait(60)
                coord.request_stop()
                coord.join(stop_grace_period_secs=60)
        except BaseException as error:
            errors.append(error)
            finished.abort()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    v = np.array([1, 2], np.float32)
    for row in (rows[0] + rows[1]) / np.float32(2):
        v -= np.float32(0.5) * row
    for values in found:
        assert values[0].tobytes() == v.tobytes()
        assert values[1].tolist() == [[-1, -1], [-1, -1], [1, 1], [1, 1]]
        assert values[2] == 4


# what waits on a task


def queue_on_ps(shared_name: str | None = "q") -> tuple[wf.Graph, dict[str, Any]]:
    graph = wf.Graph()
    with graph.as_default():
        with wf.device(PS):
            queue = wf.FIFOQueue(2, wf.int32, shapes=[()], shared_name=shared_name, name="numbers")
        with wf.device(W0):
            number = wf.placeholder(wf.int32, [])
            made = {"number": number, "put": queue.enqueue(number * 2), "take": queue.dequeue() + 1,
                    "many": queue.dequeue_many(2), "size": queue.size(), "close": queue.close(True)}  # fmt: skip
    return graph, made


def test_a_queue_on_a_task_is_shared_by_sessions(tasks: Any) -> None:
    graph, one = queue_on_ps()
    other_graph, other = queue_on_ps()
    first, second = tasks(graph), tasks(other_graph)
    result = in_background(second.run, other["take"])
    first.run(one["put"], {one["number"]: 21})
    assert result() == 43
    result = in_background(second.run, other["many"])
    first.run(one["put"], {one["number"]: 1})
    first.close()  # the queue stays
    second.run(other["put"], {other["number"]: 2})
    assert result().tolist() == [2, 4]


def test_without_a_shared_name_each_session_has_its_own(tasks: Any) -> None:
    graph, made = queue_on_ps(None)
    first, second = tasks(graph), tasks(graph)
    first.run(made["put"], {made["number"]: 1})
    assert [each.run(made["size"]) for each in (first, second)] == [1, 0]


def test_a_deadline_on_a_task_says_what_was_waited_for_and_nothing_is_lost(tasks: Any) -> None:
    graph, made = queue_on_ps()
    session = tasks(graph)
    session.run(made["put"], {made["number"]: 1})
    with pytest.raises(wf.errors.DeadlineExceededError, match=r"The step took longer than 1 s") as caught:
        session.run(made["many"], options=wf.RunOptions(timeout_in_ms=1000))
    assert "ps/replica:0/task:0 had waited to dequeue 2 elements (1 more) (in FIFOQueue 'q'" in str(caught.value)
    assert session.run(made["size"]) == 1


def test_closing_a_session_or_a_queue_ends_what_waits_on_a_task(tasks: Any) -> None:
    graph, made = queue_on_ps()
    session, other = tasks(graph), tasks(graph)
    session.run(made["put"], {made["number"]: 1})
    result = in_background(session.run, made["many"])
    while other.run(made["size"]):
        pass
    session.close()
    with pytest.raises(wf.errors.CancelledError):
        result()
    while not other.run(made["size"]):
        pass
    assert other.run(made["take"]) == 3
    result = in_background(other.run, made["take"])
    other.run(made["close"])
    with pytest.raises(wf.errors.OutOfRangeError, match=r"FIFOQueue 'q' is closed and has insufficient elements"):
        result()


def test_a_loop_on_a_task_ends_with_its_step(tasks: Any) -> None:
    graph = wf.Graph()
    with graph.as_default(), wf.device(W1):
        forever = wf.while_loop(lambda i: i < 1 << 60, lambda i: i + 1, [wf.constant(0, wf.int64)])
        quick = wf.constant(1) + 1
    session = tasks(graph)
    with pytest.raises(wf.errors.DeadlineExceededError):
        session.run(forever, options=wf.RunOptions(timeout_in_ms=300))
    assert session.run(quick) == 2


def test_an_enqueue_and_a_dequeue_in_one_step_meet_on_a_task(tasks: Any) -> None:
    graph, made = queue_on_ps()
    session = tasks(graph)
    for number in range(3):
        assert session.run([made["take"], made["put"]], {made["number"]: number})[0] == 2 * number + 1
