"""The kernel of a compound: its nodes as one function that XLA compiles, over the memory of variables and other kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...graph import errors
from ...graph.dtypes import float64, int64
from ...graph.opdef import Spec
from ...graph.ops.constant import Const
from ...graph.state import OpState, VariableSlot
from ..execution.failures import StepFailure
from ..kernels import Kernel
from ..regions.compounds import Compound
from ..stages.program import Node, Program
from .numpy import kernel_of
from .xla_ops import ROWS, row_of

Array = np.ndarray[Any, Any]


def fits(program: Program, node: Node) -> bool:
    """Whether XLA can do a node."""
    return node.device is not None and node.device.device_type == "CPU" and row_of(program, node) is not None


class _Memory:
    """Memory of XLA that a NumPy array lies in. It lives as long as the array, and may be written to."""

    __slots__ = ("__array_interface__", "array", "pointer")

    def __init__(self, array: Any) -> None:
        self.array = array
        self.pointer = array.unsafe_buffer_pointer()
        self.__array_interface__ = {
            "shape": array.shape, "typestr": array.dtype.str, "data": (self.pointer, False), "version": 3,
        }  # fmt: skip


def _view(array: Any) -> Array:
    return np.asarray(_Memory(array))


def _memory(value: Array) -> _Memory | None:
    """XLA's memory that an array lies in, None for another kind of memory."""
    base: Any = value.base
    return base if type(base) is _Memory else None


@kernel_of(Compound)
def compound(definition: Compound, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel:
    """The compiled function between the variables and the other kernels."""

    def bind(state: OpState) -> Callable[..., Any]:
        return _Running(definition).run

    def unbound(*_: Any) -> Any:
        raise RuntimeError("the kernel of a compound is compiled for a session: bind it first")

    return Kernel(unbound, bind=bind)


class _Running:
    """A compound that is called."""

    def __init__(self, compound: Compound) -> None:
        if "function" not in compound.compiled:
            compound.compiled["function"] = _compile(compound)
        self._function = compound.compiled["function"]
        self._written, self._variables = compound.written, compound.variables
        self._single = len(compound.results) == 1
        self._guards = [guard for node in compound.body for guard in _guards(compound, node)]
        self._types = _types(compound)
        self._compound = compound

    def run(self, *arguments: Any) -> Any:
        """The results, from the slots of the variables and the values that go in."""
        slots, values = arguments[: self._variables], arguments[self._variables :]
        for guard in self._guards:
            guard(values)
        written = slots[: self._written]
        try:
            # These are held until the compound is done, so that no other step changes them meanwhile.
            read = [self._settled(slot) for slot in slots[self._written :]]
            _lock(written)
            try:
                for slot in written:
                    slot.begin_change()
                return self._run(written, [memory.array for _, memory in read], values)
            finally:
                for slot in written:
                    slot.changing = False
                    slot.writing.release()
        except errors.FailedPreconditionError as error:
            empty = next((index for index, slot in enumerate(slots) if slot.value is None), 0)
            raise StepFailure(_first_user(self._compound, empty), error) from error

    def _run(self, written: Sequence[VariableSlot], read: Sequence[Any], values: Sequence[Any]) -> Any:
        changed = [self._own(slot) for slot in written]
        try:
            with self._types():
                found = self._function(*[memory.array for memory in changed], *read, *values)
            if found:
                found[0].block_until_ready()  # all of them are ready together
            for slot, memory, array in zip(written, changed, found):  # noqa: B905
                if array.unsafe_buffer_pointer() == memory.pointer:
                    memory.array = array
                else:
                    slot.value = _view(array)
        except BaseException:
            for slot, memory in zip(written, changed):  # noqa: B905
                if slot.value is not None and _memory(slot.value) is memory and memory.array.is_deleted():
                    slot.value = None  # XLA has given the memory up
            raise
        results = [_view(array) for array in found[self._written :]]
        return results[0] if self._single else tuple(results)

    def _own(self, slot: VariableSlot) -> _Memory:
        """The memory of a variable that is to be written to: XLA's, so that it can write there."""
        memory = _memory(slot.read())
        if memory is None:
            slot.value, memory = self._moved(slot.read())
        return memory

    def _settled(self, slot: VariableSlot) -> tuple[Array, _Memory]:
        """The value of a variable that is only read, in XLA's memory."""
        value = slot.settled()
        memory = _memory(value)
        if memory is not None:
            return value, memory
        with slot.writing:  # nobody changes it meanwhile
            value = slot.read()
            memory = _memory(value)
            if memory is None:
                value, memory = self._moved(value)
                slot.value = value
        return value, memory

    def _moved(self, value: Array) -> tuple[Array, _Memory]:
        with self._types():
            memory = _Memory(jax.device_put(value, _cpu(), may_alias=False).block_until_ready())
        return np.asarray(memory), memory


def _lock(slots: Sequence[VariableSlot]) -> None:
    """Take the locks of all slots. It never waits for one while it holds another: others take them in another order."""
    waited = slots[:1]
    while True:
        for slot in waited:
            with slot.writing:
                pass
        waited = _locked_by_others(slots)
        if not waited:
            return


def _locked_by_others(slots: Sequence[VariableSlot]) -> Sequence[VariableSlot]:
    """Take the locks of all slots, or none and say which one somebody else has."""
    for index, slot in enumerate(slots):
        if not slot.writing.acquire(blocking=False):
            for other in slots[:index]:
                other.writing.release()
            return [slot]
    return ()


def _cpu() -> Any:
    return jax.local_devices(backend="cpu")[0]


def _types(compound: Compound) -> Callable[[], AbstractContextManager[Any]]:
    """In what to call a compound: only where it needs types of 64 bits is JAX told so, which takes a microsecond."""
    specs = [*compound.inputs[compound.variables :], *_variable_specs(compound), *compound.infer()]
    wide = any(spec.dtype in (float64, int64) for spec in specs)
    return (lambda: jax.enable_x64(True)) if wide else nullcontext


def _compile(compound: Compound) -> Callable[..., Any]:
    """XLA's function: of the variables' values and the others, the new values of those written, then the results."""
    specs = [*_variable_specs(compound), *compound.inputs[compound.variables :]]
    # The user's own settings of JAX neither reach the compound nor are changed.
    with jax.enable_x64(True), jax.default_device(_cpu()), jax.numpy_dtype_promotion("standard"):
        shaped = [jax.ShapeDtypeStruct(spec.dims, spec.dtype.np) for spec in specs]
        function = jax.jit(
            lambda *values: _trace(compound, values), donate_argnums=range(compound.written), keep_unused=True
        )
        compiled: Callable[..., Any] = function.lower(*shaped).compile()
    return compiled


def _trace(compound: Compound, given: Sequence[Any]) -> list[Any]:
    variables, inputs = list(given[: compound.variables]), given
    values: list[Sequence[Any]] = []
    for node in compound.body:
        taken = [variables[-1 - ref.node] if -1 - ref.node in range(compound.variables) else
                 inputs[-1 - ref.node] if ref.node < 0 else values[ref.node][ref.output] for ref in node.inputs]  # fmt: skip
        values.append(_computed(node, taken, variables))
    found = [*variables[: compound.written], *(values[ref.node][ref.output] for ref in compound.results)]
    seen = {id(value) for value in given}
    for index, value in enumerate(found):
        if id(value) in seen:  # JAX would hand out the input itself
            found[index] = jnp.copy(value)
        seen.add(id(value))
    return found


def _computed(node: Node, taken: list[Any], variables: list[Any]) -> Sequence[Any]:
    """The outputs of a node; it changes the list of the variables' values."""
    constant: Any = node.definition
    if isinstance(constant, Const):
        return [jnp.asarray(constant.value.array)]
    row = ROWS[node.definition.type]
    results = row.function(node.definition, node.specs, *taken[: row.inputs])
    if node.definition.access == "write":
        for ref, value in zip(node.inputs, results):  # noqa: B905
            variables[-1 - ref.node] = value
        return ()
    return results if isinstance(results, (list, tuple)) else [results]


def _variable_specs(compound: Compound) -> list[Spec]:
    """Of what the variables hold."""
    found: dict[int, Spec] = {}
    for node in compound.body:
        for index, ref in enumerate(node.inputs):
            if node.definition.access_of(index) and -compound.variables <= ref.node < 0:
                definition: Any = node.definition
                found[-1 - ref.node] = Spec(definition.dtype, definition.shape)
    return [found[index] for index in range(compound.variables)]


def _first_user(compound: Compound, variable: int) -> str:
    """The node that first reads or writes a variable."""
    return next(node.name for node in compound.body if any(ref.node == -1 - variable for ref in node.inputs))


def _guards(compound: Compound, node: Node) -> list[Callable[[Sequence[Any]], None]]:
    """What looks at an input of a node, among the values that go into the compound, before it runs."""
    row = ROWS.get(node.definition.type)
    if row is None or row.guarded is None or row.guard is None:
        return []
    guard, ref = row.guard, node.inputs[row.guarded]
    specs = tuple(
        [compound.body[r.node].specs[r.output] if r.node >= 0 else compound.inputs[-1 - r.node] for r in node.inputs]
    )

    constant: Any = compound.body[ref.node].definition if ref.node >= 0 else None

    def check(values: Sequence[Any]) -> None:
        value = values[-1 - ref.node - compound.variables] if constant is None else constant.value.array
        try:
            guard(node.definition, specs, value)
        except errors.OpError as error:
            raise StepFailure(node.name, error) from error

    return [check]
