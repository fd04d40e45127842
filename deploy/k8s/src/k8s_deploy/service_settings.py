"""Checks the ConfigMaps as the services will read them: every name is a setting, and the service starts with it."""

import importlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chassis.settings import ServiceSettings, SettingsError, load
from k8s_deploy.rendering import Rendered, pod
from roster import roster

SAMPLE_SECRETS: Mapping[str, str] = {
    "store-url": "postgresql://role:Xq7pL0vM2kR9@suite-postgres-rw:5432/db?sslmode=verify-full&sslrootcert=/ca.crt",
}
"""The content of a secret's file during the check. Any other file holds a word that is no development default."""


def problems(rendered: Rendered) -> Iterator[str]:
    """A line for each setting that its service does not know or refuses."""
    for service in rendered.services:
        name = service["metadata"]["name"]
        settings_type = importlib.import_module(f"{roster().by_name[name].package}.__main__").DEFINITION.settings_type
        prefix = str(settings_type.model_config["env_prefix"])
        container = pod(service)["containers"][0]
        values: dict[str, str] = {}
        for source in container.get("envFrom", []):
            values |= rendered.settings[source["configMapRef"]["name"]]
        place = f"{rendered.name}: ConfigMap/{name}"
        for key in values:
            if not key.startswith(prefix) or not _is_setting(settings_type, key.removeprefix(prefix).lower()):
                yield f"{place}: {key} is no setting of {name}"
        with _files(values) as environment, _environment(environment, prefix):
            try:
                loaded = load(settings_type)
            except SettingsError as error:
                for problem in error.problems:
                    yield f"{place}: {problem}"
            else:
                if rendered.name == "production" and loaded.environment != "production":
                    yield f"{place}: {prefix}ENVIRONMENT is not production"


def _is_setting(settings_type: type[ServiceSettings], name: str) -> bool:
    return any(_field(settings_type, path) for path in {name, name.removesuffix("_file")})


def _field(model: Any, name: str) -> bool:
    for part in name.split("__"):
        fields = getattr(model, "model_fields", {})
        if part not in fields:
            return False
        model = fields[part].annotation
    return True


@contextmanager
def _files(values: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """``values``, with every path below /run/secrets replaced by a file that exists."""
    with tempfile.TemporaryDirectory() as folder:
        changed = dict(values)
        for key, value in values.items():
            if value.startswith("/run/secrets/"):
                path = Path(folder) / Path(value).name
                path.write_text(SAMPLE_SECRETS.get(path.name, "Zt4nB8wQ1yH6"))
                changed[key] = str(path)
        yield changed


@contextmanager
def _environment(values: Mapping[str, str], prefix: str) -> Iterator[None]:
    """This process's environment, with only ``values`` as the service's variables."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(prefix)]:
        del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
