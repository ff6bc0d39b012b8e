"""The checkout as the tests of structure and packaging see it: its files, without what tools have put there."""

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: Folders that tools make. Those whose names begin with a dot are left out anyway, except .ci.
BUILT = {"__pycache__", "build", "dist", "runs"}


def kept(folder: str) -> bool:
    """Whether a folder of this name belongs to the checkout."""
    return folder == ".ci" or not (folder.startswith(".") or folder in BUILT or folder.endswith(".egg-info"))


def files(suffix: str = "") -> Iterator[Path]:
    """The files whose names end in suffix, relative to the root."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(filter(kept, folders))
        for name in sorted(names):
            if name.endswith(suffix) and name != ".git":  # a file in a second working tree
                yield (Path(folder) / name).relative_to(ROOT)


def packages() -> list[str]:
    """The packages of weft in the tree, by their dotted names; tests and benchmarks are no part of it."""
    rooms = [path.parent.parts for path in files("__init__.py")]
    return sorted(".".join(("weft", *room)) for room in rooms if not {"tests", "benchmarks"} & set(room))


def modules() -> list[Path]:
    """The Python files of weft, relative to the root."""
    rooms = {Path(*name.split(".")[1:]) for name in packages()}
    return [path for path in files(".py") if path.parent in rooms]
