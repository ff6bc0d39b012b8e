"""What tests of other backends share: operations of the table of cases, and steps, computed by one and by the CPU's own."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from typing import Any

import weft as wf
from case import Case


def cases_of(table: str) -> list[Case]:
    """The rows of a table of cases."""
    return [case for case in importlib.import_module(table).CASES if case.label != "unfed"]


def both(backend: str, fetches: Any, feeds: Any, initialize: bool = False) -> list[Any]:
    """What a step gives with a backend, and without."""
    results = []
    for each in (backend, "numpy"):
        with wf.Session(config=wf.ConfigProto(backend=each)) as session:
            if initialize:
                session.run(wf.global_variables_initializer())
            results.append(session.run(fetches, feeds))
    return results


def check_table(backend: str, table: str, types: Collection[str], check: Callable[[Any, Any, str], None]) -> None:
    """Compare what the operations of these types in a table give, in one step."""
    from test_cases import build

    fetches: dict[str, Any] = {}
    feeds: dict[Any, Any] = {}
    for number, case in enumerate(case for case in cases_of(table) if case.op in types):
        outputs, fed = build(case, "full")
        fetches[f"{case} {number}"] = outputs
        feeds |= fed
    found, wanted = both(backend, fetches, feeds)
    for name in fetches:
        for one, other in zip(found[name], wanted[name], strict=True):
            check(one, other, name)
