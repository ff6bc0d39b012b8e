"""The benchmark of a cluster trains what it says it trains, and measures a bare socket by the bytes that it transfers."""

import importlib
import importlib.util
import json
import secrets
import subprocess
import sys
from typing import Any

import pytest
import weft as wf
from clustered import free_ports
from tree import ROOT


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_a_cluster_trains_digits_to_the_losses_of_one_process(tmp_path: Any) -> None:
    training, workloads = importlib.import_module("cluster_training"), importlib.import_module("workloads")
    environment = {"WEFT_CLUSTER_SECRET": secrets.token_hex(32)}
    program = [
        str(ROOT / "benchmarks" / "cluster.py"),
        "--only",
        "training digits",
        "--rounds",
        "1",
        "--seconds",
        "0.01",
    ]
    compiles = importlib.util.find_spec("llvmlite") is not None
    ran = subprocess.run(
        [sys.executable, *program, "--json", *(["--peers", "llvm"] if compiles else [])],
        env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    (row,) = json.loads(ran.stdout)
    assert row["weft"]["difference"] == 0
    assert not compiles or row["llvm"]["losses"] == row["weft"]["losses"]
    training.save_digits(tmp_path / "digits.npz")
    with wf.Graph().as_default():
        model = training.Training(
            wf, "digits", training.digits(str(tmp_path / "digits.npz")), "/cpu:0", ("/cpu:0",) * 2
        )
        model.session = wf.Session()
        losses = model.losses()
    assert row["weft"]["losses"] == losses
    assert losses[0] == pytest.approx(2.3, abs=0.6)  # ten digits, and nothing learnt
    assert losses[-1] < losses[0] / 2
    assert len(losses) == training.COMPARED
    assert workloads.WORKLOADS["mlp_large"].about == "MLP 784-1024-1024-10, batch 256, Adam"


def test_losses_that_differ_are_said() -> None:
    report = importlib.import_module("cluster_report")
    figures = {"median": 1e-3, "least": 1e-3, "most": 1e-3}
    row = {"workload": "training digits", "bare": None, "weft": {**figures, "difference": 0.0}}
    assert "DIFFER" not in report.report([row | {"tf": {**figures, "difference": 1e-4}}], ["weft", "tf"])
    text = report.report([row | {"tf": {**figures, "difference": 0.5}}], ["weft", "tf", "ray"])
    assert "training digits, TF: LOSSES DIFFER by 5.0e-01" in text
    assert text.count(" - |") == 2  # Ray actors did not take part: no time, no ratio


def test_between_hosts_a_transfer_stands_beside_a_bare_socket() -> None:
    cluster, report = importlib.import_module("cluster"), importlib.import_module("cluster_report")
    (port,) = free_ports(1)
    program = [sys.executable, str(ROOT / "benchmarks" / "cluster_socket.py")]
    sender = cluster.Process("the sender", [*program, "sender", "127.0.0.1", str(port)])
    reader = None
    try:
        sender.answer(200)
        reader = cluster.Process("the reader", [*program, "reader", "127.0.0.1", str(port)])
        reader.answer(200)
        assert min(reader.measure("socket for 16 MB", 0.01)) > 0
    finally:
        for process in filter(None, (reader, sender)):
            process.end()
    rows = [{"workload": "transfer 16 MB", "bare": 0.009, "weft": {"median": 0.01}}]
    shown = report.report(rows, ["weft"], hosts=True)
    assert "of a socket's speed" in shown
    assert "0.90" in shown
    assert "0.8 of a socket's" in shown


def test_hosts_of_their_own_have_a_socket_between_them() -> None:
    cluster = importlib.import_module("cluster")
    hosts = importlib.import_module("hosts")
    if reason := hosts.reason_against():
        pytest.skip(reason)
    with cluster.two_hosts() as made, cluster.bare_socket(made) as reader:
        assert min(reader.measure("socket for 16 MB", 0.01)) > 0
