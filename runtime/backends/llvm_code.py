"""Machine code: LLVM's text of a function becomes a builtin function of Python, once in a process."""

from __future__ import annotations

import ctypes
import threading
import time
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from .llvm_frame import check_layout

_FASTCALL = 0x0080  # the flag of Python's calling convention with an array of arguments


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
        features = llvm.get_host_cpu_features().flatten()
        target = llvm.Target.from_default_triple()
        self._machine = target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=2)
        self._made: dict[str, Any] = {}
        self._kept: list[Any] = []
        self._lock = threading.Lock()
        #: How long compiling took so far, in seconds.
        self.seconds = 0.0

    def function(self, text: str) -> Any:
        """The function of a text."""
        with self._lock:
            found = self._made.get(text)
            if found is None:
                begin = time.perf_counter()
                found = self._made[text] = self._compiled(text)
                self.seconds += time.perf_counter() - begin
        return found

    @property
    def count(self) -> int:
        """How many functions there are."""
        return len(self._made)

    def _compiled(self, text: str) -> Any:
        module = llvm.parse_assembly(text)
        module.verify()
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = options.slp_vectorization = False  # it is all vectors as it is
        builder = llvm.create_pass_builder(self._machine, options)
        builder.getModulePassManager().run(module, builder)
        engine = llvm.create_mcjit_compiler(module, self._machine)
        engine.finalize_object()
        method = _Method(b"region", engine.get_function_address("region"), _FASTCALL, None)
        make = ctypes.pythonapi.PyCFunction_NewEx
        make.restype, make.argtypes = ctypes.py_object, (ctypes.POINTER(_Method), ctypes.c_void_p, ctypes.c_void_p)
        self._kept += [engine, method]
        return make(ctypes.byref(method), None, None)


@cache
def compiler() -> Compiler:
    """The one of this process. Raises ImportError where this Python or NumPy is not as it must be."""
    return Compiler()
