"""`weft launch` for real: Ray, programs in processes of their own, their output, their ends."""

from __future__ import annotations

import re
import secrets
import signal
import time
from pathlib import Path

import pytest
import ray
from certificates import Authority
from launching import eventually, programs, weft
from weft.cluster.transports import tls

SUM = """
import os, signal, sys, time
import weft as wf
wf.app.flags.DEFINE_string("job_name", "", "")
wf.app.flags.DEFINE_integer("task_index", 0, "")
wf.app.flags.DEFINE_string("ps_hosts", "", "")
wf.app.flags.DEFINE_string("worker_hosts", "", "")
F = wf.app.flags.FLAGS
cluster = wf.train.ClusterSpec({"ps": F.ps_hosts.split(","), "worker": F.worker_hosts.split(",")})
server = wf.train.Server(cluster, job_name=F.job_name, task_index=F.task_index)
if F.job_name == "ps":
    server.join()
    sys.exit()
if F.task_index == 1 and not os.path.exists("tried"):
    open("tried", "w").close()
    print("about to die", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
with wf.device("/job:ps/task:0"):
    parts = [wf.get_variable(f"part{i}", [], initializer=wf.constant_initializer(10.0 + i)) for i in range(2)]
with wf.Session(server.target, config=wf.ConfigProto(device_filters=["/job:ps", f"/job:worker/task:{F.task_index}"])) as s:
    s.run(parts[F.task_index].initializer)
    while len(s.run(wf.report_uninitialized_variables())):
        time.sleep(0.05)
    print("the sum is", s.run(wf.add_n(parts)), flush=True)
"""


@pytest.fixture
def mark() -> str:
    return secrets.token_hex(16)


def test_a_worker_that_is_killed_is_started_again_and_the_job_succeeds(mark: str, tmp_path: Path) -> None:
    (tmp_path / "sum.py").write_text(SUM)
    with weft(mark, tmp_path, "--ps", "1", "--workers", "2", "sum.py") as process:
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert "[worker 1] about to die" in output
    assert "was ended by signal 9; it is started again in 1 s" in output
    for worker in ("worker 0", "worker 1"):
        assert f"[{worker}] the sum is 21.0" in output
    assert "the job has finished" in output
    assert not programs(mark)


def test_servers_speak_flight_with_certificates_and_nothing_starts_without(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sum.py").write_text(SUM.replace('print("the', 'print(server.target.partition(":")[0], "the'))
    monkeypatch.delenv(tls.USE, raising=False)
    with weft(mark, tmp_path, "--protocol", "flight", "sum.py") as process:
        output, _ = process.communicate(timeout=200)
    assert (process.returncode, output.startswith(f"Error: Flight needs TLS: set {tls.USE}=1, and ")) == (1, True), (
        output
    )
    here = ray.util.get_node_ip_address()
    for name, value in Authority(tmp_path, "authority").certificate("node", "127.0.0.1", here).items():
        monkeypatch.setenv(name, value)
    with weft(mark, tmp_path, "--protocol", "flight", "--ps", "1", "--workers", "2", "sum.py") as process:
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    for worker in ("worker 0", "worker 1"):
        assert f"[{worker}] flight the sum is 21.0" in output
    assert not programs(mark)


def test_a_job_that_fails_ends_with_its_exit_code_and_shows_the_last_lines(mark: str, tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text(
        "import os, sys\nprint('task', os.environ['TF_CONFIG'])\nsys.exit('no such luck')"
    )
    with weft(mark, tmp_path, "--max-restarts", "0", "fails.py", "--unknown=1") as process:
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 1, output
    assert "weft launch: worker 0 on " in output
    assert "ended with status 1" in output
    assert "the last it wrote:" in output
    assert output.count("no such luck") == 2
    assert '"task": {"type": "worker", "index": 0}' in output


def test_a_program_that_cannot_work_is_given_up_after_its_second_start(mark: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("import no_such_module")
    with weft(mark, tmp_path, "--ps", "1", "--workers", "1", "wrong.py") as process:
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 1, output
    starts = [line for line in output.splitlines() if re.match(r"weft launch: \S+ \d starts on ", line)]
    assert 2 < len(starts) < 5, output
    assert "It would fail again, so it is not started again (say --max-restarts" in output
    assert output.rstrip().endswith("ModuleNotFoundError: No module named 'no_such_module'")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["Ctrl-C", "kill", "kill -9"])
def test_no_program_outlives_its_launcher(mark: str, tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "waits.py").write_text("import time\nprint('waiting', flush=True)\ntime.sleep(600)")
    with weft(mark, tmp_path, "--workers", "2", "waits.py") as process:
        try:
            assert eventually(lambda: len(programs(mark)) == 2)
            process.send_signal(how)
            assert eventually(lambda: not programs(mark)), "they are still running"
            process.wait(100)
            assert process.returncode == (-how if how == signal.SIGKILL else 128 + how)
        finally:
            process.kill()


@pytest.mark.parametrize("seconds", [0.0, 1.0, 3.0])
def test_a_job_that_is_interrupted_while_ray_starts_ends(mark: str, tmp_path: Path, seconds: float) -> None:
    """Ray may swallow the exception: it is not lost."""
    (tmp_path / "waits.py").write_text("import time\nprint('waiting', flush=True)\ntime.sleep(600)")
    with weft(mark, tmp_path, "waits.py") as process:
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            assert eventually(lambda: bool(children.read_text()))  # they are Ray's
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=100)
            assert process.returncode == 128 + signal.SIGINT, output
            assert "weft launch: interrupted" in output
            assert not programs(mark)
        finally:
            process.kill()


def test_what_is_wrong_with_the_call_is_said_before_anything_is_started(mark: str, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("")
    (tmp_path / "wrong.py").write_text("import weft\ndef main(:\n    pass")
    (tmp_path / "null.py").write_bytes(b"\x00")
    for arguments, text in [
        (["--workers", "0", "--ps", "1", "x.py"], "needs a task that is no ps"),
        (["missing.py"], "No such file or directory: 'missing.py'"),
        (["x.py", "--me={nobody}"], "{nobody} stands for nothing"),
        (["--job", "chief", "x.py"], "'chief' is not NAME=COUNT"),
        (["--job", "worker=2", "x.py"], "'worker' has is said with --workers"),
        (["--job", "chief=1", "--job", "chief=2", "x.py"], "'chief' is named twice"),
        (["--worker", "2", "x.py"], "No such option '--worker'"),
        (["--ps", "1", "wrong.py"], "SyntaxError: "),
        (["null.py"], "null.py"),
    ]:
        with weft(mark, tmp_path, *arguments) as process:
            output, _ = process.communicate(timeout=200)
        assert process.returncode in (1, 2)
        assert text in output
        assert "Traceback" not in output
