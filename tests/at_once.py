"""Several threads at one session: a writer beside a reader, and the same work in each."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import weft as wf


def spreads(session: wf.Session, write: Any, wanted: Any, times: int) -> set[float]:
    """How far apart the elements of `wanted` were in each of so many runs, while another thread wrote."""
    ended = threading.Event()

    def writing() -> None:
        while not ended.is_set():
            session.run(write)

    writer = threading.Thread(target=writing)
    writer.start()
    try:
        return {float(np.ptp(session.run(wanted))) for _ in range(times)}
    finally:
        ended.set()
        writer.join()


def in_threads(count: int, work: Callable[[], None]) -> None:
    """Do it in so many threads, and wait for them."""
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
