"""Variables whose next value goes elsewhere than the present one: into memory that tasks share, to be sent as it is."""

import dataclasses
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import weft as wf
from endpoints import SECRET
from scripted import A, B, nothing_left_soon, session, soon, workers
from weft.cluster.session.engine import ClusterEngine
from weft.cluster.transports.segments import Arena, Slot
from weft.cluster.wire.message import Limits
from weft.graph.dtypes import float32
from weft.graph.ops import training
from weft.graph.state import VariableSlot
from weft.runtime import pipeline
from weft.runtime.backends.cpu import CPU
from weft.runtime.kernels import Kernel

LARGE = 100_000
NUMBERS = [np.asarray(np.float32(x)) for x in (0.9, 0.99, 0.1, 0.9, 0.99, 1e-8)]


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    with nothing_left_soon():
        yield


def slot_of(value: Any) -> VariableSlot:
    slot = VariableSlot("v", float32, np.shape(value))
    slot.assign(np.array(value, np.float32))
    return slot


def update(kind: str, slots: list[VariableSlot], grad: Any) -> None:
    dims = grad.shape
    definition: Any
    match kind:
        case "descent":
            definition = training.ResourceApplyGradientDescent(float32, dims)
            definition.compute(None, slots[0], NUMBERS[2], grad)
        case "momentum":
            definition = training.ResourceApplyMomentum(float32, dims)
            definition.compute(None, *slots[:2], NUMBERS[2], grad, NUMBERS[0])
        case "Adam":
            definition = training.ResourceApplyAdam(float32, dims)
            definition.compute(None, *slots, *NUMBERS, grad)
        case "assign":
            slots[0].assign(grad)


@pytest.mark.parametrize("size", [3, LARGE])
@pytest.mark.parametrize("kind", ["descent", "momentum", "Adam", "assign"])
def test_an_update_elsewhere_has_the_bits_of_one_in_place_and_leaves_the_old_value(kind: str, size: int) -> None:
    values = np.random.default_rng(size).standard_normal((4, size)).astype(np.float32)
    values[2] = abs(values[2])
    there, here = [slot_of(value) for value in values[:3]], [slot_of(value) for value in values[:3]]
    old, spare = there[0].value, np.full(size, np.nan, np.float32)
    there[0].begin_change(spare)
    update(kind, there, values[3])
    there[0].end_change()
    update(kind, here, values[3])
    assert there[0].value is spare
    for one, other in zip(there, here, strict=True):
        np.testing.assert_array_equal(one.settled(), other.settled())
    np.testing.assert_array_equal(old, values[0])


def test_an_update_that_fails_changes_nothing() -> None:
    slot = slot_of(np.ones(LARGE))
    old = slot.value
    slot.begin_change(np.zeros(LARGE, np.float32))
    with pytest.raises(wf.errors.InvalidArgumentError, match="the shapes must be equal"):
        update("descent", [slot], np.ones(7, np.float32))
    slot.end_change()
    assert slot.value is old
    assert slot.spare is None


def test_lasting_memory_is_used_again_when_nobody_has_it_and_no_step_sends_it() -> None:
    arena = Arena(Limits())
    first = arena.lasting(np.dtype(np.float32), (4, 8))
    address = first.ctypes.data
    assert arena.find(first.reshape(-1), 3) is not None
    del first
    second = arena.lasting(np.dtype(np.float32), (4, 8))
    assert second.ctypes.data != address, "step 3 may still be read"
    arena.release(2)
    assert arena.lasting(np.dtype(np.float32), (4, 8)).ctypes.data not in (address, second.ctypes.data)
    arena.release(3)
    assert not arena.taken
    assert address in {arena.lasting(np.dtype(np.float32), (4, 8)).ctypes.data for _ in range(4)}
    arena.close()
    second[...] = 1.0  # it outlives what it came from


def built(remote: bool) -> tuple[wf.Graph, dict[str, Any]]:
    """A variable on one task whose gradient another computes, and what is done with it."""
    with wf.Graph().as_default() as graph:
        with wf.device(A if remote else None):
            v = wf.get_variable("v", initializer=np.linspace(-1, 1, LARGE, dtype=np.float32), use_resource=True)
            value = v.read_value()
        with wf.device(B if remote else None):
            gradient = value * 0.5 + 1.0
        with wf.device(A if remote else None):
            step = wf.train.GradientDescentOptimizer(0.1).apply_gradients([(gradient, v)])
        return graph, {"init": v.initializer, "step": step, "add": v.assign_add(value * 0.25).op, "read": v.value()}


def loaded(engine: ClusterEngine) -> dict[str, Any]:
    """The plans of what is done with the variable."""
    handles = {}
    for name, part in built(remote=True)[1].items():
        request = pipeline.Request((part,), (), ()) if name == "read" else pipeline.Request((), (part,), ())
        handles[name] = engine.load(
            pipeline.make_plan(pipeline.cut(request), (), pipeline.Planning(engine, soft=False))
        )
    return handles


def test_where_no_memory_is_shared_a_variable_is_changed_in_place() -> None:
    with workers(A, B) as made:
        addresses = {worker.name: worker.addresses["tcp"] for worker in made}
        with closing(ClusterEngine(addresses, SECRET, {})) as engine:
            handles = loaded(engine)
            engine.run(handles["init"], [], 10)
            (slot,) = made[0].state.variables.values()
            place = slot.settled().ctypes.data
            for _ in range(3):
                engine.run(handles["step"], [], 10)
                assert slot.settled().ctypes.data == place


def test_a_kernel_that_knows_nothing_of_spare_memory_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    of = type(CPU).kernel

    def plain(backend: Any, *arguments: Any) -> Kernel | None:
        kernel = of(backend, *arguments)
        return None if kernel is None else dataclasses.replace(kernel, moves=False)

    monkeypatch.setattr(type(CPU), "kernel", plain)
    with workers(A, B) as made, session(made) as engine:
        handles = loaded(engine)
        for name in ["init", "step", "step"]:
            engine.run(handles[name], [], 10)
        (slot,) = made[0].state.variables.values()
        assert slot.settled().base is None


def test_a_variable_that_is_sent_and_updated_moves_between_slots_and_comes_home() -> None:
    graph, run = built(remote=False)
    with wf.Session(graph=graph) as local, workers(A, B) as made:
        with session(made) as engine:
            handles, places = loaded(engine), set[int]()
            for name in ["init", *["step"] * 6, "add", *["step"] * 3]:
                local.run(run[name])
                engine.run(handles[name], [], 10)
                np.testing.assert_array_equal(engine.run(handles["read"], [], 10)[0], local.run(run["read"]))
                (slot,) = made[0].state.variables.values()
                assert slot.value is not None
                if name == "step":
                    assert slot.value.base is not None, "it lies in shared memory"
                    places.add(slot.value.ctypes.data)
            (client,) = made[0]._clients.values()
            assert 2 <= len(places) <= 4
            engine.run(handles["step"], [], 10)
            last = engine.run(handles["read"], [], 10)[0]
            sent = [entry for entries in client._arena.taken.values() for entry in entries]
            assert not any(isinstance(entry, Slot) for entry in sent), "nothing was copied to be sent"
        soon(lambda: not made[0]._ending and slot.settled().base is None)  # the session's memory is free again
        np.testing.assert_array_equal(slot.settled(), last)
