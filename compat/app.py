"""`wf.app`: the entry point of a program with flags."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from . import flags as flags


def run(main: Callable[[list[str]], Any] | None = None, argv: Sequence[str] | None = None) -> None:
    """Parse the flags of `argv` (by default `sys.argv`) and exit with what `main` returns of the rest.

    `main` is by default the program's function of that name. Source: `tf.app.run`. Raises SystemExit, always.
    """
    rest = flags.FLAGS(list(sys.argv if argv is None else argv))
    function = main or sys.modules["__main__"].main
    sys.exit(function(rest))
