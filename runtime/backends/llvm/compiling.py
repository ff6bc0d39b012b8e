"""Machine code: LLVM's text of a function becomes a builtin function of Python, once in a process."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import llvmlite.binding as llvm

from .frame import check_layout

#: How hard LLVM tries to make machine code, from 0 to 3. Its passes over the text before that bring nothing here: what they
#: would find was written so. Single numbers are one long line of steps, which takes it long and earns little.
_LOOPS, _NUMBERS = 2, 0
_FASTCALL = 0x0080  # the flag of Python's calling convention with an array of arguments
_NOTHING: Mapping[str, str] = MappingProxyType({})


class _Method(ctypes.Structure):
    """What Python wants to know of a builtin function."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p),
    )  # fmt: skip


class Compiler:
    """Compiles each text once, and keeps what it made as long as the process lives."""

    def __init__(self) -> None:
        check_layout()
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self._engines = {
            opt: llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine(opt)) for opt in (_LOOPS, _NUMBERS)
        }
        self._made: dict[str, Any] = {}
        self._seconds: dict[str, float] = {}
        self._kept: list[Any] = []
        #: The functions that others call, by name: they are compiled once.
        self._library: set[str] = set()
        self._lock = threading.Lock()
        # When the interpreter ends threads may still be in the code, and functions read what Python wanted to know of them.
        keep_forever(self)

    def function(self, text: str, single: bool = False, library: Mapping[str, str] = _NOTHING) -> Any:
        """The function of a text; `single`: all in it are single numbers; `library`: what it calls, texts by name."""
        with self._lock:
            found = self._made.get(text)
            if found is None:
                begin = time.perf_counter()
                for name in library.keys() - self._library:
                    self._engines[_LOOPS].add_module(llvm.parse_assembly(library[name]))
                    self._library.add(name)
                found = self._made[text] = self._compiled(text, single)
                self._seconds[text] = time.perf_counter() - begin
        return found

    def took(self, text: str) -> float | None:
        """How many seconds it took to compile a text; None if it was not compiled."""
        return self._seconds.get(text)

    @property
    def seconds(self) -> float:
        """How long compiling took so far."""
        return sum(self._seconds.values())

    @property
    def count(self) -> int:
        """How many functions there are."""
        return len(self._made)

    def _compiled(self, text: str, single: bool) -> Any:
        name = f"region{len(self._made)}"
        module = llvm.parse_assembly(text.replace("@region", f"@{name}", 1))
        module.verify()
        engine = self._engines[_NUMBERS if single else _LOOPS]
        engine.add_module(module)
        engine.finalize_object()
        method = _Method(b"region", engine.get_function_address(name), _FASTCALL, None)
        make = ctypes.pythonapi.PyCFunction_NewEx
        make.restype, make.argtypes = ctypes.py_object, (ctypes.POINTER(_Method), ctypes.c_void_p, ctypes.c_void_p)
        self._kept.append(method)
        return make(ctypes.byref(method), None, None)


def keep_forever(thing: Any) -> None:
    """Let an object live until the process ends, however the interpreter ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _machine(opt: int) -> Any:
    """This processor, as LLVM sees it."""
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=opt)


@cache
def compiler() -> Compiler:
    """The one of this process. Raises ImportError where this Python or NumPy is not as it must be."""
    return Compiler()
