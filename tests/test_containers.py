"""Containers: what sessions share is kept in one, apart from what is in others, until it is reset."""

from pathlib import Path

import pytest
import weft as wf
from clustered import SERVE, local_cluster, programs
from endpoints import in_background


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept in the home of whoever runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_reset_forgets_a_container_everywhere_and_ends_sessions() -> None:
    cluster = local_cluster(ps=2)
    with programs() as start, wf.Graph().as_default():
        for index in range(2):
            start(SERVE.format(grace=600), cluster, "ps", index)
        with wf.device("/job:ps/task:0"):
            plain = wf.Variable(1.0, name="v")
        with wf.container("other"), wf.device("/job:ps/task:1"):
            kept = wf.Variable(2.0, name="w")
            twin = wf.Variable([3.0], name="u")
        with wf.device("/job:ps/task:1"):
            same_name = wf.Variable(5, name="u")
        target = f"weft://{cluster['ps'][0]}"
        session = wf.Session(target)
        session.run(wf.global_variables_initializer())
        wf.Session.reset(target, ["other"])
        with pytest.raises(wf.errors.AbortedError, match="was reset"):
            session.run(plain)
        with wf.Session(target) as session:
            assert session.run([plain, same_name]) == [1.0, 5]
            for variable in (kept, twin):
                with pytest.raises(wf.errors.FailedPreconditionError):
                    session.run(variable)
            session.run(kept.initializer)
        wf.Session.reset(target)
        with wf.Session(target) as session:
            assert session.run(kept) == 2.0
            assert session.run(wf.report_uninitialized_variables([plain, kept])).tolist() == [b"v"]


def test_queues_and_accumulators_are_kept_in_containers_and_a_reset_wakes_who_waits() -> None:
    cluster = local_cluster(ps=1)
    target = f"weft://{cluster['ps'][0]}"
    with programs() as start, wf.Graph().as_default(), wf.device("/job:ps"):
        start(SERVE.format(grace=600), cluster, "ps")
        queues, accumulators = [], []
        for container in ("", "other"):
            with wf.container(container):
                queues.append(wf.FIFOQueue(9, wf.int32, shapes=[()], shared_name="q", name=f"q{container}"))
                accumulators.append(wf.ConditionalAccumulator(wf.float32, [], shared_name="a", name=f"a{container}"))
        put, sizes = [each.enqueue(1) for each in queues], [each.size() for each in queues]
        add, counts = [each.apply_grad(1.0) for each in accumulators], [each.num_accumulated() for each in accumulators]
        with wf.Session(target) as session:
            session.run([put[0], add[0]])
            assert session.run([*sizes, *counts]) == [1, 0, 1, 0]
        for taken in (queues[1].dequeue_many(2), accumulators[1].take_grad(2)):
            waiting = wf.Session(target)
            ended = in_background(waiting.run, taken)
            with wf.Session(target) as session:
                session.run(put[1])
                if taken.op.type == "QueueDequeueManyV2":
                    while session.run(sizes[1]):  # it takes the one, and then waits for another
                        pass
            wf.Session.reset(target, ["other"])
            with pytest.raises(wf.errors.AbortedError, match="was reset"):
                ended()
        with wf.Session(target) as session:
            assert session.run([*sizes, *counts]) == [1, 0, 1, 0]


def test_variables_know_their_container_in_files_too() -> None:
    pytest.importorskip("tensorboardX")
    with wf.Graph().as_default() as graph, wf.container("outer"):
        one = wf.Variable(1.0, name="one")
        with wf.container("inner"):
            wf.cond(wf.constant(True), lambda: wf.Variable(2.0, name="two") + 0.0, lambda: wf.constant(0.0))
        assert graph.get_container() == "outer"
    assert graph.get_container() == ""
    found = {node.name: node.attr["container"].s for node in graph.as_graph_def().node if node.op == "VarHandleOp"}
    assert found == {"one": b"outer", "cond/two": b"inner"}
    with wf.Graph().as_default() as other:
        wf.import_graph_def(graph.as_graph_def(), name="")
        assert "container='outer'" in repr(other.get_operation_by_name(one.op.name).definition)
