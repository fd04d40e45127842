"""``python -m k8s_deploy``: render, check, up, down. Exit codes: 0 done; 1 a problem was found; 2 wrong usage."""

import argparse
import os
import sys
import time

from k8s_deploy.errors import ClusterError
from k8s_deploy.rendering import OVERLAYS, ROOT, RenderError, render, render_text


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m k8s_deploy", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("render", help="print an overlay's manifests")
    one.add_argument("overlay", choices=OVERLAYS, nargs="?", default="local", help="which (local)")
    commands.add_parser("check", help="schemas, promises, settings and generated files of every overlay")
    up = commands.add_parser("up", help="apply the local overlay to the current context, wait, play the demo")
    up.add_argument("--demo", default="--appointments 50", help="arguments of the demo (--appointments 50)")
    commands.add_parser("down", help="delete the suite from the current context")
    options = parser.parse_args()
    try:
        return run(options)
    except (RenderError, ClusterError) as error:
        print(f"k8s: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def run(options: argparse.Namespace) -> int:
    """Runs one command. Raises ``RenderError`` and ``ClusterError``."""
    from k8s_deploy import cluster

    if options.command == "render":
        sys.stdout.write(render_text_of(options.overlay))
        return 0
    commands = {"check": check, "up": lambda: cluster.up(options.demo), "down": cluster.down}
    return commands[options.command]()


def render_text_of(overlay: str) -> str:
    from k8s_deploy.rendering import FOLDER

    return render_text(FOLDER / overlay)


def check() -> int:
    from k8s_deploy import policy, schemas, service_settings
    from roster import generated, read

    started = time.monotonic()
    found = [
        f"{os.path.relpath(path)} is not what the roster says: {generated.COMMAND}"
        for path in generated.drifted(read(ROOT), ROOT)
    ]
    looked_at, custom = 0, 0
    for name in OVERLAYS:
        rendered = render(name)
        looked_at += len(rendered.manifests)
        custom += sum(not schemas.is_core(manifest) for manifest in rendered.manifests)
        found += schemas.problems(rendered)
        if name != "platform":  # The operators of Kafka and Postgres make pods from these kinds.
            found += policy.problems(rendered)
            found += service_settings.problems(rendered)
    for line in found:
        print(line)
    versions = ", ".join(schemas.VERSIONS)
    print(
        f"k8s: {len(found)} problems in {looked_at} manifests of {len(OVERLAYS)} overlays "
        f"({custom} of operators' kinds have no schema here): Kubernetes {versions}, {len(policy.RULES)} promises, "
        f"settings, generated files ({time.monotonic() - started:.0f} s)"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
