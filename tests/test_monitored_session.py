"""Monitored sessions: the order of the hooks' calls, stopping, and going on after a session was lost."""

import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from events import scalars
from weft import train
from weft.graph import errors
from weft.graph.collections import GraphKeys
from weft.train.events.writing import FileWriterCache
from weft.train.sessions.recovery import Recoveries

#: Recovers at once.
SOON = train.RecoveryPolicy(backoff_secs=0.0)


@pytest.fixture(autouse=True)
def closed_writers() -> Iterator[None]:
    yield
    FileWriterCache.clear()


class Diary(train.SessionRunHook):
    """Notes what is called, in a diary that several may share."""

    def __init__(self, pages: list[str], name: str = "", wants: Any = None) -> None:
        self.pages, self.name, self.wants = pages, name, wants
        self.results: list[Any] = []

    def begin(self) -> None:
        assert not wf.get_default_graph().finalized
        self.pages.append(f"{self.name}begin")

    def after_create_session(self, session: Any, coord: Any) -> None:
        assert session.graph.finalized
        assert isinstance(coord, train.Coordinator)
        self.pages.append(f"{self.name}created")

    def before_run(self, run_context: train.SessionRunContext) -> Any:
        self.pages.append(f"{self.name}before")
        return self.wants

    def after_run(self, run_context: train.SessionRunContext, run_values: train.SessionRunValues) -> None:
        self.pages.append(f"{self.name}after")
        self.results.append(run_values.results)

    def end(self, session: Any) -> None:
        self.pages.append(f"{self.name}end")


class Losing(train.SessionCreator):
    """Makes sessions through another creator; lets creations and runs fail, a list of errors (None: goes well) each."""

    def __init__(self, creations: Any = (), runs: Any = (), inner: Any = None) -> None:
        self.creations, self.runs = list(creations), list(runs)
        self.inner = inner or train.ChiefSessionCreator()
        self.made = 0

    def create_session(self) -> Any:
        error = self.creations.pop(0) if self.creations else None
        if error is not None:
            raise error
        self.made += 1
        session = self.inner.create_session()
        run = session.run

        def losing(fetches: Any, *args: Any, **kwargs: Any) -> Any:
            hooked = isinstance(fetches, list) and len(fetches) == 2 and isinstance(fetches[1], list)
            error = self.runs.pop(0) if hooked and self.runs else None
            if error is not None:
                raise error
            return run(fetches, *args, **kwargs)

        session.run = losing
        return session


def aborted(text: str = "the step was given up") -> errors.OpError:
    return errors.AbortedError(None, None, text)


def unavailable(text: str = "task 1 is gone") -> errors.OpError:
    return errors.UnavailableError(None, None, text)


# the life of a session


def test_hooks_are_called_in_the_order_that_tensorflow_documents() -> None:
    pages: list[str] = []
    hooks = [Diary(pages, "a "), Diary(pages, "b ")]
    v = wf.Variable(1.0)
    twice = v * 2.0
    with train.MonitoredSession(hooks=hooks) as session:
        assert pages == ["a begin", "b begin", "a created", "b created"]
        pages.clear()
        assert session.run(v) == 1.0
        assert session.run({"x": twice}) == {"x": 2.0}
        assert pages == ["a before", "b before", "a after", "b after"] * 2
        pages.clear()
    assert pages == ["a end", "b end"]


def test_hooks_get_what_they_ask_for_in_its_structure() -> None:
    pages: list[str] = []
    x = wf.placeholder(wf.float32, [])
    one = Diary(pages, wants=train.SessionRunArgs({"x": x, "list": [x * 2.0, x * 3.0]}))
    two = Diary(pages, wants=train.SessionRunArgs(None, {x: 5.0}))
    three = Diary(pages)
    four = Diary(pages, wants=train.SessionRunArgs(x))
    y = x + 1.0
    with train.MonitoredSession(hooks=[one, two, three, four]) as session:
        assert session.run(y) == 6.0
    assert one.results == [{"x": 5.0, "list": [10.0, 15.0]}]
    assert (two.results, three.results, four.results) == ([None], [None], [5.0])


def test_what_two_feed_is_refused() -> None:
    x = wf.placeholder(wf.float32, [])
    feeds = Diary([], wants=train.SessionRunArgs(None, {x: 5.0}))
    with (
        train.MonitoredSession(hooks=[feeds]) as session,
        pytest.raises(RuntimeError, match="fed by a SessionRunHook and user"),
    ):
        session.run(x, {x: 1.0})
    with train.MonitoredSession(hooks=[feeds, feeds]) as session, pytest.raises(RuntimeError, match="fed by two hooks"):
        session.run(x)


def test_options_of_hooks_and_user_are_merged() -> None:
    pages: list[str] = []
    options = wf.RunOptions(timeout_in_ms=100_000)
    seen = []

    class Sees(Diary):
        def after_run(self, run_context: Any, run_values: train.SessionRunValues) -> None:
            seen.append((run_values.options, run_values.run_metadata))

    traces = train.SessionRunArgs(None, options=wf.RunOptions(trace_level=wf.RunOptions.FULL_TRACE))
    waits = train.SessionRunArgs(None, options=wf.RunOptions(timeout_in_ms=5))
    v = wf.Variable(1.0)
    with train.MonitoredSession(hooks=[Sees(pages, wants=traces), Sees(pages, wants=waits)]) as session:
        session.run(v, options=options)
    (merged, metadata), _ = seen
    assert (merged.trace_level, merged.timeout_in_ms) == (wf.RunOptions.FULL_TRACE, 100_000)
    assert metadata.step_stats.dev_stats
    assert options.trace_level == 0  # the user's own are as they were


def test_the_graph_is_finalized_for_the_session_only() -> None:
    wf.Variable(1.0)
    with train.MonitoredSession() as session:
        assert session.graph is wf.get_default_graph()
        with pytest.raises(RuntimeError, match="finalized"):
            wf.constant(1.0)
    wf.constant(1.0)
    wf.get_default_graph().finalize()
    with train.MonitoredSession():
        pass
    assert wf.get_default_graph().finalized


def test_a_request_to_stop_ends_the_loop() -> None:
    class Stops(train.SessionRunHook):
        def after_run(self, run_context: train.SessionRunContext, run_values: Any) -> None:
            assert not run_context.stop_requested
            run_context.request_stop()
            assert run_context.stop_requested

    x = wf.constant(1.0)
    with train.MonitoredSession(hooks=[Stops()]) as session:
        assert not session.should_stop()
        session.run(x)
        assert session.should_stop()
        with pytest.raises(RuntimeError, match="Run called even after should_stop requested"):
            session.run(x)
    assert session.should_stop()


@pytest.mark.parametrize("kind", [errors.OutOfRangeError, StopIteration])
def test_the_end_of_the_input_ends_the_block(kind: Any) -> None:
    pages: list[str] = []
    with train.MonitoredSession(hooks=[Diary(pages)]):
        raise kind(None, None, "no more") if kind is errors.OutOfRangeError else kind
    assert pages == ["begin", "created", "end"]


def test_an_error_ends_the_block_without_end() -> None:
    pages: list[str] = []
    with pytest.raises(ValueError, match="mine"), train.MonitoredSession(hooks=[Diary(pages)]):
        raise ValueError("mine")
    assert pages == ["begin", "created"]


def test_a_closed_session_says_so() -> None:
    x = wf.constant(1.0)
    session = train.MonitoredSession()
    session.close()
    assert session.should_stop()
    with pytest.raises(RuntimeError, match="already closed"):
        session.run(x)
    with pytest.raises(RuntimeError, match="already closed"):
        session.close()


def test_a_hook_that_fails_at_first_leaves_no_session_open() -> None:
    class Fails(train.SessionRunHook):
        def after_create_session(self, session: Any, coord: Any) -> None:
            self.session = session
            raise ValueError("mine")

    hook = Fails()
    x = wf.constant(1.0)
    with pytest.raises(ValueError, match="mine"):
        train.MonitoredSession(hooks=[hook])
    with pytest.raises(RuntimeError, match="closed"):
        hook.session.run(x)


def test_the_session_below_of_a_singular_one() -> None:
    v = wf.Variable(2.0)
    session = train.SingularMonitoredSession()
    assert isinstance(session.raw_session(), wf.Session)
    assert session.run(v) == 2.0
    session.close()
    assert session.raw_session() is None


def test_programs_climb_down_to_the_session_below(tmp_path: Path) -> None:
    v = wf.Variable(2.0)
    saver = train.Saver()
    with train.MonitoredSession() as monitored:
        session: Any = monitored
        while type(session).__name__ != "Session":
            session = session._sess
        assert session is monitored._tf_sess()
        assert session.run(v) == 2.0
        saver.save(session, str(tmp_path / "model"))
        with pytest.raises(TypeError, match="'sess' must be a Session"):
            saver.save(monitored, str(tmp_path / "model"))
    assert monitored._tf_sess() is None


# step functions


def test_a_step_function_runs_with_and_without_hooks() -> None:
    pages: list[str] = []
    x = wf.placeholder(wf.float32, [])
    y = x * 2.0

    def step_fn(step_context: Any) -> Any:
        assert step_context.session.run(y, {x: 1.0}) == 2.0
        return step_context.run_with_hooks(fetches=y, feed_dict={x: 3.0})

    with train.MonitoredSession(hooks=[Diary(pages)]) as session:
        assert session.run_step_fn(step_fn) == 6.0
    assert pages == ["begin", "created", "before", "after", "end"]


def test_a_step_function_may_stop() -> None:
    with train.MonitoredSession() as session:
        session.run_step_fn(lambda step_context: step_context.request_stop())
    assert session.should_stop()


def test_a_step_function_takes_its_context_only() -> None:
    with train.MonitoredSession() as session, pytest.raises(ValueError, match=r"Got \('other',\) instead"):
        session.run_step_fn(lambda other: None)


def test_a_step_function_is_called_again_when_the_session_was_lost() -> None:
    x = wf.constant(4.0)
    creator = Losing(runs=[unavailable()])
    sessions = []

    def step_fn(step_context: Any) -> Any:
        sessions.append(step_context.session)
        return step_context.run_with_hooks(x)

    with train.MonitoredSession(creator, recovery=SOON) as session:
        assert session.run_step_fn(step_fn) == 4.0
    assert sessions[0] is not sessions[1]


# threads


class Runner:
    """A queue runner of one thread."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.arguments: Any = None

    def create_threads(self, sess: Any, coord: Any = None, daemon: bool = False, start: bool = False) -> Any:
        thread = threading.Thread(target=self.work, args=(sess, coord), daemon=daemon)
        coord.register_thread(thread)
        if start:
            thread.start()
        return [thread]


def test_queue_runners_are_started_and_stopped() -> None:
    ended = threading.Event()

    def work(session: Any, coord: Any) -> None:
        coord.wait_for_stop()
        ended.set()

    wf.add_to_collection(GraphKeys.QUEUE_RUNNERS, Runner(work))
    with train.MonitoredSession() as session:
        assert not session.should_stop()
    assert ended.is_set()


def test_a_threads_failure_is_raised_at_the_end() -> None:
    def work(session: Any, coord: Any) -> None:
        with coord.stop_on_exception():
            raise ArithmeticError("in a thread")

    wf.add_to_collection(GraphKeys.QUEUE_RUNNERS, Runner(work))
    session = train.MonitoredSession()
    while not session.should_stop():
        threading.Event().wait(0.01)
    with pytest.raises(ArithmeticError, match="in a thread"):
        session.close()


def test_a_threads_loss_of_the_session_goes_before_what_follows_from_it() -> None:
    fails = threading.Event()

    def work(session: Any, coord: Any) -> None:
        with coord.stop_on_exception():
            if not fails.is_set():
                fails.set()
                raise unavailable("the first cause")

    wf.add_to_collection(GraphKeys.QUEUE_RUNNERS, Runner(work))
    x = wf.constant(1.0)
    creator = Losing(runs=[errors.CancelledError(None, None, "a queue was closed")])
    with train.MonitoredSession(creator, recovery=SOON) as session:
        assert fails.wait(60)
        while not session._hooked or (session._hooked.coord.should_stop() is False and creator.made == 1):
            threading.Event().wait(0.01)
        assert session.run(x) == 1.0
    assert creator.made == 2


# recovery


@pytest.mark.parametrize("error", [aborted(), unavailable()], ids=lambda error: type(error).__name__)
def test_a_lost_session_is_made_anew(error: errors.OpError, caplog: pytest.LogCaptureFixture) -> None:
    pages: list[str] = []
    x = wf.constant(3.0)
    creator = Losing(runs=[None, error])
    with train.MonitoredSession(creator, [Diary(pages)], recovery=SOON) as session:
        assert [session.run(x), session.run(x)] == [3.0, 3.0]
    assert creator.made == 2
    assert pages == ["begin", "created", "before", "after", "before", "created", "before", "after", "end"]
    assert f"(recovery 1 of 10, in 0 s): {error}" in caplog.text


def test_creations_that_fail_are_repeated() -> None:
    creator = Losing(creations=[unavailable()] * 3)
    x = wf.constant(1.0)
    with train.MonitoredSession(creator, recovery=SOON) as session:
        assert session.run(x) == 1.0
    assert creator.made == 1


def test_recoveries_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    policy = train.RecoveryPolicy(max_recoveries=2, backoff_secs=0.0)
    creator = Losing(runs=[unavailable(f"number {index}") for index in range(5)])
    x = wf.constant(1.0)
    session = train.MonitoredSession(creator, recovery=policy)
    with pytest.raises(errors.UnavailableError, match="number 2") as raised:
        session.run(x)
    session.close()
    assert "not made anew: the hooks' end is not called" in caplog.text
    assert creator.made == 3
    assert raised.value.__notes__ == ["The session was not made anew once more, after 2 recoveries."]


def test_a_policy_may_say_never() -> None:
    creator = Losing(runs=[aborted()])
    x = wf.constant(1.0)
    never = train.RecoveryPolicy(max_recoveries=0)
    with pytest.raises(errors.AbortedError), train.MonitoredSession(creator, recovery=never) as session:
        session.run(x)
    assert creator.made == 1


def test_other_errors_are_raised_at_once() -> None:
    creator = Losing(runs=[errors.InvalidArgumentError(None, None, "wrong")])
    x = wf.constant(1.0)
    with pytest.raises(errors.InvalidArgumentError), train.MonitoredSession(creator, recovery=SOON) as session:
        session.run(x)
    assert creator.made == 1


def test_waits_grow_and_the_count_begins_again_after_healthy_runs() -> None:
    waits: list[float] = []
    policy = train.RecoveryPolicy(3, backoff_secs=1.0, backoff_multiplier=4.0, max_backoff_secs=10.0, healthy_runs=2)
    recoveries = Recoveries(policy, waits.append)
    for _ in range(3):
        recoveries.failed(aborted())
        recoveries.ran()  # one is not enough
    assert waits == [1.0, 4.0, 10.0]
    recoveries.ran()
    recoveries.failed(aborted())
    assert waits[3:] == [1.0]


def model() -> tuple[Any, Any]:
    """A training operation and the variable that it trains."""
    wf.set_random_seed(7)
    x = wf.random_normal([8, 3])
    w = wf.Variable(np.ones((3, 1), np.float32), name="w")
    loss = wf.reduce_mean(wf.square(wf.matmul(x, w) - 0.5)) + wf.reduce_sum(wf.square(w)) * 0.1
    return train.AdamOptimizer(0.05).minimize(loss, global_step=train.get_or_create_global_step()), w


def constant_model() -> tuple[Any, Any]:
    """The same, but that each step depends on the variables alone, and not on how many were before it in this session."""
    w = wf.Variable(np.array([[1.0], [2.0], [3.0]], np.float32), name="w")
    step = train.get_or_create_global_step()
    x = wf.cast(wf.reshape(wf.range(24), [8, 3]), wf.float32) * 0.1 + wf.cast(step, wf.float32) * 0.01
    loss = wf.reduce_mean(wf.square(wf.matmul(x, w) - 0.5))
    with wf.control_dependencies([loss]):
        return train.AdamOptimizer(0.05).minimize(loss, global_step=step), w


def trained(folder: Any, last: int, runs: Any = (), **arguments: Any) -> bytes:
    """The bytes of the variables after training up to a step, in a graph of its own."""
    with wf.Graph().as_default():
        train_op, _ = constant_model()
        config = wf.ConfigProto(race_check="off")
        scaffold = train.Scaffold()
        creator = Losing(
            runs=runs, inner=train.ChiefSessionCreator(scaffold, config=config, checkpoint_dir=str(folder))
        )
        saves = train.CheckpointSaverHook(str(folder), save_steps=1, scaffold=scaffold, **arguments)
        with train.MonitoredSession(creator, [saves, train.StopAtStepHook(last_step=last)], recovery=SOON) as session:
            while not session.should_stop():
                session.run(train_op)
    reader = train.load_checkpoint(str(folder))
    assert reader.get_tensor("global_step") == last
    return b"".join(reader.get_tensor(name).tobytes() for name, _ in train.list_variables(str(folder)))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_training_that_is_taken_up_again_ends_with_the_same_bits(tmp_path: Path, asynchronous: bool) -> None:
    undisturbed = trained(tmp_path / "one", 12)
    for last in (3, 4, 9, 12):
        found = trained(tmp_path / "two", last, asynchronous=asynchronous)
    assert found == undisturbed


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_training_whose_sessions_are_lost_ends_with_the_same_bits(tmp_path: Path, asynchronous: bool) -> None:
    undisturbed = trained(tmp_path / "one", 12)
    runs = [None, aborted(), None, None, unavailable(), unavailable(), None, aborted()]
    assert trained(tmp_path / "two", 12, runs, asynchronous=asynchronous) == undisturbed


# MonitoredTrainingSession


def test_a_training_session_saves_summarizes_and_counts(tmp_path: Path) -> None:
    train_op, w = model()
    wf.summary.scalar("size", wf.reduce_sum(wf.square(w.initialized_value())))
    hooks = [train.StopAtStepHook(last_step=7)]
    with train.MonitoredTrainingSession(
        checkpoint_dir=str(tmp_path), hooks=hooks, save_checkpoint_steps=3, save_summaries_steps=2, log_step_count_steps=2,
    ) as session:  # fmt: skip
        while not session.should_stop():
            session.run(train_op)
    FileWriterCache.clear()
    there = {name for name in os.listdir(tmp_path) if not name.startswith("events")}
    assert there == {"checkpoint", "graph.pbtxt"} | {
        f"model.ckpt-{step}.{suffix}" for step in (0, 3, 6, 7) for suffix in ("meta", "safetensors")
    }
    assert [step for step, _ in scalars(tmp_path, "size")] == [1, 3, 5, 7]
    assert [step for step, _ in scalars(tmp_path, "global_step/sec")] == [3, 5, 7]


def test_the_defaults_are_tensorflows(tmp_path: Path) -> None:
    model()
    session = train.MonitoredTrainingSession(checkpoint_dir=str(tmp_path))
    counts, summaries, saves = session._hooks
    assert isinstance(counts, train.StepCounterHook)
    assert isinstance(summaries, train.SummarySaverHook)
    assert isinstance(saves, train.CheckpointSaverHook)
    intervals = [(hook._timer._every_secs, hook._timer._every_steps) for hook in (counts, summaries, saves)]
    assert intervals == [(None, 100), (None, 100), (600, None)]
    session.close()
    plain = train.MonitoredTrainingSession()
    assert plain._hooks == []
    plain.close()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"save_checkpoint_steps": 5}, [(None, 5)]), ({"save_checkpoint_secs": 5}, [(5, None)]),
        ({"save_checkpoint_secs": None}, []), ({"save_checkpoint_secs": 0}, []),
        ({"save_checkpoint_secs": None, "save_checkpoint_steps": 2}, [(None, 2)]),
    ],
)  # fmt: skip
def test_intervals_of_checkpoints(tmp_path: Path, arguments: Any, expected: Any) -> None:
    model()
    off: dict[str, Any] = {"log_step_count_steps": 0, "save_summaries_steps": None}
    session = train.MonitoredTrainingSession(checkpoint_dir=str(tmp_path), **off, **arguments)
    hooks: list[Any] = session._hooks
    assert [(hook._timer._every_secs, hook._timer._every_steps) for hook in hooks] == expected
    session.close()


def test_a_workers_session_waits_for_its_chief() -> None:
    wf.Variable(1.0, name="v")
    hook = Diary([])
    with pytest.raises(errors.DeadlineExceededError, match=r"after waiting 0\.2 secs .*Variables not initialized: v"):
        train.MonitoredTrainingSession(
            is_chief=False, max_wait_secs=0.2, hooks=[hook], chief_only_hooks=[Diary([], "c")]
        )
    assert hook.pages == ["begin"]


def test_chief_only_hooks_come_first_and_only_for_a_chief() -> None:
    pages: list[str] = []
    session = train.MonitoredTrainingSession(hooks=[Diary(pages, "all ")], chief_only_hooks=[Diary(pages, "chief ")])
    assert pages == ["chief begin", "all begin", "chief created", "all created"]
    session.close()


def test_without_tensorboardx_a_training_goes_on_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("weft.train.events.writing.can_write_events", lambda: False)
    monkeypatch.setattr("weft.train.events.writing._missing_told", [])
    train_op, _ = model()
    with train.MonitoredTrainingSession(checkpoint_dir=str(tmp_path)) as session:
        session.run(train_op)
    told = [record.message for record in caplog.records if "TensorBoard" in record.message]
    assert told == [
        'No events, graphs and summaries are written for TensorBoard; for them: pip install "weft[graphdef]"'
    ]
    assert "checkpoint" in os.listdir(tmp_path)


def test_a_loss_is_logged_as_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    x = wf.constant(1.0)
    with (
        caplog.at_level(logging.WARNING, "weft"),
        train.MonitoredSession(Losing(runs=[aborted("why")]), recovery=SOON) as s,
    ):
        s.run(x)
    assert [record.levelname for record in caplog.records if "why" in record.message] == ["WARNING"]


@pytest.mark.parametrize(
    ("hooks", "text"),
    [
        (train.StopAtStepHook(5), "hooks must be a list of SessionRunHooks, but got <"),
        ([train.StopAtStepHook], "got the class StopAtStepHook: call it to make one"),
        ([5], "hooks must be SessionRunHooks, but got 5"),
    ],
    ids=["one alone", "a class", "a number"],
)
def test_what_is_no_hook_is_told(hooks: Any, text: str) -> None:
    train.get_or_create_global_step()
    for arguments in ({"hooks": hooks}, {"chief_only_hooks": hooks}):
        with pytest.raises(TypeError, match=text):
            train.MonitoredTrainingSession(**arguments)
