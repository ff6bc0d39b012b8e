"""What a session, the tasks and their peers say to each other: the kinds of messages and what stands in them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, cast

from ..graph import errors
from ..runtime.failures import StepFailure, error_class


class Kind(IntEnum):
    """What a message means. `meta` is JSON where it says anything."""

    HELLO = 1  #: first on a connection: {"client", "role": "session" or a task's name, "threads"}
    READY = 2  #: the answer to HELLO
    LOAD = 3  #: session to task: a plan, under the number `edge`; tensors are its arrays
    LOADED = 4  #: the answer to LOAD, with the same number
    STEP = 5  #: session to task: run plan `edge` as `step`; meta: {"done", "feeds": [indices]}; tensors are the feeds
    RESULT = 6  #: the answer to STEP: the fetches of the task, in the plan's order
    FAILED = 7  #: the answer to STEP or LOAD: {"code", "message", "node", "derived"}
    TENSOR = 8  #: task to task: the value of an edge of a step; without a tensor, a signal
    ABORT = 9  #: session to task: give a step up; {"code", "message"}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a step failed on a task. `derived`: only because another task's failure ended it."""

    code: int
    message: str
    node: str = ""
    derived: bool = False

    def encode(self) -> bytes:
        return json.dumps([self.code, self.message, self.node, self.derived]).encode()

    @staticmethod
    def decode(data: bytes) -> Failure:
        """Raises DataLossError for data that is none."""
        code, message, node, derived = decode_json(data, list, 4)
        return Failure(int(code), str(message), str(node), bool(derived))

    @staticmethod
    def of(error: Exception, derived: bool) -> Failure:
        """The failure that an exception means."""
        node = error.node if isinstance(error, StepFailure) else ""
        cause = error.cause if isinstance(error, StepFailure) else error
        message = cause.message if isinstance(cause, errors.OpError) else f"{cause}" or type(cause).__name__
        return Failure(error_class(cause).code, message, node, derived)

    def error(self, task: str) -> Exception:
        """The exception that tells of it: a StepFailure when an operation is to blame."""
        cause = errors.exception_type_from_error_code(self.code)(None, None, self.message)
        if self.node:
            return StepFailure(self.node, cause, task)
        return type(cause)(None, None, f"{self.message} (on {task})")


def decode_json(data: bytes, kind: type, count: int | None = None) -> Any:
    """JSON of an expected form. Raises DataLossError otherwise."""
    try:
        value = json.loads(data)
    except ValueError as error:
        raise errors.DataLossError(None, None, f"expected JSON, got {data[:100]!r}: {error}") from None
    if not isinstance(value, kind) or (count is not None and len(cast(Any, value)) != count):
        raise errors.DataLossError(
            None, None, f"expected a {kind.__name__} of {count or 'any'} items, got {data[:100]!r}"
        )
    return value
