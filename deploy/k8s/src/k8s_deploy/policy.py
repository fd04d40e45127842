"""The promises of the manifests, as rules over kustomize's output: each rule gives a line per breach.

A rule's text is the promise on the operations page. A rule that finds nothing to check counts as broken: every overlay
has workloads, and `make k8s-check` prints the number of things checked.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from chassis.host.service import CHECK_TIMEOUT_SECONDS, STOP_SECONDS
from contracts.topics import TOPICS
from k8s_deploy.rendering import Manifest, Rendered, named, pod, pod_labels, selects
from roster import roster

MARGIN_SECONDS: Final = 10
PART_OF: Final = {"app.kubernetes.io/part-of": "powerserver-blume"}
COMPONENT: Final = "app.kubernetes.io/component"
PUBLIC: Final = "public"
"""The name of the port that the internet may reach."""
SECRET_WORDS: Final = ("PASSWORD", "SECRET", "TOKEN", "STORE__URL")


@dataclass(frozen=True)
class Rule:
    """A promise, and the function that finds its breaches."""

    promise: str
    breaches: Callable[[Rendered], Iterator[str]]


def _each_container(rendered: Rendered) -> Iterator[tuple[str, Manifest, Manifest]]:
    for workload in rendered.workloads:
        spec = pod(workload)
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            yield f"{named(workload)} container {container['name']}", workload, container


def restricted(rendered: Rendered) -> Iterator[str]:
    for namespace in rendered.of("Namespace"):
        labels = namespace["metadata"].get("labels", {})
        if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{named(namespace)}: does not enforce restricted pods"
    if not any(rendered.of("Namespace")):
        yield "there is no Namespace"
    yield from _restricted_pods(rendered)
    yield from _restricted_containers(rendered)


def _restricted_pods(rendered: Rendered) -> Iterator[str]:
    for workload in rendered.workloads:
        spec = pod(workload)
        security = spec.get("securityContext", {})
        if not security.get("runAsNonRoot") or security.get("runAsUser", 0) == 0:
            yield f"{named(workload)}: may run as root"
        if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{named(workload)}: seccompProfile is not RuntimeDefault"
        if any(spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{named(workload)}: shares a namespace of the node"
        if any("hostPath" in volume for volume in spec.get("volumes", [])):
            yield f"{named(workload)}: mounts a folder of the node"


def _restricted_containers(rendered: Rendered) -> Iterator[str]:
    for place, _, container in _each_container(rendered):
        security = container.get("securityContext", {})
        capabilities = security.get("capabilities", {})
        if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
            yield f"{place}: may gain privileges"
        if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
            yield f"{place}: keeps capabilities"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield f"{place}: takes a port of the node"


def read_only(rendered: Rendered) -> Iterator[str]:
    for place, workload, container in _each_container(rendered):
        is_server = pod_labels(workload).get(COMPONENT) == "server"  # The local overlay's Kafka and Postgres.
        if not is_server and container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{place}: may write to its image's file system"


def no_token(rendered: Rendered) -> Iterator[str]:
    for workload in rendered.workloads:
        if pod(workload).get("automountServiceAccountToken") is not False:
            yield f"{named(workload)}: gets a token of the cluster"
        if pod(workload).get("enableServiceLinks") is not False:
            yield f"{named(workload)}: gets variables about other services, which look like settings"
    accounts = {one["metadata"]["name"]: one for one in rendered.of("ServiceAccount")}
    for service in rendered.services:
        account = accounts.get(pod(service).get("serviceAccountName", ""))
        if account is None or account["metadata"]["name"] != service["metadata"]["name"]:
            yield f"{named(service)}: has no ServiceAccount of its own"
        elif account.get("automountServiceAccountToken") is not False:
            yield f"{named(account)}: hands its token out"


def bounded(rendered: Rendered) -> Iterator[str]:
    for place, _, container in _each_container(rendered):
        resources = container.get("resources", {})
        for kind in ("requests", "limits"):
            missing = {"cpu", "memory"} - set(resources.get(kind, {}))
            if missing:
                yield f"{place}: resources.{kind} without {', '.join(sorted(missing))}"


def pinned(rendered: Rendered) -> Iterator[str]:
    for place, _, container in _each_container(rendered):
        image = container["image"]
        tag = image.rpartition("/")[2].partition(":")[2]
        if "@sha256:" not in image and tag in {"", "latest"}:
            yield f"{place}: image {image} has no version"


def no_secrets(rendered: Rendered) -> Iterator[str]:
    for secret in rendered.of("Secret"):
        yield f"{named(secret)}: secrets are made in the cluster, not kept with the manifests"
    for name, content in rendered.settings.items():
        for key, value in content.items():
            if _is_secret(rendered, key, value):
                yield f"ConfigMap/{name}: {key} belongs into a Secret"
            if "://" in value and "@" in value.partition("://")[2].partition("/")[0]:
                yield f"ConfigMap/{name}: {key} holds a login"
    for place, _, container in _each_container(rendered):
        for variable in container.get("env", []):
            if _is_secret(rendered, variable["name"], variable.get("value", "")):
                yield f"{place}: {variable['name']} must come from a file: the environment reaches every child and dump"


def _is_secret(rendered: Rendered, name: str, value: str) -> bool:
    """Whether a setting is a secret. The local stack's development values are public; production refuses them."""
    is_public = rendered.name == "local" and "development" in value
    return any(word in name for word in SECRET_WORDS) and not name.endswith("_FILE") and not is_public


def walled(rendered: Rendered) -> Iterator[str]:
    policies = list(rendered.of("NetworkPolicy"))
    shut = [one for one in policies if not one["spec"].get("ingress") and not one["spec"].get("egress")]
    for workload in rendered.workloads:
        labels = pod_labels(workload)
        if not any(
            selects(one["spec"]["podSelector"], labels) and set(one["spec"]["policyTypes"]) == {"Ingress", "Egress"}
            for one in shut
        ):
            yield f"{named(workload)}: no default-deny policy selects its pods"
        if 53 not in _reached(policies, labels):
            yield f"{named(workload)}: may not ask DNS"
    yield from _open_rules(policies)
    for service in rendered.services:
        reached = _reached(policies, pod_labels(service))
        if not reached & {9092, 9093, "kafka"}:
            yield f"{named(service)}: may not reach Kafka"
        if not reached & {5432, "postgres"}:
            yield f"{named(service)}: may not reach Postgres"


def _open_rules(policies: list[Manifest]) -> Iterator[str]:
    """Rules that admit more than named peers and ports."""
    for one in policies:
        for direction, who in (("ingress", "from"), ("egress", "to")):
            for rule in one["spec"].get(direction, []):
                if not rule.get(who) or {} in rule[who] or not rule.get("ports"):
                    yield f"{named(one)}: {direction} names no peer or no port"
                for peer in rule.get(who, []):
                    if peer.get("podSelector") == {} or peer.get("namespaceSelector") == {}:
                        yield f"{named(one)}: {direction} admits every pod"


def _reached(policies: list[Manifest], labels: Any) -> set[int | str]:
    """The ports that a pod with ``labels`` may reach, at any peer."""
    return {
        port["port"]
        for one in policies
        if selects(one["spec"]["podSelector"], labels)
        for rule in one["spec"].get("egress", [])
        for port in rule.get("ports", [])
    }


def probed(rendered: Rendered) -> Iterator[str]:
    wanted = {"livenessProbe": "/livez", "readinessProbe": "/readyz", "startupProbe": "/readyz"}
    for service in rendered.services:
        container = pod(service)["containers"][0]
        for name, path in wanted.items():
            probe = container.get(name, {})
            asked = probe.get("httpGet", {}).get("path", "")
            if asked.partition("?")[0] != path:
                yield f"{named(service)}: {name} asks {asked or 'nothing'}, not {path}"
            if probe.get("timeoutSeconds", 1) <= CHECK_TIMEOUT_SECONDS:
                yield f"{named(service)}: {name} ends before the check's own {CHECK_TIMEOUT_SECONDS:g} s"


def drained(rendered: Rendered) -> Iterator[str]:
    for service in rendered.services:
        spec = pod(service)
        waits = spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if not waits:
            yield f"{named(service)}: stops before the nodes have heard of it (no preStop sleep)"
        needed = waits + STOP_SECONDS + MARGIN_SECONDS
        if spec.get("terminationGracePeriodSeconds", 30) < needed:
            yield f"{named(service)}: terminationGracePeriodSeconds is less than the {needed:g} that a stop may take"
        rolling = service["spec"].get("strategy", {}).get("rollingUpdate", {})
        if rolling.get("maxUnavailable") != 0:
            yield f"{named(service)}: a rollout takes a pod away before the new one is ready"


def available(rendered: Rendered) -> Iterator[str]:
    scaled = {one["spec"]["scaleTargetRef"]["name"]: one["spec"] for one in rendered.of("ScaledObject")}
    for service in rendered.services:
        name, labels = service["metadata"]["name"], pod_labels(service)
        replicas = scaled[name].get("minReplicaCount", 0) if name in scaled else service["spec"].get("replicas", 1)
        if replicas < 2:
            yield f"{named(service)}: {replicas} replicas at least; two are needed to lose one"
        if name in scaled and "replicas" in service["spec"]:
            yield f"{named(service)}: replicas would undo what the autoscaler set"
        budgets = [one for one in rendered.of("PodDisruptionBudget") if selects(one["spec"]["selector"], labels)]
        if [one["spec"].get("maxUnavailable") for one in budgets] != [1]:
            yield f"{named(service)}: has not one PodDisruptionBudget that lets one pod go at a time"
        spread = {one["topologyKey"]: one for one in pod(service).get("topologySpreadConstraints", [])}
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone"):
            if key not in spread or not selects(spread[key].get("labelSelector", {"matchLabels": {"": ""}}), labels):
                yield f"{named(service)}: is not spread over {key}"


def migrated(rendered: Rendered) -> Iterator[str]:
    jobs = {one["metadata"]["name"]: one for one in rendered.of("Job")}
    for service in rendered.services:
        for phase in ("before", "after"):
            job = jobs.get(f"{service['metadata']['name']}-migrate-{phase}")
            if job is None:
                yield f"{named(service)}: has no Job that migrates {phase} it"
                continue
            mine, its = pod(job)["containers"][0], pod(service)["containers"][0]
            if mine.get("args") != ["migrate", "--phase", phase]:
                yield f"{named(job)}: runs {mine.get('args')}"
            same = all(mine.get(key) == its.get(key) for key in ("image", "envFrom", "volumeMounts"))
            if not same or pod(job).get("volumes") != pod(service).get("volumes"):
                yield f"{named(job)}: has not its service's image, settings and secrets"
            if pod_labels(job).get(COMPONENT) == pod_labels(service).get(COMPONENT):
                yield f"{named(job)}: its pods would get the service's traffic"


def scaled_on_lag(rendered: Rendered) -> Iterator[str]:
    """Checked only in overlays that have the autoscaler."""
    objects = {one["spec"]["scaleTargetRef"]["name"]: one["spec"] for one in rendered.of("ScaledObject")}
    if not objects and rendered.name != "production":
        return
    for service in rendered.services:
        name = service["metadata"]["name"]
        member, found = roster().by_name.get(name), objects.get(name)
        if found is None:
            yield f"{named(service)}: has no ScaledObject"
            continue
        groups = [one["metadata"]["consumerGroup"] for one in found["triggers"] if one["type"] == "kafka"]
        wanted = [name] if member is not None and member.hears else []
        if groups != wanted:
            yield f"ScaledObject/{name}: watches the groups {groups}, the service's are {wanted}"
        partitions = min(topic.partitions for topic in TOPICS.values())
        if found.get("maxReplicaCount", 100) > partitions:
            yield f"ScaledObject/{name}: more pods than a topic has partitions ({partitions}) would stand idle"


def public_apart(rendered: Rendered) -> Iterator[str]:
    """The internet port has its own Service and policy, and no other Service leads to it."""
    listening = {
        service["metadata"]["name"]
        for service in rendered.services
        for port in pod(service)["containers"][0].get("ports", [])
        if port.get("name") == PUBLIC
    }
    led: dict[str, set[str]] = {"Service": set(), "NetworkPolicy": set()}
    for one in rendered.of("Service"):
        targets = {port.get("targetPort", port["port"]) for port in one["spec"].get("ports", [])}
        yield from _beside(one, targets, led["Service"])
    for one in rendered.of("NetworkPolicy"):
        for rule in one["spec"].get("ingress", []):
            yield from _beside(one, {port.get("port") for port in rule.get("ports", [])}, led["NetworkPolicy"])
    for kind, names in led.items():
        for name in sorted(listening - names):
            yield f"{kind}/{name}-public is missing: nothing leads to the public port of {name}"
        for name in sorted(names - listening):
            yield f"{kind}/{name}-public: {name} has no port {PUBLIC}"


def _beside(one: Manifest, ports: set[int | str | None], led: set[str]) -> Iterator[str]:
    name = one["metadata"]["name"]
    if PUBLIC in ports:
        led.add(name.removesuffix(f"-{PUBLIC}"))
        if len(ports) > 1 or not name.endswith(f"-{PUBLIC}"):
            yield f"{named(one)}: leads to the port {PUBLIC} beside others, or is not called <service>-{PUBLIC}"


def as_the_roster_says(rendered: Rendered) -> Iterator[str]:
    known = {service.name: service for service in roster().services}
    deployed = {service["metadata"]["name"]: service for service in rendered.services}
    for name in known.keys() - deployed.keys():
        yield f"services/{name} is not deployed"
    for name, service in deployed.items():
        if name not in known:
            yield f"{named(service)}: is no service of the roster"
            continue
        container = pod(service)["containers"][0]
        ports = {port.get("name"): port["containerPort"] for port in container.get("ports", [])}
        if ports != known[name].ports:
            yield f"{named(service)}: listens on {ports}, its service.toml says {dict(known[name].ports)}"
        memory = container.get("resources", {}).get("limits", {}).get("memory")
        if memory != f"{known[name].memory_mb}Mi":
            yield f"{named(service)}: memory is limited to {memory}, its service.toml says {known[name].memory_mb} MiB"


RULES: Final[dict[str, Rule]] = {
    "restricted": Rule("every pod passes Pod Security 'restricted', and the namespace enforces it", restricted),
    "read-only": Rule("no pod of the suite writes to its image's file system", read_only),
    "no-token": Rule("no pod holds a token of the cluster; a service has an account of its own", no_token),
    "bounded": Rule("every container has requests and limits", bounded),
    "pinned": Rule("every image has a version", pinned),
    "no-secrets": Rule("manifests hold no secret, and secrets reach pods as files", no_secrets),
    "walled": Rule("a pod talks to whom a policy names and to nobody else: DNS, Kafka, Postgres, partners", walled),
    "probed": Rule("probes ask what the chassis answers, and wait for the answer", probed),
    "drained": Rule("a stop has the time that it takes, and no pod goes before the new one is ready", drained),
    "available": Rule("two pods at least, spread over nodes and zones, one lost at a time", available),
    "migrated": Rule("migrations run before and after the code, as the service would", migrated),
    "as-the-roster-says": Rule("services, ports and memory are those of the service.toml files", as_the_roster_says),
    "public-apart": Rule("the port for the internet has a Service and a policy of its own", public_apart),
    "scaled-on-lag": Rule("the autoscaler watches the group that the service reads with", scaled_on_lag),
}


def problems(rendered: Rendered) -> Iterator[str]:
    """A line for each breach of each promise."""
    for name, rule in RULES.items():
        for line in rule.breaches(rendered):
            yield f"{rendered.name}: {name}: {line}"
