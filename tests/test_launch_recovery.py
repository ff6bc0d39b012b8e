"""Trainings under `weft launch` whose tasks are killed: they end with the bits of a training that nothing disturbs."""

from __future__ import annotations

import re
import secrets
import threading
from pathlib import Path

import launched_training
import numpy as np
import pytest
import weft as wf
from hosts import hosts, reason_against
from launching import eventually, programs, weft

pytestmark = pytest.mark.ray_nodes


def undisturbed(workers: int, steps: int) -> dict[str, bytes]:
    """The values of all variables after a training in this process."""
    with wf.Graph().as_default():
        inputs, train_op = launched_training.build_alone(wf.train.AdamOptimizer(0.01), workers)
        variables = wf.global_variables()
        with wf.Session() as session:
            session.run(wf.global_variables_initializer())
            for step in range(steps):
                session.run(train_op, {x: launched_training.batch(step, each) for each, x in enumerate(inputs)})
            values = session.run(variables)
    return {each.op.name: np.asarray(value).tobytes() for each, value in zip(variables, values, strict=True)}


def saved(folder: Path) -> dict[str, bytes]:
    """The values of all variables in the last checkpoint of a training in this folder."""
    place = str(folder / launched_training.FOLDER)
    return {name: wf.train.load_variable(place, name).tobytes() for name, _ in wf.train.list_variables(place)}


@pytest.mark.parametrize(
    ("workers", "servers", "kills"),
    [
        (1, 1, "ps0:3:5,worker0:9:0"),
        (2, 1, "worker1:2:0,worker0:7:3,worker1:11:5"),
        (2, 2, "worker0:3:5,ps1:7:2,worker0:12:0,ps0:13:1"),
    ],
    ids=["one worker", "two workers", "two ps"],
)
def test_a_training_with_killed_tasks_ends_with_the_bits_of_an_undisturbed_one(
    workers: int, servers: int, kills: str, tmp_path: Path
) -> None:
    """A ps, the chief, and one of two workers whose gradients, of different batches, make one update."""
    mark, program = secrets.token_hex(16), launched_training.__file__
    sizes = ["--ps", str(servers), "--workers", str(workers)]
    with weft(mark, tmp_path, *sizes, "--max-restarts", "9", program, f"--kill={kills}") as process:
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    for each in kills.split(","):
        task = each.partition(":")[0]
        assert f"weft launch: {task[:-1]} {task[-1]} on " in output
    assert output.count("was ended by signal 9; it is started again in") == kills.count(",") + 1
    assert saved(tmp_path) == undisturbed(workers, launched_training.STEPS)
    assert not programs(mark)


@pytest.mark.skipif(bool(reason_against()), reason=reason_against())
def test_when_a_host_is_lost_all_programs_start_again_with_its_task_elsewhere(tmp_path: Path) -> None:
    """Four hosts, one of which has nothing to do at first; the addresses of the tasks change, and the bits do not."""
    arguments = ["launch", "--ps=1", "--workers=2", launched_training.__file__, "--hold=3"]
    with hosts(4) as four:
        four.start_ray()
        launch = f"import os; os.chdir({str(tmp_path)!r}); from weft.cluster.launch.command import main; main()"
        command = ["-P", "-c", launch, arguments[0], f"--address={four.ray}", *arguments[1:]]
        with four.running(0, command) as process:
            assert process.stdout is not None
            told: list[str] = []
            reader = threading.Thread(target=lambda: told.extend(process.stdout or ()), daemon=True)
            reader.start()
            assert eventually((tmp_path / "held").exists, 200), told
            places = re.findall(r"weft launch: (\w+ \d) starts on \S+, ([\d.]+):\d+", "".join(told))
            task, lost = next((task, where) for task, where in places if where != four.addresses[0])
            four.kill(four.addresses.index(lost))
            (tmp_path / "go").touch()
            assert process.wait(200) == 0, "".join(told)
            reader.join()
    again = re.findall(rf"weft launch: {task} starts on \S+, ([\d.]+):\d+", "".join(told))
    assert len(again) > 1
    assert lost not in again[1:]
    assert "is lost: " in "".join(told)
    assert saved(tmp_path) == undisturbed(2, launched_training.STEPS)
