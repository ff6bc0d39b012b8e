"""The end of a log, as it is told with the error of a task that is gone."""

import subprocess
import sys
from pathlib import Path

from weft.cluster.on_ray.log_tail import BYTES, LINES, WIDTH, tail


def test_the_last_lines_are_told_without_what_is_not_the_tasks(tmp_path: Path) -> None:
    path = tmp_path / "err"
    path.write_bytes(b":job_id:01\nfirst\n\n:actor_name:A\n\xff second\n")
    assert tail(str(path)) == "  first\n  \ufffd second"


def test_a_long_log_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "err"
    path.write_text("".join(f"line {number}\n" for number in range(100_000)))
    assert tail(str(path)).splitlines() == [f"  line {number}" for number in range(100_000 - LINES, 100_000)]
    path.write_text("x" * 10 * BYTES)
    assert tail(str(path)) == "  " + "x" * WIDTH


def test_a_log_that_is_empty_or_not_there_tells_nothing(tmp_path: Path) -> None:
    path = tmp_path / "err"
    assert tail(str(path)) == ""
    path.write_text(":job_id:01\n\n")
    assert tail(str(path)) == ""


def test_a_log_is_the_file_that_errors_go_to(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", "from weft.cluster.on_ray.log_tail import log_file; print(log_file())"]
    with (tmp_path / "err").open("w") as file:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=file, text=True, timeout=200, check=True)
    assert done.stdout == f"{tmp_path / 'err'}\n"
    assert subprocess.run(command, capture_output=True, text=True, timeout=200, check=True).stdout == "\n"
