"""`ray job submit` of the main job to a Ray head of this machine, as docs/deploy.md says it."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clustered import free_ports

pytestmark = pytest.mark.ray_nodes

RAY = ["-m", "ray.scripts.scripts"]
EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def head() -> Iterator[tuple[str, dict[str, str], str]]:
    """A Ray head with a dashboard and a token, apart from all others of this machine.

    Its address, the environment, and the Python to call Ray with: through a link, because Ray starts some of its processes
    by a shell without quoting, and the checkout may lie under a path with a space.
    """
    folder = tempfile.mkdtemp(prefix="ray-")  # short: Ray's sockets lie in it, and their names have a limit
    Path(folder, "venv").symlink_to(sys.prefix)
    python = str(Path(folder, "venv", "bin", "python"))
    token = secrets.token_hex(32)
    environment = dict(os.environ) | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_TMPDIR": folder}
    environment.pop("RAY_ADDRESS", None)
    port, dashboard, client, agent, agent_grpc = free_ports(5)
    options = [
        "--head", "--block", "--num-cpus=4", "--node-ip-address=127.0.0.1", f"--port={port}", f"--temp-dir={folder}",
        "--include-dashboard=true", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}",
        f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}",
        f"--object-store-memory={100 << 20}", "--disable-usage-stats",
    ]  # fmt: skip
    with Path(folder, "output").open("w") as output:
        process = subprocess.Popen(
            [python, *RAY, "start", *options], env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_for_dashboard(dashboard, process, Path(folder, "output"))
        yield f"http://127.0.0.1:{dashboard}", environment, python
    finally:
        process.terminate()  # it ends what it has started, and nobody else's Ray, as `ray stop` would
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        end_all(token)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_dashboard(port: int, process: "subprocess.Popen[bytes]", output: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, output.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=10).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"no dashboard within 120 s: {output.read_text()}")


def end_all(token: str) -> None:
    """Kill the processes that were given this token."""
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and token.encode() in (process / "environ").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:  # it has ended
            continue


def test_the_main_job_runs_as_a_ray_job(head: tuple[str, dict[str, str], str], tmp_path: Path) -> None:
    address, environment, python = head
    command = [python, "train_digits.py", "--mode", "cluster", "--address", "auto", "--steps", "20"]

    def job(verb: str, *arguments: str) -> str:
        done = subprocess.run(
            [python, *RAY, "job", verb, "--address", address, *arguments],
            env=environment, cwd=tmp_path, text=True, timeout=200, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    # Without waiting: the connection that follows a job's output is sometimes lost, and the job is none the worse for it.
    job("submit", "--no-wait", "--submission-id", "digits", "--working-dir", str(EXAMPLES), "--", *command,
        "--checkpoints", str(tmp_path))  # fmt: skip
    deadline = time.monotonic() + 200
    while "SUCCEEDED" not in (status := job("status", "digits").upper()):
        assert "FAILED" not in status, job("logs", "digits")
        assert time.monotonic() < deadline, status
        time.sleep(0.5)
    output = job("logs", "digits")
    assert "accuracy on held-out digits" in output
    for task in ("/job:ps/replica:0/task:0", "/job:worker/replica:0/task:0", "/job:worker/replica:0/task:1"):
        assert f"{task} on " in output
    assert list(tmp_path.iterdir()), "the checkpoint is where it was asked for"
