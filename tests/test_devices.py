"""Device names: read, written, merged, matched."""

from typing import Any

import pytest
import weft as wf
from hypothesis import given, strategies as st
from weft.graph.devices import DeviceSpec, canonical, within

NUMBER = st.none() | st.integers(0, 20)
JOB = st.none() | st.from_regex(r"[a-z][a-z0-9_.-]{0,5}", fullmatch=True)


@st.composite
def specs(draw: st.DrawFn) -> DeviceSpec:
    kind = draw(st.none() | st.sampled_from(["CPU", "GPU", "TPU", "XLA_CPU"]))
    index = draw(NUMBER) if kind else None
    return DeviceSpec(draw(JOB), draw(NUMBER), draw(NUMBER), kind, index)


@pytest.mark.parametrize(
    ("name", "canonical_name"),
    [
        ("", ""),
        ("/", ""),
        ("/cpu:0", "/device:CPU:0"),
        ("/GPU:1", "/device:GPU:1"),
        ("/Cpu:0", "/device:CPU:0"),
        ("/tpu:2", "/device:TPU:2"),
        ("/cpu", "/device:CPU:*"),
        ("/cpu:*", "/device:CPU:*"),
        ("/device:CPU:*", "/device:CPU:*"),
        ("/device:cpu:3", "/device:CPU:3"),
        ("/device:XLA_CPU:0", "/device:XLA_CPU:0"),
        ("/job:ps", "/job:ps"),
        ("/job:ps/task:1", "/job:ps/task:1"),
        ("job:a/task:2", "/job:a/task:2"),
        ("/replica:1/job:x", "/job:x/replica:1"),
        ("/task:01", "/task:1"),
        ("/job:a-b_c.d", "/job:a-b_c.d"),
        ("/job:a/job:b", "/job:b"),
        ("/job:worker/replica:0/task:3/device:GPU:7", "/job:worker/replica:0/task:3/device:GPU:7"),
    ],
)
def test_names_and_their_canonical_spelling(name: str, canonical_name: str) -> None:
    assert DeviceSpec.from_string(name).to_string() == canonical_name
    assert canonical(name) == canonical_name


@pytest.mark.parametrize(
    "name",
    [
        "bad",
        "/foo:0",
        "/cpu:x",
        "/task:b",
        "/task:*",
        "/task:-1",
        "/job:",
        "/device:CPU",
        "/device:CPU:0:1",
        "/device::0",
        "/task:²",
    ],
)
def test_what_is_no_device_name(name: str) -> None:
    with pytest.raises(ValueError, match="Unknown attribute"):
        DeviceSpec.from_string(name)


def test_a_name_has_one_device_type() -> None:
    with pytest.raises(ValueError, match="Multiple device types are not allowed"):
        DeviceSpec.from_string("/cpu:0/gpu:0")


@given(specs())
def test_a_spec_survives_its_name(spec: DeviceSpec) -> None:
    assert DeviceSpec.from_string(spec.to_string()) == spec
    assert str(spec) == canonical(spec) == spec.to_string()


@given(specs(), specs())
def test_overriding_takes_what_the_other_says(a: DeviceSpec, b: DeviceSpec) -> None:
    over = a.override(b)
    for field in ("job", "replica", "task", "device_type", "device_index"):
        mine, theirs = getattr(a, field), getattr(b, field)
        assert getattr(over, field) == (mine if theirs is None else theirs)
    assert a.make_merged_spec(b) == over
    assert within(a, b.to_string()) == over.to_string()


@given(specs(), specs())
def test_merging_is_overriding_where_nothing_contradicts(a: DeviceSpec, b: DeviceSpec) -> None:
    try:
        merged = a.merge(b)
    except ValueError:
        assert a.override(b) != b.override(a)
    else:
        assert merged == a.override(b) == b.override(a)


@pytest.mark.parametrize(
    ("a", "b", "what"),
    [
        ("/job:a", "/job:b", "jobs"),
        ("/replica:0", "/replica:1", "replicas"),
        ("/task:0", "/task:1", "tasks"),
        ("/cpu:0", "/gpu:0", "types"),
        ("/cpu:0", "/cpu:1", "ids"),
    ],
)
def test_a_contradiction_names_the_field(a: str, b: str, what: str) -> None:
    with pytest.raises(ValueError, match=f"Cannot merge devices with incompatible {what}: '{canonical(a)}' and"):
        DeviceSpec.from_string(a).merge(DeviceSpec.from_string(b))


@given(specs(), specs())
def test_a_name_matches_what_it_overrides_to_itself(partial: DeviceSpec, device: DeviceSpec) -> None:
    assert partial.matches(device) == (device.override(partial) == device)
    assert partial.matches(device.override(partial))


def test_parts_of_a_spec() -> None:
    spec = DeviceSpec(job="a", task=1, device_type="gpu", device_index=2)
    assert (spec.job, spec.replica, spec.task, spec.device_type, spec.device_index) == ("a", None, 1, "GPU", 2)
    assert spec.task_only() == DeviceSpec(job="a", task=1)
    assert spec.replace(task=3).to_string() == "/job:a/task:3/device:GPU:2"
    assert DeviceSpec.from_string("/cpu:0") == DeviceSpec.from_string("/device:CPU:0")
    assert len({DeviceSpec.from_string("/cpu:0"), DeviceSpec.from_string("/device:CPU:0")}) == 1


@pytest.mark.parametrize("value", [None, ""])
def test_nothing_said_is_the_empty_name(value: Any) -> None:
    assert canonical(value) == ""


def test_the_facade_has_it() -> None:
    assert wf.DeviceSpec is DeviceSpec
