"""Plans that came as data and are to be compiled: what they say of shapes must be true, for machine code goes by it."""

import json
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import pytest
import weft as wf
from hostile import as_json, changed_json, fuzzed, survives
from hypothesis import given, strategies as st
from machine_code import LLVM
from test_cases import COMPUTED, build
from weft.cluster.task.loaded_plan import LoadedPlan
from weft.cluster.wire.plans import decode_plan, encode_plan
from weft.cluster.wire.relays import Relay
from weft.graph import errors
from weft.graph.state import State
from weft.runtime.stages.fused import Fused
from weft.runtime.stages.plan import Plan, Run

pytest.importorskip("llvmlite", reason="the backend 'llvm' needs llvmlite: pip install 'weft[llvm]'")

from weft.runtime.backends.llvm.backend import LLVM as COMPILED

MIB = 1 << 20
TASK = "/job:localhost/replica:0/task:0"


def _graph() -> tuple[Any, dict[Any, Any]]:
    """What there is to compile: regions, a product, convolutions with what follows them, their gradients, an update."""
    images = wf.placeholder(wf.float32, [4, 16, 16, 8])
    filters = wf.get_variable("filters", initializer=np.full([3, 3, 8, 16], 0.125, np.float32))
    bias = wf.get_variable("bias", initializer=np.ones(16, np.float32))
    weights = wf.get_variable("weights", initializer=np.ones([4096 // 4, 20], np.float32))
    made = wf.nn.relu(wf.nn.bias_add(wf.nn.conv2d(images, filters, strides=[1, 1, 1, 1], padding="SAME"), bias))
    pooled = wf.nn.max_pool(made, [1, 2, 2, 1], [1, 2, 2, 1], "VALID")
    product = wf.matmul(wf.reshape(pooled, [4, -1]), weights)
    loss = wf.reduce_sum(wf.tanh(product * 0.5 + 0.25) * wf.sqrt(wf.abs(product)))
    step = wf.train.AdamOptimizer(0.1).minimize(loss)
    return [loss, step, wf.gradients(loss, images)[0]], {images: np.ones([4, 16, 16, 8], np.float32)}


@cache
def plans() -> tuple[Plan, Plan]:
    """That which gives the variables values, and that of a step."""
    with wf.Graph().as_default():
        fetches, feeds = _graph()
        with wf.Session(config=LLVM) as session:
            return session.plan(wf.global_variables_initializer()).plans[0], session.plan(fetches, feeds).plans[0]


def plan() -> Plan:
    return plans()[1]


def loaded(made: Plan) -> LoadedPlan:
    return LoadedPlan(made, TASK, State(), Relay(), backend=COMPILED)


def test_what_is_true_is_taken() -> None:
    data, arrays = encode_plan(plan())
    there = decode_plan(data, [np.array(array) for array in arrays])
    assert there == plan()
    types = {run.definition.type for run in there.instructions if isinstance(run, Run)}
    assert types >= {"Fused", "MatMul", "Conv2DBackpropFilter", "Conv2DBackpropInput", "MaxPoolGrad"}
    loaded(there)


@pytest.mark.parametrize("known", ["full", "rank", "none"])
def test_what_weft_makes_is_true_for_every_operation_and_its_gradient(known: str) -> None:
    count = 0
    for case in COMPUTED:
        if case.needs_shapes and known != "full":
            continue
        wf.reset_default_graph()
        outputs, feeds = build(case, known)
        floats = [each for each in feeds if each.dtype.is_floating]
        ends = [each for each in outputs if each.dtype.is_floating]
        with suppress(LookupError, NotImplementedError):  # it has none
            outputs = [*outputs, *(each for each in wf.gradients(ends, floats) if each is not None)]
        with wf.Session(config=LLVM) as session:
            for plan in session.plan(outputs, feeds).plans:
                COMPILED.check(plan)
                count += len(plan.instructions)
    assert count > 1000


def _lies() -> dict[str, Any]:
    """Changes to an instruction of the plan, as `(instruction) -> instruction`, by the type that they are for."""

    def outputs(run: Run, **changes: Any) -> Run:
        first, *others = run.output_specs
        return run._replace(output_specs=(first._replace(**changes), *others))

    def parts(run: Run, at: int, **changes: Any) -> Run:
        assert isinstance(run.definition, Fused)
        found = list(run.definition.parts)
        found[at] = found[at]._replace(spec=found[at].spec._replace(**changes))
        return run._replace(definition=Fused(tuple(found), run.definition.results, run.definition.flat))

    return {
        "a smaller product": ("MatMul", lambda run: outputs(run, dims=(2, 20))),
        "a product of unknown size": ("MatMul", lambda run: outputs(run, dims=None)),
        "a product of another type": ("MatMul", lambda run: outputs(run, dtype=wf.float64)),
        "smaller filters": ("Conv2DBackpropFilter", lambda run: outputs(run, dims=(3, 3, 8, 8))),
        "smaller images": ("Conv2DBackpropInput", lambda run: outputs(run, dims=(4, 16, 16, 4))),
        "smaller windows": ("MaxPoolGrad", lambda run: outputs(run, dims=(4, 8, 8, 16))),
        "a smaller value on the way": ("Fused", lambda run: parts(run, 0, dims=(1,))),
        "a smaller result": ("Fused", lambda run: parts(run, -1, dims=(1,))),
        "a result that is not the region's": ("Fused", lambda run: outputs(run, dims=(1,))),
        "other windows": (
            "MaxPoolGrad",
            lambda run: run._replace(definition=type(run.definition)((1, 4, 4, 1), (1, 4, 4, 1), "VALID")),
        ),
        "windows that go back": (
            "Conv2DBackpropFilter",
            lambda run: run._replace(definition=type(run.definition)((1, 1, 1, 1), "SAME", (), (1, -1, 1, 1))),
        ),
        "windows of nothing": (
            "MaxPoolGrad",
            lambda run: run._replace(definition=type(run.definition)((1, 0, 2, 1), (1, 2, 2, 1), "VALID")),
        ),
    }


@pytest.mark.parametrize("name", sorted(_lies()))
def test_what_is_not_true_is_refused(name: str) -> None:
    kind, change = _lies()[name]
    instructions = list(plan().instructions)
    places = [at for at, run in enumerate(instructions) if isinstance(run, Run) and run.definition.type == kind]
    assert places
    for at in places:
        changed = [*instructions[:at], change(instructions[at]), *instructions[at + 1 :]]
        with pytest.raises((ValueError, errors.InvalidArgumentError)):
            loaded(Plan(plan().device, tuple(changed), plan().arena_bytes))


@fuzzed(150)
@given(data=st.data())
def test_plans_that_somebody_has_changed_are_refused_or_do_no_harm(data: st.DataObject) -> None:
    """Reading runs nothing. What is made of one that can be read may fail in any way but to take the process with it."""
    text, arrays = encode_plan(plan())
    came = as_json(data.draw(changed_json([json.loads(text)])))
    found = survives(
        lambda: decode_plan(came, [np.array(array) for array in arrays]), (errors.DataLossError,), 64 * MIB
    )
    if found is None:
        return
    state = State()
    LoadedPlan(plans()[0], TASK, state, Relay()).compiled.run([], _Nobody())
    try:
        there = LoadedPlan(found, TASK, state, Relay(), backend=COMPILED)
        there.compiled.run([np.ones([4, 16, 16, 8], np.float32)], _Nobody())
    except Exception:  # it fails, and the session hears why
        pass


class _Nobody:
    """Who takes what is sent, and sends nothing."""

    def send(self, *_: Any) -> None:
        pass

    def receive(self, edge: int) -> Any:
        raise errors.CancelledError(None, None, f"nothing comes over {edge}")
