"""The contenders of local.py, and the processes in which they run."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("local_worker.py")

#: No workload takes longer to import, build and compile; what does is given up.
START_LIMIT = 120.0
TURN_LIMIT = 120.0

#: What a shell may have set for one library (a kind of processor, a size of caches) is no part of the comparison; nor
#: that a checkout, unlike what pip has installed, must be compiled at each import.
TUNING = (
    "PYTHONDONTWRITEBYTECODE",
    "OPENBLAS_",
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "ONEDNN_",
    "TF_",
    "XLA_",
    "JAX_",
    "TORCH",
)

#: Read by the libraries at import. Their thread pools are set by the models, too, where there is a way.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}


@dataclass(frozen=True)
class Contender:
    """A framework in one of the ways to use it: models_<framework>.py, built with that mode."""

    title: str
    framework: str
    mode: str


CONTENDERS = [
    Contender("weft", "weft", "run"),
    Contender("weft callable", "weft", "callable"),
    Contender("weft llvm", "weft", "llvm"),
    Contender("weft xla", "weft", "xla"),
    Contender("TF", "tf", "run"),
    Contender("TF callable", "tf", "callable"),
    Contender("torch", "torch", "eager"),
    Contender("torch compile", "torch", "compile"),
    Contender("JAX jit", "jax", "jit"),
]


class Failed(Exception):
    """A contender cannot do a workload; the message says why, in one line."""


class Worker:
    """A process that has built one workload and made its first steps, and makes more on demand."""

    def __init__(self, python: str, contender: Contender, workload: str, size: str, threads: int) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it lives as long as the process)
        command = [python, str(WORKER), contender.framework, contender.mode, workload, size, str(threads)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith(TUNING)}
        environment |= QUIET | dict.fromkeys(THREADS, str(threads))
        started = time.monotonic()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=environment
        )
        try:
            self.said = self._answer(START_LIMIT)
        except Failed:
            self.close()
            raise
        #: From the start of the process to the end of its first step. The clock is the same in all processes.
        self.first_step: dict[str, float] = {"wall": self.said["ready"] - started, "cpu": self.said["cpu"]}

    def turn(self, steps: int) -> dict[str, Any]:
        """Make that many steps: the `seconds` of each, the mean of their `cpu` time, and the `peak` of memory in bytes."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{steps}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Failed(self._last_words()) from None
        return self._answer(TURN_LIMIT)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _answer(self, limit: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], limit)
        if not ready:
            raise Failed(f"no answer within {limit:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise Failed(self._last_words())
        found: dict[str, Any] = json.loads(line)
        return found

    def _last_words(self) -> str:
        """The last line of the traceback, or of whatever the process said at the end."""
        status = self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        errors = [line for line in lines if "Error" in line.split(":")[0]]
        return (errors or lines or [f"the process ended with status {status}"])[-1]
