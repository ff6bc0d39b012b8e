"""Loops: the plans of a condition and a body become one Python function, in which an iteration calls kernels and no plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...graph.state import State
from ..execution.compile import CompiledPlan
from ..execution.failures import StepFailure
from ..execution.frames import Frames
from ..execution.interrupt import Stopper, current_stopper
from ..execution.writer import Names, Writer, code_of, failure, memory_for, passed
from ..kernels import Backend
from ..memory.recycling import SMALLEST
from ..stages.plan import Buffer, Instruction, Plan, TakeFeed
from .carried import Carried
from .inline import Step
from .numbers import NumberWriter, is_short

_FILE = "<weft loop>"

#: What a line comes from: an instruction and the writer that knows its values, or a plan that is called.
_Origin = tuple[Writer, Instruction] | CompiledPlan | None


@dataclass(frozen=True, slots=True)
class LoopPlan:
    """What a loop does.

    `inputs`: the feeds of both plans. The first are the loop variables; of these the body gives those from number `first`
    on, and then what a tape keeps of the iteration. Without a condition the feeds in `rows` come with each iteration, and
    there are as many as there are rows. `records`: whether a tape is kept. `numbers`: the feeds that are NumPy's scalars.
    """

    condition: Step | None
    body: Step
    inputs: int
    variables: int
    first: int = 0
    rows: tuple[int, ...] = ()
    entries: int = 0
    records: bool = False
    carried: Mapping[int, Carried] = field(default_factory=dict)
    numbers: frozenset[int] = frozenset()


#: The function of a loop, bound to buffers: from the first values and the rows to the last values, what was kept of each
#: iteration, by entry, and how many iterations there were, where that is recorded.
_Frame = Callable[[Sequence[Any], Iterable[Any]], tuple[tuple[Any, ...], tuple[list[Any], ...], int]]


class CompiledLoop:
    """A loop ready to run. Each run that overlaps another gets buffers of its own."""

    def __init__(self, plan: LoopPlan, backend: Backend, state: State) -> None:
        text = _Text(plan, backend, state)
        self._lines = {_FILE: text.origins}
        make = text.names.frames([code_of("\n".join(text.lines), _FILE)])
        self._frames: Frames[_Frame] = Frames(lambda: make()[0])

    def run(
        self, values: Sequence[Any], rows: Iterable[Any] = ()
    ) -> tuple[tuple[Any, ...], tuple[list[Any], ...], int]:
        """The last values, which lie in no memory of the first, and the columns and the length of the tape.

        Raises StepFailure naming the node whose kernel failed. What ends the step that the thread runs ends this.
        """
        stopper = current_stopper() or Stopper()
        frame = self._frames.take()
        stopper.begin(frame)
        try:
            return frame(values, rows)
        except Exception as error:
            raise self._failure(error) from error
        finally:
            if stopper.end(frame):
                self._frames.give(frame)

    def _failure(self, error: Exception) -> Exception:
        if isinstance(error, StepFailure):
            return error
        origin, names = passed(error.__traceback__, self._lines)
        if isinstance(origin, CompiledPlan):
            return origin.failure(error)
        return error if origin is None else failure(error, origin[1], origin[0], names)


class _Text:
    """Writes the function. `x0` is what is fed as number 0 now, `w0` and `u0` the memory it goes to, `k0` a tape's column."""

    def __init__(self, plan: LoopPlan, backend: Backend, state: State) -> None:
        self.plan, self.backend, self.state = plan, backend, state
        self.names = Names()
        #: The lines, and where each comes from.
        self.lines: list[str] = []
        self.origins: list[_Origin] = []
        #: Whether each iteration calls something.
        self.calls = False
        places = plan.carried if is_short(plan.body.plan) else {}
        self.carried = {plan.first + at: place for at, place in places.items() if plan.first + at not in plan.numbers}
        self.feeds = self._feeds()
        self._write()

    def _feeds(self) -> list[str]:
        """What stands for each feed; None for those that come nowhere."""
        plan = self.plan
        given = [at for step in (plan.condition, plan.body) if step is not None for at in step.given]
        named = {*range(plan.first, plan.inputs), *plan.rows, *given}
        return [f"x{at}" if at in named else "None" for at in range(max(named, default=0) + 1)]

    def _add(self, *lines: str, origin: _Origin = None) -> None:
        self.lines += lines
        self.origins += [origin] * len(lines)

    def _write(self) -> None:
        plan = self.plan
        outer = self.feeds[plan.first : plan.inputs]
        self._add("def loop(values, rows):", *([f" {', '.join(outer)}, = values"] if outer else []))
        self._begin()
        if plan.condition is None:
            self._add(f" for {', '.join(f'x{at}' for at in plan.rows) + ',' if plan.rows else '_'} in rows:")
        else:
            self._once(plan.condition, "g", " ")
            self._add(" while True:")
            (test,) = self._plan(plan.condition.plan, "t", "  ", ())
            self._add(f"  if not {test}: break")
        if plan.body.first is not None:
            self._add("  if cold:")
            self._once(plan.body, "h", "   ")
            self._add("   cold = False")
        variables = range(plan.first, plan.variables)
        into = {place.slot: f"w{at}" for at, place in self.carried.items()}
        results = self._plan(plan.body.plan, "v", "  ", variables, into)
        if not self.calls:
            self._add("  tick()")  # an interrupt takes effect where something is called
        self._end(results)

    def _once(self, step: Step, prefix: str, indent: str) -> None:
        """The lines of what is computed once."""
        if step.first is not None:
            for at, value in zip(step.given, self._plan(step.first, prefix, indent, step.given), strict=True):
                self._add(f"{indent}x{at} = {value}")

    def _plan(
        self, plan: Plan, prefix: str, indent: str, feeds: Sequence[int], into: Mapping[int, str] | None = None
    ) -> list[str]:
        """The lines of a plan, or the call of one that is too long for them; returns what its results are called.

        The first of these are fed as numbers `feeds` later.
        """
        arrays, each_time = prefix != "t", prefix in "tv"
        if is_short(plan):
            boxed = [at for at, feed in enumerate(feeds) if feed not in self.plan.numbers]
            writer = NumberWriter(
                self.names, plan, self.backend, self.state, None, arrays, None, self.feeds, into, prefix,
                numbers=self.plan.numbers, boxed=boxed,
            )  # fmt: skip
            for line, instruction in writer.lines(plan.instructions):
                self._add(f"{indent}{line}", origin=(writer, instruction))
                self.calls |= each_time and writer.calls(instruction)
            return writer.results
        self.calls |= each_time
        called = CompiledPlan(plan, self.backend, self.state, arrays)
        name = self.names.framed(lambda _: called.new_frame())
        used = {i.index for i in plan.instructions if isinstance(i, TakeFeed)}  # others may not be there yet
        given = "".join(f"{self._array(at) if at in used else None}, " for at in range(len(self.feeds)))
        self._add(f"{indent}{prefix} = {name}(({given}), None, None)", origin=called)
        return [f"{prefix}[{at}]" for at in range(len(called.fetches))]

    def _begin(self) -> None:
        """What is done before the first iteration."""
        plan = self.plan
        if plan.body.first is not None:
            self._add(" cold = True")
        self._add(*(f" x{at} = x{at}[()]" for at in range(plan.first, plan.inputs) if at in plan.numbers))
        for at, place in self.carried.items():
            names = (f"w{at}", f"u{at}") if place.twice else (f"w{at}",)
            self._add(*(f" {name} = {self._memory(place)}" for name in names))
        if plan.records:
            own = [at for at in range(plan.variables) if at not in self.carried and at not in plan.numbers]
            self._add(*(f" x{at} = fresh(x{at})" for at in own))  # a tape keeps it longer than the step has it
            self._add(*(f" k{at} = []; a{at} = k{at}.append" for at in range(plan.entries)))
            self._add(*([] if plan.entries else [" n = 0"]))

    def _memory(self, place: Carried) -> str:
        if place.nbytes >= SMALLEST:
            return f"{self.names.constant(memory_for(place.spec))}()"
        dims = tuple(dim or 0 for dim in place.spec.dims or ())
        return self.names.buffer(Buffer(self.names.reserve(place.nbytes), place.spec.dtype, dims))

    def _end(self, results: Sequence[str]) -> None:
        """What is done at the end of each iteration, and after the last one."""
        plan = self.plan
        variables = range(plan.first, plan.variables)
        kept = results[len(variables) :]
        self._add(
            *(f"  a{at}({value})" for at, value in enumerate(kept)),
            *(["  n += 1"] if plan.records and not plan.entries else []),
        )
        pairs = [(f"x{at}", value) for at, value in zip(variables, results, strict=False) if value != f"x{at}"]
        moved = [(name, value) for name, value in pairs if "x" in value]  # all at once: they may change places
        if moved:
            self._add(f"  {', '.join(name for name, _ in moved)} = {', '.join(value for _, value in moved)}")
        self._add(*(f"  {name} = {value}" for name, value in pairs if "x" not in value))
        self._add(*(f"  w{at}, u{at} = u{at}, w{at}" for at, place in self.carried.items() if place.twice))
        last = "".join(f"{self._last(at)}, " for at in variables)
        columns = "".join(f"k{at}, " for at in range(plan.entries))
        length = "0" if not plan.records else "len(k0)" if plan.entries else "n"
        self._add(f" return ({last}), ({columns}), {length}")

    def _array(self, at: int) -> str:
        """What is fed as number `at`, as an array."""
        return f"array({self.feeds[at]})" if at in self.plan.numbers else self.feeds[at]

    def _last(self, at: int) -> str:
        """A variable's last value, for the caller alone."""
        if at in self.plan.numbers:
            return self._array(at)
        place = self.carried.get(at)
        if place is not None and place.nbytes < SMALLEST:
            return f"own(x{at})"
        others = [
            f"x{other}" for other in range(self.plan.first, at) if other not in {*self.carried, *self.plan.numbers}
        ]
        beside = f"(*values, {', '.join(others)})" if others else "values"
        return f"apart(x{at}, {beside})"
