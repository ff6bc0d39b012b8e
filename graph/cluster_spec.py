"""ClusterSpec: the jobs of a cluster and their tasks, as a value; and the plain records that TF passes it around in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class JobDef:
    """A job and its tasks' addresses by index. Source: `tf.train.JobDef`."""

    name: str = ""
    tasks: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class ClusterDef:
    """The jobs of a cluster. Source: `tf.train.ClusterDef`."""

    job: list[JobDef] = field(default_factory=list)


@dataclass(slots=True)
class ServerDef:
    """A task of a cluster: what a `train.Server` is made from. Source: `tf.train.ServerDef`."""

    cluster: ClusterDef = field(default_factory=ClusterDef)
    job_name: str = ""
    task_index: int = 0
    protocol: str = ""
    default_session_config: Any = None


class ClusterSpec:
    """Jobs and tasks: `{"ps": 1, "worker": 2}` (counts), or host:port lists or index→address maps as in TensorFlow.

    A ClusterDef and another ClusterSpec are taken as well.
    Source: `tf.train.ClusterSpec`. Raises TypeError for what is none of these, ValueError for a job without tasks.
    """

    def __init__(self, cluster: Any) -> None:
        if isinstance(cluster, ClusterSpec):
            cluster = cluster._jobs
        elif not isinstance(cluster, Mapping) and hasattr(cluster, "job"):  # a ClusterDef, of weft or of TensorFlow
            cluster = {job.name: job.tasks for job in cluster.job}
        if not isinstance(cluster, Mapping):
            raise TypeError(
                "`cluster` must be a dictionary mapping one or more job names to counts or lists of addresses."
            )
        #: For each job its tasks' addresses by index, "" where the task may be anywhere.
        self._jobs: dict[str, dict[int, str]] = {str(job): _tasks(str(job), tasks) for job, tasks in cluster.items()}

    @property
    def jobs(self) -> list[str]:
        """The names of the jobs."""
        return sorted(self._jobs)

    def num_tasks(self, job_name: str) -> int:
        """How many tasks a job has. Raises ValueError for an unknown job."""
        return len(self._job(job_name))

    def task_indices(self, job_name: str) -> list[int]:
        """The indices of a job's tasks. Raises ValueError for an unknown job."""
        return sorted(self._job(job_name))

    def task_address(self, job_name: str, task_index: int) -> str:
        """A task's host:port, "" when it may be anywhere. Raises ValueError for an unknown job or index."""
        if task_index not in self._job(job_name):
            raise ValueError(f"No task with index {task_index} in job '{job_name}'")
        return self._jobs[job_name][task_index]

    def job_tasks(self, job_name: str) -> list[str]:
        """The addresses of a job's tasks. Raises ValueError for an unknown job."""
        return [address for _, address in sorted(self._job(job_name).items())]

    def tasks(self) -> list[tuple[str, int]]:
        """Every (job, index), jobs by name."""
        return [(job, index) for job in self.jobs for index in self.task_indices(job)]

    def as_dict(self) -> dict[str, Any]:
        """The jobs as TF gives them: a list of addresses each, or a map where indices are missing."""
        result: dict[str, Any] = {}
        for job, tasks in self._jobs.items():
            dense = sorted(tasks) == list(range(len(tasks)))
            result[job] = self.job_tasks(job) if dense else dict(tasks)
        return result

    def as_cluster_def(self) -> ClusterDef:
        """The jobs as a ClusterDef, by name."""
        return ClusterDef([JobDef(job, dict(self._jobs[job])) for job in self.jobs])

    def _job(self, name: str) -> dict[int, str]:
        if name not in self._jobs:
            raise ValueError(f"No such job in cluster: '{name}'; there are {', '.join(self.jobs) or 'none'}")
        return self._jobs[name]

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClusterSpec) and self._jobs == other._jobs

    def __hash__(self) -> int:
        return hash(str(sorted(self._jobs.items())))

    def __repr__(self) -> str:
        return f"ClusterSpec({self.as_dict()})"


def _tasks(job: str, tasks: Any) -> dict[int, str]:
    if isinstance(tasks, int) and not isinstance(tasks, bool):
        found = dict.fromkeys(range(tasks), "")
    elif isinstance(tasks, Mapping):
        found = {int(index): str(address) for index, address in tasks.items()}
    elif isinstance(tasks, (list, tuple)):
        found = {index: str(address) for index, address in enumerate(tasks)}
    else:
        raise TypeError(
            f"the tasks of job '{job}' are a count, a list or a map of addresses, got {type(tasks).__name__}"
        )
    if not found or min(found) < 0:
        raise ValueError(f"job '{job}' needs at least one task, with indices from 0: got {tasks!r}")
    return found
