"""Large graphs and the garbage collector: few full collections, and dropped graphs still go."""

import gc
import weakref
from collections.abc import Iterator

import pytest
from weft.graph import aging, ir
from weft.graph.ops import identity
from weft.graph.ops.constant import constant


@pytest.fixture(autouse=True)
def collector_as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def built(operations: int) -> ir.Graph:
    with ir.Graph().as_default() as graph:
        x = constant(1.0)
        for _ in range(operations):
            x = identity.identity(x)
    return graph


def full_collections() -> int:
    count: int = gc.get_stats()[2]["collections"]
    return count


def test_a_large_graph_is_not_gone_through_again_and_again() -> None:
    gc.collect()
    before = full_collections()
    graph = built(aging.LARGE + 60_000)
    assert graph.version == aging.LARGE + 60_001
    assert full_collections() - before <= 3


def test_graphs_that_are_dropped_are_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aging, "ROUND", 10_000)
    dropped = weakref.ref(built(aging.LARGE + 50_000))
    built(aging.LARGE + 25_000)
    assert dropped() is None


def test_what_a_program_froze_stays_frozen() -> None:
    gc.freeze()
    before = gc.get_freeze_count()
    built(aging.LARGE + 2 * aging.STRIDE)
    assert gc.get_freeze_count() > before * 0.9 > 0  # fewer only where frozen objects were freed


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    before = full_collections()
    with aging.uncollected(lambda: aging.LARGE):
        built(aging.LARGE + 2 * aging.STRIDE)
    assert (gc.isenabled(), full_collections()) == (False, before)
