"""What the tests of cluster sessions share: tasks in this process, real ones and such as follow a script, and plans for them."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import numpy as np
from endpoints import SECRET, in_background, nothing_left, running_threads
from weft.cluster.session.engine import ClusterEngine
from weft.cluster.task.worker import Worker
from weft.cluster.transports.transport import Connection, listen
from weft.cluster.wire.message import Message
from weft.cluster.wire.protocol import Kind
from weft.graph import errors
from weft.graph.ops.literal import Literal
from weft.runtime.stages.plan import Fetch, Load, Plan, Receive, Send, StepPlan, TakeFeed

A, B = "/job:a/replica:0/task:0", "/job:b/replica:0/task:0"
CPU_A, CPU_B = f"{A}/device:CPU:0", f"{B}/device:CPU:0"
#: Each task returns what it is fed.
ECHO = StepPlan((Plan(CPU_A, (TakeFeed(0, 0, "x"), Fetch(0, 0, False)), 0),
                 Plan(CPU_B, (TakeFeed(0, 1, "y"), Fetch(0, 1, False)), 0)), 2)  # fmt: skip
#: Task a sends what it is fed to task b, which returns it.
HOP = StepPlan((Plan(CPU_A, (TakeFeed(0, 0, "x"), Send(0, 7, CPU_B, "x")), 0),
                Plan(CPU_B, (Receive(0, 7, CPU_A, "x"), Fetch(0, 0, False)), 0)), 1)  # fmt: skip
ONE = StepPlan(HOP.plans[:1], 0)
ONLY_A = StepPlan((Plan(CPU_A, (TakeFeed(0, 0, "x"), Fetch(0, 0, False)), 0),), 1)
X = np.arange(50_000.0)


def constant(value: np.ndarray[Any, Any]) -> StepPlan:
    """Task a returns a value that stands in its plan."""
    return StepPlan((Plan(CPU_A, (Load(0, Literal(value), "c"), Fetch(0, 0, False)), 0),), 1)


#: More than a socket holds.
HUGE = constant(np.ones(3_000_000))


@contextmanager
def nothing_left_soon() -> Iterator[None]:
    """A block that leaves nothing, but what a closed worker leaves to end by itself."""
    with nothing_left():
        before = running_threads()
        yield
        deadline = time.monotonic() + 60
        while not running_threads() <= before and time.monotonic() < deadline:
            time.sleep(0.01)


@contextmanager
def workers(*names: str) -> Iterator[list[Worker]]:
    """Tasks that know each other."""
    with ExitStack() as stack:
        made = [stack.enter_context(closing(Worker(name, SECRET))) for name in names]
        yield made


@contextmanager
def session(made: list[Worker], **options: Any) -> Iterator[ClusterEngine]:
    addresses = {worker.name: worker.addresses["shm"] for worker in made}
    with closing(ClusterEngine(addresses, SECRET, {}, **options)) as engine:
        yield engine


Script = Callable[[Connection, Message], Any]


@contextmanager
def scripted(script: Script, pings: bool = True, **options: Any) -> Iterator[ClusterEngine]:
    """A session whose task `a` is a script: what it does about each message but PING, which is answered if so told."""

    def serve() -> None:
        with closing(listener.accept(60)) as connection:
            try:
                while True:
                    message = connection.recv()
                    if message.kind == Kind.HELLO:
                        connection.send(Message(Kind.READY, 0, 0))
                    elif message.kind != Kind.PING:
                        script(connection, message)
                    elif pings:
                        connection.send(Message(Kind.PONG, 0, message.step, meta=b"was idle"))
            except (errors.UnavailableError, errors.CancelledError):
                return

    with closing(listen("shm", SECRET)) as listener:
        serving = in_background(serve)
        with closing(ClusterEngine({A: listener.address}, SECRET, {A: "host (process 7)"}, **options)) as engine:
            yield engine
        serving()


@contextmanager
def silent(messages: int = 0, **options: Any) -> Iterator[ClusterEngine]:
    """A session whose task `a`, reached by TCP, takes so many messages after HELLO, loads plans, and then takes nothing more."""
    done = threading.Event()

    def serve() -> None:
        with closing(listener.accept(60)) as connection:
            connection.recv(60)
            connection.send(Message(Kind.READY, 0, 0))
            for _ in range(messages):
                loads(connection, connection.recv(60))
            done.wait(60)

    with closing(listen("tcp", SECRET)) as listener:
        serving = in_background(serve)
        with closing(ClusterEngine({A: listener.address}, SECRET, {A: "host (process 7)"}, **options)) as engine:
            yield engine
        done.set()
        serving()


def loads(connection: Connection, message: Message) -> bool:
    """Whether a message was a plan, which is answered as if it was loaded."""
    if message.kind == Kind.LOAD:
        connection.send(Message(Kind.LOADED, 0, message.step, message.edge))
    return bool(message.kind == Kind.LOAD)


def soon(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
