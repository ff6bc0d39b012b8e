"""Random programs for property tests: recipes that hypothesis draws, and the graphs that are built from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import weft as wf
from hypothesis import strategies as st
from weft.graph.state import State

#: Large enough for the order of a sum to matter.
SIZE = 12
#: The devices that programs are over, where nothing else is said.
LOCAL = ("/cpu:0", "/cpu:1", "/cpu:2")
FED = np.random.default_rng(5).normal(size=(2, SIZE, SIZE)).astype(np.float32)


class Step(NamedTuple):
    """One step of a recipe: what to do, with which of the values so far (counted from the last), on which device."""

    kind: str
    first: int
    second: int
    device: int


@dataclass
class Built:
    """A program: matrices to fetch, writes to run, placeholders to feed, and variables with their first values."""

    values: list[wf.Tensor]
    writes: list[wf.Operation] = field(default_factory=list)
    feeds: list[wf.Tensor] = field(default_factory=list)
    variables: list[wf.Variable] = field(default_factory=list)

    def feed_dict(self) -> dict[wf.Tensor, Any]:
        return dict(zip(self.feeds, FED, strict=True))

    def state(self) -> State:
        """What the variables hold first, for whoever runs the program without a session."""
        state = State(seed=0)
        for index, variable in enumerate(self.variables):
            slot = state.variable(variable.op.name, wf.float32, (SIZE, SIZE))
            slot.assign(np.full((SIZE, SIZE), 0.25 * (index + 1), np.float32))
        return state


def _halves(a: wf.Tensor, b: wf.Tensor) -> wf.Tensor:
    return wf.concat([a[1:], b[:1]], 0)


def _folded(a: wf.Tensor, b: wf.Tensor) -> Any:
    return wf.reshape(wf.transpose(wf.reshape(a, [2, SIZE * SIZE // 2])), [SIZE, SIZE]) + b


def _rows(a: wf.Tensor, b: wf.Tensor) -> wf.Tensor:
    first, second, *rest = wf.unstack(wf.transpose(a), SIZE)
    return wf.stack([first, first + second, *rest[1:], b[0]])


#: Each takes two matrices and gives one, of numbers that stay small. Many pass through views: strided, broadcast, reversed.
PURE: dict[str, Callable[[wf.Tensor, wf.Tensor], wf.Tensor]] = {
    "add": lambda a, b: 0.5 * (a + b),
    "sub": lambda a, b: wf.subtract(a, b) / 2.0,
    "mul": lambda a, b: wf.tanh(a * b),
    "max": lambda a, b: wf.maximum(a, wf.negative(b)),
    "exp": lambda a, b: wf.exp(-wf.square(a)) - b,
    "compare": lambda a, b: wf.where(a > b + 0.0173, a, wf.zeros_like(b)),  # of equal ones a last bit may not decide
    "sum_n": lambda a, b: wf.add_n([a, b, a]) / 3.0,
    "matmul": lambda a, b: wf.tanh(wf.matmul(a, b)),
    "matmul_t": lambda a, b: wf.tanh(wf.matmul(a, b, transpose_b=True)),
    "t_matmul": lambda a, b: wf.tanh(wf.matmul(a, b, transpose_a=True)),
    "total": lambda a, b: wf.tanh(wf.reduce_sum(wf.transpose(a), 0)) + b,
    "columns": lambda a, b: b - wf.reduce_mean(a, 0, keepdims=True),
    "rows": lambda a, b: wf.tanh(wf.reduce_sum(a, 1, keepdims=True)) * b,
    "norm": lambda a, b: a / (1.0 + wf.reduce_max(wf.abs(b))),
    "transpose": lambda a, b: wf.transpose(a),
    "transpose_exp": lambda a, b: wf.sigmoid(wf.transpose(a)) + b,
    "reverse": lambda a, b: wf.reverse(a, [1]),
    "broadcast": lambda a, b: wf.broadcast_to(a[1], [SIZE, SIZE]),
    "broadcast_sum": lambda a, b: wf.tanh(wf.cumsum(wf.broadcast_to(a[:, :1], [SIZE, SIZE]), 1) + b),
    "every_other": lambda a, b: wf.tile(a[::2, ::2], [2, 2]) + b,
    "identity": lambda a, b: wf.identity(a),
    "softmax": lambda a, b: wf.nn.softmax(a - wf.transpose(b)),
    "relu": lambda a, b: wf.nn.relu(a) + wf.stop_gradient(b),
    "transposed_matmul": lambda a, b: wf.tanh(wf.matmul(wf.transpose(a), wf.transpose(b))),
    "transposed_twice": lambda a, b: wf.transpose(wf.transpose(a)) - b,
    "reshapes": lambda a, b: wf.squeeze(wf.expand_dims(wf.reshape(wf.reshape(a, [-1]), [SIZE, SIZE]), 1), [1]) + b,
    "neutral": lambda a, b: (a * 1.0 - 0.0) / 1.0 + wf.negative(wf.negative(b)) * 0.5,
    "casts": lambda a, b: wf.cast(wf.cast(a, wf.float64), wf.float32) - b,
    "spread": lambda a, b: wf.negative(wf.broadcast_to(wf.reduce_max(a, 1, keepdims=True), [SIZE, SIZE]) / 3.0) + b,
    "likes": lambda a, b: wf.maximum(a * wf.ones_like(b), wf.zeros_like(a)),
    "gate": lambda a, b: wf.tuple([a - b, wf.exp(-wf.square(b)), wf.transpose(a)])[0],
    "halves": _halves,
    "folded": _folded,
    "unstacked": _rows,
}
EFFECTS = ["read", "assign", "assign_add", "scatter", "random", "control"]


def recipes(kinds: Sequence[str] = (*PURE, *EFFECTS), longest: int = 14) -> st.SearchStrategy[list[Step]]:
    """Programs of some steps over three devices."""
    step = st.builds(Step, st.sampled_from(kinds), st.integers(0, 5), st.integers(0, 5), st.integers(0, 2))
    return st.lists(step, min_size=1, max_size=longest)


class Builder:
    """Builds a recipe's graph; with `ordered`, control dependencies put all accesses of each variable in order."""

    def __init__(
        self,
        recipe: Sequence[Step],
        known: bool = True,
        ordered: bool = True,
        devices: Sequence[str | None] = LOCAL,
    ) -> None:
        dims = [SIZE, SIZE] if known else [None, None]
        self.ordered = ordered
        feeds = [wf.placeholder(wf.float32, dims) for _ in FED]
        self.built = Built([wf.identity(feed) for feed in feeds], feeds=feeds)
        for device in (1, 2):
            with wf.device(devices[device]):
                self.built.variables.append(wf.Variable(np.full((SIZE, SIZE), 0.25 * device, np.float32)))
        #: For each variable, what a read must wait for, and what a write must.
        self.before_read: dict[wf.Variable, list[Any]] = {v: [] for v in self.built.variables}
        self.before_write: dict[wf.Variable, list[Any]] = {v: [] for v in self.built.variables}
        for step in recipe:
            with wf.device(devices[step.device]):
                self.built.values.append(self._step(step))

    def _step(self, step: Step) -> Any:
        values = self.built.values
        a, b = values[-1 - step.first % len(values)], values[-1 - step.second % len(values)]
        if step.kind in PURE:
            return PURE[step.kind](a, b)
        variable = self.built.variables[step.second % 2]
        match step.kind:
            case "random":
                return a + wf.random_uniform([SIZE, SIZE], seed=step.second)
            case "control":
                with wf.control_dependencies([b]):
                    return wf.identity(a) * 0.5
            case "read":
                return self._read(variable) - a
        return self._write(step.kind, variable, a)

    def _read(self, variable: wf.Variable) -> wf.Tensor:
        with wf.control_dependencies(self.before_read[variable] if self.ordered else []):
            value = variable.read_value()
        self.before_write[variable].append(value)
        return value

    def _write(self, kind: str, variable: wf.Variable, value: wf.Tensor) -> wf.Tensor:
        """A write, and what it wrote as the step's value (so that something may follow from it)."""
        before = self.before_write[variable] if self.ordered else []
        with wf.control_dependencies(before):
            if kind == "scatter":
                rows = wf.IndexedSlices(value[:2], wf.constant([3, 0]))
                after = variable.scatter_update(rows).op.control_inputs  # what the read of the result waits for
                (written,) = [op for op in after if op.type == "ResourceScatterUpdate" and op not in before]
            else:
                change = value if kind == "assign" else wf.tanh(value)
                written = getattr(variable, kind)(change, read_value=False)
        self.built.writes.append(written)
        self.before_read[variable] = [written]
        self.before_write[variable] = [written]
        return value


def build(
    recipe: Sequence[Step],
    known: bool = True,
    ordered: bool = True,
    devices: bool = True,
    names: Sequence[str] = LOCAL,
) -> Built:
    """A recipe's graph in a default graph of its own, over devices of these names."""
    wf.reset_default_graph()
    return Builder(recipe, known, ordered, names if devices else [None] * len(names)).built


def runs(built: Built, config: wf.ConfigProto, times: int = 2) -> list[Any]:
    """All values of some steps of a program in a new session, and the variables after them."""
    results: list[Any] = []
    with wf.Session(config=config, graph=built.feeds[0].graph) as sess:
        sess.run([v.initializer for v in built.variables])
        for _ in range(times):
            results += sess.run([built.values, built.writes], built.feed_dict())[0]
        return [*results, *sess.run(list(built.variables))]


def same_bits(found: Sequence[Any], wanted: Sequence[Any]) -> bool:
    """Whether arrays are equal to the last bit."""
    return len(found) == len(wanted) and all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes() and np.shape(a) == np.shape(b)
        for a, b in zip(found, wanted, strict=True)
    )
