"""A greeting: how a connection to a task begins, with who comes and what the task answers."""

from __future__ import annotations

import json
from typing import Any

from ...graph import errors
from ..transports.auth import HANDSHAKE_TIMEOUT
from ..transports.transport import Connection, connect
from ..wire.message import Message
from ..wire.protocol import Failure, Kind

#: How long a task may take to answer a session that introduces itself.
HELLO_SECONDS = 30.0


def greet(
    address: str, secret: bytes, task: str, name: str, introduction: dict[str, Any], timeout: float = HELLO_SECONDS
) -> tuple[Connection, bytes]:
    """A connection to a task that has been told who this is, and what it answered. Raises OpError."""
    connection = connect(address, secret, min(timeout, HANDSHAKE_TIMEOUT), peer=task, name=name)
    try:
        connection.send(Message(Kind.HELLO, 0, 0, meta=json.dumps(introduction).encode()))
        answer = connection.recv(timeout)
        if answer.kind == Kind.FAILED:
            raise Failure.decode(answer.meta).error()
        if answer.kind != Kind.READY:
            raise errors.DataLossError(None, None, f"{task} answered HELLO with a message of kind {answer.kind}")
    except BaseException:
        connection.close()
        raise
    return connection, answer.meta
