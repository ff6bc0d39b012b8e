"""Conditions: cond, case and switch_case, built of If operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from .. import context
from ..defaults import name_scope
from ..dtypes import boolean, int32, int64, resource
from ..function import FunctionGraph
from ..indexed_slices import IndexedSlices
from ..ir import Graph, Operation, Tensor, get_default_graph
from ..structure import check_same, flatten, is_nested, pack
from .branching import branch
from .broadcasting import reduce_sum
from .cast import cast
from .compare import less, less_equal, logical_and
from .constant import constant
from .convert import convert_to_tensor, stack
from .identity import Identity
from .report import Assert
from .selecting import where_v2

Branch = Callable[[], Any]


def cond(
    pred: Any, true_fn: Branch | None = None, false_fn: Branch | None = None, strict: bool = False,
    name: str | None = None, fn1: Branch | None = None, fn2: Branch | None = None,
) -> Any:  # fmt: skip
    """What `true_fn()` returns where `pred` (a bool scalar) holds, else what `false_fn()` returns.

    Both are called once, now, and return the same structure of tensors of the same types; only the one that `pred`
    chooses runs. A list or tuple of one element is returned as that element, unless `strict`. Differentiable to any
    order: by a tensor that only the other branch uses the gradient is 0.

    Source: `tf.cond`. Raises TypeError for a `pred` that is a Python bool, for functions that are none and for structures
    of other kinds, ValueError where the branches return nothing, or other types or lengths.
    """
    then = _one_of("true_fn", true_fn, "fn1", fn1)
    orelse = _one_of("false_fn", false_fn, "fn2", fn2)
    if context.executing_eagerly():
        return _single(then() if pred else orelse(), strict)
    if isinstance(pred, bool):
        raise TypeError("'pred' must not be a Python bool.")
    with name_scope(name, "cond", [pred]) as scope:
        graph = get_default_graph()
        chosen = convert_to_tensor(pred, name="pred")
        sides = [
            _build(graph, f"the {which} branch of '{scope[:-1]}'", function, strict, which)
            for which, function in (("true", then), ("false", orelse))
        ]
        structure = _agreed(sides)
        outputs = branch(chosen, [side[0] for side in sides], [side[2] for side in sides], scope)
        return pack(structure, iter(outputs))


def _one_of(name: str, value: Branch | None, old_name: str, old: Branch | None) -> Branch:
    if old is not None:
        if value is not None:
            raise TypeError(f"cond(): '{name}' and '{old_name}' may not be set simultaneously.")
        value = old
    if value is None:
        raise TypeError(f"cond(): '{name}' argument required")
    if not callable(value):
        raise TypeError(f"'{name}' must be callable.")
    return value


def _single(result: Any, strict: bool) -> Any:
    plain = isinstance(result, (list, tuple)) and len(result) == 1
    return result[0] if plain and not strict else result


def _build(
    outer: Graph, what: str, function: Branch, strict: bool, which: str
) -> tuple[FunctionGraph, Any, list[Tensor]]:
    """The graph of a branch, the structure that it returns, and the tensors in it."""
    graph = FunctionGraph(outer, what)
    with graph.as_default():
        result = _single(function(), strict)
        if result is None:
            raise ValueError(f"'{which}_fn' must have a return value.")
        outputs = [graph.capture(_tensor(graph, leaf, which == "true")) for leaf in flatten(result)]
    graph.finalize()
    return graph, result, outputs


def _tensor(graph: FunctionGraph, leaf: Any, taken: bool) -> Tensor:
    """A result of a branch as a tensor; an operation becomes the predicate's value, there when it has run."""
    if not isinstance(leaf, Operation):
        return convert_to_tensor(leaf)
    with graph.control_dependencies([leaf]):
        return Identity()(constant(taken))


def _agreed(sides: Sequence[tuple[FunctionGraph, Any, list[Tensor]]]) -> Any:
    """The structure that both branches return. Raises ValueError, TypeError where they do not."""
    (_, structure, outputs), (_, other_structure, others) = sides
    try:
        check_same(structure, other_structure)
    except (TypeError, ValueError) as error:
        raise type(error)(f"Incompatible return values of 'true_fn' and 'false_fn': {error}") from None
    if not outputs:
        raise ValueError("'true_fn' and 'false_fn' must return at least one result.")
    for side in sides:
        _widen_indices(side, [a.dtype is not b.dtype for a, b in zip(outputs, others, strict=True)])
    for mine, other in zip(outputs, others, strict=True):
        if mine.dtype is not other.dtype:
            raise ValueError(
                "Outputs of 'true_fn' and 'false_fn' must have the same type(s). "
                f"Received {mine.dtype.name} from 'true_fn' and {other.dtype.name} from 'false_fn'."
            )
        if mine.dtype is resource:
            raise TypeError("a branch cannot return the handle of a variable: return its value")
    return structure


def _widen_indices(side: tuple[FunctionGraph, Any, list[Tensor]], differ: Sequence[bool]) -> None:
    """Make the indices of IndexedSlices int64 where those of the other branch have another type."""
    graph, structure, outputs = side
    indices = [slices.indices for slices in _slices(structure)]
    for at, leaf in enumerate(flatten(structure)):
        if differ[at] and any(leaf is each for each in indices):
            with graph.reopened(), graph.as_default():
                outputs[at] = cast(outputs[at], int64)


def _slices(structure: Any) -> list[IndexedSlices]:
    """The IndexedSlices in a structure."""
    if isinstance(structure, IndexedSlices):
        return [structure]
    parts = structure.values() if isinstance(structure, Mapping) else structure if is_nested(structure) else ()
    return [found for part in parts for found in _slices(part)]


def case(
    pred_fn_pairs: Any, default: Branch | None = None, exclusive: bool = False, strict: bool = False, name: str = "case"
) -> Any:
    """What the function of the first pair (predicate, function) returns whose predicate holds, else what `default` does.

    `pred_fn_pairs`: a list of pairs, or a dict. Without `default` a run fails where no predicate holds; with `exclusive`,
    where more than one does. Source: `tf.case`. Raises TypeError, ValueError for pairs that are none, and as `cond`.
    """
    pairs = _pairs(pred_fn_pairs)
    if default is not None and not callable(default):
        raise TypeError("default must be callable.")
    if context.executing_eagerly():
        chosen = [function for predicate, function in pairs if predicate]
        _check_count(len(chosen), exclusive, default)
        return _single((chosen[0] if chosen else default)(), strict)  # type: ignore[misc]
    with name_scope(name, "case", [predicate for predicate, _ in pairs]):
        predicates = [convert_to_tensor(predicate) for predicate, _ in pairs]
        checks = _checks(predicates, exclusive, default is None)
        last = pairs[-1][1] if default is None else default
        left = list(zip(predicates, (function for _, function in pairs), strict=True))
        with get_default_graph().control_dependencies(checks):
            if default is None:
                left.pop()
            return _single(last(), strict) if not left else _chain(left, last, strict)


def _chain(pairs: Sequence[tuple[Tensor, Branch]], default: Branch, strict: bool) -> Any:
    (predicate, function), *others = pairs
    return cond(predicate, function, partial(_chain, others, default, strict) if others else default, strict)


def _pairs(given: Any) -> list[tuple[Any, Branch]]:
    pairs = list(given.items()) if isinstance(given, Mapping) else given
    if not isinstance(pairs, (list, tuple)):
        raise TypeError("'pred_fn_pairs' must be a list, tuple, or dict.")
    if not pairs:
        raise ValueError("'pred_fn_pairs' must not be empty.")
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError("Each entry in 'pred_fn_pairs' must be a 2-tuple.")
        predicate, function = pair
        if not context.executing_eagerly() and not (isinstance(predicate, Tensor) and predicate.dtype is boolean):
            raise TypeError(f"Condition must be a Tensor of type bool, but received: {predicate!r}")
        if not callable(function):
            raise TypeError(f"function must be callable, got {function!r}")
    return list(pairs)


def _check_count(count: int, exclusive: bool, default: Branch | None) -> None:
    if exclusive and count > 1:
        raise ValueError("More than one condition evaluated as True but exclusive=True.")
    if not count and default is None:
        raise ValueError("None of conditions evaluated as True.")


def _checks(predicates: Sequence[Tensor], exclusive: bool, complete: bool) -> list[Operation]:
    """Operations that fail the run where too many or too few predicates hold."""
    if not exclusive and not complete:
        return []
    together = stack(list(predicates), name="preds")
    count = reduce_sum(cast(together, int32))
    found = []
    if exclusive:
        text = "Input error: exclusive=True: more than 1 conditions evaluated as True:"
        found.append(Assert(less(count, 2), [text, together], name="AssertExclusive"))
    if complete:
        text = "None of conditions evaluated as True:"
        found.append(Assert(less(0, count), [text, together], name="AssertAny"))
    return found


def switch_case(branch_index: Any, branch_fns: Any, default: Branch | None = None, name: str | None = None) -> Any:
    """What the function number `branch_index` (an int32 scalar) returns; outside of them what `default` (the last) does.

    `branch_fns`: a list of functions, or a list of pairs or dict of numbers from 0 on and functions. Each is called once.
    Source: `tf.switch_case`. Raises TypeError, ValueError for numbers and functions that are none, TypeError for
    functions that return other structures or types than the first one.
    """
    functions = _numbered(branch_fns)
    if default is not None and not callable(default):
        raise TypeError("default must be callable.")
    count = len(functions)
    if default is not None:
        functions.append(default)
    last = len(functions) - 1
    if context.executing_eagerly():
        number = int(branch_index)
        return functions[number if 0 <= number < count else last]()
    with name_scope(name, "switch_case", [branch_index]):
        index = convert_to_tensor(branch_index, name="branch_index")
        if index.dtype is not int32:
            raise TypeError(f"branch_index must be a Tensor of type int32, got {index.dtype.name}")
        inside = logical_and(less_equal(0, index), less(index, np.int32(count)))
        first: list[Any] = []
        alike = [partial(_like_first, number, function, first) for number, function in enumerate(functions)]
        return _search(where_v2(inside, index, constant(last)), alike, 0)


def _like_first(number: int, function: Branch, first: list[Any]) -> Any:
    """What a branch returns, as tensors. Raises TypeError where it is not like what the first one returned."""
    result = function()
    if result is None:
        raise ValueError(f"branches[{number}] of switch_case must have a return value.")
    leaves = [leaf if isinstance(leaf, Operation) else convert_to_tensor(leaf) for leaf in flatten(result)]
    made = pack(result, iter(leaves))
    types = [getattr(leaf, "dtype", boolean) for leaf in leaves]
    if not first:
        first += [made, types]
    try:
        check_same(first[0], made)
        if types != first[1]:
            raise TypeError(f"{[kind.name for kind in first[1]]} and {[kind.name for kind in types]}")
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"branches[0] and branches[{number}] arguments to switch_case must have the same number, type, and overall "
            f"structure of return values: {error}"
        ) from None
    return made


def _search(index: Tensor, functions: Sequence[Branch], first: int) -> Any:
    """By halves: which of the functions, the first of which has that number."""
    if len(functions) == 1:
        return functions[0]()
    half = len(functions) // 2
    low = partial(_search, index, functions[:half], first)
    high = partial(_search, index, functions[half:], first + half)
    return cond(less(index, np.int32(first + half)), low, high, strict=True)


def _numbered(given: Any) -> list[Branch]:
    items = list(given.items()) if isinstance(given, Mapping) else given
    if not isinstance(items, (list, tuple)):
        raise TypeError("branch_fns must be a list, tuple, or dict.")
    if not items:
        raise ValueError("branch_fns must not be empty: there must be at least one item.")
    if is_nested(items[0]):
        items = [item if isinstance(item, tuple) and len(item) == 2 else (item, None) for item in items]
        for number, _ in items:
            if not isinstance(number, int):
                raise TypeError(f"key must be a Python `int`, got {type(number)}")
        items = sorted(items, key=lambda pair: pair[0])
        if [number for number, _ in items] != list(range(len(items))):
            raise ValueError(f"branch indices must form contiguous range of [0 to {len(items)})")
        items = [function for _, function in items]
    for function in items:
        if not callable(function):
            raise TypeError(f"function must be callable, got {function!r}")
    return list(items)
