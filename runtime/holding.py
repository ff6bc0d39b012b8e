"""Runs for somebody who only looks: the values of variables that they return are the variables' own arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .calls import Call
from .session import Session


def run_held(session: Session, fetches: Any) -> Any:
    """As `session.run`, but a variable that is fetched is not copied: who gets its array must not change it, and as long as it
    is kept, steps leave it as it is and go on in another one.

    For a session without a cluster: what comes from a task is a copy anyway. Raises as `run`.
    """
    session._check_open()
    call = Call(session.graph, fetches, ())
    call.request = replace(call.request, held=True)
    return session._finish(call, [], None, None)
