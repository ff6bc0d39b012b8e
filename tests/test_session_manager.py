"""SessionManager, Scaffold and Supervisor: how a session gets its values, what is waited for, and what it says."""

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import weft as wf
from events import event_files, events, scalars
from weft import train
from weft.graph import errors
from weft.graph.collections import GraphKeys
from weft.train.events.writing import FileWriterCache


@pytest.fixture(autouse=True)
def closed_writers() -> Iterator[None]:
    yield
    FileWriterCache.clear()


def manager(**arguments: Any) -> train.SessionManager:
    return train.SessionManager(ready_op=wf.report_uninitialized_variables(), **arguments)


# SessionManager


def test_a_session_is_initialized(tmp_path: Path) -> None:
    x = wf.placeholder(wf.float32, [])
    v = wf.Variable(x, validate_shape=False)
    calls: list[Any] = []
    with manager().prepare_session(
        "", v.initializer, train.Saver(), str(tmp_path), init_feed_dict={x: 5.0}, init_fn=calls.append
    ) as session:
        assert session.run(v) == 5.0
        assert calls == [session]


def test_a_session_is_restored_rather_than_initialized(tmp_path: Path) -> None:
    v = wf.Variable(1.0)
    saver, again = train.Saver(), train.Saver()
    with wf.Session() as session:
        session.run(v.assign(7.0))
        path = saver.save(session, str(tmp_path / "model"), 1)
    made = manager().prepare_session("", v.initializer, again, str(tmp_path), init_fn=lambda session: 1 / 0)
    assert made.run(v) == 7.0
    assert again.last_checkpoints == [path]
    named = manager().prepare_session("", v.initializer, saver, checkpoint_filename_with_path=path)
    assert named.run(v) == 7.0
    recovered, ready = manager().recover_session("", saver, str(tmp_path))
    assert (recovered.run(v), ready) == (7.0, True)
    for session in (made, named, recovered):
        session.close()


def test_recovery_tells_whether_a_checkpoint_made_the_model_ready(tmp_path: Path) -> None:
    v, w = wf.Variable(1.0, name="v"), wf.Variable(2.0, name="w")
    saver = train.Saver([v])
    session, ready = manager().recover_session("", saver, str(tmp_path))
    assert not ready
    session.run([v.initializer, w.initializer])
    saver.save(session, str(tmp_path / "model"))
    session.close()
    session, ready = manager().recover_session("", saver, str(tmp_path))
    assert not ready  # w has no value
    session.close()


def test_what_stays_uninitialized_is_named() -> None:
    wf.Variable(1.0, name="a")
    b = wf.Variable(1.0, name="b")
    with pytest.raises(RuntimeError, match=r"did not make model ready\..*error: Variables not initialized: a$"):
        manager().prepare_session("", b.initializer)
    with pytest.raises(RuntimeError, match="no init_op or init_fn or local_init_op was given"):
        manager().prepare_session("")


def test_local_variables_are_initialized_after_global_ones() -> None:
    v = wf.Variable(3.0, name="v")
    local = wf.Variable(v.initialized_value() * 2.0, collections=[GraphKeys.LOCAL_VARIABLES], name="local")
    ready = wf.report_uninitialized_variables([v])
    made = manager(local_init_op=local.initializer, ready_for_local_init_op=ready)
    session = made.prepare_session("", v.initializer)
    assert session.run([v, local]) == [3.0, 6.0]
    session.close()
    with pytest.raises(RuntimeError, match=r"ready for local_init.*Variables not initialized: v"):
        made.prepare_session("", wf.no_op())
    with pytest.raises(ValueError, match="must also pass a local_init_op"):
        train.SessionManager(ready_for_local_init_op=ready)


def test_a_checkpoint_has_one_place() -> None:
    with pytest.raises(ValueError, match="Can not provide both"):
        manager().prepare_session("", wf.no_op(), None, "folder", "file")


def test_a_checkpoint_may_be_waited_for(tmp_path: Path) -> None:
    v = wf.Variable(1.0)
    saver = train.Saver()

    def save() -> None:
        with wf.Session(graph=v.graph) as session:
            session.run(initialize)
            saver.save(session, str(tmp_path / "model"))

    initialize = v.assign(4.0)
    made = manager()
    timer = threading.Timer(0.2, save)
    timer.start()
    session = made.prepare_session(
        "", v.initializer, train.Saver(), str(tmp_path), wait_for_checkpoint=True, max_wait_secs=60
    )
    timer.join()
    assert session.run(v) == 4.0
    session.close()
    (tmp_path / "empty").mkdir()
    session = made.prepare_session(
        "", v.initializer, saver, str(tmp_path / "empty"), wait_for_checkpoint=True, max_wait_secs=0.1
    )
    assert session.run(v) == 1.0
    session.close()


def test_waiting_for_a_chief_ends_and_says_what_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    wf.Variable(1.0, name="a")
    wf.Variable(1.0, name="b")
    text = r"not ready after waiting 1 secs for the model to be ready: Variables not initialized: a, b"
    with caplog.at_level("INFO", "weft"), pytest.raises(errors.DeadlineExceededError, match=text):
        manager(recovery_wait_secs=0.1).wait_for_session("", max_wait_secs=1.0)
    told = [record.message for record in caplog.records if "Waiting for the model" in record.message]
    assert len(told) == 1  # once, and then each minute
    assert re.search(r"\(since \d+ s, at most 1 s\): Variables not initialized: a, b$", told[0])


def test_the_wait_goes_on_while_the_target_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    v = wf.Variable(1.0)
    tries = []

    def session(*args: Any, **kwargs: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise errors.UnavailableError(None, None, "nobody listens")
        made = wf.Session(*args, **kwargs)
        made.run(v.initializer)
        return made

    monkeypatch.setattr("weft.train.sessions.manager.Session", session)
    found = manager(recovery_wait_secs=0.01).wait_for_session("", max_wait_secs=60)
    assert found.run(v) == 1.0
    found.close()
    tries[:] = [1] * -10
    monkeypatch.setattr("weft.train.sessions.manager.Session", lambda *a, **k: session_that_fails())
    with pytest.raises(errors.DeadlineExceededError, match="cannot be reached: nobody listens"):
        manager(recovery_wait_secs=0.01).wait_for_session("", max_wait_secs=0.05)


def session_that_fails() -> Any:
    raise errors.UnavailableError(None, None, "nobody listens")


# Scaffold


def test_a_scaffold_makes_what_is_missing_and_keeps_it_in_the_collections() -> None:
    v = wf.Variable(1.0, name="v")
    wf.Variable(2.0, collections=[GraphKeys.LOCAL_VARIABLES], name="local")
    summary = wf.summary.scalar("s", v)
    scaffold = train.Scaffold()
    assert scaffold.saver is None
    assert scaffold.finalize() is scaffold
    assert wf.get_default_graph().finalized
    graph = wf.get_default_graph()
    pairs = {
        GraphKeys.INIT_OP: scaffold.init_op, GraphKeys.READY_OP: scaffold.ready_op,
        GraphKeys.READY_FOR_LOCAL_INIT_OP: scaffold.ready_for_local_init_op,
        GraphKeys.LOCAL_INIT_OP: scaffold.local_init_op, GraphKeys.SUMMARY_OP: scaffold.summary_op,
        GraphKeys.SAVERS: scaffold.saver,
    }  # fmt: skip
    assert {key: graph.get_collection(key) for key in pairs} == {key: [item] for key, item in pairs.items()}
    assert scaffold.summary_op.op.inputs == (summary,)
    with wf.Session() as session:
        assert session.run(scaffold.ready_op).tolist() == [b"v", b"local"]
        assert session.run(scaffold.ready_for_local_init_op).tolist() == [b"v"]
        session.run(scaffold.init_op)
        assert session.run(scaffold.ready_op).tolist() == [b"local"]
        session.run(scaffold.local_init_op)
        assert session.run(scaffold.ready_op).size == 0
    again = train.Scaffold().finalize()
    assert [again.init_op, again.saver] == [scaffold.init_op, scaffold.saver]


def test_a_scaffold_keeps_what_it_is_given() -> None:
    init, calls = wf.no_op(name="mine"), []
    one = train.Scaffold(
        init_op=init, init_fn=lambda scaffold, session: calls.append((scaffold, session)), init_feed_dict={1: 2}
    )
    two = train.Scaffold(copy_from_scaffold=one, init_feed_dict={3: 4})
    assert (two.init_op, two.init_feed_dict) == (init, {3: 4})
    assert two.init_fn is not None
    two.init_fn("session")
    assert calls == [(two, "session")]
    two.finalize()
    assert wf.get_collection(GraphKeys.INIT_OP) == []
    assert train.Scaffold().init_fn is None
    with pytest.raises(TypeError, match="not a Scaffold"):
        train.Scaffold(copy_from_scaffold="scaffold")  # type: ignore[arg-type]


def test_several_candidates_are_not_chosen_from() -> None:
    for _ in range(2):
        wf.add_to_collection(GraphKeys.INIT_OP, wf.no_op())
    with pytest.raises(RuntimeError, match=r'More than one item in the collection "init_op".*Scaffold\(init_op='):
        train.Scaffold().finalize()


# Supervisor


def counted() -> tuple[Any, Any]:
    step = wf.Variable(0, name="global_step", trainable=False)
    wf.summary.scalar("one", 1.0)
    return step, step.assign_add(1)


def test_a_supervisor_trains_saves_and_goes_on(tmp_path: Path) -> None:
    for last in (3, 6):
        with wf.Graph().as_default():
            _, count = counted()
            supervisor = train.Supervisor(logdir=str(tmp_path), save_summaries_secs=1000, save_model_secs=1000)
            with supervisor.managed_session() as session:
                while not supervisor.should_stop():
                    if session.run(count) == last:
                        supervisor.saver.save(session, supervisor.save_path, global_step=supervisor.global_step)
                        break
            supervisor.stop()  # programs do so again, and a closed writer is no matter then
            assert train.latest_checkpoint(str(tmp_path)) == f"{tmp_path}/model.ckpt-{last}"
            with pytest.raises(RuntimeError, match="closed"):
                session.run(count)
    statuses = [event.session_log.status for event in events(tmp_path) if event.HasField("session_log")]
    log = wf.SessionLog
    assert [status for status in statuses if status != log.CHECKPOINT] == [log.START, log.STOP] * 2
    assert "graph.pbtxt" in os.listdir(tmp_path)


def test_the_services_of_a_supervisor(tmp_path: Path) -> None:
    _, count = counted()
    supervisor = train.Supervisor(logdir=str(tmp_path / "new"), save_summaries_secs=0.05, save_model_secs=0.05)
    with supervisor.managed_session() as session:
        for _ in range(5000):
            session.run(count)
            kept = train.get_checkpoint_state(str(tmp_path / "new"))
            supervisor.summary_writer.flush()
            if kept and len(scalars(tmp_path / "new", "one")) > 1 and scalars(tmp_path / "new", "global_step/sec"):
                break
            threading.Event().wait(0.02)
        else:
            pytest.fail("a service did nothing")
    assert all(value == 1.0 for _, value in scalars(tmp_path / "new", "one"))


def test_a_failure_in_the_block_is_raised_after_the_threads_ended(tmp_path: Path) -> None:
    counted()
    supervisor = train.Supervisor(logdir=str(tmp_path))
    loopers = []

    def fails() -> None:
        with supervisor.managed_session(start_standard_services=False):
            loopers.append(supervisor.loop(0.01, int))
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fails()
    assert not loopers[0].is_alive()


def test_a_basic_loop_calls_until_it_stops() -> None:
    _, count = counted()
    supervisor = train.Supervisor()
    seen = []

    def step(session: Any, number: int, last: int = 0) -> None:
        seen.append(session.run(count) * number)
        if len(seen) == last:
            supervisor.request_stop()

    train.basic_train_loop(supervisor, step, args=(10,), kwargs={"last": 3})
    assert seen == [10, 20, 30]


def test_the_end_of_the_input_is_a_good_end() -> None:
    counted()
    supervisor = train.Supervisor()

    def reads() -> None:
        with supervisor.managed_session():
            raise errors.OutOfRangeError(None, None, "no more")

    reads()
    assert supervisor.should_stop()


def test_a_threads_failure_is_raised() -> None:
    counted()
    supervisor = train.Supervisor()

    def fails() -> None:
        raise ArithmeticError("in a thread")

    def trains() -> None:
        with supervisor.managed_session():
            supervisor.loop(None, fails)
            supervisor.wait_for_stop()

    with pytest.raises(ArithmeticError, match="in a thread"):
        trains()


def test_summaries_that_the_program_computes(tmp_path: Path) -> None:
    _, count = counted()
    supervisor = train.Supervisor(logdir=str(tmp_path), summary_op=None)
    assert supervisor.summary_op is None
    with supervisor.managed_session() as session:
        session.run(count)
        supervisor.summary_computed(session, wf.Summary(value=[wf.Summary.Value(tag="mine", simple_value=2.0)]))
    assert scalars(tmp_path, "mine") == [(1, 2.0)]
    with wf.Graph().as_default():
        counted()
        plain = train.Supervisor()
        with pytest.raises(RuntimeError, match="requires a summary writer"):
            plain.summary_computed(None, b"")


def test_a_supervisor_that_is_no_chief(tmp_path: Path) -> None:
    with wf.device("/cpu:0"):
        counted()
    supervisor = train.Supervisor(is_chief=False, logdir=str(tmp_path), recovery_wait_secs=0.05)
    assert (supervisor.summary_writer, supervisor.save_path, supervisor.save_model_secs) == (None, None, None)
    with pytest.raises(errors.DeadlineExceededError, match="Variables not initialized: global_step"):
        supervisor.prepare_or_wait_for_session(max_wait_secs=0.1)
    with pytest.raises(RuntimeError, match="Only chief supervisor"):
        supervisor.start_standard_services(None)
    assert event_files(tmp_path) == []
    with wf.Graph().as_default():
        counted()
        with pytest.raises(ValueError, match="must have their device set: global_step"):
            train.Supervisor(is_chief=False)


def test_what_a_supervisor_picks_and_what_it_is_told(tmp_path: Path) -> None:
    step, _ = counted()
    init = wf.no_op()
    supervisor = train.Supervisor(init_op=init, saver=None, logdir=None, init_feed_dict={1: 2})
    assert (supervisor.init_op, supervisor.saver, supervisor.init_feed_dict) == (init, None, {1: 2})
    assert supervisor.global_step is step
    assert supervisor.ready_for_local_init_op is None
    assert supervisor.is_chief
    assert supervisor.summary_op is wf.get_collection(GraphKeys.SUMMARY_OP)[0]
    assert supervisor.ready_op is wf.get_collection(GraphKeys.READY_OP)[0]
    assert wf.get_default_graph().finalized


def test_queue_runners_of_a_supervisor() -> None:
    counted()
    ran = threading.Event()

    class Runner:
        def create_threads(self, sess: Any, coord: Any = None, daemon: bool = False, start: bool = False) -> Any:
            thread = threading.Thread(target=ran.set, daemon=daemon)
            coord.register_thread(thread)
            thread.start()
            return [thread]

    wf.add_to_collection(GraphKeys.QUEUE_RUNNERS, Runner())
    supervisor = train.Supervisor()
    with supervisor.managed_session():
        assert ran.wait(60)


def test_eager_execution_has_no_supervisors() -> None:
    wf.enable_eager_execution()
    with pytest.raises(RuntimeError, match="incompatible with eager execution"):
        train.Supervisor()
