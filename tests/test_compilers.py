"""Which backend a session may ask for, and what is said where it is not there."""

import importlib.util
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import weft as wf
from weft.runtime import planning
from weft.runtime.backends import named


def test_strange_backends_are_refused() -> None:
    with pytest.raises(ValueError, match="'numpy', 'llvm' or 'xla', but got 'cuda'"):
        wf.Session(config=wf.ConfigProto(backend="cuda"))


def test_without_jax_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'weft\[xla\]'"):
        wf.Session(config=wf.ConfigProto(backend="xla"))


def test_xla_is_refused_on_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "find_spec", lambda name: name)
    elsewhere: Any = SimpleNamespace(local=False)
    with pytest.raises(wf.errors.UnimplementedError, match="not for a cluster"):
        planning.planning_for(wf.ConfigProto(backend="xla"), elsewhere, wf.Graph())


@pytest.mark.parametrize("target", ["", "weft://localhost:1"])
def test_without_llvmlite_the_error_says_at_once_how_to_install_it(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'weft\[llvm\]'"):
        wf.Session(target, config=wf.ConfigProto(backend="llvm"))


@pytest.mark.parametrize("module", ["jax", "llvmlite"])
def test_a_session_that_does_not_ask_for_it_loads_no_compiler(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"there is no {module} that might be loaded")
    program = f"import sys, weft as wf; wf.Session().run(wf.constant(1.0) + 1.0); print('{module}' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=200)
    assert (done.stdout.strip(), done.returncode) == ("False", 0), done.stderr
