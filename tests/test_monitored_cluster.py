"""Monitored sessions over tasks that are lost: another session on new tasks goes on from the last checkpoint."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import weft as wf
from scripted import A, B, nothing_left_soon, session, workers
from weft import train
from weft.cluster.task.worker import Worker
from weft.graph import errors
from weft.runtime import targets
from weft.train.events.writing import FileWriterCache

pytestmark = pytest.mark.counts


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    with nothing_left_soon():
        yield
        FileWriterCache.clear()


class Clusters:
    """What sessions on `here://` run on: two new tasks each."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.made: list[list[Worker]] = []

    def engine(self, target: str, config: Any) -> Any:
        tasks = self.stack.enter_context(workers(A, B))
        self.made.append(tasks)
        return self.stack.enter_context(session(tasks))


@pytest.fixture
def clusters() -> Iterator[Clusters]:
    with ExitStack() as stack:
        found = Clusters(stack)
        targets.register_engine("here", found.engine)
        stack.callback(targets._SERVED.pop, "here")
        yield found


def model() -> Any:
    """A training whose variable is on one task and whose loss is on the other."""
    with wf.device(A):
        step = train.create_global_step()
        w = wf.Variable([1.0, 2.0, 3.0], name="w")
    with wf.device(B):
        loss = wf.reduce_sum(wf.square(w - 0.25))
    with wf.control_dependencies([loss]):
        return train.AdamOptimizer(0.05).minimize(loss, global_step=step)


def trained(folder: Path, last: int, target: str, lose: Any = None, **arguments: Any) -> bytes:
    """The bytes of the checkpoint after `last` steps; `lose` is called before each run."""
    with wf.Graph().as_default():
        train_op = model()
        with train.MonitoredTrainingSession(
            target, checkpoint_dir=str(folder), hooks=[train.StopAtStepHook(last_step=last)], save_checkpoint_steps=1,
            recovery=train.RecoveryPolicy(backoff_secs=0.0), config=arguments.get("config"),
        ) as training:  # fmt: skip
            while not training.should_stop():
                if lose is not None:
                    lose()
                training.run(train_op)
    names = [name for name, _ in train.list_variables(str(folder))]
    return b"".join(train.load_variable(str(folder), name).tobytes() for name in names)


def test_a_training_whose_tasks_are_lost_ends_with_the_bits_of_an_undisturbed_one(
    clusters: Clusters, tmp_path: Path
) -> None:
    local = trained(tmp_path / "local", 8, "", config=wf.ConfigProto(allow_soft_placement=True))
    assert trained(tmp_path / "cluster", 8, "here://") == local
    assert len(clusters.made) == 1
    runs = iter(range(100))

    def lose() -> None:
        run = next(runs)
        if run in (2, 5):
            clusters.made[-1][run % 2].close()

    assert trained(tmp_path / "lost", 8, "here://", lose) == local
    assert len(clusters.made) == 4  # one undisturbed, and two losses


def test_tasks_that_are_always_lost_end_the_training(clusters: Clusters, tmp_path: Path) -> None:
    def lose() -> None:
        clusters.made[-1][1].close()

    wf.set_random_seed(1)
    train_op = model()
    policy = train.RecoveryPolicy(max_recoveries=2, backoff_secs=0.0)

    class Loses(train.SessionRunHook):
        def before_run(self, run_context: Any) -> None:
            lose()

    with train.MonitoredTrainingSession("here://", hooks=[Loses()], recovery=policy) as training:
        with pytest.raises(errors.UnavailableError) as raised:
            training.run(train_op)
        assert "after 2 recoveries" in raised.value.__notes__[0]
    assert len(clusters.made) == 3
