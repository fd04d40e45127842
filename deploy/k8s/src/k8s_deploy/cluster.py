"""The suite on a real cluster: images, secrets, manifests in their order, and the reason why a pod does not start.

The order is a release's: servers, their databases and topics, migrations before the code, the services, migrations
after. Missing passwords are made here; no password is ever printed.
"""

import base64
import copy
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import yaml

from k8s_deploy.errors import ClusterError
from k8s_deploy.rendering import Manifest, Rendered, named, pod, render
from local_stack.ports import free_port
from roster import roster

NAMESPACE: Final = "powerserver-blume"
DEMONSTRATED: Final = ("powerserver", "omegaai", "mailsink", "scheduler-sync")
"""The members that the demo calls."""
WAIT_SECONDS: Final = 300
_LOOKS_LIVE: Final = re.compile(r"prod|live|hospital", re.IGNORECASE)


def up(demo: str) -> int:
    """Puts the local overlay on the current context's cluster and plays the demo. Returns the exit code."""
    context = _context()
    rendered = with_images(render("local"), os.environ)
    _load_images(context, rendered.images)
    _apply(rendered.of("Namespace"), "the namespace")
    for name in _store_names(rendered):
        _make_secret(name)
    jobs = list(rendered.of("Job"))
    _kubectl("delete", "job", "--ignore-not-found", *(job["metadata"]["name"] for job in jobs))
    stages: tuple[tuple[str, Callable[[Manifest], bool]], ...] = (
        (
            "settings and policies",
            lambda one: one["kind"] not in {"Job", "Deployment", "StatefulSet", "Namespace"},
        ),
        ("servers", lambda one: one["kind"] == "StatefulSet" and _component(one) == "server"),
        ("databases and topics", lambda one: one["kind"] == "Job" and _component(one) != "migration"),
        ("migrations before", lambda one: _phase(one) == "before"),
        ("simulators", lambda one: one["kind"] == "StatefulSet" and _component(one) == "simulator"),
        ("services", lambda one: one["kind"] == "Deployment"),
        ("migrations after", lambda one: _phase(one) == "after"),
    )
    for what, belongs in stages:
        manifests = [one for one in rendered.manifests if belongs(one)]
        _apply(manifests, what)
        for one in manifests:
            _wait_for(one)
    print(f"k8s: the suite is up in namespace {NAMESPACE} of context {context}")
    return play(demo) if demo else 0


def down() -> int:
    """Deletes the namespace and everything in it. Returns the exit code."""
    context = _context()
    _kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s")
    print(f"k8s: the suite is gone from context {context}")
    return 0


def play(demo: str) -> int:
    """Plays the demo against the cluster, through forwarded ports. Returns its exit code."""
    with ExitStack() as forwards:
        members = [roster().by_name[name] for name in DEMONSTRATED]
        addresses = [f"--{one.name}={forwards.enter_context(_forwarded(one.name, one.http))}" for one in members]
        command = [sys.executable, "-m", "demo_story", *addresses, *shlex.split(demo)]
        return subprocess.run(command, check=False).returncode


def with_images(rendered: Rendered, environment: Mapping[str, str]) -> Rendered:
    """The manifests with the images that Compose would use; docs/operations/containers.md lists the variables."""
    prefix, tag = environment.get("SUITE_IMAGE_PREFIX", "suite/"), environment.get("SUITE_IMAGE_TAG", "dev")
    servers = {"kafka": environment.get("SUITE_KAFKA_IMAGE"), "postgres": environment.get("SUITE_POSTGRES_IMAGE")}
    changed = copy.deepcopy(rendered)
    for workload in changed.workloads:
        for container in pod(workload)["containers"]:
            path, _, _ = container["image"].rpartition(":")
            name = path.rpartition("/")[2]
            container["image"] = f"{prefix}{name}:{tag}" if path == f"suite/{name}" else container["image"]
            container["image"] = servers.get(name) or container["image"]
    return changed


def _context() -> str:
    """The current context's name, also printed. Refuses a context that looks like one with patients."""
    if shutil.which("kubectl") is None:
        raise ClusterError("there is no kubectl here: install it (Debian: kubernetes-client)")
    done = subprocess.run(["kubectl", "config", "current-context"], capture_output=True, text=True, check=False)
    context = done.stdout.strip()
    if done.returncode != 0 or not context:
        raise ClusterError(
            "kubectl has no current context: kubectl config use-context NAME, or start one with kind or k3d"
        )
    if _LOOKS_LIVE.search(context) and os.environ.get("CONFIRM") != context:
        raise ClusterError(f"context {context} looks like one with patients: set CONFIRM={context} if it is not")
    print(f"k8s: context {context}, namespace {NAMESPACE}")
    return context


def _load_images(context: str, images: Sequence[str]) -> None:
    """Loads images that no registry has onto the nodes: by kind, k3d, or the command in K8S_LOAD_IMAGES."""
    if command := os.environ.get("K8S_LOAD_IMAGES"):
        how = [*shlex.split(command), *images]
    elif context.startswith("kind-"):
        how = ["kind", "load", "docker-image", "--name", context.removeprefix("kind-"), *images]
    elif context.startswith("k3d-"):
        how = ["k3d", "image", "import", "--cluster", context.removeprefix("k3d-"), *images]
    else:
        print("k8s: images are taken as they are on the nodes (K8S_LOAD_IMAGES names a command that loads them)")
        return
    done = subprocess.run(how, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise ClusterError(f"{how[0]} could not load the images: {lines[-1]}; make images builds them")
    print(f"k8s: {len(images)} images loaded")


def _store_names(rendered: Rendered) -> list[str]:
    """The secrets of the local overlay: the secret of Postgres and one per service's store."""
    return ["postgres", *(f"{service['metadata']['name']}-store" for service in rendered.services)]


def _make_secret(name: str) -> None:
    """Makes a secret with a new password, unless the cluster has the secret."""
    if subprocess.run(_command("get", "secret", name), capture_output=True, check=False).returncode == 0:
        return
    password = secrets.token_urlsafe(24)
    values = {"password": password}
    if name.endswith("-store"):
        role = name.removesuffix("-store").replace("-", "_")
        values["url"] = f"postgresql://{role}:{password}@postgres:5432/{role}"
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}, "data": data}
    _apply([secret], f"secret {name}")


def _apply(manifests: Iterable[Manifest], what: str) -> None:
    text = yaml.safe_dump_all(list(manifests))
    done = subprocess.run(["kubectl", "apply", "-f", "-"], input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise ClusterError(f"{what} could not be applied: {lines[-1]}")
    print(f"k8s: {what} applied")


def _wait_for(manifest: Manifest) -> None:
    """Waits until a workload is ready. Raises ``ClusterError`` with the reason for which its pod waits."""
    if manifest["kind"] in {"Deployment", "StatefulSet"}:
        how = _command("rollout", "status", named(manifest), f"--timeout={WAIT_SECONDS}s")
    elif manifest["kind"] == "Job":
        how = _command("wait", "--for=condition=complete", named(manifest), f"--timeout={WAIT_SECONDS}s")
    else:
        return
    started = time.monotonic()
    waiting = subprocess.Popen(how, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while waiting.poll() is None:
        try:
            waiting.wait(5)
        except subprocess.TimeoutExpired:
            if failure := _job_failure(manifest):
                waiting.kill()
                raise ClusterError(failure) from None
    if waiting.returncode != 0:
        raise ClusterError(f"{named(manifest)} is not ready after {WAIT_SECONDS} s: {what_it_waits_for(manifest)}")
    print(f"k8s: {named(manifest)} ready ({time.monotonic() - started:.0f} s)")


def _job_failure(manifest: Manifest) -> str | None:
    """The reason why a Job failed for good; None while it may still succeed."""
    if manifest["kind"] != "Job":
        return None
    status = json.loads(_kubectl("get", "job", manifest["metadata"]["name"], "-o", "json")).get("status", {})
    has_failed = any(one["type"] == "Failed" and one["status"] == "True" for one in status.get("conditions", []))
    return f"{named(manifest)} failed: {what_it_waits_for(manifest)}" if has_failed else None


def what_it_waits_for(manifest: Manifest) -> str:
    """The pod of a workload that is not ready, and the reason from the cluster or the program's last log line."""
    labels = manifest["spec"]["template"]["metadata"]["labels"]
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    pods = json.loads(_kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
    return "; ".join(dict.fromkeys(_reasons(pods))) or "it has no pod: kubectl describe says why"


def _reasons(pods: Sequence[dict[str, Any]]) -> Iterator[str]:
    for one in pods:
        name, status = one["metadata"]["name"], one.get("status", {})
        for condition in status.get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                yield f"pod {name}: {condition.get('message', condition.get('reason'))}"
        for container in status.get("containerStatuses", []):
            if container.get("ready"):
                continue
            state = container.get("state", {})
            ended = state.get("terminated") or container.get("lastState", {}).get("terminated") or {}
            waits = state.get("waiting", {})
            if said := (ended.get("message") or "").strip():
                yield f"pod {name}: {said.splitlines()[-1]}"
            elif waits.get("reason") == "ContainerCreating":
                yield f"pod {name}: {_last_warning(name) or 'its container is being made'}"
            elif waits:
                yield f"pod {name}: {waits.get('reason')} {waits.get('message', '')}".strip()
            else:
                yield f"pod {name} runs but is not ready: /readyz names what does not answer"


def _last_warning(pod_name: str) -> str | None:
    """The newest warning about a pod: only warnings name a volume whose secret is missing."""
    which = f"involvedObject.name={pod_name},type=Warning"
    events = json.loads(_kubectl("get", "events", "--field-selector", which, "-o", "json"))["items"]
    newest = max(events, key=lambda event: event.get("lastTimestamp") or "", default=None)
    return f"{newest['reason']}: {newest['message']}" if newest else None


@contextmanager
def _forwarded(service: str, port: int) -> Iterator[str]:
    """The address on this machine at which a Service answers."""
    here = free_port()
    forward = subprocess.Popen(
        _command("port-forward", f"service/{service}", f"{here}:{port}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert forward.stdout is not None  # noqa: S101 (asked for above)
        line = forward.stdout.readline()
        if "Forwarding" not in line:
            raise ClusterError(f"service/{service} cannot be reached: {line.strip() or 'kubectl ended'}")
        yield f"http://127.0.0.1:{here}"
    finally:
        forward.terminate()
        forward.wait()


def _component(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("labels", {}).get("app.kubernetes.io/component", ""))


def _phase(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("labels", {}).get("powerserver-blume/phase", ""))


def _command(*arguments: str) -> list[str]:
    return ["kubectl", "--namespace", NAMESPACE, *arguments]


def _kubectl(*arguments: str) -> str:
    """The output of kubectl. Raises ``ClusterError`` with its last line."""
    done = subprocess.run(_command(*arguments), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise ClusterError(f"kubectl {arguments[0]}: {lines[-1]}")
    return done.stdout
