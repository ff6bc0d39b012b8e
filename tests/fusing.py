"""What tests of fused regions share: the regions of a plan, and steps without any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import weft as wf
from weft.runtime.regions import fuse
from weft.runtime.stages.fused import Fused
from weft.runtime.stages.plan import Run


def regions_of(session: wf.Session, fetches: Any, feeds: Any = None) -> list[Run]:
    """The instructions of a session's plan that run regions."""
    plans = session.plan(fetches, feeds).plans
    return [i for plan in plans for i in plan.instructions if isinstance(i, Run) and isinstance(i.definition, Fused)]


def regions(fetches: Any, feeds: Any = None) -> list[Run]:
    """The same, of a session of its own."""
    with wf.Session() as session:
        return regions_of(session, fetches, feeds)


def parts(run: Run) -> tuple[Any, ...]:
    """The operations of a region."""
    assert isinstance(run.definition, Fused)
    return run.definition.parts


def names(run: Run) -> list[str]:
    """Their names."""
    return [part.name for part in parts(run)]


def types(run: Run) -> list[str]:
    """Their types."""
    return [part.definition.type for part in parts(run)]


def without_fusing(run: Callable[[], Any]) -> Any:
    """What a function gives while no big values are fused."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fuse, "SMALLEST", 1 << 60)
        return run()
