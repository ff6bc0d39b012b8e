"""Trainings under `weft launch` whose tasks are killed: they end with the bits of a training that nothing disturbs."""

from __future__ import annotations

import secrets
from pathlib import Path

import launched_training
import numpy as np
import pytest
import weft as wf
from launching import programs, weft


def undisturbed() -> dict[str, bytes]:
    """The values of all variables after a training in this process."""
    with wf.Graph().as_default():
        x, _, train_op = launched_training.build(wf.train.AdamOptimizer(0.01))
        variables = wf.global_variables()
        with wf.Session() as session:
            session.run(wf.global_variables_initializer())
            for step in range(launched_training.STEPS):
                session.run(train_op, {x: launched_training.batch(step)})
            values = session.run(variables)
    return {each.op.name: np.asarray(value).tobytes() for each, value in zip(variables, values, strict=True)}


@pytest.mark.parametrize(("killed", "workers"), [("ps0", 1), ("worker0", 1), ("worker1", 2)])
def test_a_training_with_a_killed_task_ends_with_the_bits_of_an_undisturbed_one(
    killed: str, workers: int, tmp_path: Path
) -> None:
    """The ps, the chief, and one of two workers whose gradients make one update."""
    mark, program = secrets.token_hex(16), launched_training.__file__
    with weft(mark, tmp_path, "--ps", "1", "--workers", str(workers), program, f"--kill={killed}") as process:
        output, _ = process.communicate(timeout=100)
    assert process.returncode == 0, output
    assert f"weft launch: {killed[:-1]} {killed[-1]} on " in output
    assert "was ended by signal 9; it is started again in 1 s" in output
    assert "failures mended: 1" in output
    folder = str(tmp_path / launched_training.FOLDER)
    saved = {name: wf.train.load_variable(folder, name).tobytes() for name, _ in wf.train.list_variables(folder)}
    assert saved == undisturbed()
    assert not programs(mark)
