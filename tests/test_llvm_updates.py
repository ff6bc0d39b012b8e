"""Updates as machine code of variables whose next value goes elsewhere than the present one: the bits of those in place."""

from inspect import signature
from typing import Any

import numpy as np
import pytest
import weft as wf
from machine_code import same
from scripted import A, B, session as engine_on, workers
from test_moving_variables import LARGE, built, loaded
from weft.graph.dtypes import float32, resource
from weft.graph.opdef import Spec
from weft.graph.ops import training, training_adaptive, training_sparse
from weft.graph.state import VariableSlot

pytest.importorskip("llvmlite", reason="the backend 'llvm' needs llvmlite: pip install 'weft[llvm]'")

from weft.runtime.backends.formula_table import update_of
from weft.runtime.backends.llvm.backend import LLVM

UPDATES: dict[str, Any] = {
    "descent": training.ResourceApplyGradientDescent,
    "momentum": training.ResourceApplyMomentum,
    "nesterov": lambda dtype, dims: training.ResourceApplyMomentum(dtype, dims, True),
    "adam": training.ResourceApplyAdam,
    "adagrad": training_adaptive.ResourceApplyAdagrad,
    "rmsprop": training_adaptive.ResourceApplyRMSProp,
    "centered": training_adaptive.ResourceApplyCenteredRMSProp,
}


def slot_of(value: Any) -> VariableSlot:
    slot = VariableSlot("v", float32, np.shape(value))
    slot.assign(np.array(value))
    return slot


def function_of(definition: Any, slots: int, rest: list[Any], monkeypatch: pytest.MonkeyPatch | None = None) -> Any:
    """The compiled update, which with `monkeypatch` has no NumPy to go to."""
    specs = [Spec(resource, ())] * slots + [Spec(wf.as_dtype(each.dtype), each.shape) for each in rest]
    if monkeypatch is not None:
        monkeypatch.setattr(type(definition), "compute", None)
    kernel = LLVM.kernel(definition, tuple(specs), ())
    assert kernel is not None
    assert kernel.moves
    assert kernel.bind is not None
    return kernel.bind(None)  # type: ignore[arg-type]


def dense(name: str, size: int) -> tuple[Any, list[Any], list[Any]]:
    """An update of so many numbers: its definition, the values of its variables, and its other inputs."""
    definition = UPDATES[name](float32, (size,))
    slots, grad, _ = update_of(definition) or (0, 0, None)
    random, count = np.random.default_rng(size), len(signature(definition.infer).parameters)
    values = [abs(random.standard_normal(size).astype(np.float32)) for _ in range(slots)]
    if slots > 2:  # a mean of squares is no less than the mean's
        values[2] += values[1] * values[1]
    rest = [np.asarray(np.float32(0.05 + 0.11 * at)) for at in range(slots, count)]
    rest[grad - slots] = random.standard_normal(size).astype(np.float32)
    return definition, values, rest


@pytest.mark.parametrize("moved", ["first", "last", "all"])
@pytest.mark.parametrize("size", [3, LARGE])
@pytest.mark.parametrize("name", UPDATES)
def test_an_update_elsewhere_has_the_bits_of_one_in_place_and_leaves_the_old_value(
    name: str, size: int, moved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition, values, rest = dense(name, size)
    here, there = ([slot_of(value) for value in values] for _ in range(2))
    definition.compute(None, *here, *rest)
    moving = {"first": there[:1], "last": there[-1:], "all": there}[moved]
    old, spares = [slot.value for slot in moving], [np.full(size, np.nan, np.float32) for _ in moving]
    before = [np.array(value) for value in old]
    stay = [slot.value for slot in there if slot not in moving]
    for slot, spare in zip(moving, spares, strict=True):
        slot.begin_change(spare)
    function_of(definition, len(there), rest, monkeypatch)(*there, *rest)
    for slot in moving:
        slot.end_change()
    assert all(slot.value is spare for slot, spare in zip(moving, spares, strict=True))
    assert all(any(slot.value is value for slot in there) for value in stay)
    for one, other in zip(there, here, strict=True):
        same(one.settled(), other.settled(), name)
    for kept, value in zip(old, before, strict=True):
        same(kept, value, name)


def test_a_gradient_that_lies_in_the_variable_or_where_it_goes_is_taken_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    definition, (value,), rest = dense("descent", LARGE)
    update = function_of(definition, 1, rest, monkeypatch)
    there = np.zeros(LARGE + 1, np.float32)
    there[:LARGE] = rest[1]
    for spare, grad in ((np.zeros(LARGE, np.float32), None), (there[1:], there[:LARGE])):
        slot = slot_of(value)
        grad = slot.value if grad is None else grad
        wanted = value - rest[0] * np.array(grad)
        slot.begin_change(spare)
        update(slot, rest[0], grad)
        slot.end_change()
        assert slot.value is spare
        same(spare, wanted)


def test_what_machine_code_refuses_goes_elsewhere_through_numpy() -> None:
    definition, (value,), rest = dense("descent", LARGE)
    slot, spare = slot_of(value), np.zeros(LARGE, np.float32)
    strided = np.zeros(2 * LARGE, np.float32)[::2]
    strided[...] = rest[1]
    slot.begin_change(spare)
    function_of(definition, 1, rest)(slot, rest[0], strided)
    slot.end_change()
    assert slot.value is spare
    same(spare, value - rest[0] * rest[1])


def test_an_update_that_fails_changes_nothing() -> None:
    definition, (value,), rest = dense("descent", LARGE)
    slot = slot_of(value)
    old = slot.value
    slot.begin_change(np.zeros(LARGE, np.float32))
    with pytest.raises(wf.errors.InvalidArgumentError, match="the shapes must be equal"):
        function_of(definition, 1, rest)(slot, rest[0], np.ones(7, np.float32))
    slot.end_change()
    assert slot.value is old
    same(old, value)


@pytest.mark.parametrize("kind", [training_sparse.ResourceSparseApplyMomentum, training_sparse.ResourceSparseApplyAdam])
def test_rows_that_do_not_change_go_along(kind: Any) -> None:
    definition, random = kind(float32, (1000, 50)), np.random.default_rng(1)
    slots = 2 if kind is training_sparse.ResourceSparseApplyMomentum else 3
    values = [abs(random.standard_normal((1000, 50))).astype(np.float32) for _ in range(slots)]
    numbers = [np.asarray(np.float32(x)) for x in (0.9, 0.99, 0.1, 0.9, 0.99, 1e-8)]
    rows, ids = random.standard_normal((30, 50)).astype(np.float32), random.permutation(1000)[:30]
    rest = [numbers[0], rows, ids, numbers[1]] if slots == 2 else [*numbers, rows, ids]
    here, there = ([slot_of(value) for value in values] for _ in range(2))
    definition.compute(None, *here, *rest)
    old, spare = there[0].value, np.full((1000, 50), np.nan, np.float32)
    there[0].begin_change(spare)
    function_of(definition, slots, rest)(*there, *rest)
    there[0].end_change()
    assert there[0].value is spare
    for one, other in zip(there, here, strict=True):
        same(one.settled(), other.settled())
    same(old, values[0])


def test_a_variable_that_is_sent_and_updated_moves_between_slots_on_a_task_too() -> None:
    graph, run = built(remote=False)
    with wf.Session(graph=graph) as local, workers(A, B) as made, engine_on(made, backend="llvm") as engine:
        handles, places = loaded(engine), set[int]()
        for name in ["init", *["step"] * 6, "add", *["step"] * 3]:
            local.run(run[name])
            engine.run(handles[name], [], 60)
            same(engine.run(handles["read"], [], 60)[0], local.run(run["read"]))
            (slot,) = made[0].state.variables.values()
            assert slot.value is not None
            if name == "step":
                assert slot.value.base is not None, "it lies in shared memory"
                places.add(slot.value.ctypes.data)
        assert 2 <= len(places) <= 4
