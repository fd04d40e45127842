"""Kubernetes: the local overlay's settings, simulators and policies, each service's autoscaler, and service lists."""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from contracts.topics import TOPICS
from roster.members import SESSION_TIMEOUT_SECONDS, Member, Place, Roster, Target

PART_OF: Final = "powerserver-blume"
SITE_FILE: Final = "/etc/suite/site.yaml"
HTTP_PORT: Final = 80
"""The port of a service's Service; a simulator's Service has the simulator's own port."""
LEAST_PODS: Final = 2
MOST_PODS: Final = min(topic.partitions for topic in TOPICS.values())
"""More pods than a topic has partitions would be idle."""
Manifest = dict[str, Any]


def place(roster: Roster) -> Place:
    def port(target: Target) -> str:
        member = roster.by_name[target.member]
        return str(HTTP_PORT if member.is_service and target.port == "http" else member.ports[target.port])

    def host(target: Target) -> str:
        """A further port of a service has its own Service, such as ``scheduler-sync-mllp``."""
        own = roster.by_name[target.member].is_service and target.port != "http"
        return f"{target.member}-{target.port}" if own else target.member

    return Place(
        host=host,
        port=port,
        browser_port=lambda target: str(roster.by_name[target.member].ports[target.port]),  # kubectl port-forward
        site_file=SITE_FILE,
    )


def local_overlay(service: Member, roster: Roster) -> str:
    """``k8s/local/kustomization.yaml`` of a service: its base with the local stack's settings."""
    literals = {
        f"{service.prefix}_KAFKA__BOOTSTRAP_SERVERS": "kafka:9092",
        **({f"{service.prefix}_KAFKA__SESSION_TIMEOUT_SECONDS": SESSION_TIMEOUT_SECONDS} if service.hears else {}),
        **service.settings(place(roster)),
    }
    site = ["../../../../deploy/site"] if service.reads_site_file else []
    return _dumped(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": ["../base", *site],
            "labels": [{"pairs": {"app.kubernetes.io/name": service.name, "app.kubernetes.io/part-of": PART_OF}}],
            "configMapGenerator": [
                {
                    "name": service.name,
                    "behavior": "merge",
                    "literals": [f"{name}={value}" for name, value in literals.items()],
                }
            ],
        }
    )


def autoscaling(service: Member) -> Mapping[str, str]:
    """``k8s/autoscaling`` of a service (KEDA): by the lag of its topics, else by its processor time."""
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "resources": ["scaledobject.yaml"],
        "patches": [{"target": {"kind": "Deployment"}, "patch": "- {op: remove, path: /spec/replicas}"}],
    }
    spec = {
        "scaleTargetRef": {"name": service.name},
        "minReplicaCount": LEAST_PODS,
        "maxReplicaCount": MOST_PODS,
        "cooldownPeriod": 300,
        # When Kafka has not answered for a minute and a half: three replicas.
        **({"fallback": {"failureThreshold": 3, "replicas": 3}} if service.hears else {}),
        # Each step is a rebalance for all pods, so scaling up is immediate and scaling down one pod in five minutes.
        "advanced": {
            "horizontalPodAutoscalerConfig": {
                "behavior": {
                    "scaleDown": {
                        "stabilizationWindowSeconds": 300,
                        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 300}],
                    }
                }
            }
        },
        "triggers": [_lag(service) if service.hears else _CPU],
    }
    scaled = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": service.name}}
    manifests = [{**scaled, "spec": spec}, *([_kafka_login(service)] if service.hears else [])]
    return {"kustomization.yaml": _dumped(kustomization), "scaledobject.yaml": _dumped(*manifests)}


_CPU: Final[Manifest] = {"type": "cpu", "metricType": "AverageValue", "metadata": {"value": "600m"}}


def _lag(service: Member) -> Manifest:
    return {
        "type": "kafka",
        "metadata": {
            "bootstrapServersFromEnv": f"{service.prefix}_KAFKA__BOOTSTRAP_SERVERS",
            "consumerGroup": service.name,
            "lagThreshold": "500",
            "offsetResetPolicy": "earliest",
            "sasl": "scram_sha512",
            "tls": "enable",
        },
        "authenticationRef": {"name": f"{service.name}-kafka"},
    }


def _kafka_login(service: Member) -> Manifest:
    """KEDA logs in to Kafka as the service's own user, who may describe the service's topics and group."""
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "TriggerAuthentication",
        "metadata": {"name": f"{service.name}-kafka"},
        "spec": {
            "env": [
                {"parameter": "username", "name": f"{service.prefix}_KAFKA__SASL_USERNAME", "containerName": "service"}
            ],
            "secretTargetRef": [
                {"parameter": "password", "name": service.name, "key": "password"},
                {"parameter": "ca", "name": "suite-cluster-ca-cert", "key": "ca.crt"},
            ],
        },
    }


def simulators(roster: Roster) -> str:
    """Services and StatefulSets of the simulators; the folder patches their shared settings in."""
    manifests = []
    for one in roster.simulators:
        name = {"app.kubernetes.io/name": one.name}
        container: Manifest = {
            "name": "simulator",
            "image": f"suite/{one.name}:dev",
            "ports": [{"name": port, "containerPort": number} for port, number in one.ports.items()],
        }
        if settings := one.settings(place(roster)):
            container["env"] = [{"name": key, "value": value} for key, value in settings.items()]
        ports = [{"name": port, "port": number, "targetPort": port} for port, number in one.ports.items()]
        manifests += [
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": one.name},
             "spec": {"selector": name, "ports": ports}},
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": one.name, "labels": name},
             "spec": {"serviceName": one.name, "selector": {"matchLabels": name},
                      "template": {"metadata": {"labels": name}, "spec": {"containers": [container]}}}},
        ]  # fmt: skip
    return _dumped(*manifests)


def partners(roster: Roster) -> str:
    """Network policies of the local overlay: the members that may talk to each other."""
    return _dumped(*(policy for member in roster.members if (policy := _policy(member, roster)) is not None))


def _policy(member: Member, roster: Roster) -> Manifest | None:
    ingress = [
        {"from": [_pods(partner) for partner in found], "ports": [{"port": port}]}
        for port in member.ports
        if (found := roster.partners_of(member.target(port)))
    ]
    egress = [
        {"to": [_pods(roster.by_name[target.member])], "ports": [{"port": target.port}]} for target in member.talks_to
    ]
    if not ingress and not egress:
        return None
    spec: Manifest = {
        "podSelector": _pods(member)["podSelector"],
        "policyTypes": [*(["Ingress"] if ingress else []), *(["Egress"] if egress else [])],
        **({"ingress": ingress} if ingress else {}),
        **({"egress": egress} if egress else {}),
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"{member.name}-partners"},
        "spec": spec,
    }


def _pods(member: Member) -> Manifest:
    labels = {"app.kubernetes.io/name": member.name, "app.kubernetes.io/component": member.kind}
    return {"podSelector": {"matchLabels": labels}}


def overlays(roster: Roster, overlay: str) -> Iterator[str]:
    """The resources of an overlay of all services."""
    for service in roster.services:
        yield f"- ../../../{service.place}/k8s/{overlay}"


def images(roster: Roster) -> Iterator[str]:
    """The images of a release; a site sets its registry and digests in its own overlay."""
    for service in roster.services:
        version = tomllib.loads((service.folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
        yield f"- {{name: suite/{service.name}, newName: registry.example/suite/{service.name}, newTag: {version}}}"


def store_passwords(roster: Roster) -> Iterator[str]:
    """The secrets for the job that makes the databases."""
    for service in roster.services:
        item = f"{{key: password, path: {service.database}}}"
        yield f"- secret: {{name: {service.name}-store, items: [{item}]}}"


def _dumped(*manifests: Manifest) -> str:
    return yaml.safe_dump_all(manifests, sort_keys=False, width=120)
