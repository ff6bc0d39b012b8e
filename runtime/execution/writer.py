"""Writer: writes what plans do as the text of a Python function, a line an instruction, and names all that the text uses."""

from __future__ import annotations

import itertools
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import CodeType, FunctionType, TracebackType
from typing import Any

import numpy as np

from ...graph import errors, shapes
from ...graph.dtypes import resource
from ...graph.opdef import Spec
from ...graph.ops.signature import own
from ...graph.state import OpState, State
from ...graph.tape import Tape
from ..kernels import Backend, Kernel
from ..memory.arena import ALIGNMENT
from ..memory.recycling import RECYCLER, SMALLEST
from ..memory.workspace import Workspace
from ..stages.parts import DevicePart
from ..stages.plan import Buffer, Fetch, Free, Instruction, Load, Plan, Receive, Run, Send, TakeFeed
from .as_planned import as_planned
from .exclusive import Spare, exclusive
from .failures import StepFailure, explained, misfit

#: What to call instead of an instruction's kernel.
Change = Callable[[Run, Callable[..., Any]], Callable[..., Any]]

#: For some slots, what tells where a result is to be written, given the buffer that it would be written into.
Places = Mapping[int, Callable[[Any], Any]]

#: The text of an instruction, and the instruction, for errors.
Line = tuple[str, Instruction]


class Names:
    """What the text of a function names: `c0` a constant or kernel, `b0` a buffer.

    A function takes it all for globals: Python compiles those faster than a closure.
    """

    def __init__(self) -> None:
        self._constants: list[Any] = []
        #: The constants that are kernels, by identity: many instructions may have the same one.
        self._kernels: dict[int, str] = {}
        self._buffers: dict[Buffer, str] = {}
        #: What makes the kernels that each frame has its own of.
        self._framed: dict[str, Callable[[Workspace], Callable[..., Any]]] = {}
        self._size = 0

    def constant(self, value: Any) -> str:
        """A name for a value."""
        self._constants.append(value)
        return f"c{len(self._constants) - 1}"

    def kernel(self, function: Any) -> str:
        """The name of a function, or of something else that is used often and stays the same."""
        name = self._kernels.get(id(function))
        if name is None:
            name = self._kernels[id(function)] = self.constant(function)
        return name

    def framed(self, in_frame: Callable[[Workspace], Callable[..., Any]]) -> str:
        """A name for a function that is made for each frame."""
        name = self.constant(None)
        self._framed[name] = in_frame
        return name

    def buffer(self, buffer: Buffer) -> str:
        """The name of a buffer."""
        return self._buffers.setdefault(buffer, f"b{len(self._buffers)}")

    def reserve(self, nbytes: int) -> int:
        """Room for so many bytes more in the memory that buffers lie in; returns where it begins."""
        start = self._size
        self._size += -(-nbytes // ALIGNMENT) * ALIGNMENT
        return start

    def frames(self, codes: Sequence[CodeType]) -> Callable[[], list[Callable[..., Any]]]:
        """What makes functions of these codes that have buffers of their own, each time."""
        constants = {**_HELPERS, **{f"c{i}": constant for i, constant in enumerate(self._constants)}}
        buffers, size, framed, copied = self._buffers, self._size, self._framed, itertools.count()

        def make() -> list[Callable[..., Any]]:
            bound = constants | dict(zip(buffers.values(), _allocate(size, list(buffers)), strict=True))
            workspace = Workspace()
            bound.update({name: in_frame(workspace) for name, in_frame in framed.items()})
            # Python notes in code where globals were found, so functions with other globals have a copy of it.
            own = [code.replace() for code in codes] if next(copied) else codes
            return [FunctionType(code, {name: bound[name] for name in code.co_names if name in bound}) for code in own]

        return make


def code_of(text: str, file: str) -> CodeType:
    """The code of the one function that the text defines."""
    module: CodeType = compile(text, file, "exec")
    return next(constant for constant in module.co_consts if isinstance(constant, CodeType))


def _allocate(size: int, buffers: Sequence[Buffer]) -> list[np.ndarray[Any, Any]]:
    """One block of memory, and the buffers as arrays in it."""
    block = np.empty(size + ALIGNMENT, np.uint8)
    start = -block.ctypes.data % ALIGNMENT
    arrays = []
    for buffer in buffers:
        piece = block[start + buffer.offset : start + buffer.offset + buffer.nbytes]
        arrays.append(piece.view(buffer.dtype.np).reshape(buffer.dims))
    return arrays


def passed(trace: TracebackType | None, lines: Mapping[str, Sequence[Any]]) -> tuple[Any, Mapping[str, Any]]:
    """What is on the line of a function that a traceback passed, by file, and what the names in that line stood for."""
    while trace is not None:
        found = lines.get(trace.tb_frame.f_code.co_filename)
        if found is not None:
            return found[trace.tb_lineno - 1], ChainMap(trace.tb_frame.f_locals, trace.tb_frame.f_globals)
        trace = trace.tb_next
    return None, {}


def failure(error: Exception, instruction: Instruction | None, writer: Writer, names: Mapping[str, Any]) -> Exception:
    """What to raise for the exception of an instruction: StepFailure, where it was a kernel's."""
    if not isinstance(instruction, Run) or isinstance(instruction.definition, DevicePart):
        return error  # in a part of a loop: its own plans name the operation, or it is what ended the step
    values = [writer.find(slot, names) for slot in instruction.inputs]
    return StepFailure(instruction.name, explained(error, instruction.definition, instruction.input_specs, values))


class Writer:
    """Writes the lines of a plan's instructions, so that a line's number tells what failed.

    `arrays`: single numbers are returned as arrays, where NumPy has scalars: other kernels take these faster. `live`: the
    places of slots in the list that passes from piece to piece. `feeds`: what the fed values are called, if not
    `feeds[0]`. `into`: for some results that get no buffer from the plan, what they are written into. `places`: for some
    that do, what tells, given that buffer, where to write them instead.
    """

    def __init__(
        self, names: Names, plan: Plan, backend: Backend, state: State, change: Change | None = None,
        arrays: bool = False, live: Mapping[int, int] | None = None, feeds: Sequence[str] | None = None,
        into: Mapping[int, str] | None = None, prefix: str = "v", places: Places | None = None,
        spares: Mapping[int, Spare] | None = None,
    ) -> None:  # fmt: skip
        self._names, self._backend, self._state, self._change, self._arrays = names, backend, state, change, arrays
        self._live, self._feeds, self._into, self._prefix = live or {}, feeds, into or {}, prefix
        self._places, self._spares = places or {}, spares or {}
        self._start = names.reserve(plan.arena_bytes)
        #: The slots that are constants or lie in a buffer, or are named by others: always under that name.
        self._bound: dict[int, str] = {}
        #: What the function returns.
        self.results: list[str] = []

    def lines(self, instructions: Sequence[Instruction]) -> list[Line]:
        """The lines of some instructions; those that come next follow."""
        return [(line, instruction) for instruction in instructions if (line := self._line(instruction))]

    def find(self, slot: int, names: Mapping[str, Any]) -> Any:
        """The value of a slot, by what the names in a line stand for."""
        return names["live"][self._live[slot]] if slot in self._live else names[self._name(slot)]

    def _slot(self, slot: int) -> str:
        return f"live[{self._live[slot]}]" if slot in self._live else f"{self._prefix}{slot}"

    def _name(self, slot: int) -> str:
        return self._bound.get(slot) or self._slot(slot)

    def _value(self, slot: int) -> str:
        """What a kernel is given for a slot."""
        return self._name(slot)

    def _buffer(self, buffer: Buffer) -> str:
        return self._names.buffer(buffer._replace(offset=self._start + buffer.offset) if self._start else buffer)

    def _line(self, instruction: Instruction) -> str:
        match instruction:
            case Run():  # most are, so it is asked for first
                return self._run(instruction)
            case TakeFeed(slot, index):
                if self._feeds is None:
                    return f"{self._slot(slot)} = feeds[{index}]"
                self._bound[slot] = self._feeds[index]
                return ""
            case Load(slot, value):
                self._bound[slot] = self._names.constant(value.array)
                return ""
            case Send(slot, edge, device, _, again):
                sent = "None" if slot is None else self._value(slot)
                return f"send({edge}, {device!r}, {sent}{', True' if again else ''})"
            case Receive(slot, edge):
                return f"{'' if slot is None else f'{self._slot(slot)} = '}receive({edge})"
            case Free(slots):
                named = [f"{self._slot(slot)} = " for slot in slots if slot not in self._bound]
                return "".join([*named, "None"]) if named else ""
            case Fetch(slot, _, copied):
                self.results.append(f"own({self._value(slot)})" if copied else self._value(slot))
                return ""

    def _run(self, run: Run) -> str:
        kernel = self._kernel(run)
        function = kernel.function
        if kernel.bind is not None:
            function = kernel.bind(OpState(self._state, run.name))
        elif kernel.needs_state:
            function = partial(function, OpState(self._state, run.name))
        if run.definition.access == "write":
            written = run.inputs[: sum(spec.dtype is resource for spec in run.input_specs)]
            spares = [self._spares.get(slot) if kernel.moves else None for slot in written]
            if kernel.guarded is not None and not any(spares):
                return self._call(run, kernel, self._framed(run, kernel.guarded))
            function = exclusive(function, spares)
        if not run.inputs and len(run.outputs) == 1 and run.output_specs[0].dtype is resource:
            self._bound[run.outputs[0]] = self._names.constant(_handle(run, function))
            return ""
        if kernel.in_frame is not None:
            return self._call(run, kernel, self._framed(run, kernel.in_frame))
        if self._change is not None:
            function = self._change(run, function)
        return self._call(run, kernel, self._names.kernel(function))

    def _framed(self, run: Run, in_frame: Callable[[Workspace], Callable[..., Any]]) -> str:
        change = self._change
        return self._names.framed(in_frame if change is None else lambda workspace: change(run, in_frame(workspace)))

    def _kernel(self, run: Run) -> Kernel:
        # A kernel might broadcast what does not fit; those of variables check for themselves, and know the variable's name.
        error = None if run.definition.access else misfit(run.definition, run.input_specs)
        if error is not None:
            return Kernel(partial(_refuse, error))
        kernel = self._backend.kernel(run.definition, run.input_specs, run.output_specs)
        if kernel is None:
            raise NotImplementedError(f"there is no kernel for {run.definition.type} here")
        if not any(run.buffers) or run.copied or (kernel.takes_out and kernel.exact):
            return kernel
        buffers = [None if each is None else self._buffer(each) for each in run.buffers]
        return as_planned(kernel, [self._bound.get(slot) for slot in run.inputs], buffers)

    def _call(self, run: Run, kernel: Kernel, function: str) -> str:
        arguments = [self._value(slot) for slot in run.inputs]
        if kernel.meets:
            return self._meeting(run, function, arguments)
        out = self._out(run, kernel) if kernel.takes_out or run.copied else ""
        if True in run.contiguous:
            # An elementwise kernel of one input gets it in its own buffer: a kernel may work in place, if it is given that.
            there = f", {out}" if run.buffered and kernel.takes_out and kernel.elementwise and _is_in_form(run) else ""
            strided = zip(arguments, run.contiguous, strict=True)
            arguments = [f"row_major({value}{there})" if row else value for value, row in strided]
        if kernel.takes_out and out:
            arguments.append(out if _takes_by_place(kernel.function, len(arguments)) else f"out={out}")
        elif kernel.exact and run.output_specs[0].dims != ():
            arguments.append("order='C'")  # whatever the order of the inputs
        call = f"{function}({', '.join(arguments)})"
        if run.copied:
            call = f"copy({call}, {out or None})"
        placing = "".join([self._placing(*each) for each in run.buffered.items()]) if self._places else ""
        self._bound.update({s: self._buffer(b) for s, b in run.buffered.items() if s not in self._places})
        if not run.made:
            return placing + call
        made = ["_" if s in self._bound or s in self._places else self._slot(s) for s in run.outputs]
        return f"{placing}{', '.join(made)} = {call}"

    def _placing(self, slot: int, buffer: Buffer) -> str:
        """What comes before a call whose result may be written elsewhere than into its buffer."""
        place = self._places.get(slot)
        return f"{self._slot(slot)} = {self._names.constant(place)}({self._buffer(buffer)}); " if place else ""

    def _meeting(self, run: Run, function: str, arguments: Sequence[str]) -> str:
        """The line of what sends and receives itself: it gives a tuple, whatever the number of its results."""
        given = [f"row_major({value})" if row else value for value, row in zip(arguments, run.contiguous, strict=True)]
        call = f"{function}({', '.join(['send', 'receive', *given])})"
        return f"{''.join(f'{self._slot(slot)}, ' for slot in run.outputs)}= {call}" if run.outputs else call

    def _out(self, run: Run, kernel: Kernel) -> str:
        """The arrays that results are written into, where there are any: buffers, or memory that is given away."""
        buffers = run.buffers or (None,) * len(run.outputs)
        found = [
            (self._into.get(slot) or self._memory(spec, kernel.takes_out))
            if buffer is None
            else self._there(slot, buffer)
            for buffer, slot, spec in zip(buffers, run.outputs, run.output_specs, strict=True)
        ]
        if len(found) == 1:
            return found[0]
        return f"({', '.join(each or 'None' for each in found)})" if any(found) else ""

    def _there(self, slot: int, buffer: Buffer) -> str:
        return self._slot(slot) if slot in self._places else self._buffer(buffer)

    def _memory(self, spec: Spec, takes_out: bool) -> str:
        """The call that gets memory for a result without a buffer.

        Nothing for one of unknown size, or a small one, but for single numbers that are to be arrays.
        """
        count = shapes.count(spec.dims)
        if count is None or spec.dtype.np.hasobject:
            return ""
        if spec.dims == () and self._arrays and takes_out:
            return f"empty((), {self._names.kernel(spec.dtype.np)})"
        if count * spec.dtype.size < SMALLEST:
            return ""
        return f"{self._names.constant(memory_for(spec))}()"


def _takes_by_place(function: Any, inputs: int) -> bool:
    """Whether a function takes `out` by its place, which NumPy's do sooner than by its name, but for two that warn of it."""
    return isinstance(function, np.ufunc) and function.nin == inputs and function not in (np.maximum, np.minimum)


def memory_for(spec: Spec) -> Callable[[], Any]:
    """What gets memory for a big value that is given away."""
    dims = tuple(dim or 0 for dim in spec.dims or ())
    return partial(RECYCLER.array, spec.dtype.np, dims, (shapes.count(dims) or 0) * spec.dtype.size)


def _handle(run: Run, function: Callable[[], Any]) -> Any:
    """A variable's handle, which stays the same in every step."""
    try:
        return function()
    except Exception as error:
        raise StepFailure(run.name, error) from error


def _refuse(error: errors.InvalidArgumentError, *_: Any) -> Any:
    raise type(error)(None, None, error.message)  # a new one: tracebacks stay with an exception that is kept


def _is_in_form(run: Run) -> bool:
    """Whether there is one input, of the result's type and shape."""
    given, made = run.input_specs, run.output_specs
    return len(given) == len(made) == 1 and given[0].dtype is made[0].dtype and given[0].dims == made[0].dims


def _row_major(array: Any, out: Any = None) -> Any:
    if out is None or array.flags.c_contiguous:
        return np.asarray(array, order="C")
    np.copyto(out, array)
    return out


def _own(array: Any) -> Any:
    if isinstance(array, Tape):
        return array
    return np.array(array, order="C")


def _copy(array: Any, out: Any) -> Any:
    if out is None:
        return np.array(array)
    np.copyto(out, array)
    return out


def apart(value: Any, others: Sequence[Any]) -> Any:
    """A value that is given away: in memory that nobody else has, and that may be written to."""
    value = own(value, others)
    return value if not isinstance(value, np.ndarray) or value.flags.writeable else np.array(value, order="C")


def fresh(value: Any) -> Any:
    if not isinstance(value, np.ndarray) or value.nbytes < SMALLEST or value.dtype.hasobject:
        return np.array(value, order="C") if isinstance(value, np.ndarray) else value
    return _copy(value, RECYCLER.array(value.dtype, value.shape, value.nbytes))


def _tick() -> None:
    pass


#: What the text of a plan or a loop calls by name.
_HELPERS: dict[str, Any] = {
    "row_major": _row_major,
    "copy": _copy,
    "own": _own,
    "empty": np.empty,
    "array": np.asarray,
    "fresh": fresh,
    "apart": apart,
    "tick": _tick,
}
