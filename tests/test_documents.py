"""The pages for people name what there is: settings with their defaults, public names, files; and their programs run."""

import builtins
import inspect
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import click
import pytest
import weft as wf
from tree import ROOT, files, modules
from weft.cluster.launch.command import launch

PAGES = sorted(files(".md"))
TEXTS = {path: (ROOT / path).read_text() for path in PAGES}
CONFIGURATION = TEXTS[Path("docs/configuration.md")]
#: The first cells of a table's row.
ROW = re.compile(r"^\| `([^`]+)` \| (?:`([^`]*)`|([^|]*)) \|", re.MULTILINE)


def section(title: str) -> str:
    """What stands under a heading of the page on configuration that holds these words."""
    (found,) = (part for part in re.split(r"^## ", CONFIGURATION, flags=re.MULTILINE) if part.startswith(title))
    return found


def told(text: str) -> dict[str, str]:
    """The settings in a text's tables, by name, with their defaults; "" where a table says that there is none."""
    return {name: default if default or not words else words.strip(" -") for name, default, words in ROW.findall(text)}


def defaults(kind: Any) -> dict[str, str]:
    """The fields of a dataclass with their defaults, as Python writes them."""
    return {each.name: written(each) for each in fields(kind)}


def written(each: Field[Any]) -> str:
    made = each.default if each.default_factory is MISSING else each.default_factory()
    return repr(made).partition("(")[0] + "()" if repr(made).startswith("GraphOptions(") else repr(made)


def named_in_code(pattern: str) -> set[str]:
    return {name for path in modules() for name in re.findall(pattern, (ROOT / path).read_text())}


# settings


def test_the_page_on_configuration_has_each_environment_variable() -> None:
    pattern = r"\bWEFT_[A-Z_]+\b"
    assert set(re.findall(pattern, CONFIGURATION)) == named_in_code(pattern)
    assert {name for name in told(section("Environment variables")) if name.startswith("WEFT_")} == named_in_code(
        pattern
    )


def test_the_defaults_of_environment_variables_are_those_of_the_code() -> None:
    from weft.cluster import target
    from weft.cluster.session import heartbeat

    found = told(section("Environment variables"))
    assert float(found[target.PATIENCE_VARIABLE]) == target.PATIENCE_SECONDS
    assert float(found[target.HEARTBEAT_VARIABLE]) == heartbeat.HEARTBEAT_SECONDS


def test_the_page_on_configuration_has_each_flag_of_weft_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEFT_PROTOCOL", raising=False)
    values = launch.make_context("launch", ["train.py"]).params
    expected = {each.opts[0]: values[str(each.name)] for each in launch.params if isinstance(each, click.Option)}
    written_out = {name: "" if value is None or value == [] else str(value) for name, value in expected.items()}
    assert told(section("`weft launch`")) == written_out


@pytest.mark.parametrize(
    ("title", "kind"), [("`wf.ConfigProto`", wf.ConfigProto), ("`wf.RunOptions` and `wf.RunMetadata`", wf.RunOptions)]
)
def test_the_page_on_configuration_has_each_option(title: str, kind: Any) -> None:
    text = section(title)
    table, without_effect = told(text), text.partition("without effect")[2]
    expected = defaults(kind)
    assert table == {name: default for name, default in expected.items() if name in table}
    assert set(expected) == set(table) | (set(re.findall(r"`(\w+)`", without_effect)) - {"graph_options"})


def test_the_page_on_configuration_has_the_arguments_of_clusters() -> None:
    parameters: Mapping[str, inspect.Parameter] = inspect.signature(wf.cluster.start).parameters
    expected = {name: repr(each.default) for name, each in parameters.items() if name != "cluster"}
    assert told(section("`wf.cluster.start`")) == expected


def test_the_page_on_configuration_has_what_limits_recovery() -> None:
    expected = defaults(wf.cluster.Budget) | defaults(wf.train.RecoveryPolicy)
    assert told(section("How often a job goes on")) == expected


def test_the_page_on_configuration_has_each_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    expected = {f"weft[{name}]" for name in project["optional-dependencies"]} - {"weft[dev]"}
    assert set(told(section("Installing what is optional"))) == expected


# names


def shell_commands(text: str) -> Iterator[list[str]]:
    """The lines of a page's examples that call the program weft."""
    for line in text.replace("\\\n", " ").splitlines():
        if re.match(r"(    )?(\S+ )?weft launch ", line):
            yield shlex.split(line, comments=True)


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_flags_of_weft_launch_in_a_page_are_there(path: Path) -> None:
    options = {name for each in launch.params for name in each.opts if name.startswith("--")}
    for words in shell_commands(TEXTS[path]):
        own = words[words.index("launch") + 1 :]
        script = next(index for index, word in enumerate(own) if word.endswith(".py"))
        assert {word for word in own[:script] if word.startswith("--")} <= options, words


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_public_names_in_a_page_are_there(path: Path) -> None:
    for name in set(re.findall(r"\bwf((?:\.[A-Za-z_]\w*)+)", TEXTS[path])):
        found: Any = wf
        for part in name.split(".")[1:]:
            assert hasattr(found, part), f"wf{name}"
            found = getattr(found, part)


def attributes(text: str) -> set[str]:
    """The names of a text that TensorFlow's programs would write, without their `tf.`."""
    return set(re.findall(r"\btf\.((?:\w+\.)*\w+)", text))


def is_there(name: str) -> bool:
    found: Any = wf
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is not None


def test_the_page_for_users_of_tensorflow_says_what_is_missing_and_what_is_there() -> None:
    before, _, rest = TEXTS[Path("docs/from-tensorflow.md")].partition("| missing | instead |")
    table, _, after = rest.partition("\n\n")
    missing = {name for row in table.splitlines() if row for name in attributes(row.split(" | ")[0])}
    assert len(missing) > 20
    assert {name for name in missing if is_there(name)} == set()
    assert {name for name in attributes(before + table + after) - missing if not is_there(name)} == set()


@pytest.mark.parametrize("path", [Path("README.md"), Path("docs/from-tensorflow.md")], ids=str)
def test_the_programs_in_a_page_run(path: Path) -> None:
    """Those that are whole: they import what they use."""
    programs = re.findall(r"^```python\n(.*?)^```", TEXTS[path], re.MULTILINE | re.DOTALL)
    whole = [program for program in programs if "import weft" in program]
    assert whole
    for program in whole:
        with wf.Graph().as_default():
            exec(compile(program, str(path), "exec"), {})


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_arguments_in_a_page_are_there(path: Path) -> None:
    """The first argument of each call in a text, where it has a name."""
    for call, argument in set(re.findall(r"\b([A-Za-z_][\w.]*)\((?:\.\.\., )?([a-z_]+)=", TEXTS[path])):
        name = call.removeprefix("wf.").removeprefix("tf.")
        for found in (name, f"train.{name}", f"cluster.{name}"):
            if is_there(found) and callable(function := attrgetter(found)(wf)):
                assert argument in inspect.signature(function).parameters, f"{call}({argument}=...)"


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_errors_in_a_page_are_there(path: Path) -> None:
    known = {name for name in dir(builtins) if name.endswith("Error")} | named_in_code(r"class (\w+Error)\b")
    known |= {"DecodeError"}  # protobuf's
    assert set(re.findall(r"\b[A-Z]\w+Error\b", TEXTS[path])) <= known


# links


def anchors(text: str) -> set[str]:
    """What a page's headings can be linked to as."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_links_in_a_page_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXTS[path]):
        if not link.startswith("https://"):
            place, _, anchor = link.partition("#")
            target = (ROOT / path.parent / place).resolve() if place else ROOT / path
            assert target.exists(), link
            if anchor:
                assert anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_files_of_code_in_a_page_are_there(path: Path) -> None:
    """Those that are named with their folder, from the checkout's root or from one of its rooms."""
    named = set(re.findall(r"`((?:\w+/)+\w+\.py)`", TEXTS[path]))
    rooms = [ROOT, *(ROOT / room for room in ("graph", "runtime", "cluster", "train"))]
    assert {name for name in named if not any((room / name).exists() for room in rooms)} == set()


def test_the_list_of_decisions_has_all_with_their_titles() -> None:
    folder = Path("docs/decisions")
    listed = dict(re.findall(r"^\| \[\d{4}\]\((\S+)\) \| (.*) \|$", TEXTS[folder / "README.md"], re.MULTILINE))
    titles = {path.name: TEXTS[path].partition("\n")[0] for path in PAGES if re.match(r"\d{4}-", path.name)}
    assert listed == {name: title.partition(": ")[2] for name, title in titles.items()}
