"""Numbers: in the function of a loop, arithmetic of single numbers is statements on NumPy's scalars, not calls of kernels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..execution.pieces import piece_ends
from ..execution.writer import Writer
from ..kernels import Backend
from ..stages.fused import Fused
from ..stages.plan import Fetch, Free, Instruction, Load, Plan, Run, TakeFeed


def is_short(plan: Plan) -> bool:
    """Whether a plan is no longer than one function may be."""
    return len(piece_ends(plan.instructions)) == 1


def statement_of(run: Run, backend: Backend) -> tuple[str, Any] | None:
    """The expression of NumPy's scalars that computes an instruction (see `Kernel.scalar`), where there is one."""
    if (
        len(run.output_specs) != 1
        or not run.inputs
        or any(spec.dims != () for spec in (*run.input_specs, *run.output_specs))
    ):
        return None
    kernel = backend.kernel(run.definition, run.input_specs, run.output_specs)
    return None if kernel is None else kernel.scalar


def statements(plan: Plan, backend: Backend) -> set[int]:
    """The results of a plan that a loop's function computes as NumPy's scalars."""
    runs = [i for i in plan.instructions if isinstance(i, Run)] if is_short(plan) else []
    return {run.outputs[0] for run in runs if statement_of(run, backend) is not None}


def loosened(plan: Plan) -> Plan:
    """The plan with each region of single numbers as its operations, unless that is too long for one function."""
    if not any(_is_region(instruction) for instruction in plan.instructions):
        return plan
    count = 1 + max(slot for instruction in plan.instructions for slot in _given(instruction))
    instructions: list[Instruction] = []
    for instruction in plan.instructions:
        if isinstance(instruction, Run) and _is_region(instruction):
            parts = _parts(instruction, count)
            count += len(parts)
            instructions += parts
        else:
            instructions.append(instruction)
    loose = Plan(plan.device, tuple(instructions), plan.arena_bytes)
    return loose if is_short(loose) else plan


def _given(instruction: Instruction) -> tuple[int, ...]:
    """The slots that have a value from here on. Some are of no operation: what is only fetched, or a tape's."""
    match instruction:
        case Run():
            return instruction.outputs
        case TakeFeed(slot) | Load(slot):
            return (slot,)
    return ()


def _is_region(instruction: Instruction) -> bool:
    definition = instruction.definition if isinstance(instruction, Run) else None
    return isinstance(definition, Fused) and all(part.spec.dims == () for part in definition.parts)


def _parts(region: Run, count: int) -> list[Run]:
    """The operations of a region; what only the region needs of them gets slots from `count` on."""
    definition = region.definition
    assert isinstance(definition, Fused)
    results = dict(zip(definition.results, region.outputs, strict=True))
    known = list(zip(region.inputs, region.input_specs, strict=True))
    runs = []
    for number, part in enumerate(definition.parts):
        inputs, specs = zip(*(known[i] for i in part.inputs), strict=True)
        slot = results.get(number, count + number)
        known.append((slot, part.spec))
        runs.append(Run(part.name, part.definition, inputs, (slot,), specs, (part.spec,)))
    return runs


class NumberWriter(Writer):
    """Writes what it can as statements on NumPy's scalars, and gives kernels arrays of these.

    `numbers`: the feeds that are such scalars. Fetches are scalars where they are made so, but for those in `boxed`.
    """

    def __init__(self, *arguments: Any, numbers: Collection[int], boxed: Collection[int] = (), **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._numbers, self._boxed = numbers, boxed
        #: What stands for the slots that are scalars.
        self._scalars: dict[int, str] = {}
        #: Those that some line has made an array of, for a kernel.
        self._as_arrays: set[int] = set()
        #: Constants, as scalars.
        self._constants: dict[int, Any] = {}

    def calls(self, instruction: Instruction) -> bool:
        """Whether the line of an instruction calls something."""
        statement = statement_of(instruction, self._backend) if isinstance(instruction, Run) else None
        return isinstance(instruction, Run) and (statement is None or "{k}(" in statement[0])

    def find(self, slot: int, names: Mapping[str, Any]) -> Any:
        """The value of a slot; constants may stand in the lines in either form."""
        return self._constants[slot] if slot in self._constants else super().find(slot, names)

    def _name(self, slot: int) -> str:
        return self._scalars.get(slot) or super()._name(slot)

    def _value(self, slot: int) -> str:
        if slot not in self._scalars:
            return super()._value(slot)
        array = f"{self._prefix}{slot}a"
        if slot in self._as_arrays:
            return array
        self._as_arrays.add(slot)
        return f"({array} := array({self._scalars[slot]}))"

    def _line(self, instruction: Instruction) -> str:
        match instruction:
            case Run():
                statement = statement_of(instruction, self._backend)
                return self._run(instruction) if statement is None else self._statement(instruction, *statement)
            case TakeFeed(slot, index) if index in self._numbers:
                line = super()._line(instruction)
                self._scalars[slot] = super()._name(slot)
                return line
            case Load(slot, value) if value.array.shape == ():
                self._constants[slot] = value.array[()]
            case Free(slots):
                return super()._line(Free(tuple([slot for slot in slots if slot not in self._scalars])))
            case Fetch(slot, index) if slot in self._scalars:
                name = self._scalars[slot]
                self.results.append(f"array({name})" if index in self._boxed else name)
                return ""
        return super()._line(instruction)

    def _statement(self, run: Run, form: str, constant: Any) -> str:
        (slot,) = run.outputs
        values = [self._number(each) for each in run.inputs]
        self._scalars[slot] = self._slot(slot)
        return f"{self._slot(slot)} = {form.format(*values, k=self._names.kernel(constant))}"

    def _number(self, slot: int) -> str:
        if slot in self._constants:
            return self._names.kernel(self._constants[slot])
        return self._scalars.get(slot) or f"{self._name(slot)}[()]"
