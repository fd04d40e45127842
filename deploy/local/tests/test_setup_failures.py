"""Set-up on faulty machines: one line names the fault and the remedy, and an unfinished step never counts as done.

The script itself runs, with the real pip and uv, in a workspace of two tiny packages whose index is local.
"""

import base64
import contextlib
import hashlib
import http.server
import io
import os
import shutil
import ssl
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chassis.testing.certificates import Authority
from local_stack import kafka
from local_stack.ports import free_port
from local_stack.settings import ROOT

SCRIPT = Path("deploy/local/setup_workspace.py")
QUICK_VENV = """
import pathlib, subprocess, sys
folder = pathlib.Path(sys.argv[-1])
subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", *sys.argv[1:]], check=True)
(*folder.glob("lib/python*/site-packages"),)[0].joinpath("lent.pth").write_text({site!r})
"""
"""Runs before the real venv module: pip is borrowed from this session's environment, which saves seconds."""


def wheel(name: str, files: dict[str, str]) -> bytes:
    """A wheel of version 1.0 with ``files`` and nothing else."""
    info = f"{name}-1.0.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()) for path, text in files.items()}
    record = "".join(f"{path},sha256={digest.decode().rstrip('=')},\n" for path, digest in digests.items())
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for path, text in (files | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}).items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (stat.S_IFREG | 0o755) << 16
            archive.writestr(entry, text)
    return written.getvalue()


@contextlib.contextmanager
def serving(pages: dict[str, bytes], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The pages on a port of this machine; 404 for any other page."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            """Logs nothing."""

        do_HEAD = do_GET  # noqa: N815 (the server asks for that name)

    class Quiet(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """The test wants clients that refuse this certificate."""

    with Quiet(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@dataclass
class Workspace:
    """A checkout of two packages (this session's uv, and one more) without members, and its set-up."""

    root: Path
    python_path: Path
    index: str = ""
    pages: dict[str, bytes] = field(default_factory=dict)

    def set_up(
        self, *arguments: str, before: tuple[str, ...] = (), python: str = sys.executable, **environment: str
    ) -> tuple[int, list[str]]:
        """Runs the script; returns its exit code and output."""
        plain = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        address = self.index or f"http://127.0.0.1:{free_port()}"
        settings = {
            "HOME": str(self.root.parent),
            "PYTHONPATH": str(self.python_path),
            "PIP_INDEX_URL": f"{address}/simple/", "UV_DEFAULT_INDEX": f"{address}/simple/",
            "PIP_RETRIES": "1", "UV_HTTP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1",
            "UV_CACHE_DIR": str(self.root.parent / "uv-cache"), "PIP_NO_CACHE_DIR": "1",
        }  # fmt: skip
        done = subprocess.run(
            [*before, python, str(self.root / SCRIPT), *(arguments or ["--no-jars"])],
            cwd=self.root, env=plain | settings | environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return done.returncode, (done.stdout + done.stderr).strip().splitlines()

    def fails(self, words: str, **environment: str) -> None:
        code, lines = self.set_up(**environment)
        assert (code, self.done) == (3, False)
        assert lines[-1].startswith(words), lines
        assert not [line for line in lines if "Traceback" in line]

    @property
    def done(self) -> bool:
        return (self.root / ".venv" / "suite-setup.sha256").exists()

    def lock(self, **changed: str) -> None:
        """Writes the lock, with other hashes where ``changed`` gives them."""
        lines = []
        for name in ("uv", "tiny"):
            digest = hashlib.sha256(self.pages[f"/files/{name}-1.0-py3-none-any.whl"]).hexdigest()
            lines.append(f"{name}==1.0 \\\n    --hash=sha256:{changed.get(name, digest)}\n")
        (self.root / "requirements.lock").write_text("".join(lines))


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    root, python_path = tmp_path / "suite", tmp_path / "python-path"
    script = root / SCRIPT
    script.parent.mkdir(parents=True)
    shutil.copy(ROOT / SCRIPT, script)
    member = root / "libs" / "member"
    (member / "src").mkdir(parents=True)
    (member / "src" / "member.py").touch()
    (member / "pyproject.toml").write_text(
        '[project]\nname = "member"\nversion = "1.0"\n'
        '[build-system]\nrequires = []\nbuild-backend = "hatchling.build"\n'
        '[tool.hatch.build.targets.wheel]\nonly-include = ["src/member.py"]\nsources = ["src"]\n'
    )
    (python_path / "venv").mkdir(parents=True)
    (python_path / "venv" / "__init__.py").touch()
    site = next(path for path in sys.path if path.endswith("site-packages"))
    (python_path / "venv" / "__main__.py").write_text(QUICK_VENV.format(site=site))
    real_uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    uv = wheel("uv", {"uv-1.0.data/scripts/uv": f'#!/bin/sh\nexec {real_uv} "$@"\n'})
    made = Workspace(root, python_path)
    for name, content in (("uv", uv), ("tiny", wheel("tiny", {"tiny.py": ""}))):
        link = f'<a href="/files/{name}-1.0-py3-none-any.whl">{name}-1.0-py3-none-any.whl</a>'
        made.pages |= {f"/simple/{name}/": link.encode(), f"/files/{name}-1.0-py3-none-any.whl": content}
    made.lock()
    return made


@pytest.fixture
def with_index(workspace) -> Iterator[Workspace]:
    with serving(workspace.pages) as workspace.index:
        yield workspace


@pytest.mark.parametrize("missing", ["ensurepip", "venv"])
def test_no_venv_module(workspace, missing) -> None:
    shutil.rmtree(workspace.python_path / "venv")
    (workspace.python_path / f"{missing}.py").write_text(f"raise ImportError('No module named {missing}')")
    code, lines = workspace.set_up()
    assert code == 3
    assert lines == ["setup: this Python has no venv module: on Debian or Ubuntu `apt-get install python3-venv`"]
    assert not (workspace.root / ".venv").exists()


def test_python_too_old(workspace) -> None:
    (workspace.python_path / "sitecustomize.py").write_text("import sys; sys.version_info = (3, 9, 2, 'final', 0)")
    code, lines = workspace.set_up()
    assert code == 3
    assert lines == ["setup: Python 3.9 is too old: call make with PYTHON=<the path of a Python ≥ 3.11>"]
    assert not (workspace.root / ".venv").exists()


def test_the_line_for_an_old_python_can_be_read_by_one() -> None:
    """Before that line, nothing may need more than Python 3.6 (``list[Path]`` is the trap)."""
    source = (ROOT / SCRIPT).read_text()
    compile(source, str(SCRIPT), "exec", flags=0x400, _feature_version=6)  # 0x400: a file of a tree only
    before = source.partition("sys.exit(EXIT_SETUP)")[0]
    assert "sys.version_info < (3, 11)" in before
    assert "def " not in before


@pytest.mark.parametrize("step", ["Installing the installer (uv)", "Installing the locked packages"])
def test_an_index_away_then_untrusted_then_with_another_package_then_right(workspace, tmp_path, step) -> None:
    """Every failure is said in its line, the next call goes on from there, and the last one has nothing to do."""
    authority = Authority(tmp_path, "hospital")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*authority.issue("index"))
    trusting = {"SSL_CERT_FILE": str(authority.path), "PIP_CERT": str(authority.path)}
    name = "uv" if "uv" in step else "tiny"
    if name == "tiny":
        with serving({path: body for path, body in workspace.pages.items() if "uv" in path}) as workspace.index:
            assert workspace.set_up()[0] == 3
        workspace.index = ""
    mirror = "set HTTPS_PROXY, or UV_DEFAULT_INDEX and PIP_INDEX_URL for a mirror"
    workspace.fails(f"setup: {step}: the package index does not answer: check the network, {mirror}")
    with serving(workspace.pages, tls) as workspace.index:
        untrusted = "the package index's certificate is not trusted here (a proxy with its own CA?): "
        workspace.fails(f"setup: {step}: {untrusted}set SSL_CERT_FILE and PIP_CERT to your CA bundle", PIP_RETRIES="0")
        workspace.lock(**{name: "0" * 64})
        changed = "a package does not match its hash in requirements.lock: check the mirror that served it"
        workspace.fails(f"setup: {step}: {changed}", **trusting)
        workspace.lock()
        code, lines = workspace.set_up(**trusting)
        assert (code, workspace.done) == (0, True), lines
    workspace.index = ""
    assert workspace.set_up() == (0, [])
    (workspace.root / ".venv" / "suite-setup.sha256").unlink()
    lines = workspace.set_up(python=str(workspace.root / ".venv" / "bin" / "python3"))[1]
    assert "Creating .venv" not in "".join(lines), "make finds the environment's own Python first, once it is there"


def test_a_read_only_folder(with_index) -> None:
    before: tuple[str, ...] = ()
    if os.geteuid() == 0:  # root may write anywhere unless it drops that right
        if not shutil.which("setpriv"):
            pytest.skip("root without setpriv (util-linux) writes to read-only folders as well")
        before = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--")
    with_index.root.chmod(0o555)
    try:
        code, lines = with_index.set_up(before=before)
    finally:
        with_index.root.chmod(0o755)
    assert code == 3
    assert lines[-1].endswith("is the disk full or read-only, is the folder yours?"), lines
    assert str(with_index.root / ".venv") in lines[-1]
    assert not (with_index.root / ".venv").exists()


def test_no_repository_gives_the_jars(with_index) -> None:
    nowhere, paths = (
        f"http://127.0.0.1:{free_port()}/maven2",
        (
            with_index.python_path,
            *(ROOT / folder for folder in ("deploy/local/src", "deploy/roster/src", "libs/contracts/src")),
        ),
    )
    jars = with_index.root / ".local" / "kafka-jars"  # not this checkout's own folder, which may exist
    code, lines = with_index.set_up(
        "--force", SUITE_MAVEN_URL=nowhere, PYTHONPATH=os.pathsep.join(map(str, paths)), KAFKA_JARS_DIR=str(jars)
    )
    assert code == 3
    assert f"setup: Fetching Kafka (54 MB, once): {nowhere} did not give the jars of kafka-jars.lock" in lines[-1]
    assert "HTTPS_PROXY and REQUESTS_CA_BUNDLE, or SUITE_MAVEN_URL for a mirror" in lines[-1]
    assert with_index.done
    assert not list((with_index.root / ".local").glob("kafka-jars*"))


def test_a_jar_that_is_not_the_locked_one_is_named_and_not_kept(tmp_path, monkeypatch) -> None:
    pom = "<project><modelVersion>4.0.0</modelVersion><groupId>org.example</groupId>{}</project>"
    pom = pom.format("<artifactId>thing</artifactId><version>1.0</version>").encode()
    files = {".pom": pom, ".jar": b"PK another"}
    pages = {f"/org/example/thing/1.0/thing-1.0{kind}": content for kind, content in files.items()}
    pages |= {f"{path}.sha1": hashlib.sha1(body).hexdigest().encode() for path, body in pages.items()}  # noqa: S324
    lock, folder = tmp_path / "kafka-jars.lock", tmp_path / "jars"
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with serving(pages) as mirror:
        monkeypatch.setenv("SUITE_MAVEN_URL", mirror)
        lock.write_text(f"{'0' * 64}  thing-1.0.jar\n")
        with pytest.raises(kafka.JarsError, match=r"thing-1\.0\.jar does not match kafka-jars\.lock: check the rep"):
            kafka.fetch_jars(folder, endpoint="org.example:thing:1.0", lock=lock)
        assert not folder.exists()
        lock.write_text(f"{hashlib.sha256(files['.jar']).hexdigest()}  thing-1.0.jar\n")
        assert [jar.name for jar in kafka.fetch_jars(folder, endpoint="org.example:thing:1.0", lock=lock)] == [
            "thing-1.0.jar"
        ]
