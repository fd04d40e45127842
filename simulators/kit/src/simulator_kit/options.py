"""Settings of a simulator: command-line options over environment variables over defaults."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any


class Options:
    """`--http-port` wins over `<PREFIX>HTTP_PORT`, which wins over the default."""

    def __init__(self, module: str, prefix: str, description: str, environment: Mapping[str, str]) -> None:
        self._prefix = prefix
        self._environment = environment
        self._parser = argparse.ArgumentParser(
            prog=f"python -m {module}",
            description=description,
            epilog=f"Each option can be given as an environment variable, for example {prefix}HTTP_PORT.",
        )

    def add(
        self,
        name: str,
        default: object,
        words: str,
        kind: Callable[[str], Any] = str,
        choices: Sequence[str] | None = None,
    ) -> None:
        value = self._environment.get(self._prefix + name.upper(), str(default))
        self._parser.add_argument(
            "--" + name.replace("_", "-"), dest=name, default=value, type=kind, choices=choices,
            help=f"{words} (default: {default})",
        )  # fmt: skip

    def read(self, arguments: Sequence[str]) -> dict[str, Any]:
        """The values by name. A bad value prints the usage and exits with status 2."""
        return vars(self._parser.parse_args(arguments))
