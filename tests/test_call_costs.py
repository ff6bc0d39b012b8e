"""What a call of a session costs beside its kernels: nothing that could have been done before, and no copies of what is fed."""

import gc
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest
import weft as wf
from weft.runtime.execution.rendezvous import Rendezvous
from weft.runtime.feeds import feeder

#: What looks at the structure of fetches and feeds, or at the graph.
LOOKS = {"flatten_feeds", "fed_tensors", "as_graph_element", "_new_call", "_prepare", "_load", "cut", "prune", "_take"}


def called(function: Callable[[], Any]) -> Counter[str]:
    """The names of the Python functions that a call calls.

    Not those of a garbage collection that happens to fall into it: finalizers, and what others hang on it (hypothesis
    times collections).
    """
    found: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            found[frame.f_code.co_name] += 1

    before, collects = sys.getprofile(), gc.isenabled()
    gc.disable()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()
    return found


def steady(sess: wf.Session, fetches: Any, feeds: list[Any], values: list[Any], by_run: bool) -> Counter[str]:
    """The functions that are called by a step that is like the ones before."""
    if by_run:
        feed_dict = dict(zip(feeds, values, strict=True))
        step: Callable[[], Any] = lambda: sess.run(fetches, feed_dict)  # noqa: E731
    else:
        made = sess.make_callable(fetches, feeds)
        step = lambda: made(*values)  # noqa: E731
    for _ in range(3):
        step()
    return called(step)


@pytest.mark.parametrize("by_run", [False, True])
def test_a_call_like_the_one_before_looks_nothing_up_in_the_graph(by_run: bool) -> None:
    x = wf.placeholder(wf.float32, [2])
    y = {"a": [wf.exp(x), wf.sin(x)], "b": x * 2.0}
    with wf.Session() as sess:
        assert not LOOKS & set(steady(sess, y, [x], [np.ones(2, np.float32)], by_run))


@pytest.mark.parametrize("by_run", [False, True])
def test_what_a_call_costs_does_not_grow_with_the_graph(by_run: bool) -> None:
    with wf.Session() as sess:
        counts = []
        for length in (1, 50):
            y = x = wf.placeholder(wf.float32, [2])
            for _ in range(length):
                y = wf.exp(y)
            counts.append(steady(sess, y, [x], [np.ones(2, np.float32)], by_run))
    assert counts[0] == counts[1]


def test_a_feed_more_costs_one_call_of_a_function_and_a_fetch_more_two() -> None:
    def total(feeds: int, fetches: int) -> int:
        with wf.Graph().as_default(), wf.Session() as sess:
            x = [wf.placeholder(wf.float32, [2]) for _ in range(feeds)]
            y = [wf.exp(x[0]) for _ in range(fetches)]
            return steady(sess, y, x, [np.ones(2, np.float32)] * feeds, by_run=False).total()

    base = total(1, 1)
    assert base < 30
    assert total(21, 1) - base == 20
    assert total(1, 21) - base <= 40


def views(count: int = 6) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays of float32 that are in order: whole ones, parts of others, read-only ones."""
    whole = np.arange(2 * count, dtype=np.float32)
    fixed = whole.copy()
    fixed.setflags(write=False)
    return {"whole": whole, "part": whole[2:8], "rows": whole.reshape(4, 3)[1:3], "read-only": fixed}


@pytest.mark.parametrize("name", views())
@pytest.mark.parametrize("known", [True, False])
def test_a_contiguous_array_of_the_right_type_is_fed_as_it_is(name: str, known: bool) -> None:
    value = views()[name]
    x = wf.placeholder(wf.float32, value.shape if known else None)
    assert feeder(x)(value) is value


def test_kernels_are_given_the_very_memory_that_was_fed() -> None:
    x = wf.placeholder(wf.float32, [4, 3])
    value = np.arange(12, dtype=np.float32).reshape(4, 3)
    seen: list[Any] = []
    with wf.Session() as sess:
        sess.run(wf.exp(x), {x: value})
        (plan,) = sess._engine._plans  # type: ignore[attr-defined]

        def watched(run: Any, kernel: Callable[..., Any]) -> Callable[..., Any]:
            def kernel_that_tells(*values: Any, **more: Any) -> Any:
                seen.extend(values)
                return kernel(*values, **more)

            return kernel_that_tells

        plan.run_in(plan.with_kernels(watched), [value], Rendezvous())
    assert seen[0] is value


@pytest.mark.parametrize(
    "value",
    [np.ones((3, 2), np.float64), np.ones((2, 3), np.float32).T, np.ones((3, 4), np.float32)[:, ::2], [[1, 2]] * 3],
    ids=["another type", "transposed", "every second column", "a list"],
)
def test_everything_else_is_fed_as_a_new_array_in_order(value: Any) -> None:
    found = feeder(wf.placeholder(wf.float32, [3, 2]))(value)
    assert (found.dtype, found.shape, found.flags.c_contiguous) == (np.float32, (3, 2), True)
    assert found is not value
    assert np.array_equal(found, value)


def test_a_shape_that_does_not_fit_is_refused_also_when_it_was_said_after_the_call_was_made() -> None:
    x = wf.placeholder(wf.float32, [None, 3])
    with wf.Session() as sess:
        step = sess.make_callable(x * 1.5, [x])
        step(np.ones((2, 3), np.float32))
        with pytest.raises(ValueError, match="Cannot feed value of shape"):
            step(np.ones((2, 4), np.float32))
        x.set_shape([5, 3])
        with pytest.raises(ValueError, match="Cannot feed value of shape"):
            step(np.ones((2, 3), np.float32))
