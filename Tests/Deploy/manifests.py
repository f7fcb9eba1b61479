"""The files of Deploy/ as a cluster gets them: rendered by kubectl, found by kind and name."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "Deploy"
KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = ["development", "production", "stable-names"]

Manifest = dict[str, Any]


def tool(name: str) -> str:
    """A program from a Python package or on the path; the variable NAME overrides both."""
    beside = Path(sys.executable).parent / name
    found = os.environ.get(name.upper()) or (str(beside) if beside.exists() else shutil.which(name))
    assert found, f"no {name}: install Tests/Deploy/requirements.txt"
    return found


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )


def read(path: Path) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def render(directory: Path) -> list[Manifest]:
    done = run(tool("kubectl"), "kustomize", directory)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, f"kustomize warns: {done.stderr}"
    return list(yaml.safe_load_all(done.stdout))


def only(manifests: list[Manifest], kind: str, name: str = "tailrace") -> Manifest:
    """The one manifest of a kind and name."""
    found = [each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def worker(manifests: list[Manifest]) -> Manifest:
    """The workers' Deployment or StatefulSet."""
    kinds = [each["kind"] for each in manifests if each["metadata"]["name"] == "tailrace"]
    return only(manifests, "StatefulSet" if "StatefulSet" in kinds else "Deployment")


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Every pod specification, with the name of its owner."""
    for manifest in manifests:
        if template := manifest.get("spec", {}).get("template"):
            yield f"{manifest['kind']} {manifest['metadata']['name']}", template["spec"]


def generated(manifests: list[Manifest], name: str) -> Manifest:
    """The data of a ConfigMap whose name may end in a hash."""
    found = [
        each
        for each in manifests
        if each["kind"] == "ConfigMap" and re.fullmatch(rf"{name}(-[a-z0-9]{{10}})?", each["metadata"]["name"])
    ]
    assert len(found) == 1, f"{len(found)} of ConfigMap {name}"
    return found[0]["data"]


def seconds(duration: str) -> float:
    """A duration of a topology file: `25s`, `1m30s`."""
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    total, digits, rest = 0.0, "", duration
    while rest:
        if rest[0].isdigit():
            digits, rest = digits + rest[0], rest[1:]
            continue
        unit = "ms" if rest.startswith("ms") else rest[0]
        total, digits, rest = total + int(digits) * units[unit], "", rest[len(unit) :]
    return total
