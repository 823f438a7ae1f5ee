"""A whole cluster for tests: a domain, nodes behind real sshds, and the real command line as a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.system.sshd import Sshd, SshSetting, free_port

DASCTL = (sys.executable, "-m", "dasctl")
LIMIT_S = 120.0

SERVER = """\
import http.server, signal, sys, threading
class Page(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Page)
signal.signal(signal.SIGTERM, lambda *a: threading.Thread(target=server.shutdown).start())
print("serving", flush=True)
server.serve_forever()
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One command line that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.out)
        return document

    def row(self, name: str) -> dict[str, Any]:
        """The result of the instance or node called `name`."""
        return next(row for row in self.json["results"] if name in (row.get("instance"), row.get("node")))

    def __str__(self) -> str:
        return f"exit {self.code}\n{self.out}\n{self.err}"


@dataclass(kw_only=True)
class Cluster:
    """A domain `shop` with a cluster `web` of one instance per node: web1 on n1, web2 on n2 …"""

    root: Path
    ssh: SshSetting
    nodes: dict[str, Sshd]
    env: Mapping[str, str] = field(default_factory=dict)

    def run(self, *words: str, domain: Path | None = None, limit_s: float = LIMIT_S) -> Run:
        """Run `dasctl WORDS` and wait for its end."""
        done = subprocess.run(
            [*DASCTL, "--domain", str(domain or self.root), *words],
            env={**os.environ, **self.env}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="surrogateescape", timeout=limit_s, cwd=self.root.parent,
        )  # fmt: skip
        return Run(code=done.returncode, out=done.stdout, err=done.stderr)

    def json(self, *words: str, domain: Path | None = None, code: int = 0) -> Run:
        """The same with --json; the exit code must be `code`."""
        run = self.run("--json", *words, domain=domain)
        assert run.code == code, str(run)
        assert run.json["exit_code"] == code
        return run

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Run `dasctl WORDS` side by side with the test, which ends it."""
        return subprocess.Popen(
            [*DASCTL, "--domain", str(self.root), *words], env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.root.parent,
        )  # fmt: skip

    def folder(self, instance: str) -> Path:
        """The instance's folder on its node."""
        return self.nodes["n" + instance.removeprefix("web")].home / "das" / instance

    def write(self, path: str, content: str | bytes) -> Path:
        """Write a file of the repository."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    def yaml(self) -> Path:
        return self.root / "config" / "domain.yaml"

    def edit_yaml(self, old: str, new: str) -> None:
        text = self.yaml().read_text()
        assert old in text
        self.yaml().write_text(text.replace(old, new))


def make_cluster(
    folder: Path, ssh: SshSetting, servers: Sequence[Sshd], *, start: str = "", more: str = ""
) -> Cluster:
    """A domain in `folder`/shop over `servers`; `start` replaces the start command, `more` is added to the config."""
    root = folder / "shop"
    for area in ("config", "applications/hello", "lib", "docroot"):
        (root / area).mkdir(parents=True)
    nodes = {f"n{number}": server for number, server in enumerate(servers, 1)}
    (root / "applications/hello/serve.py").write_text(SERVER)
    (root / "docroot/index.html").write_text("<h1>hello</h1>\n")
    (root / "lib/common.txt").write_text("common\n")
    (root / "config/logging.properties").write_text("level=INFO\n")
    (root / "config/domain.yaml").write_text(_yaml(ssh, nodes, start, more))
    return Cluster(root=root, ssh=ssh, nodes=nodes)


def _yaml(ssh: SshSetting, nodes: Mapping[str, Sshd], start: str, more: str) -> str:
    command = start or "cd docroot; exec python3 ../applications/hello/serve.py ${http.port}"
    lines = [
        "format: 1",
        "domain: {name: shop, id: 6f1c2c1e-0000-4000-8000-000000000001}",
        "nodes:",
        *(
            f"  {name}: {{host: 127.0.0.1, port: {server.port}, user: {server.user}, key: {ssh.key}, "
            f"dir: {server.home}/das}}"
            for name, server in nodes.items()
        ),
        "configs:",
        "  web-config:",
        f"    start: {json.dumps(command)}",
        "    restart-on: ['config/**', 'applications/**', 'lib/**']",
        *([] if "ready:" in more else ['    ready: {http: "http://127.0.0.1:${http.port}/", timeout: 30s}']),
        *(f"    {line}" for line in more.splitlines()),
        "clusters:",
        "  web: {config: web-config}",
        "instances:",
        *(
            f"  web{number}: {{node: {name}, cluster: web, properties: {{http.port: {free_port()}}}}}"
            for number, name in enumerate(nodes, 1)
        ),
        "applications:",
        "  hello: {targets: [web]}",
    ]
    return "\n".join(lines) + "\n"


def tree_of(folder: Path) -> dict[bytes, tuple[object, ...]]:
    """What rsync -a would compare, but owner and group: kind, mode, modtime in ns, content or target, by path."""
    seen: dict[bytes, tuple[object, ...]] = {}
    for base, names, files in os.walk(os.fsencode(folder)):
        for name in [*names, *files]:
            path = os.path.join(base, name)
            stat = os.lstat(path)
            where = os.path.relpath(path, os.fsencode(folder))
            if os.path.islink(path):
                seen[where] = ("link", os.readlink(path), stat.st_mtime_ns)
            elif os.path.isdir(path):
                seen[where] = ("folder", stat.st_mode, stat.st_mtime_ns)
            else:
                with open(path, "rb") as file:
                    seen[where] = ("file", stat.st_mode, stat.st_mtime_ns, file.read())
    return seen


def rsync_finds(source: Path, target: Path, *more: str) -> str:
    """What `rsync -aniH --delete` would do to make `target` equal; owner and group are the node's user's, not ours."""
    rsync = shutil.which("rsync")
    assert rsync is not None, "rsync is needed: apt-get install rsync"
    done = subprocess.run(
        [rsync, "-aniH", "--no-owner", "--no-group", "--delete", *more, f"{source}/", f"{target}/"],
        capture_output=True, text=True, errors="surrogateescape", check=True,
    )  # fmt: skip
    return done.stdout
