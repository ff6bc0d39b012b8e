"""The surroundings of a TensorFlow 1 program: flags, the entry point, logging, switches of old behaviour."""

import io
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import weft as wf
from weft.compat.flags import DuplicateFlagError, Flags


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch) -> Flags:
    """The flags of a program, none defined yet."""
    fresh = Flags()
    monkeypatch.setattr(wf.flags, "FLAGS", fresh)
    return fresh


def define() -> None:
    wf.flags.DEFINE_string("name", "x", "A name, 100 % free.")
    wf.flags.DEFINE_integer("steps", 3, "How many.", lower_bound=0, upper_bound=10)
    wf.flags.DEFINE_float("rate", 0.5, "How fast.")
    wf.flags.DEFINE_boolean("shuffle", False, "Whether to shuffle.")
    wf.flags.DEFINE_bool("save", True, "Whether to save.")
    wf.flags.DEFINE_enum("mode", "train", ["train", "test"], "What to do.")
    wf.flags.DEFINE_list("hosts", "a,b", "Where.")


def test_defaults(flags: Flags) -> None:
    define()
    assert flags(["program"]) == ["program"]
    assert flags.flag_values_dict() == {
        "name": "x", "steps": 3, "rate": 0.5, "shuffle": False, "save": True, "mode": "train", "hosts": ["a", "b"],
    }  # fmt: skip


def test_values_from_the_command_line(flags: Flags) -> None:
    define()
    words = [
        "--name=y",
        "--steps",
        "7",
        "-rate=-2.5e-1",
        "--shuffle",
        "file",
        "--nosave",
        "--mode=test",
        "--hosts=c, d",
    ]
    assert flags(["program", *words]) == ["program", "file"]
    assert (flags.name, flags.steps, flags.rate, flags.shuffle, flags.save) == ("y", 7, -0.25, True, False)
    assert (flags.mode, flags.hosts) == ("test", ["c", "d"])


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("--shuffle", True), ("--shuffle=true", True), ("--shuffle=1", True), ("-shuffle", True), ("--noshuffle", False),
        ("--shuffle=False", False), ("--shuffle=f", False),
    ],
)  # fmt: skip
def test_booleans(flags: Flags, word: str, value: bool) -> None:
    define()
    flags(["program", word])
    assert flags.shuffle is value


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--steps=x", "invalid int value: 'x'"), ("--steps=11", "invalid int value: '11'"),
        ("--steps=-1", "invalid int value"), ("--rate=fast", "invalid float value"), ("--shuffle=maybe", "invalid"),
        ("--mode=sleep", "invalid choice: 'sleep'"), ("--nope=1", "Unknown command line flag: --nope=1"),
        ("--nam=y", "Unknown command line flag"),
    ],
)  # fmt: skip
def test_what_the_command_line_may_not_say(
    flags: Flags, word: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    define()
    with pytest.raises(SystemExit) as stopped:
        flags(["program", word])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_unknown_flags_may_be_left_to_others(flags: Flags) -> None:
    define()
    assert flags(["program", "--other=1", "--steps=2"], known_only=True) == ["program", "--other=1"]
    assert flags.steps == 2


def test_help_tells_all_flags(flags: Flags, capsys: pytest.CaptureFixture[str]) -> None:
    define()
    with pytest.raises(SystemExit) as stopped:
        flags(["program", "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert all(f"--{name}" in text for name in flags)
    assert "100 % free" in text
    assert ", -" not in text.partition("--help")[2]  # each by one name
    assert f"[default: {flags['steps'].default}]" in text
    assert f"[default: {str(flags['shuffle'].default).lower()}]" in text


def test_one_dash_does_as_well(flags: Flags) -> None:
    define()
    assert flags(["program", "-steps", "3", "-rate=0.5", "-noshuffle"]) == ["program"]
    assert (flags.steps, flags.rate, flags.shuffle) == (3, 0.5, False)


def test_help_shows_the_docstring_of_the_program(
    flags: Flags, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__doc__", "Trains.\n\n    train.py --lr 0.1  # 100% of it")
    with pytest.raises(SystemExit):
        flags(["train.py", "--help"])
    assert "Trains.\n\n    train.py --lr 0.1  # 100% of it\n" in capsys.readouterr().out


def test_flags_are_read_when_the_first_is_asked_for(flags: Flags, monkeypatch: pytest.MonkeyPatch) -> None:
    define()
    monkeypatch.setattr(sys, "argv", ["program", "--steps=9"])
    assert not flags.is_parsed()
    assert flags.steps == 9
    assert flags.is_parsed()


def test_a_program_may_set_flags(flags: Flags) -> None:
    define()
    flags.steps = 5
    flags(["program"])
    flags.name = "z"
    assert (flags.steps, flags.name, flags["steps"].value) == (5, "z", 5)


def test_flags_that_are_not_defined(flags: Flags) -> None:
    for ask in (lambda: flags.nope, lambda: setattr(flags, "nope", 1)):
        with pytest.raises(AttributeError, match="no flag 'nope' is defined"):
            ask()
    assert "nope" not in flags
    assert len(flags) == 0


def test_a_flag_is_defined_once(flags: Flags) -> None:
    define()
    with pytest.raises(DuplicateFlagError, match="'name' is defined twice"):
        wf.flags.DEFINE_integer("name", 1, "")


def test_a_required_flag(flags: Flags, capsys: pytest.CaptureFixture[str]) -> None:
    wf.flags.DEFINE_string("where", None, "Where to.")
    wf.flags.mark_flag_as_required("where")
    with pytest.raises(SystemExit):
        flags(["program"])
    assert "--where" in capsys.readouterr().err
    flags(["program", "--where=here"])
    assert flags.where == "here"


def test_run_gives_main_the_rest_and_exits_with_what_it_returns(flags: Flags, monkeypatch: pytest.MonkeyPatch) -> None:
    define()
    seen: list[Any] = []

    def main(argv: list[str]) -> int:
        seen.append((argv, wf.flags.FLAGS.steps))
        return 4

    with pytest.raises(SystemExit) as stopped:
        wf.app.run(main, ["program", "--steps=2", "file"])
    assert stopped.value.code == 4
    monkeypatch.setattr(sys, "argv", ["program", "--steps=3"])
    monkeypatch.setattr(sys.modules["__main__"], "main", main, raising=False)
    with pytest.raises(SystemExit):
        wf.app.run()
    assert seen == [(["program", "file"], 2), (["program"], 3)]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the logger `weft` writes, alone."""
    logger, stream = logging.getLogger("weft"), io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s:%(filename)s:%(message)s"))
    logger.addHandler(handler)
    before = logger.level
    yield stream
    logger.setLevel(before)
    logger.removeHandler(handler)


def test_severities(log: io.StringIO) -> None:
    for level in (wf.logging.DEBUG, wf.logging.ERROR):
        wf.logging.set_verbosity(level)
        assert wf.logging.get_verbosity() == level
        for write in (
            wf.logging.debug,
            wf.logging.info,
            wf.logging.warn,
            wf.logging.warning,
            wf.logging.error,
            wf.logging.fatal,
        ):
            write("%s is %d", "x", 1)
    levels = [line.partition(":")[0] for line in log.getvalue().splitlines()]
    assert levels == ["DEBUG", "INFO", "WARNING", "WARNING", "ERROR", "CRITICAL", "ERROR", "CRITICAL"]
    assert {line.partition(":")[2] for line in log.getvalue().splitlines()} == {"test_compat.py:x is 1"}


def test_logging_some_of_the_times(log: io.StringIO) -> None:
    wf.logging.set_verbosity(wf.logging.INFO)
    for index in range(7):
        wf.logging.log_every_n(wf.logging.INFO, "every %d", 3, index)
        wf.logging.log_first_n(wf.logging.INFO, "first %d", 2, index)
        wf.logging.log_if(wf.logging.INFO, "if %d", index == 4, index)
        wf.logging.log(wf.logging.DEBUG, "never")
    wf.logging.flush()
    said = [line.rpartition(":")[2] for line in log.getvalue().splitlines()]
    assert said == ["every 0", "first 0", "first 1", "every 3", "if 4", "every 6"]


def test_switches_that_ask_for_tensorflow_1() -> None:
    wf.enable_eager_execution()
    assert wf.executing_eagerly()
    wf.disable_v2_behavior()
    assert not wf.executing_eagerly()
    wf.disable_eager_execution()
    wf.disable_v2_tensorshape()
    wf.disable_tensor_equality()
    wf.enable_resource_variables()
    assert wf.constant(1.0).op.type == "Const"
