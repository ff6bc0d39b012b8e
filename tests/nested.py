"""Random programs with branches and loops in each other, whose operations have devices: what hypothesis draws, and the graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import programs
import weft as wf
from hypothesis import strategies as st

A, B, C = "/cpu:0", "/cpu:1", "/cpu:2"
KINDS = ["add", "mul", "matmul", "exp", "transpose", "total", "max", "halves", "softmax", "relu", "gate"]
FED = programs.FED[:, :3, :3].copy()


class Step(NamedTuple):
    """One operation: what it is, which values it takes (counted from the last), its device, and what is inside of it."""

    kind: str
    first: int
    second: int
    device: int
    inner: tuple[tuple[Step, ...], ...] = ()


@st.composite
def recipes(
    draw: st.DrawFn, kinds: Sequence[str] = (*KINDS, "random", "read", "write", "weight"), longest: int = 3
) -> Any:
    """Rows of steps, some of which hold rows of steps; the last one always does."""
    left = [4]  # so many branches and loops at most

    def step(depth: int, holds: bool) -> Step:
        holds = holds or (depth < 2 and left[0] > 0 and draw(st.integers(0, 3)) == 0)
        left[0] -= holds
        kind = draw(st.sampled_from(["while", "cond"] if holds else kinds))
        first, second, device = (draw(st.integers(0, 3)) for _ in range(3))
        return Step(kind, first, second, device, (row(depth + 1), row(depth + 1)) if holds else ())

    def row(depth: int) -> tuple[Step, ...]:
        return tuple(step(depth, False) for _ in range(draw(st.integers(1, longest))))

    return (*row(0)[:1], step(0, True))


class Building:
    """Builds a recipe in a new graph: `feeds`, `variables` and the `values` of all steps.

    The last two variables are `weights`, which nothing writes, and reads of them wait for nothing.
    """

    def __init__(self, recipe: Sequence[Step], devices: Sequence[str] = ("/cpu:0", "/cpu:1", "/cpu:2")) -> None:
        wf.reset_default_graph()
        self.devices = devices
        self.feeds = [wf.placeholder(wf.float32, [3, 3]) for _ in FED]
        self.variables: list[Any] = []
        for number in (1, 2, 1, 2):
            with self.on(number):
                start = np.full((3, 3), 0.25 * number + 0.1 * len(self.variables), np.float32)
                self.variables.append(wf.Variable(start))
        self.weights = self.variables[2:]
        self.values = self.row([wf.identity(feed) for feed in self.feeds], recipe)

    def on(self, device: int) -> Any:
        """A block on a device; number 3 stands for none."""
        return wf.device(self.devices[device] if device < len(self.devices) else "")

    def row(self, values: list[Any], recipe: Sequence[Step]) -> list[Any]:
        """The values and those of the steps."""
        values = list(values)
        for step in recipe:
            a, b = values[-1 - step.first % len(values)], values[-1 - step.second % len(values)]
            controls = [] if step.kind == "weight" else [values[-1]]
            with self.on(step.device), wf.control_dependencies(controls):
                values.append(self.step(step, a, b))
        return values

    def step(self, step: Step, a: Any, b: Any) -> Any:
        variable = self.variables[step.second % 2]
        match step.kind:
            case "random":
                return a + wf.random_uniform([3, 3], seed=step.second)
            case "weight":
                weight = self.weights[step.second % 2]
                return (wf.tanh(weight) if step.first % 2 else weight) * a
            case "read":
                return variable.read_value() - a
            case "write":
                return wf.identity(variable.assign_add(wf.tanh(a)))
            case "cond":
                then, orelse = step.inner
                return wf.cond(
                    a[0, 0] > b[1, 1], lambda: self.row([a, b], then)[-1], lambda: self.row([b, a], orelse)[-1]
                )
            case "while":
                return self.loop(step, a, b)
        return {**programs.PURE, **SMALL}[step.kind](a, b)

    def loop(self, step: Step, a: Any, b: Any) -> Any:
        test, body = step.inner

        def goes_on(i: Any, x: Any, y: Any) -> Any:
            return wf.logical_and(
                i < 1 + step.first,
                self.row([x, y], [s for s in test if s.kind in (*KINDS, "weight")])[-1][0, 1] < 100.0,
            )

        def once(i: Any, x: Any, y: Any) -> Any:
            made = self.row([x, y], body)
            return [i + 1, made[-1], y if step.second == 3 else x if step.second == 2 else wf.tanh(made[-2])]

        return wf.add_n(wf.while_loop(goes_on, once, [0, a, b])[1:])

    def feed_dict(self) -> dict[Any, Any]:
        return dict(zip(self.feeds, FED, strict=True))


def _halves(a: wf.Tensor, b: wf.Tensor) -> wf.Tensor:
    return wf.concat([a[1:], b[:1]], 0)


SMALL = {"halves": _halves}


def three_devices(count: Any = 5) -> list[wf.Tensor]:
    """A loop over three devices: the counter and the predicate on the first, a state that passes through all."""
    x = wf.constant(np.linspace(-1, 1, 4, dtype=np.float32))

    def body(i: Any, a: Any) -> Any:
        with wf.device(B):
            b = wf.sin(a) * 1.5 + x
        with wf.device(C):
            return i + 1, b - wf.cast(i, wf.float32)

    return list(wf.while_loop(lambda i, a: i < count, body, [0, x]))
