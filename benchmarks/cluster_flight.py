"""What cluster.py measures, with Arrow Flight: a server a task, and a client that asks them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.flight as flight
from cluster_program import HOPS, STEPS, TRANSFERS
from cluster_turns import say, serve

_SCHEMA = pa.schema([("values", pa.float32())])


def stream(array: Any) -> Any:
    batch = pa.record_batch([pa.array(array.reshape(-1))], schema=_SCHEMA)
    return flight.RecordBatchStream(pa.RecordBatchReader.from_batches(_SCHEMA, [batch]))


def get(client: Any, *what: Any) -> Any:
    """An array that a task answers with."""
    batches = client.do_get(flight.Ticket(json.dumps(what).encode())).read_all()
    return batches.column(0).chunk(0).to_numpy()


def act(client: Any, *what: Any) -> None:
    """Have a task do something, and wait for it."""
    list(client.do_action(flight.Action("do", json.dumps(what).encode())))


class Task(flight.FlightServerBase):  # type: ignore[misc]
    """A ps, which keeps parameters, or, with the address of a ps, a worker."""

    def __init__(self, ps: str) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self.ps = flight.connect(ps) if ps else None
        self.values = {} if ps else {size: np.ones(size // 4, np.float32) for size in (HOPS | STEPS).values()}
        self.gradients: list[Any] = []

    def do_get(self, context: Any, ticket: Any) -> Any:
        what, size = json.loads(ticket.ticket)
        value = self.values[size] if self.ps is None else get(self.ps, "value", size)
        return stream(value[-1:] if what == "number" else value)

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        self.gradients.append(reader.read_all().column(0).chunk(0).to_numpy())

    def do_action(self, context: Any, action: Any) -> Any:
        what, *sizes = json.loads(action.body.to_pybytes())
        if what == "gradient":
            gradient = get(self.ps, "value", *sizes) * np.float32(0.5)
            writer, _ = self.ps.do_put(flight.FlightDescriptor.for_path("gradient"), _SCHEMA)
            writer.write_batch(pa.record_batch([pa.array(gradient)], schema=_SCHEMA))
            writer.close()
        elif what == "apply":
            gradients, self.gradients = self.gradients, []
            weights = self.values[sizes[0]] = self.values[sizes[0]].copy()  # what is on its way stays as it is
            weights -= np.float32(1e-6) * sum(gradients[1:], gradients[0])
        return []


def client(ps: Any, workers: list[Any]) -> None:
    threads = ThreadPoolExecutor(len(workers))

    def training(size: int) -> None:
        list(threads.map(lambda worker: act(worker, "gradient", size), workers))
        act(ps, "apply", size)

    steps: dict[str, Callable[[], object]] = {
        "null step": lambda: act(workers[0], "nothing"),
        "null step on all workers": lambda: list(threads.map(lambda worker: act(worker, "nothing"), workers)),
    }
    steps |= {f"hop {name}": partial(get, workers[0], "value", size) for name, size in HOPS.items()}
    steps |= {f"transfer {name}": partial(get, workers[0], "number", size) for name, size in TRANSFERS.items()}
    steps |= {f"training step {name}": partial(training, size) for name, size in STEPS.items()}
    assert np.array_equal(get(workers[0], "value", HOPS["4 KB"]), np.ones(1024, np.float32))
    serve(steps)


def main() -> None:
    if sys.argv[1:2] == ["task"]:
        task = Task(sys.argv[2])
        say(f"grpc://127.0.0.1:{task.port}")
        task.serve()
        return
    with ExitStack() as stack:
        addresses: list[str] = []
        for ps in (False, True, True):
            program = [sys.executable, __file__, "task", addresses[0] if ps else ""]
            process = stack.enter_context(subprocess.Popen(program, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            assert process.stdout is not None
            addresses.append(json.loads(process.stdout.readline()))
        ps_client, *workers = [flight.connect(address) for address in addresses]
        client(ps_client, workers)


if __name__ == "__main__":
    main()
