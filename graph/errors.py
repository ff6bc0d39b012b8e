"""The errors of a run, as TensorFlow types them; each says which operation failed and where the user made it."""

from __future__ import annotations

from typing import Any

OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED = range(8)
RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS = range(
    8, 16
)
UNAUTHENTICATED = 16


class OpError(Exception):
    """A run failed. `op` is the operation (None when none is to blame), `message` the text, `error_code` TF's code."""

    code = UNKNOWN

    def __init__(self, node_def: Any, op: Any, message: str, error_code: int | None = None) -> None:
        Exception.__init__(self, message)
        self._node_def = node_def
        self._op = op
        self._message = message
        self._error_code = type(self).code if error_code is None else error_code

    @property
    def node_def(self) -> Any:
        return self._node_def

    @property
    def op(self) -> Any:
        return self._op

    @property
    def message(self) -> str:
        return self._message

    @property
    def error_code(self) -> int:
        return self._error_code

    def __str__(self) -> str:
        return self._message

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return type(self), (None, None, self._message)


class CancelledError(OpError):
    """The step was cancelled, for example by `Session.close`."""

    code = CANCELLED


class UnknownError(OpError):
    """An error of no other kind, such as a bug in a kernel."""

    code = UNKNOWN


class InvalidArgumentError(OpError):
    """An operation got a value that it cannot take."""

    code = INVALID_ARGUMENT


class DeadlineExceededError(OpError):
    """A step took longer than its deadline; the message says what it waited for."""

    code = DEADLINE_EXCEEDED


class NotFoundError(OpError):
    """Something that was asked for, such as a checkpoint or a variable in it, is not there."""

    code = NOT_FOUND


class AlreadyExistsError(OpError):
    """What was to be created is there already."""

    code = ALREADY_EXISTS


class PermissionDeniedError(OpError):
    """The caller may not do this."""

    code = PERMISSION_DENIED


class ResourceExhaustedError(OpError):
    """Memory, shared memory or disk ran out."""

    code = RESOURCE_EXHAUSTED


class FailedPreconditionError(OpError):
    """The system is not in the state the operation needs: above all, an uninitialized variable."""

    code = FAILED_PRECONDITION


class AbortedError(OpError):
    """The step was given up because something else failed."""

    code = ABORTED


class OutOfRangeError(OpError):
    """An iteration went past its end."""

    code = OUT_OF_RANGE


class UnimplementedError(OpError):
    """The operation has no kernel for these types on this device."""

    code = UNIMPLEMENTED


class InternalError(OpError):
    """An invariant of weft broke: a bug."""

    code = INTERNAL


class UnavailableError(OpError):
    """A task that the step needs is gone or cannot be reached; the message names it."""

    code = UNAVAILABLE


class DataLossError(OpError):
    """Stored data is truncated or corrupt."""

    code = DATA_LOSS


class UnauthenticatedError(OpError):
    """The peer did not prove that it knows the cluster's secret."""

    code = UNAUTHENTICATED


_CLASSES: dict[int, type[OpError]] = {
    cls.code: cls
    for cls in (
        CancelledError, UnknownError, InvalidArgumentError, DeadlineExceededError, NotFoundError, AlreadyExistsError,
        PermissionDeniedError, ResourceExhaustedError, FailedPreconditionError, AbortedError, OutOfRangeError,
        UnimplementedError, InternalError, UnavailableError, DataLossError, UnauthenticatedError,
    )
}  # fmt: skip


def exception_type_from_error_code(code: int) -> type[OpError]:
    """The class of an error code. Raises KeyError for an unknown one."""
    return _CLASSES[code]


def error_code_from_exception_type(cls: type[OpError]) -> int:
    """The code of an error class."""
    return cls.code
