"""The rules of the house that no other tool checks: the tree, the sizes of files and functions, what may import what."""

import ast
import fnmatch
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tree import ROOT, files, modules, packages

FILES = list(files(".py"))
TREES = {path: ast.parse((ROOT / path).read_bytes()) for path in FILES}

#: The most lines of a file; tables of cases and tests may be longer.
LINES = {"tests": 600, "benchmarks": 600, "": 400}
FUNCTION_LINES = 60

#: The rooms that may import Ray.
RAY_ROOMS = {"cluster"}

#: Never: bytes from a socket or a file must not be able to run code.
BANNED = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve", "tensorflow"}

LOADS_LITTLE = """
import sys
import weft as wf

with wf.Session() as session:
    assert session.run(wf.constant(1.0) + 2.0) == 3.0
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The level (0: absolute) and the module of every import in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


def importers(names: set[str]) -> set[Path]:
    """The files that import a package of one of these names."""
    return {
        path
        for path, tree in TREES.items()
        if any(level == 0 and module.partition(".")[0] in names for level, module in imported(tree))
    }


def test_the_packages_that_are_shipped_are_those_in_the_tree() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert listed == packages()


def test_every_module_lies_in_a_package() -> None:
    rooms = {path.parts[0] for path in FILES if len(path.parts) > 1} - {"tests", "benchmarks"}
    assert [path for path in FILES if path.parts[0] in rooms and path not in modules()] == []


def test_the_facade_is_the_only_python_file_at_the_root() -> None:
    assert [path.name for path in FILES if len(path.parts) == 1] == ["__init__.py"]


def test_no_folder_hides_a_standard_module_from_those_who_work_in_the_checkout() -> None:
    assert {path.parts[0] for path in files()} & sys.stdlib_module_names == set()


def test_the_page_of_the_tests_has_every_file_of_them_and_no_other() -> None:
    """So the tests of a room can be found: a new file of tests is a word more in a row of tests/README.md."""
    names = [path.stem for path in FILES if path.parts[0] == "tests" and path.name.startswith("test_")]
    listed = re.findall(r"`(test_[a-z_0-9*]+)`", (ROOT / "tests" / "README.md").read_text())
    assert [each for each in listed if not fnmatch.filter(names, each)] == []
    assert [name for name in names if not any(fnmatch.fnmatchcase(name, each) for each in listed)] == []


def test_every_python_file_says_in_one_sentence_what_it_is() -> None:
    wordless = []
    for path, tree in TREES.items():
        first, *rest = (ast.get_docstring(tree) or "").split("\n")
        if tree.body and not (first.endswith(".") and (not rest or rest[0] == "")):
            wordless.append(path)
    assert wordless == []


def test_no_file_is_too_long() -> None:
    limits = {path: LINES.get(path.parts[0], LINES[""]) for path in FILES}
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in FILES}
    assert {str(path): length for path, length in lengths.items() if length > limits[path]} == {}


def test_no_function_is_too_long() -> None:
    long = {}
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES:
                    long[f"{path}:{node.lineno} {node.name}"] = length
    assert long == {}


def test_inside_the_package_imports_are_relative() -> None:
    inside = {path for path in modules() if path.parts[0] != "examples"}
    assert inside & importers({"weft"}) == set()


def test_no_import_is_only_for_type_checkers() -> None:
    """But for the face, which loads some of its names later."""
    found = [str(path) for path, tree in TREES.items() if "TYPE_CHECKING" in names_used(tree)]
    assert found == ["__init__.py"]


def names_used(tree: ast.AST) -> set[str]:
    plain = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return plain | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_nothing_imports_what_can_run_code_from_data() -> None:
    assert importers(BANNED) == set()


def test_only_the_cluster_imports_ray() -> None:
    inside = {path for path in modules() if path.parts[0] not in RAY_ROOMS}
    assert inside & importers({"ray"}) == set()


def test_a_local_session_loads_neither_ray_nor_what_only_some_programs_need() -> None:
    command = [sys.executable, "-P", "-W", "error", "-c", LOADS_LITTLE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & {"click", "ray", "sklearn", "tqdm"} == set()


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    places = re.compile(rb"(?<![\w.])/(?:work|root|Users|home/(?!weft\b)\w+|opt|tmp/wv|tmp/peers)/")
    assert [str(path) for path in files() if places.search((ROOT / path).read_bytes())] == []


def test_importing_weft_loads_nothing_that_few_programs_need() -> None:
    """Each of these takes milliseconds; what needs them imports them when it is used."""
    late = {"asyncio", "hmac", "random", "secrets", "tempfile", "unittest", "pyarrow", "ray", "safetensors", "tqdm"}
    program = "import sys, numpy\nbefore = set(sys.modules)\nimport weft\nprint(*set(sys.modules) - before)"
    found = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True).stdout
    assert late & set(found.split()) == set()
    assert {name for name in found.split() if re.match(r"weft\.(cluster|train|contrib|runtime)\b", name)} == {
        "weft.runtime",
        "weft.runtime.targets",
    }


def test_importing_weft_writes_no_methods_of_records() -> None:
    """A dataclass writes and compiles them when it is defined: what there are many of are records."""
    program = (
        "import weft\nfrom weft.graph import opdef, record\n"
        "kinds = [kind for kind in opdef.OPS.values() if kind.__match_args__]\n"
        "print(sum(kind.__init__ is record._first_init for kind in kinds), len(kinds))"
    )
    found = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True).stdout
    unwritten, kinds = map(int, found.split())
    assert unwritten >= kinds - 5 > 100
