"""Which errors say that a task was lost or has given up the step, and not that the program is wrong."""

from ..graph import errors

LOST = (errors.AbortedError, errors.UnavailableError)
