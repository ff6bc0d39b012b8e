"""Trainings under `weft launch` whose tasks are killed: they end with the bits of a training that nothing disturbs."""

from __future__ import annotations

import secrets
from pathlib import Path

import launched_training
import numpy as np
import pytest
import weft as wf
from launching import programs, weft


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
        output, _ = process.communicate(timeout=100)
    assert process.returncode == 0, output
    for each in kills.split(","):
        task = each.partition(":")[0]
        assert f"weft launch: {task[:-1]} {task[-1]} on " in output
    assert output.count("was ended by signal 9; it is started again in") == kills.count(",") + 1
    folder = str(tmp_path / launched_training.FOLDER)
    saved = {name: wf.train.load_variable(folder, name).tobytes() for name, _ in wf.train.list_variables(folder)}
    assert saved == undisturbed(workers, launched_training.STEPS)
    assert not programs(mark)
