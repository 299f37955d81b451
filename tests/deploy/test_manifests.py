"""The manifests of deploy/ agree with each other, the lock and fuseid; `make deploy-check` has the schemas."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from fuseid.apps.cli import app
from fuseid.core.config import Config

ROOT = Path(__file__).parent.parent.parent
MANIFESTS = {path.stem: path for path in (ROOT / "deploy" / "kubernetes").glob("*.yaml")}


def read(name: str) -> dict[str, Any]:
    found = yaml.safe_load(MANIFESTS[name].read_text())
    assert isinstance(found, dict)
    return found


def pods(value: Any) -> list[dict[str, Any]]:
    """Every pod specification, at any depth."""
    if isinstance(value, list):
        return [pod for each in value for pod in pods(each)]
    if not isinstance(value, dict):
        return []
    return [value] * ("containers" in value) + [pod for each in value.values() for pod in pods(each)]


def commands() -> dict[str, list[str]]:
    """The command line of fuseid in each file that has one."""
    container = pods(read("cronjob"))[0]["containers"][0]
    dag = (ROOT / "deploy" / "airflow" / "fuseid_nightly.py").read_text()
    found = {
        "cronjob": [*container["command"], *container["args"]],
        "rayjob": shlex.split(read("rayjob")["spec"]["entrypoint"]),
    }
    for number, line in enumerate(re.findall(r'exec \{FUSEID\} (.*)"', dag)):
        found[f"airflow-{number}"] = shlex.split(f"fuseid {line}")
    return found


def test_the_nightly_ray_job_is_the_ray_job() -> None:
    assert read("raycronjob")["spec"]["jobTemplate"] == read("rayjob")["spec"]


def test_ray_of_the_cluster_is_ray_of_the_lock() -> None:
    (locked,) = re.findall(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text(), re.M)
    assert read("rayjob")["spec"]["rayClusterSpec"]["rayVersion"] == locked


@pytest.mark.parametrize("name", sorted(commands()))
def test_the_command_lines_are_known_to_fuseid(name: str) -> None:
    words = commands()[name]
    arguments = words[words.index("fuseid") + 1 :]
    group = typer.main.get_command(app)
    verb = group.get_command(None, arguments[0])  # type: ignore[attr-defined]
    parsed = verb.make_context(arguments[0], [*arguments[1:], "--db", "DB"])
    assert parsed.params["db"] == "DB"


@pytest.mark.parametrize("name", sorted(MANIFESTS))
def test_no_pod_has_rights_and_a_stopped_run_has_its_time(name: str) -> None:
    found = pods(read(name))
    assert found
    for pod in found:
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["image"] == "REGISTRY/fuseid:TAG"
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
            if container["name"] != "submitter":
                assert pod["terminationGracePeriodSeconds"] >= 2 * Config().run.drain_seconds
