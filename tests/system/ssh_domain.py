"""A domain of nodes alone, and the tools of OpenSSH that make keys, certificates and agents for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.system.cluster import Cluster, Run
from tests.system.sshd import Sshd, SshSetting, run

HEAD = "format: 1\ndomain: {name: shop, id: 6f1c2c1e-0000-4000-8000-000000000001}\n"


def nodes_domain(folder: Path, ssh: SshSetting, nodes: Mapping[str, Mapping[str, object]]) -> Cluster:
    """A domain in `folder`/shop with these entries of `nodes:`."""
    root = folder / "shop"
    (root / "config").mkdir(parents=True)
    lines = [f"  {name}: {json.dumps(entry)}\n" for name, entry in nodes.items()]
    (root / "config/domain.yaml").write_text(HEAD + ("nodes:\n" if lines else "") + "".join(lines))
    return Cluster(root=root, ssh=ssh, nodes={})


def entry_of(server: Sshd, ssh: SshSetting | None = None, **more: object) -> dict[str, object]:
    """`server` as an entry of `nodes:`; without `ssh` no key is named."""
    key = {"key": str(ssh.key)} if ssh is not None else {}
    place = {"host": "127.0.0.1", "port": server.port, "user": server.user, "dir": f"{server.home}/das"}
    return {**place, **key, **more}


def reaches(cluster: Cluster, *nodes: str) -> Run:
    """All these nodes (default: all there are) can be worked on."""
    run = cluster.json("ping-node-ssh", *nodes)
    assert all(row["status"] == "ok" for row in run.json["results"]), str(run)
    return run


def fails(cluster: Cluster, *words: str, code: int = 4) -> str:
    """What `dasctl WORDS` says for its failure, with the remedy; never the insides of the program."""
    run = cluster.run(*words)
    assert run.code == code, str(run)
    for text in ("Traceback", "a fault in dasctl", "Error("):
        assert text not in run.out + run.err, str(run)
    return " ".join((run.out + run.err).split())


def new_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(path)])
    return path


def copied_key(source: Path, target: Path) -> Path:
    """A copy of a key pair that a certificate may be put beside."""
    shutil.copy(source, target)
    shutil.copy(f"{source}.pub", f"{target}.pub")
    return target


def certify(authority: Path, key: Path, *principals: str, host: bool = False, valid: str = "+1h") -> Path:
    """Sign `key`; the certificate stands beside it."""
    kind = ["-h"] if host else []
    names = ["-n", ",".join(principals), "-V", valid]
    run(["ssh-keygen", "-q", "-s", str(authority), "-I", "test", *kind, *names, f"{key}.pub"])
    return Path(f"{key}-cert.pub")


def public_of(key: Path) -> str:
    """Type and blob."""
    return " ".join(Path(f"{key}.pub").read_text().split()[:2])


def fingerprint_of(key: Path) -> str:
    """As OpenSSH's own tool prints it."""
    done = subprocess.run(["ssh-keygen", "-lf", f"{key}.pub"], capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


@contextmanager
def agent_with(folder: Path, key: Path, passphrase: str = "") -> Iterator[str]:
    """A real ssh-agent that holds `key`; yields its socket."""
    socket = folder / "agent"
    ask = folder / "askpass"
    ask.write_text(f"#!/bin/sh\necho '{passphrase}'\n")
    ask.chmod(0o700)
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        while not socket.exists():
            time.sleep(0.01)
        environment = {**os.environ, "SSH_AUTH_SOCK": str(socket), "SSH_ASKPASS": str(ask)}
        subprocess.run(
            ["ssh-add", "-q", str(key)], check=True, stdin=subprocess.DEVNULL,
            env={**environment, "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"},
        )  # fmt: skip
        yield str(socket)
    finally:
        process.kill()
        process.wait()
