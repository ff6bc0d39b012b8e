"""Kernels of rows as machine code: gathers, distinct indices, sums of rows with equal indices, and updates of some rows.

They give NumPy's bits. What they do not take as it is, indices that are out of range among it, is left to NumPy, which says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ....graph import shapes
from ....graph.opdef import OpDef, Spec
from ....graph.ops.gathering import GatherV2
from ....graph.ops.rooms import CALL
from ....graph.ops.segments import Unique, UniqueWithCounts, UnsortedSegmentSum
from ....graph.ops.training import shares_memory
from ....graph.ops.variable_rows import ResourceGather
from ....graph.parallel import threads
from ....graph.shapes import Dims
from ...kernels import Kernel
from ...memory.workspace import Workspace
from ...stages.plan import Run
from ..cpu import CPU
from ..formula_table import row_update_of
from ..formulas import KINDS, Recorder, UnfitError
from .compiling import compiler
from .distinct import Distinct, Uniques, slots_for
from .pool import in_threads, pool_library
from .row_sums import Sums
from .row_updates import Formulas, Marking, Sweep, Update
from .rows import Gather, Rows

#: With fewer numbers NumPy is as fast as compiling is worth it.
LEAST = 256
#: For so many numbers of a row counts one that NumPy sorts to find equal ones.
SORTED = 16
#: Places of more numbers do not fit into a table's slots.
_MOST = 1 << 29
_INT32 = np.dtype(np.int32)

Code = Gather | Sums | Uniques | Update | Sweep


def code_of(definition: OpDef, inputs: Sequence[Spec]) -> Code | None:
    """What can be compiled for an operation, if anything."""
    match definition:
        case ResourceGather():
            return _gather(definition.dtype.np.name, definition.shape, inputs[1])
        case GatherV2():
            dims = inputs[0].dims
            first = dims and definition.axis % len(dims) == 0
            return _gather(inputs[0].dtype.np.name, dims, inputs[1]) if first else None
        case Unique() | UniqueWithCounts():
            return _distinct(inputs[0], definition.out_idx.np.name, isinstance(definition, UniqueWithCounts))
        case UnsortedSegmentSum():
            rank = len(inputs[1].dims or ())
            dims = None if inputs[0].dims is None else (None, *inputs[0].dims[rank:])
            rows = _rows(inputs[0].dtype.np.name, dims, inputs[1])
            return Sums(rows) if rows else None
    return _update(definition, inputs) if definition.access == "write" else None


def _is_many(count: int | None, width: int) -> bool:
    """Whether so many rows are worth compiling for. Of an unknown number of rows it is thought that they are many."""
    return width > 0 if count is None else count * width >= LEAST


def _rows(kind: str, dims: Dims, indices: Spec) -> Rows | None:
    """How rows of a table of these dimensions lie, that indices name, if it is known and they are worth it."""
    if not dims or not indices.dims or not shapes.is_full(dims[1:]):
        return None
    index = indices.dtype.np.name
    rows = Rows(kind, tuple([dim or 0 for dim in dims[1:]]), index, len(indices.dims))
    known = kind != "bool" and kind in KINDS and index in ("int32", "int64")
    return rows if known and _is_many(shapes.count(indices.dims), rows.width) else None


def _gather(kind: str, dims: Dims, indices: Spec) -> Gather | None:
    rows = _rows(kind, dims, indices)
    return Gather(rows) if rows else None


def _distinct(x: Spec, number: str, counted: bool) -> Uniques | None:
    kind = x.dtype.np.name
    if kind not in ("int32", "int64") or number not in ("int32", "int64") or x.dims is None:
        return None
    return Uniques(kind, number, counted) if _is_many(shapes.count(x.dims), SORTED) else None


def _indices(forms: Sequence[str]) -> int:
    """Which input of an update the indices are."""
    return forms.index("marks" if "marks" in forms else "indices")


def _update(definition: Any, inputs: Sequence[Spec]) -> Update | Sweep | None:
    """What an update of rows is, by its formula."""
    known = row_update_of(definition)
    if known is None:
        return None
    forms, formula = known
    given, indices = inputs[forms.index("rows")], inputs[_indices(forms)]
    kind = definition.dtype.np.name
    rows = _rows(kind, definition.shape, indices)
    if rows is None or given.dims is None or len(given.dims) != rows.rank + len(rows.dims):
        return None
    if any(spec.dims != () for spec, form in zip(inputs, forms, strict=True) if form == "number"):
        return None
    recorder = Recorder()
    values = [recorder.step("input", (), kind, n) for n, form in enumerate(forms) if form not in ("indices", "marks")]
    try:
        results, *others = [tuple([value.number for value in each]) for each in formula(*values)]
    except UnfitError:
        return None
    formulas = Formulas(forms, tuple(recorder.steps))
    return Sweep(rows, formulas, results, others[0]) if others else Update(rows, formulas, results)


def sparse_kernel(definition: OpDef, inputs: tuple[Spec, ...], outputs: tuple[Spec, ...]) -> Kernel | None:
    """The kernel of an operation on rows, if it can be compiled."""
    code = code_of(definition, inputs)
    if code is None:
        return None
    if isinstance(code, (Update, Sweep)):
        return _update_kernel(definition, code)
    plain = CPU.kernel(definition, inputs, outputs)
    if plain is None:
        return None
    if isinstance(definition, ResourceGather) and isinstance(code, Gather):
        return _variable_kernel(plain, code)
    made = partial(_made, code, plain.function)

    def in_frame(workspace: Workspace) -> Callable[..., Any]:
        return made()

    def alone(*arrays: Any, out: Any = None) -> Any:
        return made()(*arrays, out=out)

    return Kernel(alone, takes_out=True, in_frame=in_frame)


def _native(code: Code | Distinct | Marking) -> Any:
    """The compiled function."""
    return compiler().function(code.written(), library=pool_library())


def _made(code: Gather | Sums | Uniques, plain: Callable[..., Any]) -> Callable[..., Any]:
    """The function of an operation's inputs and `out`. `plain`: takes what the compiled one does not."""
    match code:
        case Gather():
            return _gathering(code, plain)
        case Sums():
            return _summing(code, plain)
        case Uniques():
            return _distinguishing(code, plain)


def _variable_kernel(plain: Kernel, code: Gather) -> Kernel:
    """Rows of a variable."""

    def bind(state: Any) -> Callable[..., Any]:
        gather = _gathering(code, lambda slot, ids: plain.function(state, slot, ids))

        def run(slot: Any, ids: Any, out: Any = None) -> Any:
            return gather(slot.settled(), ids, out, slot)

        return run

    return Kernel(plain.function, takes_out=True, needs_state=True, bind=bind)


def _gathering(code: Gather, plain: Callable[..., Any]) -> Callable[..., Any]:
    """The function of a table, indices and `out`. `plain`: takes what the compiled one does not."""
    native, rows, kind = _native(code), code.rows, np.dtype(code.rows.kind)
    most = rows.block

    def gather(table: Any, ids: Any, out: Any = None, source: Any = None) -> Any:
        result = np.empty((*ids.shape, *rows.dims), kind) if out is None else out
        if in_threads(native, (table, ids, result), result, shared=ids.size > most):
            return result
        found = plain(table if source is None else source, ids)
        if out is None:
            return found
        np.copyto(out, found)
        return out

    return gather


def _table(count: int) -> Any:
    """Memory for a table in which so many numbers are looked for."""
    return CALL.vectors(_INT32, slots_for(count), 1)[0]


def _distinguishing(code: Uniques, plain: Callable[..., Any]) -> Callable[..., Any]:
    """The function of a vector and `out`."""
    native, total = _native(code), np.zeros((), np.int64)
    index, number, counted = np.dtype(code.id_kind), np.dtype(code.number), code.counted

    def distinguish(x: Any, out: Any = None) -> Any:
        count = x.size
        numbers = np.empty(count, number) if out is None or out[1] is None else out[1]
        made = [np.empty(count, index), numbers, *([np.empty(count, number)] if counted else [])]
        if count <= _MOST and native(x, *made, _table(count), total, None) is numbers:
            found = int(total)
            if found < count:  # a copy holds no more memory than it needs
                made[0] = made[0][:found].copy()
                made[2:] = [times[:found].copy() for times in made[2:]]
            return tuple(made)
        values, inverse, *times = plain(x)
        np.copyto(numbers, inverse)
        return (values, numbers, *times)

    return distinguish


def _summing(code: Sums, plain: Callable[..., Any]) -> Callable[..., Any]:
    """The function of rows, their numbers, how many sums there are, and `out`."""
    native, dims, kind = _native(code), code.rows.dims, np.dtype(code.rows.kind)

    def add_up(data: Any, ids: Any, count: Any, out: Any = None) -> Any:
        number = int(count)
        if number >= 0:
            result = np.empty((number, *dims), kind) if out is None else out
            if native(data, ids, result, None) is result:
                return result
        found = plain(data, ids, count)
        if out is None:
            return found
        np.copyto(out, found)
        return out

    return add_up


def _update_kernel(definition: Any, code: Update | Sweep) -> Kernel:
    """The update of a variable's rows, and of those of its slots."""

    def bind(state: Any) -> Callable[..., Any]:
        return _updating(code, lambda *inputs: definition.compute(state, *inputs))

    return Kernel(definition.compute, needs_state=True, bind=bind, moves=True)


def _updating(code: Update | Sweep, plain: Callable[..., Any]) -> Callable[..., Any]:
    """The function of an update's inputs. `plain`: takes what the compiled one does not."""
    tables, given = code.formulas.tables, code.formulas.inputs.index("rows")
    change = _changing(code) if isinstance(code, Update) else _sweeping(code)

    def update(*inputs: Any) -> None:
        slots = inputs[:tables]
        if any(slot.value is None for slot in slots):
            plain(*inputs)
            return
        # Rows that do not change go along to memory that is spare.
        arrays = [*[slot.value if slot.spare is None else slot.read() for slot in slots], *inputs[tables:]]
        if any(shares_memory(arrays[given], array) for array in arrays[:tables]):
            arrays[given] = np.array(arrays[given])  # what changes must not be what is added
        if not change(arrays):
            plain(*inputs)

    return update


def _changing(code: Update) -> Callable[[list[Any]], bool]:
    """Changes the rows that indices name, and tells whether it did.

    Those of an optimizer must differ, as must those that threads share; so it is looked whether they do.
    """
    native, most = _native(code), code.rows.block
    distinct = _native(Distinct(code.rows.id_kind, code.rows.rank))
    indices, apart = _indices(code.formulas.inputs), "number" in code.formulas.inputs

    def change(arrays: list[Any]) -> bool:
        first, ids = arrays[0], arrays[indices]
        count = ids.size
        shared = count > most and threads() > 1
        differ = (apart or shared) and count <= _MOST and distinct(ids, _table(count), len(first)) is ids
        if apart and not differ:
            return False
        return in_threads(native, arrays, first, shared=shared and differ)

    return change


def _sweeping(code: Sweep) -> Callable[[list[Any]], bool]:
    """Changes all rows, and tells whether it did."""
    native, most = _native(code), code.rows.block
    marking = _native(Marking(code.rows.id_kind, code.rows.rank))
    indices = _indices(code.formulas.inputs)

    def change(arrays: list[Any]) -> bool:
        first, ids = arrays[0], arrays[indices]
        arrays[indices] = np.empty(len(first), np.int32)
        if ids.size > _MOST or marking(ids, arrays[indices], None) is not ids:
            return False
        return in_threads(native, arrays, first, shared=len(first) > most)

    return change


def _texts(code: Code) -> list[str]:
    """What is compiled for an operation."""
    more: list[Distinct | Marking] = []
    if isinstance(code, Update):
        more = [Distinct(code.rows.id_kind, code.rows.rank)]
    elif isinstance(code, Sweep):
        more = [Marking(code.rows.id_kind, code.rows.rank)]
    return [each.written() for each in (code, *more)]


def note(runs: Sequence[Run]) -> list[list[str]]:
    """For each of these instructions that is compiled, its texts."""
    codes = [code_of(run.definition, run.input_specs) for run in runs]
    return [_texts(code) for code in codes if code is not None]
