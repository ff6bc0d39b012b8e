"""This process's connection to Ray: started here, joined at an address, or the one that the program has already."""

from __future__ import annotations

import logging
import os
import socket
import threading
from typing import Any

import ray

from ...graph import errors
from ..transports import tls

#: How long to try a Ray address before saying that nobody answers there.
ANSWER_SECONDS = 5.0
#: A Ray that is started here exists for weft's tasks, however many CPUs this machine has: they ask for this instead.
TASK_RESOURCE = "weft_task"
_MANY = 1_000_000

_lock = threading.Lock()
#: Who uses the connection that was made here; when the last of them goes, so does the connection.
_users: set[int] = set()


def connect(user: Any, address: str | None, tasks: int) -> None:
    """Connect to the Ray at an address, or start one here for so many tasks. Raises UnavailableError, ValueError.

    A connection that the program has already is used, if it is to that address.
    """
    address = address or os.environ.get("RAY_ADDRESS")  # as Ray itself does, and as its jobs are told their cluster
    with _lock:
        if ray.is_initialized():
            _check_same(address)
            if not _users:
                return  # the program's own: never to be ended from here
        else:
            _users.clear()  # the program has ended what was made here
            _connect(address, tasks)
        _users.add(id(user))


def disconnect(user: Any) -> None:
    """That user is done. Idempotent."""
    with _lock:
        if id(user) in _users:
            _users.discard(id(user))
            if not _users:
                ray.shutdown()


def resource() -> str:
    """What a task asks Ray for, one of it."""
    return TASK_RESOURCE if TASK_RESOURCE in ray.cluster_resources() else "CPU"


def _connect(address: str | None, tasks: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is not None:
        _check_answers(address)
    try:
        if address is not None:
            ray.init(address=address, **quiet)
        else:  # "local": not one that `ray start` has started here. For each CPU a process starts ahead of time: one a task
            resources, memory = {TASK_RESOURCE: _MANY}, 100 << 20
            ray.init(
                "local", num_cpus=tasks, resources=resources, object_store_memory=memory, include_dashboard=False,
                _system_config={"worker_niceness": 0}, **quiet,  # Ray's 15 would be behind all else that runs here
            )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        ray.shutdown()
        where = f"at '{address}' can be used" if address else "could be started on this machine"
        raise errors.UnavailableError(None, None, f"No Ray cluster {where}: {error}") from None
    except BaseException:  # Ctrl-C: what has been started must not stay
        ray.shutdown()
        raise


def _check_same(address: str | None) -> None:
    if address in (None, "auto"):
        return
    now = ray.get_runtime_context().gcs_address
    (host, port), (ip, real) = _split(str(address)), _split(now)
    if port != real or (host != ip and not _is_this_machine(host)):
        raise ValueError(
            f"This process is connected to the Ray cluster at '{now}' and cannot use another at '{address}'"
        )


def _is_this_machine(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host == "::1"


def _check_answers(address: str) -> None:
    """Ray itself would try for a long time. Raises UnavailableError when no Ray listens at host:port."""
    if address == "auto":
        return
    try:
        with socket.create_connection(_split(address), timeout=ANSWER_SECONDS) as connection:
            # Ray speaks gRPC, whose servers begin, unless TLS does: with a frame that says so (HTTP/2's SETTINGS).
            if not tls.wanted() and connection.recv(9)[3:4] != b"\4":
                raise OSError("something else listens there")
    except OSError as error:
        hint = "Start one with `ray start --head`, or leave the address out."
        what = f"No Ray cluster answers at '{address}': {error}. {hint}"
        raise errors.UnavailableError(None, None, what) from None


def _split(address: str) -> tuple[str, int]:
    """Host and port. Raises ValueError for what is no address."""
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal()) or "/" in host:
        raise ValueError(f"A Ray address is 'auto' or 'host:port', as 'localhost:6379', got '{address}'")
    return host.strip("[]"), int(port)
