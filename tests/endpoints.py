"""What the tests of the transports share: two connected endpoints, and a watch over what a test leaves behind."""

import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from certificates import trusted
from weft.cluster.transports import transport
from weft.cluster.wire.message import Limits, Message

SECRET = bytes(range(32))
DEFAULT = Limits()
ALL = ["inproc", "shm", "tcp", "flight"]
SOCKETS = ["shm", "tcp", "flight"]
#: Whose clients are heard by weft itself, and not by a server of gRPC's before.
BARE = ["shm", "tcp"]
Pair = tuple[Any, Any]


def certified(request: pytest.FixtureRequest) -> Iterator[None]:
    """For a fixture: the environment that a test of the transport `flight` needs."""
    wanted = "flight" in getattr(getattr(request.node, "callspec", None), "params", {}).values()
    with trusted() if wanted else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def connected(scheme: str, limits: Limits = DEFAULT) -> Iterator[Pair]:
    """Both ends of a connection: the one that connected, and the one that accepted."""
    with contextlib.ExitStack() as stack:
        listening: Any = stack.enter_context(contextlib.closing(transport.listen(scheme, SECRET, limits=limits)))
        if scheme == "inproc":
            left = transport.connect(listening.address, SECRET, peer="right", name="left", limits=limits)
            right = listening.accept(60)
        else:
            pool = stack.enter_context(ThreadPoolExecutor(1))
            accepted = pool.submit(listening.accept, 60)
            left = transport.connect(listening.address, SECRET, peer="right", name="left", limits=limits)
            right = accepted.result()
        stack.enter_context(contextlib.closing(left))
        stack.enter_context(contextlib.closing(right))
        yield left, right


def open_files(kind: str = "") -> dict[int, str]:
    """The files that this process has open, by descriptor; `kind` is how their names begin."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    grpc = ("pipe:", "anon_inode:") if "pyarrow._flight" in sys.modules else ()  # it keeps, and renews, some of its own
    return {number: name for number, name in found.items() if name.startswith(kind) and not name.startswith(grpc)}


def running_threads() -> set[threading.Thread]:
    """The threads there are, but those that kernels share and that stay as long as the process."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith("weft-block")}


@contextlib.contextmanager
def nothing_left(kind: str = "") -> Iterator[None]:
    """A block after which no thread runs and no file is open (of a kind) that was not before.

    What other libraries of this process open and close for themselves meanwhile is given a while to go again.
    """
    threads, files = running_threads(), open_files(kind)
    yield
    deadline = time.monotonic() + 60
    while len(after := open_files(kind)) > len(files) and time.monotonic() < deadline:
        gc.collect()  # errors hold frames, frames hold arrays, and arrays their segments
        time.sleep(0.02)
    for thread in running_threads() - threads:
        if thread.name in ("weft flight", "weft tls"):  # they end with the other side, which was told
            thread.join(max(0.0, deadline - time.monotonic()))
    assert running_threads() <= threads, "a thread is left"
    assert len(after) <= len(files), f"left open: {dict(after.items() - files.items())}"


def in_background(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Start a function in a thread; calling what is returned waits and gives its result or raises its error."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(function, *args)

    def result() -> Any:
        try:
            return future.result(60)
        finally:
            pool.shutdown()

    return result


def numbered(step: int, *tensors: Any) -> Message:
    return Message(1, 2, step, 3, b"meta", tensors)
