"""The main job: it learns, it shows what it does, and it ends with the same bits in all three ways of running it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import weft as wf
from click.testing import CliRunner
from weft.examples.train_digits import (
    Options,
    Result,
    build,
    load_data,
    main,
    run_cluster,
    run_devices,
    run_local,
    same,
)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    return Options(steps=120, checkpoints=str(tmp_path_factory.mktemp("checkpoints")))


@pytest.fixture(scope="module")
def local(options: Options) -> Result:
    return run_local(options)


def test_held_out_digits_are_read_with_97_percent_or_better(options: Options) -> None:
    assert run_local(replace(options, steps=Options.steps)).accuracy >= 0.97


def test_three_devices_in_one_process_give_the_bits_of_one(options: Options, local: Result) -> None:
    assert same(run_devices(options).weights, local.weights)


@pytest.mark.ray
def test_a_ray_cluster_gives_the_bits_of_one_process(options: Options, local: Result) -> None:
    cluster = run_cluster(options)
    assert same(cluster.weights, local.weights)
    assert cluster.accuracy == local.accuracy


def test_sameness_of_weights_is_of_every_bit(local: Result) -> None:
    other = {name: value.copy() for name, value in local.weights.items()}
    assert same(local.weights, other)
    other["b2"].view(np.uint32)[0] ^= 1
    assert not same(local.weights, other)


def test_the_checkpoint_holds_the_trained_weights(local: Result) -> None:
    model = build("/job:ps", ["/job:worker/task:0", "/job:worker/task:1"], 0.1)
    assert local.checkpoint is not None
    with wf.Session(config=wf.ConfigProto(allow_soft_placement=True)) as session:
        wf.train.Saver(model.variables).restore(session, local.checkpoint)
        values = session.run(model.variables)
    restored = {variable.op.name: value for variable, value in zip(model.variables, values, strict=True)}
    assert same(restored, local.weights)


def test_the_graph_puts_variables_on_the_ps_and_each_replica_on_its_worker() -> None:
    model = build("/job:ps", ["/job:worker/task:0", "/job:worker/task:1"], 0.1)
    assert {variable.device for variable in model.variables} == {"/job:ps/task:0"}
    operations = wf.get_default_graph().get_operations()
    for number in (0, 1):
        products = [op for op in operations if op.name.startswith(f"replica_{number}/") and op.type == "MatMul"]
        assert {op.device for op in products} == {f"/job:worker/task:{number}"}
        assert len(products) >= 6  # three forward; and backward, where gradients are colocated with what they belong to


def test_held_out_digits_are_not_trained_on() -> None:
    data = load_data()
    trained = {row.tobytes() for row in data.train_x}
    assert len(data.test_x) > 300
    assert sum(row.tobytes() in trained for row in data.test_x) == 0


def test_help_shows_an_example_and_what_may_be_said() -> None:
    text = CliRunner().invoke(main, ["--help"]).output
    for words in ("Example:", "--mode", "--demo", "--address", "--steps"):
        assert words in text


def test_a_run_ends_with_accuracy_speed_and_checkpoint(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--steps", "5", "--checkpoints", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "accuracy on held-out digits" in result.output
    assert "steps/s" in result.output
    assert f"checkpoint {tmp_path}" in result.output
