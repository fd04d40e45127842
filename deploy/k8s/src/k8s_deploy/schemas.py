"""Kubernetes' schemas of three versions: the oldest that is promised, the tested one, and the newest."""

from collections.abc import Iterator
from typing import Final

import kubernetes_validate

from k8s_deploy.rendering import Manifest, Rendered, named

VERSIONS: Final = ("1.32", "1.34", "1.37")


def is_core(manifest: Manifest) -> bool:
    """Whether Kubernetes itself defines the kind; kinds of operators have no schema here."""
    group = manifest["apiVersion"].rpartition("/")[0]
    return "." not in group or group.endswith(".k8s.io")


def problems(rendered: Rendered) -> Iterator[str]:
    """A line for each value that a version's schema refuses."""
    for manifest in rendered.manifests:
        if not is_core(manifest):
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                place = ".".join(str(step) for step in error.path)
                yield f"{rendered.name}: {named(manifest)}: Kubernetes {version}: {place}: {error.message[:200]}"
