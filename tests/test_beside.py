"""What is done beside a training: in a thread that gives way, as part of the step that asks for it; and without copies."""

import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft import train
from weft.graph.storage.beside import NICE, beside
from weft.graph.waiting import Ending, current
from weft.runtime.holding import run_held
from weft.train.background_saver import BackgroundSaver

MANY = 100_000


def test_it_returns_or_raises_what_the_function_does() -> None:
    assert beside(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        beside(lambda: 1 // 0)


def test_it_is_another_thread_of_the_same_step() -> None:
    current.ending = Ending()
    try:
        ending, thread, name = beside(lambda: (current.ending, threading.get_ident(), threading.current_thread().name))
        assert ending is current.ending
    finally:
        current.ending = None
    assert thread != threading.get_ident()
    assert name == f"{threading.current_thread().name} beside"


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a priority is a process's")
def test_only_that_thread_gives_way() -> None:
    before = niceness()
    assert beside(niceness) == min(19, before + NICE)
    assert niceness() == before


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a priority is a process's")
def test_a_checkpoint_beside_the_training_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr("weft.train.saver.write_checkpoint", lambda path, values: seen.append(niceness()))
    v = wf.Variable(0.0)
    with wf.Session() as session:
        session.run(v.initializer)
        background = BackgroundSaver(train.Saver())
        background.save(session, str(tmp_path / "m"))
        background.wait()
        train.Saver().save(session, str(tmp_path / "m"))
    assert seen == [min(19, niceness() + NICE), niceness()]


@pytest.mark.parametrize("devices", [1, 2])
def test_a_saver_in_this_process_copies_no_variable(
    devices: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: dict[str, Any] = {}
    monkeypatch.setattr("weft.train.saver.write_checkpoint", lambda path, values: written.update(values))
    found = []
    for device in range(devices):
        with wf.device(f"/cpu:{device}"):
            found.append(wf.Variable(np.arange(float(MANY)), name=f"v{device}"))
    add = wf.group(*[v.assign_add(np.ones(MANY)).op for v in found])
    with wf.Session(config=wf.ConfigProto(device_count={"CPU": devices})) as session:
        session.run(wf.global_variables_initializer())
        slots = {name: slot for (_, name), slot in session._engine.state.variables.items()}  # type: ignore[attr-defined]
        write = train.Saver().snapshot(session, str(tmp_path / "m"), meta_graph_suffix=None)
        places = {name: slot.value.ctypes.data for name, slot in slots.items()}
        for _ in range(3):
            session.run(add)
        write()
        for v, (name, value) in zip(found, sorted(written.items()), strict=True):
            assert value.ctypes.data == places[name], "it is the variable's array of then"
            np.testing.assert_array_equal(value, np.arange(float(MANY)))
            np.testing.assert_array_equal(session.run(v), np.arange(float(MANY)) + 3)
    assert len(written) == devices


def test_only_variables_are_held_and_not_what_is_computed_of_them() -> None:
    v = wf.Variable(np.arange(float(MANY)))
    twice, add = v * 2.0, v.assign_add(np.ones(MANY)).op
    with wf.Session() as session:
        session.run(v.initializer)
        held, computed = run_held(session, [v, twice])
        session.run(add)
        later = run_held(session, [v, twice])
        np.testing.assert_array_equal(held, np.arange(float(MANY)))
        np.testing.assert_array_equal(computed, held * 2)
        np.testing.assert_array_equal(later[0], held + 1)
        np.testing.assert_array_equal(later[1], held * 2 + 2)
        copied = session.run(v)
        assert copied is not later[0]
        assert not np.shares_memory(copied, run_held(session, v))
    with pytest.raises(RuntimeError, match="closed Session"):
        run_held(session, v)
