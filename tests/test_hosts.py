"""A cluster over three hosts, each with a network stack of its own: the same bits, and errors in time when one goes."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hosts import Hosts, hosts, reason_against

PROGRAM = str(Path(__file__).with_name("hosts_program.py"))

pytestmark = [pytest.mark.ray_nodes, pytest.mark.skipif(bool(reason_against()), reason=reason_against())]


@pytest.fixture
def three() -> Iterator[Hosts]:
    with hosts(3) as each:
        each.start_ray()
        yield each


def told(process: "subprocess.Popen[str]") -> Iterator[dict[str, Any]]:
    """What a program tells, line by line."""
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if line.startswith("{"):
            yield dict(json.loads(line))
    raise AssertionError(f"the program has ended: {''.join(lines)}")


def host_of(address: str) -> str:
    return address.split("://")[1].split(":")[0]


def test_training_on_three_hosts_gives_the_same_bits_as_in_one_process(three: Hosts) -> None:
    with three.running(0, [PROGRAM, "training", three.ray]) as process:
        lines = told(process)
        tasks = next(lines)["tasks"]
        assert sorted(host_of(address) for address in tasks.values()) == three.addresses
        assert next(lines) == {"values": 5 + 3 * 6 + 2, "same": True, "finite": True}


@pytest.mark.parametrize("how", ["cut", "kill"])
def test_a_host_that_goes_is_an_error_in_time_that_names_its_task(three: Hosts, how: str) -> None:
    with three.running(0, [PROGRAM, "endless", three.ray, "3"]) as process:
        lines = told(process)
        tasks = {host_of(address): name for name, address in next(lines)["tasks"].items()}
        assert next(lines) == {"running": True}
        getattr(three, how)(2)
        end = next(lines)
    assert end["error"] == "UnavailableError"
    assert tasks[three.addresses[2]] in end["message"]
    assert end["seconds"] < 120  # TCP itself would take a quarter of an hour


def test_a_training_goes_on_with_the_same_bits_when_a_host_is_lost(tmp_path: Path) -> None:
    """There is room for its task on a fourth host, once Ray has noticed that the third is gone."""
    with hosts(4) as four:
        four.start_ray()
        with four.running(0, [PROGRAM, "recovering", four.ray, str(tmp_path)]) as process:
            lines = told(process)
            while (said := next(lines))["step"] < 3:
                pass
            used = {host_of(address) for address in said["tasks"].values()}
            lost = next(number for number in (1, 2, 3) if four.addresses[number] in used)
            four.kill(lost)
            (tmp_path / "go").touch()
            rest = list(lines_until_same(lines))
    assert four.addresses[lost] not in {host_of(each) for each in rest[-2]["tasks"].values()}
    assert rest[-1]["same"]
    assert rest[-1]["epoch"] >= 1


def lines_until_same(lines: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What a training tells, up to its end."""
    for line in lines:
        yield line
        if "same" in line:
            return
