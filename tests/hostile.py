"""What tests do to parsers: bytes that somebody has changed, and the promise that whatever they are, nothing bad happens.

`WEFT_FUZZ=1000000` in the environment has every one of these tests try so many inputs; `make fuzz` (`fuzzing.py`) has them do so
on all processors.
"""

import json
import os
import signal
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings, strategies as st

_Test = TypeVar("_Test", bound=Callable[..., Any])
#: How many inputs each test tries, where that was asked for.
FUZZ = int(os.environ.get("WEFT_FUZZ", "0"))
#: Processor time that one input may take, in seconds: far more than any needs, and less than for ever.
MOST_SECONDS = 20.0
#: What Python says of itself before it runs a text, starts a program, opens a connection or loads a library.
_DEEDS = frozenset(
    {"exec", "compile", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find_class",
     "socket.connect", "ctypes.dlopen"}
)  # fmt: skip
#: Numbers at which formats have their edges.
_EDGES = [0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1]

_watched: int | None = None
_seen: list[str] = []


def fuzzed(count: int) -> Callable[[_Test], _Test]:
    """Makes a test one of a parser, which tries so many inputs, or as many as were asked for."""
    chosen = settings(max_examples=FUZZ or count, deadline=None, suppress_health_check=list(HealthCheck))
    return lambda test: pytest.mark.fuzz(chosen(test))


def _audit(event: str, told: Any) -> None:
    if _watched is None or event not in _DEEDS or _watched != threading.get_ident():
        return
    code = told[0] if event == "exec" else None
    name = told[1] if event == "compile" else getattr(code, "co_filename", None)
    if not (
        isinstance(name, str | bytes) and os.path.isfile(name)
    ):  # else a module is imported when it is first needed
        _seen.append(f"{event} of {name if code is None else code!r}")


sys.addaudithook(_audit)  # it cannot be taken away again, so it is for this file to ask for it once


@contextmanager
def harmless(most_bytes: int) -> Iterator[None]:
    """Within, no code is run, nothing is started, no more memory is taken at once than this, and nothing goes on for ever."""
    global _watched
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    old = signal.signal(signal.SIGVTALRM, _too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS)
    _seen.clear()
    _watched = threading.get_ident()
    try:
        yield
    finally:
        _watched = None
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, old)
        taken = tracemalloc.get_traced_memory()[1] - before
        if not tracing:
            tracemalloc.stop()
    assert not _seen, f"what came from outside ran something: {_seen}"
    assert taken <= most_bytes, f"{taken} bytes were taken for it, more than {most_bytes}"


def _too_long(*_: Any) -> None:
    raise AssertionError(f"not read after {MOST_SECONDS} s of computing")


def survives(parse: Callable[[], Any], refused: tuple[type[Exception], ...], most_bytes: int) -> Any:
    """What a parser makes of its input, None where it refuses that with one of the documented errors."""
    with harmless(most_bytes):
        try:
            return parse()
        except refused:
            return None


@st.composite
def changed(draw: st.DrawFn, whole: Sequence[bytes]) -> bytes:
    """One of some valid inputs with up to four things done to it, or bytes of nothing."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    data = bytearray(draw(st.sampled_from(whole)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.sampled_from([1, 2, 4, 8, 40])))
        match draw(st.integers(0, 6)):
            case 0:
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = data[at:end]
            case 3:
                data[at:at] = draw(st.binary(max_size=20))
            case 4:
                size, order = draw(st.sampled_from([1, 2, 4, 8])), draw(st.sampled_from(["little", "big"]))
                number = draw(st.sampled_from(_EDGES)) % (1 << 8 * size)
                data[at : at + size] = number.to_bytes(size, "big" if order == "big" else "little")
            case 5:
                data[at : at + 1] = bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) if at < len(data) else b""
            case _:
                del data[at:]
    return bytes(data)


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_ODD = st.sampled_from(
    [*_EDGES, -1, -(2**63), 10**400, "9" * 5000, "", "float32", "string", "resource", "__class__", "x:0", "/cpu:0"]
)
#: Any JSON, with a liking for what might be taken for something.
junk = st.recursive(
    _SCALARS | _ODD,
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=8) | st.just("array"), part, max_size=3),
    max_leaves=12,
)


@st.composite
def changed_json(draw: st.DrawFn, whole: Sequence[Any]) -> Any:
    """One of some valid values of JSON, one or two of whose parts are something else."""
    value = json.loads(json.dumps(draw(st.sampled_from(whole))))
    for _ in range(draw(st.integers(1, 2))):
        if not isinstance(value, list | dict) or not value:
            return draw(junk)
        parent, key = value, draw(st.sampled_from(_keys(value)))
        while isinstance(parent[key], list | dict) and parent[key] and draw(st.integers(0, 4)):
            parent = parent[key]
            key = draw(st.sampled_from(_keys(parent)))
        if draw(st.integers(0, 5)):
            parent[key] = draw(junk)
        else:
            del parent[key]
    return value


def _keys(value: Any) -> list[Any]:
    return sorted(value) if isinstance(value, dict) else list(range(len(value)))


def as_json(value: Any) -> bytes:
    """A value as it would come; numbers of any length."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(value).encode()
    finally:
        sys.set_int_max_str_digits(before)
