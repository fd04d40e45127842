"""The manifests keep each promise, and the check notices each broken promise."""

import copy
import os
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from k8s_deploy import policy, rendering, schemas, service_settings
from k8s_deploy.rendering import Rendered, RenderError, pod, render
from roster import kafka, roster

try:
    rendering.renderer()
except RenderError as error:
    pytest.skip(str(error), allow_module_level=True)

Break = Callable[[list[dict[str, Any]]], None]


@pytest.fixture(scope="module")
def overlays() -> dict[str, Rendered]:
    return {name: render(name) for name in rendering.OVERLAYS}


def one(manifests: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name)


def notifier(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    return one(manifests, "Deployment", "notifier")


def container(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    return pod(notifier(manifests))["containers"][0]


def drop(manifests: list[dict[str, Any]], kind: str, name: str) -> None:
    manifests.remove(one(manifests, kind, name))


def configured(manifests: list[dict[str, Any]]) -> dict[str, str]:
    """The notifier's ConfigMap."""
    return next(
        m["data"] for m in manifests if m["kind"] == "ConfigMap" and m["metadata"]["name"].startswith("notifier")
    )


BROKEN: list[tuple[str, str, Break]] = [
    # rule, text expected in the line, how the promise is broken
    ("restricted", "may run as root", lambda m: pod(notifier(m))["securityContext"].pop("runAsNonRoot")),
    ("restricted", "seccompProfile", lambda m: pod(notifier(m))["securityContext"].pop("seccompProfile")),
    ("restricted", "a namespace of the node", lambda m: pod(notifier(m)).update(hostNetwork=True)),
    ("restricted", "a folder of the node", lambda m: pod(notifier(m))["volumes"].append({"name": "h", "hostPath": {}})),
    ("restricted", "gain privileges", lambda m: container(m)["securityContext"].pop("allowPrivilegeEscalation")),
    ("restricted", "keeps capabilities", lambda m: container(m)["securityContext"].update(capabilities={})),
    ("restricted", "a port of the node", lambda m: container(m)["ports"][0].update(hostPort=80)),
    ("restricted", "does not enforce", lambda m: one(m, "Namespace", "powerserver-blume")["metadata"].pop("labels")),
    ("restricted", "no Namespace", lambda m: drop(m, "Namespace", "powerserver-blume")),
    ("read-only", "may write", lambda m: container(m)["securityContext"].pop("readOnlyRootFilesystem")),
    ("no-token", "a token of the cluster", lambda m: pod(notifier(m)).pop("automountServiceAccountToken")),
    ("no-token", "look like settings", lambda m: pod(notifier(m)).pop("enableServiceLinks")),
    ("no-token", "of its own", lambda m: pod(notifier(m)).update(serviceAccountName="scheduler-sync")),
    ("no-token", "hands its token", lambda m: one(m, "ServiceAccount", "notifier").pop("automountServiceAccountToken")),
    ("bounded", "resources.limits without memory", lambda m: container(m)["resources"]["limits"].pop("memory")),
    ("bounded", "resources.requests without cpu", lambda m: container(m)["resources"]["requests"].pop("cpu")),
    ("pinned", "has no version", lambda m: container(m).update(image="suite/notifier")),
    ("no-secrets", "made in the cluster", lambda m: m.append({"kind": "Secret", "metadata": {"name": "s"}})),
    ("no-secrets", "belongs into a Secret", lambda m: configured(m).update(NOTIFIER_SMTP__PASSWORD="x")),
    ("no-secrets", "holds a login", lambda m: configured(m).update(NOTIFIER_PORTAL_URL="https://u:p@host/")),
    ("no-secrets", "from a file", lambda m: container(m).update(env=[{"name": "NOTIFIER_SMTP__PASSWORD"}])),
    ("walled", "no default-deny", lambda m: drop(m, "NetworkPolicy", "default-deny")),
    ("walled", "may not ask DNS", lambda m: drop(m, "NetworkPolicy", "to-dns")),
    ("walled", "may not reach Kafka", lambda m: drop(m, "NetworkPolicy", "to-kafka")),
    ("walled", "may not reach Postgres", lambda m: drop(m, "NetworkPolicy", "to-postgres")),
    ("walled", "names no peer", lambda m: one(m, "NetworkPolicy", "to-kafka")["spec"]["egress"][0].pop("to")),
    (
        "walled",
        "admits every pod",
        lambda m: one(m, "NetworkPolicy", "to-kafka")["spec"]["egress"][0].update(to=[{"podSelector": {}}]),
    ),
    ("probed", "livenessProbe asks nothing", lambda m: container(m).pop("livenessProbe")),
    ("probed", "not /readyz", lambda m: container(m)["readinessProbe"]["httpGet"].update(path="/livez")),
    ("probed", "startupProbe ends before", lambda m: container(m)["startupProbe"].pop("timeoutSeconds")),
    ("drained", "no preStop", lambda m: container(m).pop("lifecycle")),
    ("drained", "terminationGracePeriod", lambda m: pod(notifier(m)).pop("terminationGracePeriodSeconds")),
    ("drained", "before the new one", lambda m: notifier(m)["spec"].pop("strategy")),
    ("available", "PodDisruptionBudget", lambda m: drop(m, "PodDisruptionBudget", "notifier")),
    ("available", "kubernetes.io/hostname", lambda m: pod(notifier(m)).pop("topologySpreadConstraints")),
    ("migrated", "migrates before", lambda m: drop(m, "Job", "notifier-migrate-before")),
    ("migrated", "runs", lambda m: pod(one(m, "Job", "notifier-migrate-after"))["containers"][0].update(args=["run"])),
    ("migrated", "its service's image", lambda m: container(m).update(image="suite/notifier:other")),
    (
        "migrated",
        "service's traffic",
        lambda m: one(m, "Job", "notifier-migrate-after")["spec"]["template"]["metadata"]["labels"].update(
            {policy.COMPONENT: "service"}
        ),
    ),
]
PUBLIC = {"name": "public", "port": 80, "targetPort": "public"}
BROKEN += [
    ("public-apart", "beside others", lambda m: one(m, "Service", "notifier")["spec"]["ports"].append(PUBLIC)),
    (
        "public-apart",
        "beside others",
        lambda m: one(m, "NetworkPolicy", "notifier-metrics")["spec"]["ingress"][0]["ports"].append({"port": "public"}),
    ),
    ("public-apart", "nothing leads to", lambda m: container(m)["ports"].append({"name": "public"})),
]
PRODUCTION_BROKEN: list[tuple[str, str, Break]] = [
    ("available", "1 replicas", lambda m: one(m, "ScaledObject", "notifier")["spec"].update(minReplicaCount=1)),
    ("available", "undo", lambda m: notifier(m)["spec"].update(replicas=2)),
    ("scaled-on-lag", "no ScaledObject", lambda m: drop(m, "ScaledObject", "notifier")),
    (
        "scaled-on-lag",
        "watches the groups",
        lambda m: one(m, "ScaledObject", "notifier")["spec"]["triggers"][0]["metadata"].update(consumerGroup="other"),
    ),
    (
        "as-the-roster-says",
        "listens on",
        lambda m: container(m).update(ports=[{"name": "http", "containerPort": 8199}]),
    ),
    ("as-the-roster-says", "memory", lambda m: container(m)["resources"]["limits"].update(memory="1Gi")),
    ("as-the-roster-says", "is not deployed", lambda m: drop(m, "Deployment", "notifier")),
    ("as-the-roster-says", "is no service of the roster", lambda m: notifier(m)["metadata"].update(name="other")),
    ("scaled-on-lag", "stand idle", lambda m: one(m, "ScaledObject", "notifier")["spec"].update(maxReplicaCount=7)),
]


@pytest.mark.parametrize("overlay", ["local", "production"])
def test_every_promise_is_kept(overlays, overlay) -> None:
    assert list(policy.problems(overlays[overlay])) == []
    assert list(service_settings.problems(overlays[overlay])) == []


def test_every_rule_is_seen_broken() -> None:
    assert {rule for rule, _, _ in BROKEN + PRODUCTION_BROKEN} == set(policy.RULES)


@pytest.mark.parametrize(
    ("overlay", "rule", "words", "damage"),
    [("local", *broken) for broken in BROKEN] + [("production", *broken) for broken in PRODUCTION_BROKEN],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_promise_is_named(overlays, overlay, rule, words, damage) -> None:
    manifests = copy.deepcopy(list(overlays[overlay].manifests))
    damage(manifests)
    found = list(policy.RULES[rule].breaches(Rendered(overlay, tuple(manifests))))
    assert any(words in line for line in found), found


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"NOTIFIER_SMPT__HOST": "typing-mistake"}, "NOTIFIER_SMPT__HOST is no setting of notifier"),
        ({"NOTIFIER_SMTP__TLS": "none"}, "production needs starttls or tls"),
        ({"NOTIFIER_KAFKA__SECURITY_PROTOCOL": "PLAINTEXT"}, "production needs SSL or SASL_SSL"),
        ({"NOTIFIER_ENVIRONMENT": "development"}, "NOTIFIER_ENVIRONMENT is not production"),
    ],
)
def test_settings_that_the_service_would_refuse_are_named(overlays, changed, words) -> None:
    manifests = copy.deepcopy(list(overlays["production"].manifests))
    configured(manifests).update(changed)
    found = list(service_settings.problems(Rendered("production", tuple(manifests))))
    assert any(words in line for line in found), found


def test_a_field_that_kubernetes_does_not_know_is_named_for_each_version(overlays) -> None:
    manifests = copy.deepcopy(list(overlays["local"].manifests))
    notifier(manifests)["spec"]["replica"] = 2
    found = list(schemas.problems(Rendered("local", (notifier(manifests),))))
    assert [version for version in schemas.VERSIONS if any(version in line for line in found)] == list(schemas.VERSIONS)


def test_a_user_may_do_what_its_service_does_and_nothing_else() -> None:
    rights = {
        user["metadata"]["name"]: {
            (rule["resource"]["type"], rule["resource"]["name"], operation)
            for rule in user["spec"]["authorization"]["acls"]
            for operation in rule["operations"]
        }
        for user in kafka.users(roster())
    }
    assert ("topic", "appointment.scheduled", "Write") in rights["scheduler-sync"]
    assert {operation for _, _, operation in rights["notifier"]} == {"Read", "Describe"}
    assert ("group", "notifier", "Read") in rights["notifier"]
    assert not any(name == "*" or kind == "cluster" for user in rights.values() for kind, name, _ in user)


def test_every_service_is_deployed_and_known(overlays) -> None:
    folders = {path.parent.name for path in (rendering.ROOT / "services").glob("*/pyproject.toml")}
    assert folders == {one.name for one in roster().services}
    for name in ("local", "production"):
        assert folders == {service["metadata"]["name"] for service in overlays[name].services}


def test_a_service_with_a_public_port_has_a_way_in_of_its_own(tmp_path) -> None:
    """Uses a service that the repository does not have, on the components that every service uses."""
    components = os.path.relpath(rendering.FOLDER / "components", tmp_path)
    ports = [{"name": "http", "containerPort": 8199}, {"name": "public", "containerPort": 8299}]
    container = {
        "name": "service",
        "image": "suite/demo:1",
        "ports": ports,
        "envFrom": [{"configMapRef": {"name": "demo"}}],
    }
    deployment = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "demo"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }  # fmt: skip
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": ["deployment.yaml"],
        "components": [f"{components}/service", f"{components}/public"],
        "labels": [{"pairs": {"app.kubernetes.io/name": "demo", **policy.PART_OF}, "includeTemplates": True}],
    }  # fmt: skip
    (tmp_path / "deployment.yaml").write_text(yaml.safe_dump(deployment))
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    rendered = Rendered("demo", tuple(yaml.safe_load_all(rendering.render_text(tmp_path))))
    assert list(policy.public_apart(rendered)) == []
    way_in = one(list(rendered.manifests), "Service", "demo-public")
    assert way_in["spec"]["selector"]["app.kubernetes.io/name"] == "demo"
    assert [port["targetPort"] for port in way_in["spec"]["ports"]] == ["public"]
    assert [port["targetPort"] for port in one(list(rendered.manifests), "Service", "demo")["spec"]["ports"]] == [
        "http"
    ]
    policies = {one["metadata"]["name"]: one["spec"] for one in rendered.of("NetworkPolicy")}
    assert policies["demo-public"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"] == "demo"
    assert policies["demo-public"]["ingress"][0]["ports"] == [{"port": "public"}]
    assert policies["demo-metrics"]["ingress"][0]["ports"] == [{"port": "http"}]
