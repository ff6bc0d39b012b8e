"""What the error of a task that is gone tells of its log."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from weft.cluster.task_info import TaskInfo
from weft.cluster.task_logs import BYTES, LINES, LONGEST, last_words
from weft.cluster.transport import Location


@pytest.fixture
def info(tmp_path: Path) -> TaskInfo:
    return replace(TaskInfo.here("/job:a/task:0", {}, {}), log=str(tmp_path / "task.err"))


def test_the_last_lines_are_told_without_what_is_not_the_tasks(info: TaskInfo) -> None:
    Path(info.log).write_bytes(b":job_id:01\nfirst\n\n:actor_name:A\n\xff second\n")
    assert last_words(info) == f"; the last in its log, {info.log}:\n  first\n  \ufffd second"


def test_a_long_log_is_cut(info: TaskInfo) -> None:
    Path(info.log).write_text("".join(f"line {number}\n" for number in range(1_000_000)))
    assert last_words(info).count("\n") == LINES
    assert last_words(info).endswith("\n  line 999999")
    Path(info.log).write_text("x" * 10 * BYTES)
    assert last_words(info).count("x") == LONGEST


def test_a_log_that_is_empty_or_not_there_adds_nothing(info: TaskInfo) -> None:
    assert last_words(info) == ""
    Path(info.log).write_text(":job_id:01\n")
    assert last_words(info) == ""
    assert last_words(replace(info, log="")) == ""


def test_of_another_host_it_is_said_where_the_log_is(info: TaskInfo) -> None:
    Path(info.log).write_text("not this one\n")
    there = replace(info, host="far", location=Location("another", "1"))
    assert last_words(there) == f"; its log is {info.log} on far"


def test_a_log_is_the_file_that_errors_go_to(tmp_path: Path) -> None:
    program = "from weft.cluster.task_logs import log_of_this_process as log; print(log())"
    command = [sys.executable, "-P", "-c", program]
    with (tmp_path / "err").open("w") as file:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=file, text=True, timeout=60, check=True)
    assert done.stdout == f"{tmp_path / 'err'}\n"
    assert subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout == "\n"
