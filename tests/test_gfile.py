"""`wf.gfile`: what programs of TensorFlow 1 do with files, with its values and errors; and texts of `wf.compat`."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import weft as wf
from stores import Memory, mounted
from weft.graph import errors

g = wf.gfile


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder to be in: `a` with a folder `b` and a file `f` of three lines, the last without an end."""
    monkeypatch.chdir(tmp_path)
    g.MakeDirs("a/b")
    with g.GFile("a/f", "w") as file:
        file.write("one\ntwo\n")
        file.write(b"three")


def written(place: str, data: str | bytes, mode: str = "w") -> None:
    with g.GFile(place, mode) as file:
        file.write(data)


def test_reading() -> None:
    assert g.GFile("a/f").read() == "one\ntwo\nthree"
    assert g.GFile("a/f", "rb").read() == b"one\ntwo\nthree"
    assert g.Open("a/f").read(3) == "one"
    assert list(g.FastGFile("a/f")) == g.GFile("a/f").readlines() == ["one\n", "two\n", "three"]
    with g.GFile("a/f") as file:
        assert (file.name, file.mode, file.size(), file.tell(), file.seekable()) == ("a/f", "r", 13, 0, True)
        assert [next(file), file.read(2), file.tell()] == ["one\n", "tw", 6]
        file.seek(0)
        assert file.readline() == "one\n"
        file.seek(offset=-2, whence=2)
        assert [file.read(), file.read(), file.readline()] == ["ee", "", ""]
        file.close()
        assert file.next() == "one\n"
    written("a/\u00fc", "\u00e4\r\n")
    assert (g.GFile("a/\u00fc").read(), g.GFile("a/\u00fc", "rb").size()) == ("\u00e4\r\n", 4)


def test_writing() -> None:
    written("a/f", "!", "a")
    assert g.GFile("a/f").read() == "one\ntwo\nthree!"
    written("a/f", b"\xff", "wb")
    assert g.GFile("a/f", "rb").read() == b"\xff"
    with g.GFile("a/f", "w+") as file:
        file.write("1234")
        assert file.size() == 4
        file.seek(1)
        assert file.read(2) == "23"
    with g.GFile("a/f", "r+") as file:
        file.write("x")
    assert g.GFile("a/f").read() == "x234"
    with g.GFile("a/empty", "w"):
        pass
    assert not g.Exists("a/empty")  # a file is opened when it is used
    g.GFile("a/forgotten", "w").write("y")
    assert g.GFile("a/forgotten").read() == "y"
    file = g.GFile("a/part", "w")
    file.write("p")
    file.flush()
    assert Path("a/part").read_text() == "p"
    file.close()


def test_folders() -> None:
    g.MakeDirs("a/b")
    g.MkDir("a")  # both are there
    assert (g.Exists("a"), g.Exists("a/f"), g.Exists("no")) == (True, True, False)
    assert (g.IsDirectory("a"), g.IsDirectory("a/f"), g.IsDirectory("no")) == (True, False, False)
    assert sorted(g.ListDirectory("a")) == ["b", "f"]
    written("a/b/d", "")
    g.MakeDirs("a/b/c")
    assert [(top, dirs, files) for top, dirs, files in g.Walk("a")] == [
        ("a", ["b"], ["f"]), ("a/b", ["c"], ["d"]), ("a/b/c", [], []),
    ]  # fmt: skip
    assert [top for top, _, _ in g.Walk("a", in_order=False)] == ["a/b/c", "a/b", "a"]
    assert list(g.Walk("no")) == []
    assert g.Glob("a/?") == ["a/b", "a/f"]
    assert g.Glob(["a/[f]", "a/no*"]) == ["a/f"]
    found, top = g.Stat("a/f"), g.Stat("a")
    assert (found.length, found.is_directory, top.is_directory) == (13, False, True)
    assert found.mtime_nsec == os.stat("a/f").st_mtime_ns
    g.DeleteRecursively("a")
    assert not g.Exists("a")


def test_files_are_copied_moved_and_deleted() -> None:
    g.Copy("a/f", "a/h")
    g.Copy("a/f", "a/h", overwrite=True)
    g.Rename("a/h", "a/i")
    g.Rename("a/i", "a/f", overwrite=True)
    g.Rename("a/b", "a/c")
    assert sorted(g.ListDirectory("a")) == ["c", "f"]
    g.Remove("a/f")
    written("a/g", "x")
    g.DeleteRecursively("a/g")
    assert g.ListDirectory("a") == ["c"]


@pytest.mark.parametrize(
    ("does", "error", "says"),
    [
        (lambda: g.GFile("no").read(), errors.NotFoundError, "no: No such file or directory"),
        (lambda: g.GFile("no").size(), errors.NotFoundError, "no: No such file or directory"),
        (lambda: written("q/f", ""), errors.NotFoundError, "q/f: No such file or directory"),
        (lambda: written("a/b", ""), errors.FailedPreconditionError, "a/b: Is a directory"),
        (lambda: g.GFile("a/f").write("x"), errors.PermissionDeniedError, "a/f was not opened for writing"),
        (lambda: g.GFile("a/f", "w").read(), errors.PermissionDeniedError, "a/f was not opened for reading"),
        (lambda: g.GFile("a/f", "x"), errors.InvalidArgumentError, "mode must be one of .* got 'x'"),
        (lambda: g.ListDirectory("no"), errors.NotFoundError, "There is no folder no"),
        (lambda: g.ListDirectory("a/f"), errors.NotFoundError, "There is no folder a/f"),
        (lambda: g.MkDir("x/y"), errors.NotFoundError, "x/y: No such file or directory"),
        (lambda: g.MkDir("a/f"), errors.AlreadyExistsError, "a/f: File exists"),
        (lambda: g.MakeDirs("a/f"), errors.AlreadyExistsError, "a/f: File exists"),
        (lambda: g.Stat("no"), errors.NotFoundError, "no: No such file or directory"),
        (lambda: g.Copy("no", "x"), errors.NotFoundError, "There is no file no"),
        (lambda: g.Copy("a/f", "a/f"), errors.AlreadyExistsError, "a/f: file already exists"),
        (lambda: g.Rename("no", "x"), errors.NotFoundError, "no: No such file or directory"),
        (lambda: g.Rename("a/b", "a/f"), errors.AlreadyExistsError, "a/f: file already exists"),
        (lambda: g.Remove("no"), errors.NotFoundError, "no: No such file or directory"),
        (lambda: g.Remove("a/b"), errors.FailedPreconditionError, "a/b: Is a directory"),
        (lambda: g.DeleteRecursively("no"), errors.NotFoundError, "no: No such file or directory"),
        (lambda: g.DeleteRecursively("s3://b/f"), errors.UnimplementedError, "must be on this machine, not at s3://b/f"),
        (lambda: g.GFile("s3://b/f", "a"), errors.UnimplementedError, "s3://b/f is read or written whole"),
    ],
)  # fmt: skip
def test_what_is_refused(does: Callable[[], Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        does()


@pytest.mark.parametrize("disk", [False, True], ids=["object store", "disk"])
def test_files_of_other_places(disk: bool) -> None:
    with mounted(Memory(disk)) as uri:
        g.MakeDirs(uri)
        written(f"{uri}/f", "one\ntwo\n")
        assert g.GFile(f"{uri}/f").readlines() == ["one\n", "two\n"]
        assert g.GFile(f"{uri}/f", "rb").read(3) == b"one"
        g.Copy(f"{uri}/f", "a/copy")
        g.Copy("a/copy", f"{uri}/g")
        assert (g.Exists(uri), g.Exists(f"{uri}/h")) == (True, False)
        assert (g.Exists(f"{uri}/g"), g.IsDirectory(f"{uri}/g"), g.Stat(f"{uri}/g").length) == (True, False, 8)
        assert [name for name in sorted(g.ListDirectory(uri)) if name != ".keep"] == ["f", "g"]
        with pytest.raises(errors.AlreadyExistsError, match="test://here/runs/g: file already exists"):
            g.Copy("a/f", f"{uri}/g")
        with suppress(ZeroDivisionError), g.GFile(f"{uri}/h", "w") as file:
            file.write("a part")
            raise ZeroDivisionError
        assert not g.Exists(f"{uri}/h")
        g.Remove(f"{uri}/g")
        for does in (lambda: g.Remove(f"{uri}/g"), lambda: g.GFile(f"{uri}/g").read(), lambda: g.Stat(f"{uri}/g")):
            with pytest.raises(errors.NotFoundError, match="test://here/runs/g"):
                does()


def test_texts_and_bytes() -> None:
    assert (wf.compat.as_bytes("\u00e4"), wf.compat.as_bytes(b"\xff"), wf.compat.as_bytes(bytearray(b"x"))) == (
        b"\xc3\xa4", b"\xff", b"x",
    )  # fmt: skip
    assert (wf.compat.as_text("\u00e4"), wf.compat.as_text(b"\xc3\xa4"), wf.compat.as_str(b"x")) == (
        "\u00e4",
        "\u00e4",
        "x",
    )
    assert (wf.compat.as_str_any(3), wf.compat.as_str_any(b"x"), wf.compat.as_bytes("\u00e4", "latin-1")) == (
        "3",
        "x",
        b"\xe4",
    )
    for convert in (wf.compat.as_bytes, wf.compat.as_text):
        with pytest.raises(TypeError, match="expected bytes or a text, got 3"):
            convert(3)
