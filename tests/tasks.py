"""A session over two tasks in this process: what a cluster does, without Ray."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import weft as wf
from endpoints import SECRET
from weft.cluster.session.engine import ClusterEngine
from weft.cluster.task.worker import Worker
from weft.runtime import targets

TASKS = ("/job:a/replica:0/task:0", "/job:b/replica:0/task:0")


@contextmanager
def session_of_tasks(config: wf.ConfigProto | None = None) -> Iterator[wf.Session]:
    """A session of the default graph over TASKS, with the config's backend."""
    config = config or wf.ConfigProto()
    with ExitStack() as stack:
        workers = [stack.enter_context(closing(Worker(name, SECRET))) for name in TASKS]
        addresses = {worker.name: worker.addresses["shm"] for worker in workers}
        targets.register_engine(
            "tasks", lambda target, config: ClusterEngine(addresses, SECRET, {}, backend=config.backend)
        )
        stack.callback(targets._SERVED.pop, "tasks")
        yield stack.enter_context(wf.Session("tasks://here", config=config))
