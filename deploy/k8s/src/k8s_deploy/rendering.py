"""Renders manifests by the kustomize or kubectl of this machine."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[4]
FOLDER: Final = ROOT / "deploy" / "k8s"
OVERLAYS: Final = ("local", "production", "platform")
KUSTOMIZE_VERSION: Final = "v5.7.1"
INSTALL: Final = (
    "neither kubectl nor kustomize is here: install kubectl (Debian: apt-get install kubernetes-client), "
    f"or, with Go: go install sigs.k8s.io/kustomize/kustomize/v5@{KUSTOMIZE_VERSION}"
)
LIST_KINDS: Final = {"Deployment", "StatefulSet", "DaemonSet", "Job"}

Manifest = dict[str, Any]


class RenderError(RuntimeError):
    """Manifests could not be rendered; the text gives the reason and the remedy."""


def renderer() -> list[str]:
    """The command that renders a folder: kustomize, else kubectl's own. Raises ``RenderError`` without either."""
    kustomize = shutil.which("kustomize") or shutil.which("kustomize", path=str(Path.home() / "go" / "bin"))
    if kustomize:
        return [kustomize, "build"]
    if kubectl := shutil.which("kubectl"):
        return [kubectl, "kustomize"]
    raise RenderError(INSTALL)


def render_text(folder: Path) -> str:
    """The output of the kustomization in ``folder``, as YAML. Raises ``RenderError``."""
    done = subprocess.run([*renderer(), str(folder)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise RenderError(f"{os.path.relpath(folder)}: {lines[-1]}")
    return done.stdout


@dataclass(frozen=True)
class Rendered:
    """The manifests of one overlay."""

    name: str
    manifests: tuple[Manifest, ...]

    def of(self, *kinds: str) -> Iterator[Manifest]:
        return (manifest for manifest in self.manifests if manifest["kind"] in kinds)

    @property
    def workloads(self) -> Iterator[Manifest]:
        """Every object that makes pods."""
        return self.of(*LIST_KINDS)

    @property
    def services(self) -> Iterator[Manifest]:
        """The Deployments: the suite's services."""
        return self.of("Deployment")

    @cached_property
    def settings(self) -> Mapping[str, Mapping[str, str]]:
        """The content of each ConfigMap by its name."""
        return {manifest["metadata"]["name"]: manifest.get("data", {}) for manifest in self.of("ConfigMap")}

    @property
    def images(self) -> list[str]:
        return sorted({container["image"] for one in self.workloads for container in pod(one)["containers"]})


def render(name: str, folder: Path | None = None) -> Rendered:
    """Renders an overlay of ``deploy/k8s`` by its name. Raises ``RenderError``."""
    text = render_text(folder or FOLDER / name)
    return Rendered(name, tuple(manifest for manifest in yaml.safe_load_all(text) if manifest))


def named(manifest: Manifest) -> str:
    """``Deployment/<name>``, as kubectl writes it."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def pod(workload: Manifest) -> Manifest:
    """The pod's spec."""
    spec: Manifest = workload["spec"]["template"]["spec"]
    return spec


def pod_labels(workload: Manifest) -> Mapping[str, str]:
    labels: Mapping[str, str] = workload["spec"]["template"]["metadata"].get("labels", {})
    return labels


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches ``labels``; an empty one matches everything, as in Kubernetes."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for rule in selector.get("matchExpressions", []):
        value, among = labels.get(rule["key"]), rule.get("values", [])
        holds = {
            "In": value in among,
            "NotIn": value not in among,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[rule["operator"]]
        if not holds:
            return False
    return True
