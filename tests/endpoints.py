"""What the tests of the transports share: two connected endpoints, and a watch over what a test leaves behind."""

import contextlib
import gc
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from weft.cluster import transport
from weft.cluster.message import Limits, Message

SECRET = bytes(range(32))
DEFAULT = Limits()
ALL = ["inproc", "shm", "tcp"]
SOCKETS = ["shm", "tcp"]
Pair = tuple[Any, Any]


@contextlib.contextmanager
def connected(scheme: str, limits: Limits = DEFAULT) -> Iterator[Pair]:
    """Both ends of a connection: the one that connected, and the one that accepted."""
    with contextlib.ExitStack() as stack:
        listening: Any = stack.enter_context(contextlib.closing(transport.listen(scheme, SECRET, limits=limits)))
        if scheme == "inproc":
            left = transport.connect(listening.address, SECRET, peer="right", name="left", limits=limits)
            right = listening.accept(5)
        else:
            pool = stack.enter_context(ThreadPoolExecutor(1))
            accepted = pool.submit(listening.accept, 5)
            left = transport.connect(listening.address, SECRET, peer="right", name="left", limits=limits)
            right = accepted.result()
        stack.enter_context(contextlib.closing(left))
        stack.enter_context(contextlib.closing(right))
        yield left, right


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """A block after which no thread runs and no file is open that was not before."""
    threads, files = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    yield
    if len(os.listdir("/proc/self/fd")) > files:
        gc.collect()  # errors hold frames, frames hold arrays, and arrays their segments
    assert set(threading.enumerate()) <= threads, "a thread is left"
    assert len(os.listdir("/proc/self/fd")) <= files, "a file descriptor is left"


def in_background(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Start a function in a thread; calling what is returned waits and gives its result or raises its error."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(function, *args)

    def result() -> Any:
        try:
            return future.result(20)
        finally:
            pool.shutdown()

    return result


def numbered(step: int, *tensors: Any) -> Message:
    return Message(1, 2, step, 3, b"meta", tensors)
