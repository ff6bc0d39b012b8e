"""What `weft launch` tells a program: TF_CONFIG, the secret, and the flags that programs of TensorFlow 1 read."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from weft.cluster.launch.program import Task, arguments, environment
from weft.cluster.launch.task import LaunchedTask

ADDRESSES = {"ps": ["a:1"], "worker": ["b:2", "c:3"]}
FLAGS = """
flags.DEFINE_string("ps_hosts", "", "")
flags.DEFINE_string('worker_hosts', "", "")
parser.add_argument("--job_name"); parser.add_argument('--task_index')
"""


def test_tf_config_names_the_cluster_and_the_task() -> None:
    variables = environment(Task("worker", 1), ADDRESSES, bytes(range(32)))
    assert json.loads(variables["TF_CONFIG"]) == {"cluster": ADDRESSES, "task": {"type": "worker", "index": 1}}
    assert bytes.fromhex(variables["WEFT_CLUSTER_SECRET"]) == bytes(range(32))
    assert variables["WEFT_PROTOCOL"] == "weft"
    assert environment(Task("ps", 0), ADDRESSES, bytes(32), "flight")["WEFT_PROTOCOL"] == "flight"


def test_a_program_gets_the_flags_that_it_speaks_of() -> None:
    expected = ["--steps=3", "--job_name=worker", "--task_index=1", "--ps_hosts=a:1", "--worker_hosts=b:2,c:3"]
    assert arguments(["--steps=3"], FLAGS, Task("worker", 1), ADDRESSES) == expected
    assert arguments([], "parse('--task_index')", Task("ps", 0), ADDRESSES) == ["--task_index=0"]
    assert arguments(["x"], "the job_name is nothing here", Task("ps", 0), ADDRESSES) == ["x"]


def test_a_flag_that_the_user_gives_is_not_given_twice() -> None:
    given = arguments(["--job_name=master", "--task_index", "5"], FLAGS, Task("worker", 1), ADDRESSES)
    assert given == ["--job_name=master", "--task_index", "5", "--ps_hosts=a:1", "--worker_hosts=b:2,c:3"]


def test_placeholders_say_where_what_is_known_goes() -> None:
    given = ["--me={job_name}:{task_index}", "--all={worker_hosts}", "x"]
    assert arguments(given, FLAGS, Task("worker", 1), ADDRESSES) == ["--me=worker:1", "--all=b:2,c:3", "x"]


def test_a_placeholder_for_nothing_is_an_error_that_says_what_there_is() -> None:
    with pytest.raises(
        ValueError, match=r"\{chief_hosts\} stands for nothing; known are \{job_name\}, .*\{worker_hosts\}"
    ):
        arguments(["{chief_hosts}"], "", Task("ps", 0), ADDRESSES)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "def f():\n    raise ValueError('my own')\nf()\n",
            ['  File "program.py", line 3, in <module>', "ValueError: my own"],
        ),
        ("def f(:\n", ['  File "program.py", line 1', "SyntaxError: invalid syntax"]),
    ],
)
def test_a_program_that_fails_shows_its_own_calls_alone(text: str, shown: list[str], tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(text)
    command = [sys.executable, "-P", "-m", "weft.cluster.launch.child", str(os.getpid()), "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert (lines[0] if len(lines) < 5 else lines[1], lines[-1]) == (shown[0], shown[1])
    assert "runpy" not in done.stderr
    assert "child.py" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets two sockets share an address")
def test_nobody_is_given_the_port_of_a_program_before_it_listens_or_while_it_is_started_again() -> None:
    task = LaunchedTask()
    host, _, port = task.place().address.rpartition(":")
    place = host.strip("[]"), int(port)
    family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
    assert task._held is not None
    with task._held:
        for _ in range(2):
            with socket.socket(family) as other, pytest.raises(OSError, match="Address already in use"):
                other.bind(place)
            with socket.create_server(place, family=family) as program, socket.create_connection(place, 60) as client:
                server, _ = program.accept()
                with server:
                    server.sendall(b"x")
                    assert client.recv(1) == b"x"
