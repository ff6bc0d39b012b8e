"""The frame of a compiled function: a builtin function of Python that looks at its arrays before it touches their memory.

What it does then is a function of its own, `@work`, of one block of the work: threads call it for the blocks that they take.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .text import TYPES, Text

#: Where CPython keeps an object's type, and NumPy's public structure of an array what belongs to it.
_HEAD = object.__basicsize__
_TYPE, _DATA, _NDIM, _DIMS, _STRIDES, _DTYPE, _FLAGS = (_HEAD + offset for offset in (-8, 0, 8, 16, 24, 40, 48))
#: Row-major, aligned; and writeable.
_ALIGNED, _WRITEABLE = 0x100, 0x400
_PLAIN = 0x1 | _ALIGNED
_LINE = 64
#: In place of a dimension: it may be any, and the code asks for it with `extent`.
ANY = -1


class Array(NamedTuple):
    """An array that a function is given: what it must be.

    `strides`, in numbers: how it lies in memory, if not row-major. Where they are ANY, its rows, along the last axis, may lie
    apart, all as far from each other.
    """

    kind: str
    dims: tuple[int, ...]
    written: bool
    strides: tuple[int, ...] = ()

    def cut(self) -> Array:
        """The same with rows that may lie apart."""
        return self._replace(strides=(*[ANY] * (len(self.dims) - 1), 1))

    @property
    def is_cut(self) -> bool:
        """Whether its rows may lie apart."""
        return ANY in self.strides


def address_of(function: str) -> int:
    """Where a function of Python's own interface stands in memory."""
    return ctypes.cast(getattr(ctypes.pythonapi, function), ctypes.c_void_p).value or 0


def pointer(address: int) -> str:
    """An address as LLVM's text has it."""
    return f"inttoptr (i64 {address} to ptr)"


def check_layout() -> None:
    """Raises ImportError where arrays do not lie in memory as the compiled code thinks."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    start, words = id(array), ctypes.c_void_p.from_address
    found = (
        words(start + _TYPE).value, words(start + _DATA).value, ctypes.c_int.from_address(start + _NDIM).value,
        words(start + _DTYPE).value, ctypes.c_int.from_address(start + _FLAGS).value & (_PLAIN | _WRITEABLE),
    )  # fmt: skip
    dims, strides = (
        [ctypes.c_ssize_t.from_address((words(start + place).value or 0) + 8 * i).value for i in range(2)]
        for place in (_DIMS, _STRIDES)
    )
    wanted = (id(np.ndarray), array.ctypes.data, 2, id(array.dtype), _PLAIN | _WRITEABLE)
    if found != wanted or (dims, strides) != ([2, 3], [12, 4]) or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise ImportError("backend='llvm' does not know this Python's or NumPy's arrays")


def opening(text: Text, arrays: Sequence[Array]) -> list[str]:
    """The checks of all arguments: each a plain array of the wanted form, else the function gives back its last argument.

    Returns the names of the pointers to their memory.
    """
    text.define("ptr @region(ptr %self, ptr %args, i64 %count)")
    objects = [text.let(f"load ptr, ptr {_at(text, '%args', 8 * n)}, align 8") for n in range(len(arrays))]
    text.lines.append(f"  %last = load ptr, ptr {_at(text, '%args', 8 * len(arrays))}, align 8")
    types = [_holds(text, each, _TYPE, "ptr", pointer(id(np.ndarray))) for each in dict.fromkeys(objects)]
    unless(text, types)
    tests = [test for array, each in zip(arrays, objects, strict=True) for test in _form(text, array, each)]
    unless(text, tests)
    dims = [test for array, each in zip(arrays, objects, strict=True) for test in _dims(text, array, each)]
    unless(text, dims)
    return [text.let(f"load ptr, ptr {_at(text, each, _DATA)}, align 8") for each in objects]


def row_strides(text: Text, arrays: Sequence[Array]) -> dict[int, str]:
    """For each argument that is cut, how many bytes there are from one row to the next."""
    found = {}
    for number, array in enumerate(arrays):
        if array.is_cut:
            there = text.let(f"load ptr, ptr {_at(text, '%args', 8 * number)}, align 8")
            strides = text.let(f"load ptr, ptr {_at(text, there, _STRIDES)}, align 8")
            found[number] = _word(text, strides, len(array.dims) - 2)
    return found


def working(
    text: Text, pointers: Sequence[str], numbers: Sequence[str] = (), blocks: int | str = 1, release: bool | str = False,
    name: str = "work", long: bool = True,
) -> None:  # fmt: skip
    """The call of `@work`, or a function of another name, of these pointers and numbers, for all blocks.

    Where there may be several, as many threads help as the last argument says, but where it does not take long only those
    that are awake. `release`: whether other threads of Python run meanwhile, or what tells it.
    """
    given = text.let(f"alloca [{len(pointers) + len(numbers)} x i64], align 16")
    for number, value in enumerate([*(f"ptr {each}" for each in pointers), *(f"i64 {each}" for each in numbers)]):
        text.put(f"store {value}, ptr {_at(text, given, 8 * number)}, align 8")
    helpers = "0" if blocks == 1 else given_number(text)
    state = _let_go(text, str(release).lower()) if release else ""
    if blocks == 1:
        text.put(f"call void @{name}(ptr {given}, i64 0, i64 0)")
    else:
        text.declared.add("declare void @run_blocks(ptr, ptr, i64, i64, i1)")  # of pool.py
        text.put(f"call void @run_blocks(ptr @{name}, ptr {given}, i64 {blocks}, i64 {helpers}, i1 {int(long)})")
    if state:
        _take_back(text, state)


def begun(text: Text, pointers: int, numbers: int = 0, name: str = "work") -> list[str]:
    """The beginning of such a function, of a block's number (`%block`), too, and a thread's. Returns pointers and numbers."""
    text.define(f"internal void @{name}(ptr %given, i64 %block, i64 %thread)")
    kinds = ["ptr"] * pointers + ["i64"] * numbers
    return [text.let(f"load {kind}, ptr {_at(text, '%given', 8 * n)}, align 8") for n, kind in enumerate(kinds)]


def room_of_thread(text: Text, start: str, size: int) -> str:
    """Where the memory of `@work`'s thread begins: each has so many bytes, in whole lines of the cache."""
    return text.let(f"getelementptr i8, ptr {start}, i64 {text.let(f'mul i64 %thread, {in_lines(size)}')}")


def in_lines(size: int) -> int:
    """So many bytes as whole lines of the cache."""
    return -(-size // _LINE) * _LINE


def place_of(text: Text, number: int) -> str:
    """The place in memory that the argument of that number is."""
    given = text.let(f"load ptr, ptr {_at(text, '%args', 8 * number)}, align 8")
    return text.let(f"inttoptr i64 {_number_of(text, given)} to ptr")


def _number_of(text: Text, value: str) -> str:
    """The integer that an object of Python is."""
    return text.let(f"call i64 {pointer(address_of('PyLong_AsSsize_t'))}(ptr {value})")


def closing(text: Text, result: int) -> None:
    """The function's end: it gives back the argument of that number, or the last one if it did nothing."""
    done = text.let(f"load ptr, ptr {_at(text, '%args', 8 * result)}, align 8")
    _give(text, done)
    text.begin("refuse")
    _give(text, "%last")
    text.lines.append("}")


def _give(text: Text, value: str) -> None:
    text.put(f"call void {pointer(address_of('Py_IncRef'))}(ptr {value})")
    text.put(f"ret ptr {value}")


def _at(text: Text, start: str, offset: int) -> str:
    return text.let(f"getelementptr i8, ptr {start}, i64 {offset}")


def _holds(text: Text, start: str, offset: int, kind: str, wanted: Any, mask: int = 0) -> str:
    found = text.let(f"load {kind}, ptr {_at(text, start, offset)}, align 4")
    if mask:
        found = text.let(f"and {kind} {found}, {mask}")
    return text.let(f"icmp eq {kind} {found}, {wanted}")


def _form(text: Text, array: Array, start: str) -> list[str]:
    flags = (_ALIGNED if array.strides else _PLAIN) | _WRITEABLE * array.written
    return [
        _holds(text, start, _FLAGS, "i32", flags, flags),
        _holds(text, start, _DTYPE, "ptr", pointer(id(np.dtype(array.kind)))),
        _holds(text, start, _NDIM, "i32", len(array.dims)),
    ]


def _dims(text: Text, array: Array, start: str) -> list[str]:
    if not array.dims:
        return []
    dims = text.let(f"load ptr, ptr {_at(text, start, _DIMS)}, align 8")
    tests = [_holds(text, dims, 8 * axis, "i64", dim) for axis, dim in enumerate(array.dims) if dim != ANY]
    if not array.strides:
        return tests
    size, strides = TYPES[array.kind][2], text.let(f"load ptr, ptr {_at(text, start, _STRIDES)}, align 8")
    for axis, stride in enumerate(array.strides):
        if stride != ANY:
            tests.append(_holds(text, strides, 8 * axis, "i64", size * stride))
        elif array.strides[axis + 1] == ANY:  # rows lie as far from each other where the axis before them changes, too
            step = text.let(f"mul i64 {_word(text, strides, axis + 1)}, {array.dims[axis + 1]}")
            tests.append(_holds(text, strides, 8 * axis, "i64", step))
    return tests


def _word(text: Text, start: str, number: int) -> str:
    """The number of 64 bits at a place of an array of them."""
    return text.let(f"load i64, ptr {_at(text, start, 8 * number)}, align 8")


def extent(text: Text, number: int, first: int, last: int | None = None) -> str:
    """A dimension of the array that an argument is, or the product of those from `first` to below `last`."""
    array = text.let(f"load ptr, ptr {_at(text, '%args', 8 * number)}, align 8")
    dims = text.let(f"load ptr, ptr {_at(text, array, _DIMS)}, align 8")
    product = "1"
    for axis in range(first, first + 1 if last is None else last):
        product = text.let(f"mul i64 {product}, {_word(text, dims, axis)}")
    return product


def given_number(text: Text) -> str:
    """The function's last argument, a number."""
    return _number_of(text, "%last")


def _let_go(text: Text, condition: str) -> str:
    """Let other threads of Python run where the condition holds. Returns what `_take_back` needs."""
    before, release, after = (text.block() for _ in range(3))
    text.put(f"br label %{before}")
    text.begin(before)
    text.put(f"br i1 {condition}, label %{release}, label %{after}")
    text.begin(release)
    thread = text.let(f"call ptr {pointer(address_of('PyEval_SaveThread'))}()")
    text.put(f"br label %{after}")
    text.begin(after)
    return text.let(f"phi ptr [ null, %{before} ], [ {thread}, %{release} ]")


def _take_back(text: Text, state: str) -> None:
    """The end of what `_let_go` began."""
    restore, after = text.block(), text.block()
    text.put(f"br i1 {text.let(f'icmp eq ptr {state}, null')}, label %{after}, label %{restore}")
    text.begin(restore)
    text.put(f"call void {pointer(address_of('PyEval_RestoreThread'))}(ptr {state})")
    text.put(f"br label %{after}")
    text.begin(after)


def unless(text: Text, tests: Sequence[str]) -> None:
    """Go on where all tests hold, else refuse."""
    if not tests:
        return
    total = tests[0]
    for test in tests[1:]:
        total = text.let(f"and i1 {total}, {test}")
    after = text.block()
    text.put(f"br i1 {total}, label %{after}, label %refuse")
    text.begin(after)
