"""ClusterSpec: what makes one, what it tells, and what neither it nor the start of a cluster takes."""

from typing import Any

import pytest
import weft as wf
from weft.graph.cluster_spec import ClusterSpec


def test_counts_lists_and_maps() -> None:
    spec = ClusterSpec({"worker": ["a:1", "b:2"], "ps": 1, "evaluator": {3: "c:4", 1: "d:5"}})
    assert spec.jobs == ["evaluator", "ps", "worker"]
    assert [spec.num_tasks(job) for job in spec.jobs] == [2, 1, 2]
    assert spec.task_indices("evaluator") == [1, 3]
    assert spec.task_address("worker", 1) == "b:2"
    assert spec.task_address("ps", 0) == ""
    assert spec.job_tasks("evaluator") == ["d:5", "c:4"]
    assert spec.tasks() == [("evaluator", 1), ("evaluator", 3), ("ps", 0), ("worker", 0), ("worker", 1)]


def test_it_is_the_facades() -> None:
    assert wf.train.ClusterSpec is ClusterSpec


def test_as_dict_makes_the_same_spec_again() -> None:
    spec = ClusterSpec({"worker": ["a:1", "b:2"], "evaluator": {3: "c:4"}})
    assert spec.as_dict() == {"worker": ["a:1", "b:2"], "evaluator": {3: "c:4"}}
    assert ClusterSpec(spec.as_dict()) == spec == ClusterSpec(spec)
    assert hash(ClusterSpec(spec)) == hash(spec)
    assert repr(spec) == "ClusterSpec({'worker': ['a:1', 'b:2'], 'evaluator': {3: 'c:4'}})"


def test_equality_and_truth() -> None:
    assert ClusterSpec({"ps": 1}) != ClusterSpec({"ps": 2})
    assert ClusterSpec({"ps": 1}) != {"ps": 1}
    assert not ClusterSpec({})
    assert ClusterSpec({"ps": 1})


@pytest.mark.parametrize("cluster", [None, 3, "worker", ["a:1"], {"worker": "a:1"}, {"worker": None}, {"worker": True}])
def test_what_is_no_cluster(cluster: Any) -> None:
    with pytest.raises(TypeError, match=r"must be a dictionary|are a count, a list or a map of addresses"):
        ClusterSpec(cluster)


@pytest.mark.parametrize("tasks", [0, -1, [], {}, {-1: "a:1"}])
def test_a_job_has_tasks(tasks: Any) -> None:
    with pytest.raises(ValueError, match="job 'worker' needs at least one task"):
        ClusterSpec({"worker": tasks})


def test_unknown_jobs_and_tasks() -> None:
    spec = ClusterSpec({"worker": 2, "ps": 1})
    for ask in (spec.num_tasks, spec.task_indices, spec.job_tasks, lambda job: spec.task_address(job, 0)):
        with pytest.raises(ValueError, match="No such job in cluster: 'chief'; there are ps, worker"):
            ask("chief")
    with pytest.raises(ValueError, match="No task with index 2 in job 'worker'"):
        spec.task_address("worker", 2)


def test_starting_refuses_what_is_no_cluster() -> None:
    def start(cluster: Any, **options: Any) -> None:
        wf.cluster.start(cluster, **options)

    with pytest.raises(ValueError, match="transport must be 'auto', 'tcp', 'shm' or 'flight', got 'pigeon'"):
        start({"worker": 1}, transport="pigeon")
    with pytest.raises(TypeError, match="must be a dictionary"):
        start(3)
    for address in ("somewhere", ":99", "host:99999999"):
        with pytest.raises(ValueError, match=r"/job:worker/replica:0/task:0 must be host:port"):
            start({"worker": [address]})
    with pytest.raises(ValueError, match=r"host of /job:worker/replica:0/task:0, 'no.such.host.invalid', is not known"):
        start({"worker": ["no.such.host.invalid:2222"]})


def test_an_unknown_cluster() -> None:
    wf.constant(1.0)
    with pytest.raises(wf.errors.NotFoundError, match="No cluster of this process is running as 'weft://nobody'"):
        wf.Session("weft://nobody")
