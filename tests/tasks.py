"""A session over tasks in this process: what a cluster does, without Ray."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

import weft as wf
from endpoints import SECRET
from weft.cluster.session.engine import ClusterEngine
from weft.cluster.task.worker import Worker
from weft.runtime import targets

TASKS = ("/job:a/replica:0/task:0", "/job:b/replica:0/task:0")


@contextmanager
def session_of_tasks(
    config: wf.ConfigProto | None = None, tasks: Sequence[str] = TASKS, transport: str = "shm"
) -> Iterator[wf.Session]:
    """A session of the default graph over tasks, with the config's backend."""
    config = config or wf.ConfigProto()
    with ExitStack() as stack:
        workers = [stack.enter_context(closing(Worker(name, SECRET, transports=[transport]))) for name in tasks]
        addresses = {worker.name: worker.addresses[transport] for worker in workers}
        targets.register_engine(
            "tasks", lambda target, config: ClusterEngine(addresses, SECRET, {}, backend=config.backend)
        )
        stack.callback(targets._SERVED.pop, "tasks")
        yield stack.enter_context(wf.Session("tasks://here", config=config))
