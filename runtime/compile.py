"""compile: a plan becomes straight-line Python, its kernels, constants and buffers bound once."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import CodeType, FunctionType, TracebackType
from typing import Any, Protocol

import numpy as np

from ..graph import errors, shapes
from ..graph.dtypes import resource
from ..graph.opdef import Spec
from ..graph.state import OpState, State
from ..graph.tape import Tape
from ..graph.waiting import give_up
from .arena import ALIGNMENT
from .backends.kernels import Backend, Kernel
from .failures import StepFailure, explained, misfit
from .interrupt import interrupt
from .pieces import Chain, crossing_places, piece_ends
from .plan import Buffer, Fetch, Free, Instruction, Load, Plan, Receive, Run, Send, TakeFeed
from .quiet import quietly
from .recycling import RECYCLER, SMALLEST
from .workspace import Workspace

_FILE = "<weft plan {}>"
#: The line of a piece's first instruction: the one before says what the function takes.
_FIRST_LINE = 2

#: The function of a plan, bound to buffers: it takes the feeds, `send` and `receive`, and returns the fetched values.
Frame = Callable[[Any, Any, Any], tuple[Any, ...]]

#: What to call instead of an instruction's kernel.
Change = Callable[[Run, Callable[..., Any]], Callable[..., Any]]


class Channel(Protocol):
    """How a step's plan reaches the other plans of the step."""

    def send(self, edge: int, device: str, value: Any) -> None:
        """Give a value (None for a signal) to the plan of a device. Does not wait for it to be taken."""
        ...

    def receive(self, edge: int) -> Any:
        """Wait for the value of an edge. Raises the error that ended the step, if one did."""
        ...


class CompiledPlan:
    """A plan ready to run. Each run that overlaps another gets buffers of its own.

    `arrays`: single numbers are returned as arrays, where NumPy has scalars: other kernels take these faster.
    """

    def __init__(self, plan: Plan, backend: Backend, state: State, arrays: bool = False) -> None:
        self.plan = plan
        self._backend, self._state = backend, state
        writer = _Writer(plan, backend, state, arrays=arrays)
        self._lines = writer.lines
        self._bound, self._live = writer.bound, writer.live
        self._make = writer.function()
        self._frames: list[Frame] = []
        self._made: weakref.WeakSet[Frame] = weakref.WeakSet()
        self._lock = threading.Lock()
        #: Which fetches of the step this plan returns, in the order it returns them.
        self.fetches = tuple(i.index for i in plan.instructions if isinstance(i, Fetch))

    def run(self, feeds: Sequence[Any] | Mapping[int, Any], channel: Channel) -> tuple[Any, ...]:
        """The fetched values. Raises StepFailure naming the node whose kernel failed."""
        frame = self.take()
        try:
            return self.run_in(frame, feeds, channel)
        finally:
            self.give(frame)

    def take(self) -> Frame:
        """The plan's function over buffers that no other run uses until it is given back."""
        with self._lock:
            frame = self._frames.pop() if self._frames else None
        if frame is None:
            frame = self._make()
            with self._lock:
                self._made.add(frame)
        return frame

    def give(self, frame: Frame) -> None:
        """Give a frame back."""
        with self._lock:
            self._frames.append(frame)

    def interrupt(self, error: Exception) -> None:
        """End all runs of the plan with `error`, and those that come."""
        with self._lock:
            made = list(self._made)
        for frame in made:
            interrupt(frame, error)

    def with_kernels(self, change: Change) -> Frame:
        """The plan's function over new buffers, with other kernels. It is compiled for this."""
        return _Writer(self.plan, self._backend, self._state, change).function()()

    def failure(self, error: Exception) -> Exception:
        """What to raise for an exception out of the plan's function: StepFailure, where it was a kernel's."""
        failed, place = (None, {}) if isinstance(error, StepFailure) else self._failed(error.__traceback__)
        if not isinstance(failed, Run):
            return error
        values = [self._value(slot, place) for slot in failed.inputs]
        return StepFailure(failed.name, explained(error, failed.definition, failed.input_specs, values))

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

    @contextmanager
    def frame(self) -> Iterator[Frame]:
        """The plan's function over buffers that no other run uses before the block ends."""
        frame = self.take()
        try:
            yield frame
        finally:
            self.give(frame)

    def _failed(self, trace: TracebackType | None) -> tuple[Instruction | None, Mapping[str, Any]]:
        """The instruction whose line the traceback passed, and what the names in that line stood for."""
        while trace is not None:
            lines = self._lines.get(trace.tb_frame.f_code.co_filename)
            if lines is not None:
                frame = trace.tb_frame
                at = trace.tb_lineno - _FIRST_LINE
                return lines[at] if at < len(lines) else None, ChainMap(frame.f_locals, frame.f_globals)
            trace = trace.tb_next
        return None, {}

    def _value(self, slot: int, names: Mapping[str, Any]) -> Any:
        return names["live"][self._live[slot]] if slot in self._live else names[self._bound.get(slot, f"v{slot}")]


def _allocate(size: int, buffers: Sequence[Buffer]) -> list[np.ndarray[Any, Any]]:
    """One block of memory, and the buffers as arrays in it."""
    block = np.empty(size + ALIGNMENT, np.uint8)
    start = -block.ctypes.data % ALIGNMENT
    arrays = []
    for buffer in buffers:
        piece = block[start + buffer.offset : start + buffer.offset + buffer.nbytes]
        arrays.append(piece.view(buffer.dtype.np).reshape(buffer.dims))
    return arrays


class _Writer:
    """Writes the function's text: one line an instruction, so that a line number tells what failed.

    Names: `c0` a constant or kernel, `b0` a buffer, `v0` a slot, `live[0]` one that is used in several pieces.
    """

    def __init__(
        self, plan: Plan, backend: Backend, state: State, change: Change | None = None, arrays: bool = False
    ) -> None:
        self.backend = backend
        self.state = state
        self.change = change
        self.arrays = arrays
        #: The slots that hold NumPy's scalars and are returned as arrays.
        self.scalars: set[int] = set()
        self.arena_bytes = plan.arena_bytes
        self.constants: list[Any] = []
        #: The constants that are kernels, by identity: many instructions may have the same one.
        self.kernels: dict[int, str] = {}
        self.buffers: dict[Buffer, str] = {}
        #: What makes the kernels that each frame has its own of.
        self.framed: dict[str, Callable[[Workspace], Callable[..., Any]]] = {}
        #: The slots that are constants or lie in a buffer: always the same array.
        self.bound: dict[int, str] = {}
        self.results: list[str] = []
        ends = piece_ends(plan.instructions)
        self.live = crossing_places(plan.instructions, ends)
        self.codes: list[CodeType] = []
        #: For each file of code, the instruction of each line.
        self.lines: dict[str, list[Instruction]] = {}
        inputs = "feeds, send, receive" if len(ends) == 1 else "feeds, send, receive, live"
        for start, end in zip([0, *ends], ends, strict=False):
            self._write(plan.instructions[start:end], inputs)

    def _write(self, instructions: Sequence[Instruction], inputs: str) -> None:
        """One piece. What is bound, it takes for globals: Python compiles those faster than a closure."""
        lines = [(line, instruction) for instruction in instructions if (line := self._line(instruction))]
        result = "".join(f"{each}, " for each in self.results)
        file = _FILE.format(len(self.codes))
        text = "\n ".join([f"def step({inputs}):", *(line for line, _ in lines), f"return ({result})"])
        module: CodeType = compile(text, file, "exec")
        self.codes.append(next(constant for constant in module.co_consts if isinstance(constant, CodeType)))
        self.lines[file] = [instruction for _, instruction in lines]

    def function(self) -> Callable[[], Frame]:
        """The function that makes the step's function over buffers of its own."""
        places = max(self.live.values(), default=-1) + 1
        constants = {**_HELPERS, **{f"c{i}": constant for i, constant in enumerate(self.constants)}}
        codes, buffers, size, copied = self.codes, self.buffers, self.arena_bytes, itertools.count()
        framed = self.framed

        def make() -> Frame:
            bound = constants | dict(zip(buffers.values(), _allocate(size, list(buffers)), strict=True))
            workspace = Workspace()
            bound.update({name: in_frame(workspace) for name, in_frame in framed.items()})
            # Python notes in code where globals were found, so functions with other globals have a copy of it.
            own = [code.replace() for code in codes] if next(copied) else codes
            pieces = [FunctionType(code, {name: bound[name] for name in code.co_names}) for code in own]
            return pieces[0] if len(pieces) == 1 else Chain(pieces, places)

        return make

    def _constant(self, value: Any) -> str:
        self.constants.append(value)
        return f"c{len(self.constants) - 1}"

    def _kernel_constant(self, function: Callable[..., Any]) -> str:
        name = self.kernels[id(function)] = self._constant(function)
        return name

    def _buffer(self, buffer: Buffer) -> str:
        return self.buffers.setdefault(buffer, f"b{len(self.buffers)}")

    def _slot(self, slot: int) -> str:
        return f"live[{self.live[slot]}]" if slot in self.live else f"v{slot}"

    def _value(self, slot: int) -> str:
        return self.bound.get(slot) or self._slot(slot)

    def _line(self, instruction: Instruction) -> str:
        match instruction:
            case Run():  # most are, so it is asked for first
                return self._run(instruction)
            case TakeFeed(slot, index):
                return f"{self._slot(slot)} = feeds[{index}]"
            case Load(slot, value):
                self.bound[slot] = self._constant(value.array)
                return ""
            case Send(slot, edge, device):
                return f"send({edge}, {device!r}, {'None' if slot is None else self._value(slot)})"
            case Receive(slot, edge):
                return f"{'' if slot is None else f'{self._slot(slot)} = '}receive({edge})"
            case Free(slots):
                named = [f"{self._slot(slot)} = " for slot in slots if slot not in self.bound]
                return "".join([*named, "None"]) if named else ""
            case Fetch(slot, _, copied):
                form = "own({})" if copied else "array({})" if slot in self.scalars else "{}"
                self.results.append(form.format(self._value(slot)))
                return ""

    def _run(self, run: Run) -> str:
        kernel = self._kernel(run)
        function = kernel.function
        if kernel.bind is not None:
            function = kernel.bind(OpState(self.state, run.name))
        elif kernel.needs_state:
            function = partial(function, OpState(self.state, run.name))
        if run.definition.access == "write":
            function = _exclusive(function, sum(spec.dtype is resource for spec in run.input_specs))
        if not run.inputs and len(run.outputs) == 1 and run.output_specs[0].dtype is resource:
            self.bound[run.outputs[0]] = self._constant(_handle(run, function))
            return ""
        if kernel.in_frame is not None:
            return self._call(run, kernel, self._framed(run, kernel.in_frame))
        if self.change is not None:
            function = self.change(run, function)
        return self._call(run, kernel, self.kernels.get(id(function)) or self._kernel_constant(function))

    def _framed(self, run: Run, in_frame: Callable[[Workspace], Callable[..., Any]]) -> str:
        change, name = self.change, self._constant(None)
        self.framed[name] = in_frame if change is None else lambda workspace: change(run, in_frame(workspace))
        return name

    def _kernel(self, run: Run) -> Kernel:
        # A kernel might broadcast what does not fit; those of variables check for themselves, and know the variable's name.
        error = None if run.definition.access else misfit(run.definition, run.input_specs)
        if error is not None:
            return Kernel(partial(_refuse, error))
        kernel = self.backend.kernel(run.definition, run.input_specs, run.output_specs)
        assert kernel is not None  # lowering has seen it
        return kernel

    def _call(self, run: Run, kernel: Kernel, function: str) -> str:
        arguments = [self._value(slot) for slot in run.inputs]
        if True in run.contiguous:
            strided = zip(arguments, run.contiguous, strict=True)
            arguments = [f"row_major({value})" if row else value for value, row in strided]
        out = self._out(run) if kernel.takes_out or run.copied else ""
        if self.arrays and kernel.takes_out and not out and run.output_specs[0].dims == ():
            self.scalars.update(run.outputs)
        if kernel.takes_out and out:
            arguments.append(f"out={out}")
        elif kernel.exact:
            arguments.append("order='C'")  # whatever the order of the inputs
        call = f"{function}({', '.join(arguments)})"
        if run.copied:
            call = f"copy({call}, {out or None})"
        self.bound.update({slot: self._buffer(buffer) for slot, buffer in run.buffered.items()})
        if not run.made:
            return call
        return f"{', '.join('_' if slot in self.bound else self._slot(slot) for slot in run.outputs)} = {call}"

    def _out(self, run: Run) -> str:
        """The arrays that results are written into, where there are any: buffers, or memory that is given away."""
        buffers = run.buffers or (None,) * len(run.outputs)
        found = [
            self._memory(spec) if buffer is None else self._buffer(buffer)
            for buffer, spec in zip(buffers, run.output_specs, strict=True)
        ]
        if len(found) == 1:
            return found[0]
        return f"({', '.join(each or 'None' for each in found)})" if any(found) else ""

    def _memory(self, spec: Spec) -> str:
        """The call that gets memory for a big result without a buffer; nothing for a small one or an unknown size."""
        count = shapes.count(spec.dims)
        if count is None or count * spec.dtype.size < SMALLEST or spec.dtype.np.hasobject:
            return ""
        dims = tuple(dim or 0 for dim in spec.dims or ())
        return f"{self._constant(partial(RECYCLER.array, spec.dtype.np, dims, count * spec.dtype.size))}()"


def _handle(run: Run, function: Callable[[], Any]) -> Any:
    """A variable's handle, which stays the same in every step."""
    try:
        return function()
    except Exception as error:
        raise StepFailure(run.name, error) from error


def _refuse(error: errors.InvalidArgumentError, *_: Any) -> Any:
    raise type(error)(None, None, error.message)  # a new one: tracebacks stay with an exception that is kept


def _exclusive(write: Callable[..., Any], count: int) -> Callable[..., Any]:
    """A write to the `count` variables that come first, while no other step writes to or looks at their memory."""
    for place in reversed(range(count)):
        write = partial(_alone, write, place)
    return write


def _alone(write: Callable[..., Any], place: int, *values: Any) -> Any:
    slot = values[place]
    with slot.writing:
        slot.begin_change()
        try:
            return write(*values)
        finally:
            slot.changing = False


def _row_major(array: Any) -> Any:
    return np.asarray(array, order="C")


def _own(array: Any) -> Any:
    if isinstance(array, Tape):
        return array
    return np.array(array, order="C")


def _copy(array: Any, out: Any) -> Any:
    if out is None:
        return np.array(array)
    np.copyto(out, array)
    return out


#: What the text of a plan calls by name.
_HELPERS: dict[str, Any] = {"row_major": _row_major, "copy": _copy, "own": _own, "array": np.asarray}
