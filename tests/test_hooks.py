"""Hooks: when each acts, what it fetches, what it writes."""

import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from events import events, scalars
from weft import train
from weft.graph import errors
from weft.train.events.writing import FileWriterCache


@pytest.fixture(autouse=True)
def closed_writers() -> Iterator[None]:
    yield
    FileWriterCache.clear()


@pytest.fixture
def step() -> Any:
    return train.create_global_step()


def trained(hooks: Any, fetch: Any, runs: int = 100, **arguments: Any) -> list[Any]:
    """What at most so many runs give until a hook stops them."""
    found: list[Any] = []
    with train.MonitoredSession(hooks=hooks, **arguments) as session:
        while not session.should_stop() and len(found) < runs:
            found.append(session.run(fetch))
    return found


# the timer


def test_a_timer_of_steps() -> None:
    timer = train.SecondOrStepTimer(every_steps=3)
    assert timer.last_triggered_step() is None
    assert timer.should_trigger_for_step(1)
    assert timer.update_last_triggered_step(1) == (None, None)
    assert [timer.should_trigger_for_step(step) for step in range(1, 6)] == [False, False, False, True, True]
    seconds, steps = timer.update_last_triggered_step(5)
    assert steps == 4
    assert seconds is not None
    assert seconds >= 0
    assert timer.last_triggered_step() == 5
    timer.reset()
    assert timer.should_trigger_for_step(5)


def test_a_timer_of_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("weft.train.hooks.timer.time.monotonic", lambda: now[0])
    timer = train.SecondOrStepTimer(every_secs=10)
    assert timer.should_trigger_for_step(1)
    timer.update_last_triggered_step(1)
    now[0] = 109.9
    assert not timer.should_trigger_for_step(2)
    now[0] = 110.0
    assert timer.should_trigger_for_step(2)
    assert not timer.should_trigger_for_step(1)
    assert timer.update_last_triggered_step(7) == (10.0, 6)


def test_a_timer_has_one_interval() -> None:
    with pytest.raises(ValueError, match="Either every_secs or every_steps"):
        train.SecondOrStepTimer()
    with pytest.raises(ValueError, match="both every_secs and every_steps"):
        train.SecondOrStepTimer(1.0, 1)


# stopping


@pytest.mark.parametrize(("arguments", "runs"), [({"num_steps": 3}, 3), ({"last_step": 5}, 5)])
def test_stop_at_step(step: Any, arguments: Any, runs: int) -> None:
    assert trained([train.StopAtStepHook(**arguments)], step.assign_add(1)) == list(range(1, runs + 1))


def test_stop_at_step_looks_at_the_step_itself(step: Any) -> None:
    """Runs that do not count do not end the training."""
    count, none = step.assign_add(1), wf.no_op()
    seen = []
    with train.MonitoredSession(hooks=[train.StopAtStepHook(last_step=2)]) as session:
        for fetch in (count, none, none, count):
            assert not session.should_stop()
            session.run(fetch)
            seen.append(session.should_stop())
    assert seen == [False, False, False, True]


def test_num_steps_count_from_what_was_restored(step: Any, tmp_path: Path) -> None:
    count = step.assign_add(1)
    for last in (3, 6):
        with train.MonitoredTrainingSession(checkpoint_dir=str(tmp_path), hooks=[train.StopAtStepHook(3)]) as session:
            while not session.should_stop():
                found = session.run(count)
        assert found == last


def test_a_nan_ends_the_training(step: Any, caplog: pytest.LogCaptureFixture) -> None:
    loss = wf.where(step.assign_add(1) > 2, np.float32(np.nan), np.float32(1.0))
    with pytest.raises(train.NanLossDuringTrainingError, match="NaN loss during training") as caught:
        trained([train.NanTensorHook(loss)], loss)
    assert f"It is {loss.name}, made at " in str(caught.value)
    assert "test_hooks.py" in str(caught.value)
    assert "Model diverged with loss = NaN." in caplog.text


def test_a_nan_may_only_stop_it() -> None:
    loss = wf.placeholder_with_default(np.float32(np.nan), [])
    assert len(trained([train.NanTensorHook(loss, fail_on_nan_loss=False)], loss)) == 1


def test_waiting_for_a_step(step: Any, caplog: pytest.LogCaptureFixture) -> None:
    count = step.assign_add(1)
    hook = train.GlobalStepWaiterHook(wait_until_step=3)
    hook.begin()
    with wf.Session() as session:
        session.run(step.initializer)
        others = [0.0]

        class Others:
            """A coordinator in whose waits the others get on."""

            def wait_for_stop(self, timeout: float) -> bool:
                others.append(timeout)
                session.run(count)
                return False

        hook.after_create_session(session, Others())
        context = train.SessionRunContext(train.SessionRunArgs(None), session)
        with caplog.at_level(logging.INFO, "weft"):
            hook.before_run(context)
        assert session.run(step) == 3
        hook.before_run(context)
        assert len(others) == 4
    assert "Waiting for global step 3" in caplog.text


def test_waiting_for_a_step_ends(step: Any) -> None:
    with pytest.raises(
        errors.DeadlineExceededError, match=r"global step 5 .* was not reached after waiting 0 s: it is 0"
    ):
        trained([train.GlobalStepWaiterHook(5, max_wait_secs=0)], step)


# taking part


def test_final_ops_are_computed_at_the_end(step: Any) -> None:
    x = wf.placeholder(wf.float32, [])
    hook = train.FinalOpsHook({"step": step, "twice": x * 2.0}, {x: 4.0})
    assert hook.final_ops_values is None
    trained([hook, train.StopAtStepHook(2)], step.assign_add(1))
    assert hook.final_ops_values == {"step": 2, "twice": 8.0}


def test_feeds_of_a_function() -> None:
    x = wf.placeholder(wf.float32, [])
    numbers = iter([1.0, 2.0])
    assert trained([train.FeedFnHook(lambda: {x: next(numbers)})], x * 10.0, runs=2) == [10.0, 20.0]


# reporting


def test_tensors_are_logged(step: Any, caplog: pytest.LogCaptureFixture) -> None:
    wf.multiply(step, 2, name="twice")
    hook = train.LoggingTensorHook({"b": "twice:0", "a": step}, every_n_iter=2, at_end=True)
    with caplog.at_level(logging.INFO, "weft"):
        trained([hook], step.assign_add(1), runs=4, session_creator=quiet())
    lines = [record.message.partition(" (")[0] for record in caplog.records if " = " in record.message]
    assert lines == ["a = 0, b = 0", "a = 2, b = 4", "a = 4, b = 8"]


def quiet() -> train.ChiefSessionCreator:
    """A creator of sessions for programs that fetch variables next to their updates."""
    return train.ChiefSessionCreator(config=wf.ConfigProto(race_check="off"))


def test_a_formatter_makes_the_line(caplog: pytest.LogCaptureFixture) -> None:
    x = wf.constant(1.5, name="x")
    hook = train.LoggingTensorHook(["x"], at_end=True, formatter=lambda values: f"x is {values['x']}")
    with caplog.at_level(logging.INFO, "weft"):
        trained([hook], x, runs=2)
    assert [record.message for record in caplog.records if "x is" in record.message] == ["x is 1.5"]


def test_a_name_with_several_outputs_is_ambiguous() -> None:
    wf.split(wf.zeros([4]), 2, name="parts")
    with pytest.raises(ValueError, match="parts is ambiguous"):
        trained([train.LoggingTensorHook(["parts"], every_n_iter=1)], wf.no_op())


def test_steps_a_second_are_logged_and_written(step: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "weft"):
        trained([train.StepCounterHook(every_n_steps=2, output_dir=str(tmp_path))], step.assign_add(1), runs=6)
    FileWriterCache.clear()
    found = scalars(tmp_path, "global_step/sec")
    assert [at for at, _ in found] == [3, 5]
    assert all(rate > 0 for _, rate in found)
    assert len([r for r in caplog.records if r.message.startswith("global_step/sec: ")]) == 2


def test_a_step_that_does_not_grow_is_told(step: Any, caplog: pytest.LogCaptureFixture) -> None:
    trained([train.StepCounterHook()], wf.no_op(), runs=20)
    assert len([r for r in caplog.records if "has not grown" in r.message]) == 5


def test_summaries_are_written(step: Any, tmp_path: Path) -> None:
    wf.summary.scalar("step", step)
    scaffold = train.Scaffold()
    hook = train.SummarySaverHook(save_steps=2, output_dir=str(tmp_path), scaffold=scaffold)
    creator = train.ChiefSessionCreator(scaffold, config=wf.ConfigProto(race_check="off"))
    trained([hook], step.assign_add(1), runs=5, session_creator=creator)
    assert scalars(tmp_path, "step") == [(1, 0.0), (3, 2.0), (5, 4.0)]
    assert events(tmp_path)[0].session_log.status == wf.SessionLog.START


def test_several_summaries_may_be_given(step: Any, tmp_path: Path) -> None:
    ops = [wf.summary.scalar("one", 1.0), wf.summary.scalar("two", 2.0)]
    writer = wf.summary.FileWriter(tmp_path)
    hook = train.SummarySaverHook(save_secs=1000, summary_writer=writer, summary_op=ops)
    trained([hook], step.assign_add(1), runs=3)
    assert scalars(tmp_path, "one") == [(1, 1.0)]
    assert scalars(tmp_path, "two") == [(1, 2.0)]
    writer.close()


def test_runs_are_traced(step: Any, tmp_path: Path) -> None:
    trained([train.ProfilerHook(save_steps=2, output_dir=str(tmp_path))], step.assign_add(1, name="count"), runs=5)
    FileWriterCache.clear()
    names = sorted(name for name in os.listdir(tmp_path) if name.startswith("timeline"))
    assert names == ["timeline-2.json", "timeline-4.json"]
    trace = json.loads((tmp_path / names[0]).read_text())["traceEvents"]
    assert "AssignAddVariableOp" in {event["name"] for event in trace}
    assert [event.tagged_run_metadata.tag for event in events(tmp_path)] == ["step_2", "step_4"]


def test_progress_is_shown_on_a_terminal(step: Any) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    hook = train.ProgressHook(last_step=4, tensors={"loss": wf.constant(0.25)}, every_secs=0.0, stream=stream)
    trained([hook, train.StopAtStepHook(last_step=4)], step.assign_add(1))
    last = stream.getvalue().rstrip().rpartition("\r")[2]
    assert "4/4" in last
    assert "loss=0.25" in last
    assert "step/s" in last


def test_progress_is_silent_elsewhere(step: Any) -> None:
    stream = io.StringIO()
    hook = train.ProgressHook(stream=stream)
    trained([hook, train.StopAtStepHook(last_step=2)], step.assign_add(1))
    assert stream.getvalue() == ""
    assert hook.before_run(train.SessionRunContext(train.SessionRunArgs(None), None)) is None


# arguments


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: train.StopAtStepHook(), "One of num_steps or last_step must be specified"),
        (lambda: train.StopAtStepHook(1, 2), "Only one of num_steps or last_step"),
        (lambda: train.LoggingTensorHook([]), "exactly one of every_n_iter and every_n_secs"),
        (lambda: train.LoggingTensorHook([], 1, 1), "exactly one of every_n_iter and every_n_secs"),
        (lambda: train.LoggingTensorHook([], every_n_iter=0), "invalid every_n_iter=0"),
        (lambda: train.StepCounterHook(every_n_secs=1), "exactly one of every_n_steps and every_n_secs"),
        (lambda: train.SummarySaverHook(1), "Exactly one of scaffold or summary_op"),
        (lambda: train.SummarySaverHook(1, scaffold=1, summary_op=1), "Exactly one of scaffold or summary_op"),
        (lambda: train.SummarySaverHook(summary_op=1), "Either every_secs or every_steps"),
        (lambda: train.CheckpointSaverHook("x", 1, 1), "both every_secs and every_steps"),
        (lambda: train.CheckpointSaverHook("x", 1, saver=1, scaffold=1), "both saver and scaffold"),
    ],
)
def test_wrong_arguments_are_refused(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.parametrize(
    "hook",
    [
        train.StopAtStepHook(1), train.StepCounterHook(), train.GlobalStepWaiterHook(1), train.ProgressHook(),
        train.SummarySaverHook(1, summary_op=1),
    ],
    ids=lambda hook: type(hook).__name__,
)  # fmt: skip
def test_without_a_global_step_hooks_say_so(hook: Any) -> None:
    with pytest.raises(RuntimeError, match=f"Global step should be created to use {type(hook).__name__}"):
        hook.begin()


def test_the_read_of_hooks_is_made_once_and_is_no_race(step: Any) -> None:
    from weft.train.global_step import global_step_read

    read = global_step_read()
    assert global_step_read() is read
    assert wf.find_races([step.assign_add(1), read]) == []
    assert wf.find_races([step.assign_add(1), step]) != []
