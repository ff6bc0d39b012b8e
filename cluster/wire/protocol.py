"""What a session, the tasks and their peers say to each other: the kinds of messages and what stands in them."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from ...graph import errors
from ...runtime.execution.failures import StepFailure, error_class


class Kind(IntEnum):
    """What a message means. `meta` is JSON where it says anything."""

    HELLO = 1  #: first on a connection: {"role", ...}, see cluster/task/worker.py
    READY = 2  #: the answer to HELLO; what a task tells of itself, where that was asked
    #: Session to task: a Relay, a line break and a plan, under the number `edge`; tensors are its arrays; `step` is a number
    #: of its own.
    LOAD = 3
    LOADED = 4  #: the answer to LOAD, with the same numbers
    STEP = (
        5  #: session to task: run plan `edge` as `step`; meta: STEP_HEAD; tensors are the feeds, as the plan takes them
    )
    RESULT = 6  #: the answer to STEP, unless another task gives it too: the fetches of the task, in the plan's order
    FAILED = 7  #: the answer to STEP or LOAD, or to HELLO where it is refused: a Failure
    TENSOR = 8  #: task to task: the value of an edge of a step; without a tensor, a signal; of several: parcels.py
    ABORT = 9  #: session to task: give a step of plan `edge` up; meta: ABORT_HEAD
    PING = 10  #: session to task: are you there, and what is `step` doing? `edge` 1: it takes long, MARK for your peers
    PONG = 11  #: the answer to PING, as text
    UNLOAD = 12  #: session to task: plan `edge` will not be run any more
    REPORT = 13  #: task to session: text for whoever looks on
    ENDED = 14  #: task to session: it is over, for this Failure
    LEAVING = 15  #: a program to a task that it has used: it ends as it should
    TRACE = 16  #: as STEP; the RESULT's meta then tells when what ran; meta: STEP_HEAD and TRACE_HEAD
    MARK = 17  #: task to task: nothing; its number on the connection tells whether the message before it was lost
    BEGIN = 18  #: as TENSOR, and the plan that waits for it begins; before what stands in that one's meta: BEGIN_HEAD


#: Steps up to the first number are over on all tasks: what was sent for them is not needed any more. The second is 0 for a step
#: that stands alone; of a row, the last step before it that has a part on this task, and begins first; or else itself.
STEP_HEAD = struct.Struct("<QQ")
#: After STEP_HEAD, of TRACE: when the session has sent it, by its clock, in nanoseconds.
TRACE_HEAD = struct.Struct("<q")
#: As the first number of STEP_HEAD; and the plan's number on the task that it is sent to.
BEGIN_HEAD = struct.Struct("<QQ")
#: How many seconds ago the session began the step.
ABORT_HEAD = struct.Struct("<d")
_CODES = frozenset({*range(errors.CANCELLED, errors.DATA_LOSS + 1), errors.UNAUTHENTICATED})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a step failed on a task. `derived`: only because another failure ended it; the message then says where it was."""

    code: int
    message: str
    node: str = ""
    derived: bool = False

    def encode(self) -> bytes:
        return json.dumps([self.code, self.message, self.node, self.derived]).encode()

    @staticmethod
    def decode(data: bytes) -> Failure:
        """Raises DataLossError for data that is none."""
        match decode_json(data):
            case [int(code), str(message), str(node), bool(derived)] if code in _CODES:
                return Failure(code, message, node, derived)
        raise errors.DataLossError(None, None, f"expected a failure, got {data[:100]!r}")

    @staticmethod
    def of(error: Exception, derived: bool) -> Failure:
        """The failure that an exception means."""
        node = error.node if isinstance(error, StepFailure) else ""
        cause = error.cause if isinstance(error, StepFailure) else error
        message = cause.message if isinstance(cause, errors.OpError) else f"{cause}" or type(cause).__name__
        return Failure(error_class(cause).code, message, node, derived)

    def error(self, task: str = "") -> Exception:
        """The exception that tells of it, on a task: a StepFailure when an operation is to blame."""
        cause = errors.exception_type_from_error_code(self.code)(None, None, self.message)
        if self.node:
            return StepFailure(self.node, cause, task)
        return type(cause)(None, None, f"{self.message} (on {task})") if task else cause


def decode_json(data: bytes) -> Any:
    """What a JSON text says. Raises DataLossError for what is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise errors.DataLossError(None, None, f"expected JSON, got {data[:100]!r}: {error}") from None
