"""`wf.logging`: TensorFlow's names for the logger `weft` of Python's logging."""

from __future__ import annotations

import itertools
import logging as _logging
import sys as _sys
from collections.abc import Iterator as _Iterator
from typing import Any as _Any

DEBUG = _logging.DEBUG
INFO = _logging.INFO
WARN = _logging.WARNING
ERROR = _logging.ERROR
FATAL = _logging.CRITICAL

_log = _logging.getLogger("weft")
_counts: dict[tuple[str, int], _Iterator[int]] = {}


def set_verbosity(v: int) -> None:
    """Log what is at least as severe as `v`, to standard error unless the program has set up logging itself.

    Source: `tf.logging.set_verbosity`.
    """
    _log.setLevel(v)
    if not _log.hasHandlers():
        handler = _logging.StreamHandler()
        handler.setFormatter(_logging.Formatter(_logging.BASIC_FORMAT))
        _log.addHandler(handler)


def get_verbosity() -> int:
    """The least severity that is logged. Source: `tf.logging.get_verbosity`."""
    return _log.getEffectiveLevel()


def log(level: int, msg: str, *args: _Any, **kwargs: _Any) -> None:
    """Log `msg % args`. Source: `tf.logging.log`."""
    kwargs.setdefault("stacklevel", 2)
    _log.log(level, msg, *args, **kwargs)


def debug(msg: str, *args: _Any, **kwargs: _Any) -> None:
    """Log at DEBUG. Source: `tf.logging.debug`."""
    log(DEBUG, msg, *args, stacklevel=3, **kwargs)


def info(msg: str, *args: _Any, **kwargs: _Any) -> None:
    """Log at INFO. Source: `tf.logging.info`."""
    log(INFO, msg, *args, stacklevel=3, **kwargs)


def warn(msg: str, *args: _Any, **kwargs: _Any) -> None:
    """Log at WARN. Source: `tf.logging.warn`."""
    log(WARN, msg, *args, stacklevel=3, **kwargs)


warning = warn


def error(msg: str, *args: _Any, **kwargs: _Any) -> None:
    """Log at ERROR. Source: `tf.logging.error`."""
    log(ERROR, msg, *args, stacklevel=3, **kwargs)


def fatal(msg: str, *args: _Any, **kwargs: _Any) -> None:
    """Log at FATAL; the program goes on. Source: `tf.logging.fatal`."""
    log(FATAL, msg, *args, stacklevel=3, **kwargs)


def log_if(level: int, msg: str, condition: _Any, *args: _Any) -> None:
    """Log when `condition` is true. Source: `tf.logging.log_if`."""
    if condition:
        log(level, msg, *args, stacklevel=3)


def log_every_n(level: int, msg: str, n: int, *args: _Any) -> None:
    """Log the first and then each `n`-th time that this line of the program comes here. Source: `tf.logging.log_every_n`."""
    if next(_times_here()) % n == 0:
        log(level, msg, *args, stacklevel=3)


def log_first_n(level: int, msg: str, n: int, *args: _Any) -> None:
    """Log the first `n` times that this line of the program comes here. Source: `tf.logging.log_first_n`."""
    if next(_times_here()) < n:
        log(level, msg, *args, stacklevel=3)


def _times_here() -> _Iterator[int]:
    """How often the caller's caller came by, counted from 0."""
    frame = _sys._getframe(2)
    return _counts.setdefault((frame.f_code.co_filename, frame.f_lineno), itertools.count())


def flush() -> None:
    """Write out what is still buffered. Source: `tf.logging.flush`."""
    logger: _logging.Logger | None = _log
    while logger is not None:
        for handler in logger.handlers:
            handler.flush()
        logger = logger.parent if logger.propagate else None
