"""compile: a plan becomes straight-line Python, its kernels, constants and buffers bound once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import CodeType
from typing import Any, Protocol

from ...graph.state import State
from ...graph.waiting import give_up
from ..kernels import Backend
from ..stages.plan import Fetch, Instruction, Plan
from .exclusive import Spare
from .failures import StepFailure
from .frames import Frames
from .pieces import Chain, crossing_places, piece_ends
from .quiet import quietly
from .whereabouts import whereabouts
from .writer import Change, Names, Places, Writer, code_of, failure, passed

_FILE = "<weft plan {}>"

#: The function of a plan, bound to buffers: it takes the feeds, `send` and `receive`, and returns the fetched values.
Frame = Callable[[Any, Any, Any], tuple[Any, ...]]


class Channel(Protocol):
    """How a step's plan reaches the other plans of the step."""

    def send(self, edge: int, device: str, value: Any, again: bool = False) -> None:
        """Give a value (None for a signal) to the plan of a device. Does not wait for it to be taken.

        `again`: the value may change as soon as this returns, and the step may send on the edge any number of times.
        """
        ...

    def receive(self, edge: int) -> Any:
        """Wait for the value of an edge. Raises the error that ended the step, if one did."""
        ...


class CompiledPlan:
    """A plan ready to run. Each run that overlaps another gets buffers of its own.

    `arrays`: single numbers are returned as arrays, where NumPy has scalars: other kernels take these faster. `places`:
    where to write some results that have buffers, each time.
    """

    def __init__(
        self, plan: Plan, backend: Backend, state: State, arrays: bool = False, places: Places | None = None,
        spares: Mapping[int, Spare] | None = None,
    ) -> None:  # fmt: skip
        self.plan = plan
        self._backend, self._state = backend, state
        self._ends = piece_ends(plan.instructions)
        # Each piece of a plan knows buffers by name, but not what lies elsewhere.
        self._spares = spares
        self._places = places if len(self._ends) == 1 else None
        self._live = crossing_places(plan.instructions, self._ends)
        #: For each file of code, what is on each of its lines.
        self._lines: dict[str, list[Instruction | None]] = {}
        self._writer, make = self._written(None, arrays, self._lines)
        self._frames = Frames(make)
        #: Gives the plan's function over buffers that no other run uses until they are given back, and gives them back.
        self.take, self.give = self._frames.take, self._frames.give
        #: Which fetches of the step this plan returns, in the order it returns them.
        self.fetches = tuple(i.index for i in plan.instructions if isinstance(i, Fetch))

    def run(self, feeds: Sequence[Any] | Mapping[int, Any], channel: Channel) -> tuple[Any, ...]:
        """The fetched values. Raises StepFailure naming the node whose kernel failed."""
        frame = self.take()
        try:
            return self.run_in(frame, feeds, channel)
        finally:
            self.give(frame)

    def interrupt(self, error: Exception) -> None:
        """End all runs of the plan with `error`, and those that come."""
        self._frames.interrupt(error)

    def new_frame(self) -> Frame:
        """The plan's function over new buffers, for somebody to keep."""
        return self._frames.new()

    def with_kernels(self, change: Change) -> Frame:
        """The plan's function over new buffers, with other kernels. It is compiled for this."""
        return self._written(change, False, {})[1]()

    def whereabouts(self, thread: int) -> str:
        """Which operation a thread runs now that runs the plan, and its calls; "" where it is not in the plan's function."""
        return whereabouts(thread, self._lines)

    def failure(self, error: Exception) -> Exception:
        """What to raise for an exception out of the plan's function: StepFailure, where it was a kernel's."""
        if isinstance(error, StepFailure):
            return error
        instruction, names = passed(error.__traceback__, self._lines)
        return failure(error, instruction, self._writer, names)

    def run_in(self, frame: Frame, feeds: Sequence[Any] | Mapping[int, Any], channel: Channel) -> tuple[Any, ...]:
        """As `run`, in buffers that somebody else keeps until no other plan reads what was sent from them."""
        try:
            values: tuple[Any, ...] = quietly(frame, feeds, channel.send, channel.receive)
            return values
        except Exception as error:
            give_up(error)
            failure = self.failure(error)
            if failure is error:
                raise
            raise failure from error
        except BaseException as error:  # Ctrl-C
            give_up(error)
            raise

    def _written(
        self, change: Change | None, arrays: bool, lines: dict[str, list[Instruction | None]]
    ) -> tuple[Writer, Callable[[], Frame]]:
        """The writer, and what makes the function over buffers of its own; what it is made of is entered in `lines`."""
        names = Names()
        writer = Writer(
            names, self.plan, self._backend, self._state, change, arrays, self._live,
            places=self._places, spares=self._spares,
        )  # fmt: skip
        inputs = "feeds, send, receive, live" if len(self._ends) > 1 else "feeds, send, receive"
        codes: list[CodeType] = []
        for start, end in zip([0, *self._ends], self._ends, strict=False):
            written = writer.lines(self.plan.instructions[start:end])
            result = "".join(f"{each}, " for each in writer.results)
            file = _FILE.format(len(codes))
            text = [f"def step({inputs}):", *(line for line, _ in written), f"return ({result})"]
            codes.append(code_of("\n ".join(text), file))
            lines[file] = [None, *(instruction for _, instruction in written), None]
        make, places = names.frames(codes), max(self._live.values(), default=-1) + 1

        def frame() -> Frame:
            pieces = make()
            return pieces[0] if len(pieces) == 1 else Chain(pieces, places)

        return writer, frame
