"""The deployment files: valid for the tools that read them, in step with each other, and calling what exists."""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from tree import ROOT, kept

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
RAY_UP: dict[str, Any] = yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text())
RAY_JOB: dict[str, Any] = yaml.safe_load((DEPLOY / "rayjob.yaml").read_text())
RAY_CLUSTER: dict[str, Any] = yaml.safe_load((DEPLOY / "raycluster.yaml").read_text())
PAGE = (ROOT / "docs" / "deploy.md").read_text()
CLUSTERS = [RAY_JOB["spec"]["rayClusterSpec"], RAY_CLUSTER["spec"]]
GROUPS = [group for spec in CLUSTERS for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def exactly(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """The schema of an object with these fields and no others."""
    fields = required | optional
    return {"type": "object", "required": [*required], "properties": fields, "additionalProperties": False}


TEXT, COUNT, YES_NO = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
AMOUNTS = exactly({"cpu": {"type": "string", "pattern": r"^\d+m?$"}, "memory": {"pattern": r"^\d+[MG]i$"}})
PORT = exactly({"name": {"type": "string", "pattern": "^[a-z-]{1,15}$"}, "containerPort": COUNT})
CONTAINER = exactly(
    {"name": TEXT, "image": TEXT, "resources": exactly({"requests": AMOUNTS, "limits": AMOUNTS})},
    ports={"type": "array", "items": PORT},
)
SECURITY = exactly({"runAsNonRoot": {"const": True}, "runAsUser": COUNT, "runAsGroup": COUNT})
POD = exactly({"containers": {"type": "array", "minItems": 1, "items": CONTAINER}}, securityContext=SECURITY)
GROUP = {"rayStartParams": TEXTS, "template": exactly({"spec": POD})}
SIZES = {"groupName": TEXT, "replicas": COUNT, "minReplicas": COUNT, "maxReplicas": COUNT}

#: The fields of KubeRay's resources that we use, as its documentation of ray.io/v1 has them.
CLUSTER = exactly(
    {
        "rayVersion": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "authOptions": exactly({"mode": {"enum": ["token", "disabled"]}}),
        "headGroupSpec": exactly(GROUP),
        "workerGroupSpecs": {"type": "array", "minItems": 1, "items": exactly(GROUP | SIZES)},
    }
)
JOB = exactly(
    {
        "entrypoint": TEXT,
        "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        "shutdownAfterJobFinishes": YES_NO,
        "ttlSecondsAfterFinished": COUNT,
        "activeDeadlineSeconds": {"type": "integer", "exclusiveMinimum": 0},
        "backoffLimit": COUNT,
        "rayClusterSpec": CLUSTER,
    }
)


def resource(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    """The schema of one of KubeRay's resources."""
    name = {"type": "string", "pattern": "^[a-z]([a-z0-9-]*[a-z0-9])?$", "maxLength": 47}
    metadata = exactly({"name": name})
    return exactly({"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": kind}, "metadata": metadata, "spec": spec})


def commands() -> list[str]:
    """Every command that runs the example, in the deployment files and on the page about them."""
    default = shlex.join(json.loads(re.findall(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)[-1]))
    on_page = re.findall(r"python \S*train_digits\.py[^\n`'\\]*", PAGE)
    return list(dict.fromkeys([RAY_JOB["spec"]["entrypoint"], default, *on_page]))


def test_the_ray_up_file_is_valid_by_rays_own_schema() -> None:
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.submodule_search_locations
    schema = Path(spec.submodule_search_locations[0]) / "autoscaler" / "ray-schema.json"
    jsonschema.validate(RAY_UP, json.loads(schema.read_text()))


def test_the_ray_up_file_names_only_addresses_that_are_kept_for_documentation() -> None:
    addresses = [RAY_UP["provider"]["head_ip"], *RAY_UP["provider"]["worker_ips"]]
    assert len(addresses) == len(set(addresses)) == 4
    assert all(address.startswith("192.0.2.") for address in addresses)


def test_kuberays_resources_are_valid() -> None:
    jsonschema.validate(RAY_JOB, resource("RayJob", JOB))
    jsonschema.validate(RAY_CLUSTER, resource("RayCluster", CLUSTER))
    for group in (group for spec in CLUSTERS for group in spec["workerGroupSpecs"]):
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_the_raycluster_has_a_cpu_for_each_task_of_the_launch_on_the_page() -> None:
    (workers,) = RAY_CLUSTER["spec"]["workerGroupSpecs"]
    (container,) = workers["template"]["spec"]["containers"]
    (ps, count) = re.findall(r"port-forward.*?weft launch\D+--ps (\d+) --workers (\d+)", PAGE, re.DOTALL)[0]
    assert workers["replicas"] * int(container["resources"]["requests"]["cpu"]) >= int(ps) + int(count)


def test_the_rayjobs_workers_have_a_cpu_for_each_task_of_the_main_job() -> None:
    (workers,) = RAY_JOB["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = workers["template"]["spec"]["containers"]
    assert workers["replicas"] * int(container["resources"]["requests"]["cpu"]) >= 3
    assert GROUPS[0]["rayStartParams"]["num-cpus"] == "0"


def test_every_cluster_asks_for_a_token() -> None:
    assert [spec["authOptions"] for spec in CLUSTERS] == [{"mode": "token"}] * 2
    assert "--env RAY_AUTH_MODE=token" in RAY_UP["docker"]["run_options"]
    assert "/home/weft/.ray/auth_token" in RAY_UP["file_mounts"]


def test_the_files_name_one_image() -> None:
    named = {container["image"] for group in GROUPS for container in group["template"]["spec"]["containers"]}
    (built,) = set(re.findall(r"--tag (\S+)", (DEPLOY / "Dockerfile").read_text()))
    assert named | {RAY_UP["docker"]["image"]} | set(re.findall(r"--tag (\S+)", PAGE)) == {built}


def test_the_files_name_one_version_of_ray_that_the_project_allows() -> None:
    (version,) = re.findall(r"^ARG RAY_VERSION=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert {spec["rayVersion"] for spec in CLUSTERS} == {version}
    project = (ROOT / "pyproject.toml").read_text()
    (required,) = re.findall(r'^cluster = \["(ray[^"]*)"\]$', project, re.MULTILINE)
    assert version in Requirement(required).specifier


def test_what_the_image_copies_is_there() -> None:
    sources = re.findall(r"^COPY (?!--from)(?:--\S+ )*(\S+) \S+$", DOCKERFILE, re.MULTILINE)
    assert sources == [".", "examples/train_digits.py"]
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_what_the_image_leaves_out_is_no_part_of_the_package() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split("\n")
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and kept(path.name)}
    assert {line for line in ignored if line in folders} <= {"benchmarks", "docs", "tests"}
    assert not {"pyproject.toml", "LICENSE", "README.md", "py.typed"} & set(ignored)


def test_the_image_runs_without_root() -> None:
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert users == ["weft"]
    assert DOCKERFILE.index("USER weft") > DOCKERFILE.rindex("RUN ")


@pytest.fixture(scope="module")
def usage() -> str:
    """What the example says of its options."""
    example = [sys.executable, str(ROOT / "examples" / "train_digits.py"), "--help"]
    done = subprocess.run(example, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", commands())
def test_every_command_calls_the_example_with_options_that_it_has(command: str, usage: str) -> None:
    program, script, *options = shlex.split(command)
    assert program == "python"
    assert script.removeprefix("/home/weft/").removeprefix("examples/") == "train_digits.py"
    flags = [option for option in options if option.startswith("--")]
    assert flags
    assert [flag for flag in flags if not re.search(rf"{flag}\b", usage)] == []


def test_the_page_names_only_files_that_are_there() -> None:
    named = set(re.findall(r"\b(?:deploy|examples|docs)/[\w./-]*\w", PAGE))
    assert {f"deploy/{file.name}" for file in DEPLOY.iterdir() if file.suffix != ".dockerignore"} == {
        n for n in named if n.startswith("deploy/")
    }
    assert [name for name in named if not (ROOT / name).exists()] == []
