"""What every test shares: the package under one name, Ctrl-C, and a fresh default graph."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import weft
from xdist.scheduler import LoadFileScheduling

TESTS = Path(__file__).parent

# The checkout is the package: without this, pytest would load it a second time, under the checkout folder's name, or as
# `__init__` where that is no name for a module.
_folder = TESTS.parent.name
sys.modules.setdefault(_folder if _folder.isidentifier() else "__init__", weft)

from weft.graph import context  # noqa: E402

# A shell that starts the tests in the background lets them, and what they start, ignore Ctrl-C, which some are about.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no failure of an example, nor of drawing one; the timeout of a test has the last word. Nor is it one that
# chance draws many that a test leaves out; a test that finds none to try still fails.
# `make test` draws other examples each time; what lets a change in (CI=1) draws the same, so that it says of the change alone.
hypothesis.settings.register_profile(
    "weft",
    deadline=None,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.filter_too_much,
        hypothesis.HealthCheck.data_too_large,
    ],
    derandomize=bool(os.environ.get("CI")),
)
hypothesis.settings.load_profile("weft")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew-golden", action="store_true", help="write what plans look like now to tests/golden")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fuzz: tries as many inputs as WEFT_FUZZ says")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start Ray in this process come last: it never quite goes, and others count threads and files.

    Where two processes share the tests, those that count come first in the one that does not begin with Ray.
    """
    turns = {"ray_nodes": 0, "counts": 1, "ray": 3}
    items.sort(key=lambda item: max([turn for mark, turn in turns.items() if item.get_closest_marker(mark)], default=2))


class OneRay(LoadFileScheduling):  # type: ignore[misc] # pytest-xdist tells no types
    """How processes share the tests (`-n 2`): a file at a time, and one of them begins with all files that start Ray.

    Two Rays on a machine would find each other. That one process mostly waits, while the other computes.
    """

    _with_ray = frozenset(f"tests/{each.name}" for each in TESTS.glob("test_*.py") if "mark.ray" in each.read_text())

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "ray" if file in self._with_ray else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneRay:
    config.option.loadscopereorder = False  # the files with Ray stay first
    return OneRay(config, log)


@pytest.fixture(autouse=True)
def fresh_graph() -> Iterator[None]:
    """Each test builds in a default graph of its own."""
    context.reset_default_graph()
    yield
    context.set_eager(False)
    context.reset_default_graph()
