"""How long a tensor takes from one endpoint to another: a table of hops and throughput for each transport.

Two processes (for inproc: two threads) send a tensor to and fro; a hop is half a round trip. The sender's copy into shared
memory is part of it, reading what came is not.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
import numpy as np
from weft.cluster.transports import auth, transport
from weft.cluster.wire.message import Message
from weft.graph.dtypes import uint8

SIZES = {"empty": 0, "4 KiB": 4 << 10, "64 KiB": 64 << 10, "1 MiB": 1 << 20, "16 MiB": 16 << 20}
STOP = 1


def echo(connection: transport.Connection) -> None:
    """Send back a tensor of the same size for each that comes, until told to stop."""
    answers = {size: np.ones(size, np.uint8) for size in SIZES.values()}
    while (message := connection.recv(60)).kind != STOP:
        connection.release(message.step - 1)  # the next question says that the last answer was read
        size = message.tensors[0].nbytes
        connection.send(Message(0, 0, message.step, tensors=(answers[size],)))
    connection.close()


def serve(scheme: str) -> None:
    """The other process: the secret comes in on standard input, the address goes out on standard output."""
    listener = transport.listen(scheme, sys.stdin.buffer.read(auth.SECRET_SIZE))
    click.echo(listener.address)
    echo(listener.accept(60))
    listener.close()


@contextmanager
def peer(scheme: str) -> Iterator[transport.Connection]:
    """A connection to someone who echoes."""
    secret = auth.new_secret()
    if scheme == "inproc":
        listener = transport.listen(scheme, secret)
        connection = transport.connect(listener.address, secret)
        thread = threading.Thread(target=echo, args=(listener.accept(),))
        thread.start()
        yield connection
        connection.send(Message(STOP, 0, 0))
        thread.join()
        listener.close()
    else:
        command = [sys.executable, __file__, "--serve", scheme]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(secret)
            process.stdin.flush()
            connection = transport.connect(process.stdout.readline().decode().strip(), secret)
            yield connection
            connection.send(Message(STOP, 0, 0))
    connection.close()


def hop(connection: transport.Connection, size: int, seconds: float, in_place: bool) -> float:
    """The median time of one hop, in seconds; `in_place` sends from the transport's own memory, without a copy."""
    tensor = np.ones(size, np.uint8)
    times = []
    end = time.monotonic() + seconds
    step = 0
    while time.monotonic() < end or step < 10:
        step += 1
        if in_place:
            reserved = connection.reserve(step, uint8, (size,))
            tensor = tensor if reserved is None else reserved
        begin = time.perf_counter()
        connection.send(Message(0, 0, step, tensors=(tensor,)))
        connection.recv(60)
        times.append(time.perf_counter() - begin)
        connection.release(step)
    return statistics.median(times[len(times) // 10 :]) / 2


def copy_time(size: int) -> float:
    """How long copying `size` bytes takes in this process."""
    source, target = np.ones(size, np.uint8), np.ones(size, np.uint8)
    times = []
    for _ in range(30):
        begin = time.perf_counter()
        np.copyto(target, source)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


@click.command(epilog="Example: python benchmarks/transport.py --transport shm --seconds 2")
@click.option(
    "--transport", "schemes", multiple=True, type=click.Choice(["inproc", "shm", "tcp"]), help="Only this one."
)
@click.option(
    "--seconds",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="How long to measure each size.",
)
@click.option("--in-place", is_flag=True, help="Send from the transport's own memory: nothing is copied (shm only).")
@click.option("--serve", "serving", default="", hidden=True)
def main(schemes: tuple[str, ...], seconds: float, in_place: bool, serving: str) -> None:
    """Measure a hop of a tensor, by size, for each transport; compare the throughput with copying memory."""
    if serving:
        serve(serving)
        return
    click.echo(f"{'transport':<10}{'size':>8}{'hop':>12}{'throughput':>14}{'of memcpy':>12}")
    for scheme in schemes or ("inproc", "shm", "tcp"):
        with peer(scheme) as connection:
            for label, size in SIZES.items():
                taken = hop(connection, size, seconds, in_place)
                row = f"{scheme:<10}{label:>8}{taken * 1e6:>9.1f} µs"
                if size:
                    row += f"{size / taken / 2**30:>9.2f} GiB/s{copy_time(size) / taken:>11.0%}"
                click.echo(row)


if __name__ == "__main__":
    main()
