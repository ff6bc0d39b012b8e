"""What `pip install` gets: a wheel with every module of weft, its types, and nothing else."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
from tree import ROOT, files, modules, packages


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from a clean copy of the checkout, with the build backend that is installed here."""
    copy, out = tmp_path_factory.mktemp("copy of weft"), tmp_path_factory.mktemp("out")
    for path in files():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, copy / path)
    pip = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(copy)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=200, cwd=out)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return zipfile.ZipFile(built)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(wheel.read(name))


def test_the_wheel_holds_every_module_and_no_other_file(wheel: zipfile.ZipFile) -> None:
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert shipped == {str(Path("weft") / path) for path in modules()} | {"weft/py.typed"}


def test_the_wheel_is_for_any_python_and_carries_the_licence(wheel: zipfile.ZipFile) -> None:
    assert Path(str(wheel.filename)).name.endswith("-py3-none-any.whl")
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())


def test_the_metadata_says_what_the_project_file_says(metadata: Message) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert metadata["Name"] == project["name"] == "weft"
    assert metadata["Version"] == project["version"]
    assert metadata["Requires-Python"] == project["requires-python"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert set(metadata.get_all("Provides-Extra", [])) == {"cluster", "graphdef", "examples", "xla", "llvm", "dev"}


def test_ray_comes_only_with_an_extra(metadata: Message) -> None:
    required = metadata.get_all("Requires-Dist", [])
    assert [line for line in required if "extra ==" not in line and line.startswith(("ray", "scikit-learn"))] == []
    assert any(line.startswith("ray") and 'extra == "cluster"' in line for line in required)


def test_the_version_that_is_installed_is_this_one(metadata: Message) -> None:
    command = [sys.executable, "-P", "-c", "from importlib.metadata import version; print(version('weft'))"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    assert done.stdout.strip() == metadata["Version"]


def test_the_changelog_names_the_version(metadata: Message) -> None:
    assert f"## [{metadata['Version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_tree_is_not_empty() -> None:
    assert {"weft", "weft.graph", "weft.runtime", "weft.cluster"} <= set(packages())
