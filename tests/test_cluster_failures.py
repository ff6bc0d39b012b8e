"""What ends badly: tasks and drivers that are killed, stopped or interrupted, and clusters that cannot start."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import signals
import weft as wf
from clustered import free_ports
from endpoints import in_background, running_threads
from weft.cluster import Cluster
from weft.cluster.on_ray import tasks as ray_cluster
from weft.cluster.transports import transport
from weft.cluster.transports.transport import Location

PS, WORKER0, WORKER1 = (f"/job:{task}" for task in ("ps/task:0", "worker/task:0", "worker/task:1"))

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", autouse=True)
def ray_stays() -> Iterator[None]:
    """A small cluster that lives as long as these tests do, so that Ray is started once for the others."""
    with wf.cluster.start({"holder": 1}):
        yield


@pytest.fixture
def cluster(ray_stays: None) -> Iterator[Cluster]:
    with wf.cluster.start({"ps": 1, "worker": 2}) as cluster:
        yield cluster


def send(signal_number: int, cluster: Cluster, task: str) -> None:
    (pid,) = [info.pid for info in cluster.tasks if info.name.startswith(task)]
    signals.send(signal_number, pid)


def slow(device: str, operations: int = 400) -> tuple[wf.Tensor, wf.Tensor]:
    """Something to feed, and what takes many seconds to compute from it, operation by operation."""
    with wf.device(device):
        fed = wf.placeholder(wf.float64, [None])
        value = fed
        for _ in range(operations):
            value = wf.sin(value)
    return fed, value


NUMBERS = np.linspace(0, 1, 1 << 20)


# tasks


def test_a_worker_is_killed_in_a_step(cluster: Cluster) -> None:
    fed, value = slow(WORKER1)
    with wf.device(PS):
        total = wf.reduce_sum(value)
    with wf.device(WORKER0):
        elsewhere = wf.constant(1.0) + wf.placeholder_with_default(1.0, [])
    with wf.Session(cluster.target) as session:
        running = in_background(session.run, total, {fed: NUMBERS})
        time.sleep(1)
        send(signal.SIGKILL, cluster, "/job:worker/replica:0/task:1")
        with pytest.raises(wf.errors.UnavailableError) as caught:
            running()
        assert caught.value.message.startswith("Task /job:worker/replica:0/task:1 on ")
        assert " is gone: " in caught.value.message
        with pytest.raises(wf.errors.UnavailableError, match=r"task:1 on .* is gone"):
            session.run(total, {fed: NUMBERS})
        assert session.run(elsewhere) == 2.0, "steps that do without the task go on"
    told = r"/job:worker/replica:0/task:1.* on \S+ \(process \d+\).*`Cluster\.recover\(\)`"
    with pytest.raises(wf.errors.UnavailableError, match=told):
        wf.Session(cluster.target)


def test_the_ps_is_killed_while_the_workers_wait_or_compute(cluster: Cluster) -> None:
    with wf.device(PS):
        v = wf.Variable(1.0)
        big, from_ps = slow(PS)
    with wf.device(WORKER0):
        waits = from_ps * wf.cast(v, wf.float64)
    fed, computes = slow(WORKER1)
    with wf.Session(cluster.target) as session:
        session.run(v.initializer)
        running = in_background(session.run, [waits, computes], {big: NUMBERS, fed: NUMBERS})
        time.sleep(1)
        send(signal.SIGKILL, cluster, "/job:ps")
        with pytest.raises(wf.errors.UnavailableError, match=r"Task /job:ps/replica:0/task:0 on .* is gone"):
            running()


def test_a_worker_that_hangs_in_a_step_and_comes_back(cluster: Cluster) -> None:
    """A large feed is more than the socket holds, so that not even sending it ends."""
    with wf.device(WORKER1):
        fed = wf.placeholder(wf.float32, [None])
        value = wf.reduce_sum(fed)
    config, patient = wf.ConfigProto(operation_timeout_in_ms=500), wf.RunOptions(timeout_in_ms=60_000)
    with wf.Session(cluster.target, config=config) as session:
        assert session.run(value, {fed: np.ones(10)}, options=patient) == 10
        send(signal.SIGSTOP, cluster, "/job:worker/replica:0/task:1")
        with pytest.raises(wf.errors.DeadlineExceededError, match="task:1 was still busy"):
            session.run(value, {fed: np.ones(10)})
        send(signal.SIGCONT, cluster, "/job:worker/replica:0/task:1")
        assert session.run(value, {fed: np.ones(10)}, options=patient) == 10


def test_a_step_that_takes_too_long_says_who_waits_for_whom(cluster: Cluster) -> None:
    with wf.device(PS):
        fed = wf.placeholder(wf.float32, [None])
        there = wf.add(fed, 1.0, name="there")
    with wf.device(WORKER0):
        back = there * 2.0
    feeds = {fed: np.ones(10_000)}
    with wf.Session(cluster.target) as session:
        session.run(back, feeds)
        send(signal.SIGSTOP, cluster, "/job:ps")
        with pytest.raises(wf.errors.DeadlineExceededError) as caught:
            session.run(back, feeds, options=wf.RunOptions(timeout_in_ms=1000))
        send(signal.SIGCONT, cluster, "/job:ps")
        message = caught.value.message
        assert "The step took longer than 1 s" in message
        assert "/job:worker/replica:0/task:0 had waited for 'there' of /job:ps/replica:0/task:0 for " in message
        assert "/job:ps/replica:0/task:0 was still busy 2 s after it was told to stop" in message
        for step in range(5):
            assert set(session.run(back, {fed: np.full(10_000, step)}).tolist()) == {2.0 * step + 2}


def test_a_worker_that_takes_no_more_messages_is_cut_off() -> None:
    """A feed that is more than a socket holds cannot be sent to a task that hangs: that must end, too."""
    with wf.cluster.start({"worker": 1}, transport="tcp") as cluster:
        with wf.device(WORKER0):
            fed = wf.placeholder(wf.float32, [None])
            value = wf.reduce_sum(fed)
        with wf.Session(cluster.target) as session:
            large = np.ones(25_000_000, np.float32)
            assert session.run(value, {fed: large}) == 25_000_000
            send(signal.SIGSTOP, cluster, "/job:worker")
            with pytest.raises(wf.errors.UnavailableError, match="it has not taken a message"):
                session.run(value, {fed: large}, options=wf.RunOptions(timeout_in_ms=500))


def test_a_worker_that_hangs_is_noticed_without_any_deadline(
    ray_stays: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with wf.cluster.start({"worker": 1}, heartbeat_timeout=3.0) as cluster:
        fed, value = slow(WORKER0, operations=2000)
        with wf.device(WORKER0):
            shown = wf.Print(fed, [fed], "fed: ")
        with wf.Session(cluster.target) as session:
            session.run(shown, {fed: [1.5]})
            told = capsys.readouterr().err.splitlines()  # Ray may say something, too
            assert [line for line in told if "fed" in line] == ["/job:worker/replica:0/task:0: fed: [1.5]"]
            engine: Any = session._engine
            running = in_background(session.run, value, {fed: NUMBERS})
            wait_for(lambda: any("was computing" in said for _, said in list(engine._told._last.values())))
            time.sleep(3.5)  # it computes, and answers meanwhile
            send(signal.SIGSTOP, cluster, "/job:worker")
            with pytest.raises(wf.errors.UnavailableError) as caught:
                running()
    message = caught.value.message
    assert message.startswith("Task /job:worker/replica:0/task:0 on ")
    silent = r"\) has not answered for 3 s: its process may be stopped, or its host unreachable"
    assert re.search(
        rf"{silent}; when last heard of, it was computing '[^']+' \(in step <weft plan \d+>:\d+ > ", message
    )


# starting


def test_a_port_in_use(ray_stays: None) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(wf.errors.UnavailableError) as caught:
            wf.cluster.start({"ps": 1, "worker": [f"127.0.0.1:{port}"]})
    message = caught.value.message
    assert message == (
        f"Task /job:worker/replica:0/task:0 could not start: cannot listen on 127.0.0.1:{port}: Address already in use"
    )


def test_a_port_of_ones_own(ray_stays: None) -> None:
    (port,) = free_ports(1)
    with wf.cluster.start({"worker": [f"localhost:{port}"]}) as cluster:
        assert cluster.tasks[0].addresses["tcp"] == f"tcp://127.0.0.1:{port}"


@pytest.mark.parametrize("where", ["here", "on another host"])
def test_a_crash_tells_what_the_task_wrote_last(where: str, ray_stays: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "_READING_SECONDS", 60.0)
    if where != "here":
        monkeypatch.setattr(Location, "here", lambda: Location("another", "process"))
    with wf.cluster.start({"worker": 2}) as cluster, wf.Session(cluster.target) as session:
        fed, value = slow(WORKER1)
        session.run(value, {fed: np.ones(2)})
        engine: Any = session._engine
        running = in_background(lambda: session.run(value, {fed: np.ones(1_000_000)}))
        wait_for(lambda: any(not step.loads for step in list(engine._running.values())))
        send(signal.SIGSEGV, cluster, "/job:worker/replica:0/task:1")
        with pytest.raises(wf.errors.UnavailableError) as caught:
            running()
    lines = str(caught.value).splitlines()
    assert re.match(r"Task /job:worker/replica:0/task:1 on \S+ \(process \d+\) is gone: ", lines[0])
    assert re.fullmatch(r"The last it wrote \(/\S+\.err on \S+\):", lines[1])
    assert "  Fatal Python error: Segmentation fault" in lines


def test_another_ray_than_the_one_in_use(ray_stays: None) -> None:
    with pytest.raises(ValueError, match=r"cannot use another at '127\.0\.0\.1:1'"):
        wf.cluster.start({"worker": 1}, address="127.0.0.1:1")


def test_a_host_that_is_not_there(ray_stays: None) -> None:
    with pytest.raises(wf.errors.ResourceExhaustedError, match=r"no node has the address 192\.0\.2\.77 of /job:worker"):
        wf.cluster.start({"worker": ["192.0.2.77:2222"]}, timeout=1)


def test_an_error_in_the_block_ends_the_cluster(ray_stays: None) -> None:
    threads = running_threads()
    cluster = wf.cluster.start({"worker": 1})
    with pytest.raises(ZeroDivisionError), cluster:
        _ = 1 / 0
    assert running_threads() <= threads
    pid = cluster.tasks[0].pid
    wait_for(lambda: not Path(f"/proc/{pid}").exists())
    with pytest.raises(wf.errors.NotFoundError, match="No cluster of this process is running"):
        wf.Session(cluster.target)


def test_a_stranger_is_refused_and_harms_nothing(ray_stays: None) -> None:
    with wf.cluster.start({"worker": 1}, transport="tcp") as cluster:
        addresses = cluster.tasks[0].addresses
        host, _, port = addresses["tcp"].removeprefix("tcp://").rpartition(":")
        value = wf.constant(1.0) + wf.placeholder_with_default(1.0, [])
        with wf.Session(cluster.target) as session:
            session.run(value)
            with socket.create_connection((host, int(port))) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(500))
                stranger.settimeout(60)
                with pytest.raises((ConnectionResetError, EOFError)):
                    raise_at_end(stranger)
            for address in addresses.values():
                with pytest.raises(wf.errors.UnauthenticatedError):
                    transport.connect(address, bytes(32))
            silent = [socket.create_connection((host, int(port))) for _ in range(20)]
            assert session.run(value) == 2.0
            with wf.Session(cluster.target) as another:
                assert another.run(value) == 2.0
            for each in silent:
                each.close()


def raise_at_end(stranger: socket.socket) -> None:
    if not stranger.recv(1):
        raise EOFError


# drivers

SLOW_DRIVER = """
import sys, time
import numpy as np
import weft as wf
with wf.device("/job:worker/task:0"):
    fed = wf.placeholder(wf.float64, [None])
    value = fed
    for _ in range(2000):
        value = wf.sin(value)
with wf.cluster.start({"ps": 1, "worker": 1}) as cluster, wf.Session(cluster.target) as session:
    for task in cluster.tasks:
        print(task.pid, *task.addresses.values(), flush=True)
    if sys.argv[1] == "raise":
        forgotten = wf.cluster.start({"other": 1})
        raise ZeroDivisionError("in the block")
    print("running", flush=True)
    session.run(value, {fed: np.linspace(0, 1, 1 << 20)})
"""

SMALL_RAY_DRIVER = """
import sys
import ray
import weft as wf

def refused(*arguments, **options):
    try:
        wf.cluster.start(*arguments, **options)
    except Exception as error:
        print(f"{type(error).__name__}: {error}")

refused({"worker": 1}, address="127.0.0.1:" + sys.argv[1])
refused({"worker": 1}, address="127.0.0.1:" + sys.argv[2])
refused({"worker": 1}, address="pigeon://here")
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", object_store_memory=100 << 20)
refused({"worker": 3}, timeout=1)
with wf.cluster.start({"worker": 2}) as cluster, wf.Session(cluster.target) as session:
    print("value", session.run(wf.constant(1.0) + 1.0))
print("Ray", "goes on" if ray.is_initialized() else "has ended")
"""

DRIVER_WITH_A_RAY_OF_ITS_OWN = """
import weft as wf
with wf.cluster.start({"worker": 1}) as cluster, wf.Session(cluster.target) as session:
    print("value", session.run(wf.constant(1.0) + 1.0))
"""

#: The cluster is on another host, as far as the program knows, whose log only Ray can read.
DRIVER_THAT_ENDS_RAY = """
import ray
import weft as wf
from weft.cluster.transports.transport import Location

Location.here = classmethod(lambda kind: kind("another", "process"))
with wf.cluster.start({"worker": 1}) as cluster, wf.Session(cluster.target) as session:
    value = wf.constant(1.0) + 1.0
    print("> run:", session.run(value), bool(cluster.tasks[0].log))
    ray.shutdown()
    try:
        while True:
            session.run(value)
    except wf.errors.UnavailableError as error:
        print("> told:", len(error.message.splitlines()), error.message)
    print("> Ray", "was started again" if ray.is_initialized() else "has ended")
"""


@contextmanager
def driver(
    folder: Path, text: str, *arguments: str
) -> Iterator[tuple["subprocess.Popen[str]", Callable[[], list[int]]]]:
    """A program in a process of its own, and what tells which processes of it and of its Ray run."""
    for name in ("cluster", "graph", "runtime", "train"):  # none of what is in the folder that it runs in is weft's
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise ImportError('not weft')")
    mark = f"WEFT_TEST_MARK={folder.name}-{os.getpid()}-{time.monotonic()}"
    environment = dict(os.environ) | dict([mark.split("=")])
    script = folder / "elsewhere" / "driver.py"
    script.parent.mkdir()
    script.write_text(text)
    process = subprocess.Popen(
        [sys.executable, str(script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=folder,
    )

    def running() -> list[int]:
        return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal() and marked(each, mark)]

    try:
        yield process, running
    finally:
        process.kill()
        process.communicate()
        for pid in running():
            os.kill(pid, signal.SIGKILL)


#: What Ray keeps for a minute after its main process was killed: they wait for its head to come back. None of weft's.
AGENTS = (b"ray::DashboardAgent", b"ray::RuntimeEnvAgent")


def marked(process: Path, mark: str) -> bool:
    try:
        is_agent = (process / "cmdline").read_bytes().startswith(AGENTS)
        return not is_agent and mark.encode() in (process / "environ").read_bytes()
    except OSError:  # it has ended, or is a zombie
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def read_tasks(process: "subprocess.Popen[str]", tasks: int) -> tuple[list[int], list[str]]:
    assert process.stdout is not None
    lines = [process.stdout.readline().split() for _ in range(tasks)]
    return [int(line[0]) for line in lines], [address for line in lines for address in line[1:]]


def listens(address: str) -> bool:
    try:
        transport.connect(address, bytes(32))
    except wf.errors.UnavailableError:
        return False
    except wf.errors.UnauthenticatedError:
        return True
    raise AssertionError("a stranger was let in")


@pytest.mark.parametrize("end", ["SIGKILL", "SIGINT", "raise"])
def test_nothing_is_left_when_a_driver_ends(tmp_path: Path, end: str) -> None:
    with driver(tmp_path, SLOW_DRIVER, end) as (process, running):
        pids, addresses = read_tasks(process, 2)
        assert {process.pid, *pids} <= set(running())
        if end.startswith("SIG"):
            assert process.stdout is not None
            assert process.stdout.readline() == "running\n"
            time.sleep(1)
            process.send_signal(getattr(signal, end))
        output = process.communicate(timeout=200)[0]
        wait_for(lambda: not running())
        assert "KeyboardInterrupt" in output if end == "SIGINT" else "KeyboardInterrupt" not in output
        assert ("ZeroDivisionError: in the block" in output) == (end == "raise")
        assert process.returncode != 0
    wait_for(lambda: not any(listens(address) for address in addresses))
    assert not [name for name in os.listdir("/dev/shm") if "weft" in name]


def test_a_ray_that_is_not_there_too_small_or_the_users_own(tmp_path: Path) -> None:
    (nobody,) = map(str, free_ports(1))
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        mute = str(silent.getsockname()[1])
        with driver(tmp_path, SMALL_RAY_DRIVER, nobody, mute) as (process, _):
            lines = process.communicate(timeout=200)[0].splitlines()
    expected = [
        f"UnavailableError: No Ray cluster answers at '127.0.0.1:{nobody}': [Errno 111] Connection refused. ",
        f"UnavailableError: No Ray cluster answers at '127.0.0.1:{mute}': ",
        "ValueError: A Ray address is 'auto' or 'host:port', as 'localhost:6379', got 'pigeon://here'",
        "ResourceExhaustedError: Ray has found no room for 3 tasks within 1 s. Each needs 1 CPU; of 2 in the cluster, ",
        "value 2.0",
        "Ray goes on",
    ]
    assert len(lines) == len(expected), lines
    for line, beginning in zip(lines, expected, strict=True):
        assert line.startswith(beginning)


def test_a_ray_that_somebody_has_started_here_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray by itself would connect to the one that `ray start` has noted last, whether that lives or not."""
    folder = tempfile.mkdtemp(prefix="ray-")  # short: Ray's sockets lie in it, and their names have a limit
    monkeypatch.setenv("RAY_TMPDIR", folder)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    try:
        Path(folder, "ray").mkdir()
        Path(folder, "ray", "ray_current_cluster").write_text(f"127.0.0.1:{free_ports(1)[0]}")
        with driver(tmp_path, DRIVER_WITH_A_RAY_OF_ITS_OWN) as (process, running):
            output = process.communicate(timeout=200)[0]
            wait_for(lambda: not running())
        assert output.splitlines()[-1:] == ["value 2.0"], output
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_the_loss_of_a_task_is_told_without_starting_the_ray_that_the_program_has_ended(tmp_path: Path) -> None:
    with driver(tmp_path, DRIVER_THAT_ENDS_RAY) as (process, running):
        lines = process.communicate(timeout=200)[0].splitlines()
        wait_for(lambda: not running())
    value, told, ray = (line for line in lines if line.startswith("> "))  # Ray has lines of its own
    assert value == "> run: 2.0 True"
    assert re.match(r"> told: 1 Task /job:worker/replica:0/task:0 on \S+ \(process \d+\) is gone: ", told)
    assert ray == "> Ray has ended"
