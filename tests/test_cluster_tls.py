"""A cluster on a Ray that uses TLS: weft's own connections do, too, over TCP or through Flight, and the bits are the same."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from certificates import Authority
from weft.cluster.on_ray import connection as ray_connection

pytestmark = pytest.mark.ray_nodes

PROGRAM = """
import sys
import weft as wf
sys.path.insert(0, sys.argv[2])
from test_cluster import train
with wf.cluster.start({"ps": 1, "worker": 2}, transport=sys.argv[1]) as cluster:
    there = train(cluster.target, steps=3)
    with wf.Session(cluster.target) as session:
        kinds = sorted({type(link).__name__ for link in session._engine._links._connections.values()})
print(there == train("", steps=3), kinds, sorted({scheme for task in cluster.tasks for scheme in task.addresses}))
"""


@pytest.mark.parametrize(
    ("transport", "says"),
    [("tcp", "True ['TcpConnection'] ['shm', 'tcp']"), ("flight", "True ['FlightConnection'] ['flight']")],
)
def test_training_over_encrypted_connections_has_the_same_bits(transport: str, says: str, tmp_path: Path) -> None:
    here = ray.util.get_node_ip_address()
    variables = Authority(tmp_path, "authority").certificate("node", "127.0.0.1", here)
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | variables
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, transport, str(Path(__file__).parent)],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.stdout.strip().splitlines()[-1:] == [says], done.stderr


@pytest.mark.parametrize("yes", ["1", "true", "True"])
def test_a_ray_with_tls_need_not_speak_first(yes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray takes all of these for a yes."""
    monkeypatch.setenv("RAY_USE_TLS", yes)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ray_connection._check_answers(f"127.0.0.1:{listener.getsockname()[1]}")
