"""`wf.flags`: a program's command line flags, defined one by one and read from FLAGS, over argparse."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any


class DuplicateFlagError(Exception):
    """A flag of that name is defined already."""


class Flag:
    """One flag: its value before and after the command line is read."""

    def __init__(self, name: str, default: Any, **options: Any) -> None:
        self.name = name
        self.default = default
        self.value = default
        self.options = options
        self.required = False

    @property
    def is_boolean(self) -> bool:
        return self.options.get("type") is _boolean

    @property
    def told(self) -> str:
        """What the help says of it, with its value when nothing is given."""
        text, value = self.options.get("help") or "", self.value
        if value not in (None, "", []) and not self.required:
            value = ",".join(map(str, value)) if isinstance(value, list) else value
            text += f" [default: {str(value).lower() if self.is_boolean else value}]"
        return text.strip().replace("%", "%%")  # which argparse takes for the beginning of a placeholder


class Flags:
    """The flags of a program by name: `FLAGS.batch_size`. They are read from `sys.argv` when the first is asked for."""

    def __init__(self) -> None:
        self.__dict__["_flags"] = {}
        self.__dict__["_parsed"] = False

    def define(self, flag: Flag) -> Flag:
        """Take up a flag. Raises DuplicateFlagError."""
        if flag.name in self._flags:
            raise DuplicateFlagError(f"The flag '{flag.name}' is defined twice.")
        if isinstance(flag.default, str) and "type" in flag.options:
            flag.value = flag.options["type"](flag.default)
        self._flags[flag.name] = flag
        return flag

    def __call__(self, argv: Sequence[str], known_only: bool = False) -> list[str]:
        """Read `argv`, whose first item is the program's name; returns it without the flags.

        Prints the usage and raises SystemExit for an unknown flag (unless `known_only`), a value that does not fit, a
        required flag that is missing, and `--help`, which also shows the docstring of the program.
        """
        parser = argparse.ArgumentParser(
            prog=argv[0] if argv else None, description=_about_program(), allow_abbrev=False, conflict_handler="resolve",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        for flag in self._flags.values():
            options = {**flag.options, "help": flag.told}
            if flag.is_boolean:
                options["metavar"] = "true|false"
            parser.add_argument(f"--{flag.name}", default=flag.value, required=flag.required, dest=flag.name, **options)
        found, rest = parser.parse_known_args(self._spelled_out(argv[1:]))
        unknown = [word for word in rest if word.startswith("-") and word != "-"]
        if unknown and not known_only:
            parser.error(f"Unknown command line flag: {' '.join(unknown)}")
        for flag in self._flags.values():
            flag.value = getattr(found, flag.name)
        self.__dict__["_parsed"] = True
        return [*argv[:1], *rest]

    def _spelled_out(self, words: Sequence[str]) -> list[str]:
        """`--shuffle` as `--shuffle=true`, `--noshuffle` as `--shuffle=false`, and `-steps` as `--steps`."""
        booleans = {flag.name for flag in self._flags.values() if flag.is_boolean}
        spelled = []
        for word in words:
            name = word.lstrip("-")
            if word.startswith("-") and name in booleans:
                word = f"--{name}=true"
            elif word.startswith("-") and name.startswith("no") and name[2:] in booleans:
                word = f"--{name[2:]}=false"
            elif word.startswith("-") and name.partition("=")[0] in self._flags:
                word = f"--{name}"
            spelled.append(word)
        return spelled

    def is_parsed(self) -> bool:
        """Whether the command line was read."""
        return bool(self._parsed)

    def flag_values_dict(self) -> dict[str, Any]:
        """All values by name."""
        return {name: flag.value for name, flag in self._flags.items()}

    def __getattr__(self, name: str) -> Any:
        if name not in self._flags:
            raise AttributeError(f"no flag '{name}' is defined")
        if not self._parsed:
            self(sys.argv)
        return self._flags[name].value

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._flags:
            raise AttributeError(f"no flag '{name}' is defined")
        self._flags[name].value = value

    def __getitem__(self, name: str) -> Flag:
        flag: Flag = self._flags[name]
        return flag

    def __contains__(self, name: str) -> bool:
        return name in self._flags

    def __iter__(self) -> Any:
        return iter(self._flags)

    def __len__(self) -> int:
        return len(self._flags)


FLAGS = Flags()


def _about_program() -> str:
    """The docstring of the program, for argparse, which looks for percent signs only where its own placeholder is."""
    text = getattr(sys.modules.get("__main__"), "__doc__", None) or ""
    return text.replace("%", "%%") if "%(prog)" in text else text


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "t", "1"):
        return True
    if text.lower() in ("false", "f", "0"):
        return False
    raise ValueError(f"'{text}' is neither true nor false")


def _list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")] if text else []


def _define(name: str, default: Any, help: str | None, **options: Any) -> Flag:
    return FLAGS.define(Flag(name, default, help=help, **options))


def _number(kind: Callable[[str], Any], low: Any, high: Any) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = kind(text)
        if (low is not None and value < low) or (high is not None and value > high):
            raise ValueError(f"{value} is not within [{low}, {high}]")
        return value

    parse.__name__ = kind.__name__  # argparse names it in its message
    return parse


def DEFINE_string(name: str, default: str | None, help: str | None) -> Flag:
    """A flag that takes any text. Source: `tf.flags.DEFINE_string`."""
    return _define(name, default, help)


def DEFINE_integer(
    name: str,
    default: int | str | None,
    help: str | None,
    lower_bound: int | None = None,
    upper_bound: int | None = None,
) -> Flag:
    """A flag that takes an integer within the bounds. Source: `tf.flags.DEFINE_integer`."""
    return _define(name, default, help, type=_number(int, lower_bound, upper_bound))


def DEFINE_float(
    name: str,
    default: float | str | None,
    help: str | None,
    lower_bound: float | None = None,
    upper_bound: float | None = None,
) -> Flag:
    """A flag that takes a number within the bounds. Source: `tf.flags.DEFINE_float`."""
    return _define(name, default, help, type=_number(float, lower_bound, upper_bound))


def DEFINE_boolean(name: str, default: bool | str | None, help: str | None) -> Flag:
    """A flag that is turned on by `--name` and off by `--noname`; `--name=true` works too. Source: `tf.flags.DEFINE_boolean`."""
    return _define(name, default, help, type=_boolean)


DEFINE_bool = DEFINE_boolean


def DEFINE_enum(name: str, default: str | None, enum_values: Iterable[str], help: str | None) -> Flag:
    """A flag that takes one of some words. Source: `tf.flags.DEFINE_enum`."""
    return _define(name, default, help, choices=list(enum_values))


def DEFINE_list(name: str, default: list[str] | str | None, help: str | None) -> Flag:
    """A flag that takes words separated by commas; its value is a list. Source: `tf.flags.DEFINE_list`."""
    return _define(name, default, help, type=_list)


def mark_flag_as_required(flag_name: str) -> None:
    """Reading the command line fails without this flag. Source: `tf.flags.mark_flag_as_required`."""
    FLAGS[flag_name].required = True
