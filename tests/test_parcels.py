"""What a task sends to another one in a step goes there together where nothing is lost by it, and is made in shared memory."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import weft as wf
from endpoints import SECRET
from hypothesis import given, strategies as st
from scripted import CPU_A, CPU_B, A, B, nothing_left_soon, workers
from test_cluster_sessions import session_on
from weft.cluster.session.engine import ClusterEngine
from weft.cluster.task import parcels
from weft.cluster.task.client import Client, Run as Job
from weft.cluster.task.parcels import decode_edges, encode_edges, together
from weft.cluster.transports import segments
from weft.cluster.wire.message import Message
from weft.graph import dtypes, errors
from weft.graph.opdef import Spec
from weft.graph.ops.arithmetic import Mul
from weft.graph.ops.linalg import MatMul
from weft.graph.ops.report import PrintOp
from weft.runtime.stages.plan import Free, Receive, Run, Send

pytestmark = pytest.mark.counts


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    with nothing_left_soon():
        yield


def run(definition: Any, *dims: int) -> Run:
    specs = (Spec(dtypes.float32, dims),) * 2
    return Run("work", definition, (0, 1), (2,), specs, specs[:1])


LIGHT, HEAVY, PRINT = run(Mul(), 8), run(MatMul(), 2000, 2000), PrintOp()


@pytest.mark.parametrize(("between", "waits"), [
    ([], {1}), ([LIGHT, Free((1,))], {1}), ([Send(0, 5, CPU_A, "x")], {1}), ([LIGHT] * 100, set()), ([HEAVY], set()),
    ([Receive(3, 7, CPU_A, "y")], {1}), ([Send(0, 5, CPU_A, "x", again=True)], set()),
    ([run(PRINT, 8)], set()),
])  # fmt: skip
def test_a_value_waits_for_the_next_unless_something_waits_or_takes_long(between: list[Any], waits: set[int]) -> None:
    assert together([Send(0, 1, CPU_B, "x"), *between, Send(0, 2, CPU_B, "z")]) == waits


def test_the_first_of_many_does_not_wait_for_long() -> None:
    each = [instruction for edge in range(100) for instruction in (Send(0, edge, CPU_B, "x"), LIGHT)]
    found = together(each)
    assert 50 < len(found) < 99, "several parcels"


@given(st.lists(st.tuples(st.integers(0, 2**62), st.booleans())))
def test_edges_there_and_back(values: list[tuple[int, bool]]) -> None:
    row = [(edge, np.float32(number) if there else None) for number, (edge, there) in enumerate(values)]
    assert decode_edges(encode_edges(row), [value for _, value in row if value is not None]) == row


@pytest.mark.parametrize("data", [b"\0", bytes(8), bytes(24), struct.pack("<q", -1) + b"\0"])
def test_edges_that_do_not_belong_to_the_tensors_are_refused(data: bytes) -> None:
    with pytest.raises(errors.DataLossError, match="edges of 2 tensors"):
        decode_edges(data, [0, 0])


# a step on two tasks


@contextmanager
def taken(monkeypatch: pytest.MonkeyPatch, scheme: str) -> Iterator[tuple[wf.Session, list[tuple[str, int]]]]:
    """A session on two tasks, and what each of them takes from the other: the task, and how many tensors came."""
    found: list[tuple[str, int]] = []
    take = Client._take_from_peer

    def noted(self: Client, message: Message) -> Job | None:
        found.append((self.task, len(message.tensors)))
        return take(self, message)

    monkeypatch.setattr(Client, "_take_from_peer", noted)
    with workers(A, B) as made:
        engine = ClusterEngine({each.name: each.addresses[scheme] for each in made}, SECRET, {})
        try:
            with session_on(engine) as session:
                yield session, found
        finally:
            engine.close()


@pytest.mark.parametrize("scheme", ["shm", "tcp"])
@pytest.mark.parametrize("size", [3, 10_000])
def test_parameters_and_what_comes_of_them_are_a_message_each_way(
    scheme: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parcels, "LONGEST_SECONDS", 1.0)
    with wf.device(A):
        variables = [wf.Variable(np.arange(size, dtype=np.float32) + number) for number in range(3)]
    with wf.device(B), wf.control_dependencies([variables[0].op]):
        products = [variable * 3.0 for variable in variables]
    with wf.device(A):
        added = [variable.assign_add(product) for variable, product in zip(variables, products, strict=True)]
    with taken(monkeypatch, scheme) as (session, found):
        session.run(wf.global_variables_initializer())
        for step in range(3):
            found.clear()
            session.run([each.op for each in added])
            if scheme == "shm" or size == 3:
                assert found == [(B, 3), (A, 3)]
            else:  # there is no memory to keep them in: each goes at once
                assert sorted(found) == [(A, 1)] * 3 + [(B, 1)] * 3
            for number, value in enumerate(session.run(variables)):
                np.testing.assert_array_equal(value, (np.arange(size, dtype=np.float32) + number) * 4 ** (step + 1))


def test_what_is_sent_at_once_is_made_where_it_is_sent_from(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[int] = []
    take, reserve = segments.Arena.take, segments.Arena.reserve

    def noted(self: segments.Arena, nbytes: int, step: int) -> segments.Slot:
        slot = take(self, nbytes, step)
        copied.append(nbytes)
        return slot

    def reserved(self: segments.Arena, nbytes: int, step: int) -> segments.Slot:
        slot = reserve(self, nbytes, step)
        copied.pop()
        return slot

    with wf.device(A):
        x = wf.placeholder(wf.float32, [10_000])
        doubled = x * 2.0
        again = wf.square(doubled)  # in its own buffer: what was sent stays
    with wf.device(B):
        total = wf.reduce_sum(doubled)
    with taken(monkeypatch, "shm") as (session, found):
        monkeypatch.setattr(segments.Arena, "take", noted)
        monkeypatch.setattr(segments.Arena, "reserve", reserved)
        for step in range(3):
            fed = np.full(10_000, step, np.float32)
            sums, squares = session.run([total, again], {x: fed})
            assert sums == 20_000 * step
            np.testing.assert_array_equal(squares, np.full(10_000, 4 * step**2, np.float32))
        assert found == [(B, 1)] * 3
    assert copied.count(40_000) == 6, "what is fed and what is fetched, in each step"


def test_a_task_that_waits_keeps_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "LONGEST_SECONDS", 1.0)
    with wf.device(A):
        x = wf.placeholder(wf.float32, [])
        first = x * 2.0
    with wf.device(B):
        there = first + 1.0
    with wf.device(A):
        last = there * first
    with wf.device(B):
        result = last - 1.0
    with taken(monkeypatch, "shm") as (session, found):
        assert session.run(result, {x: 3.0}) == 41.0
    assert found == [(B, 1), (A, 1), (B, 1)]
