"""Which files of OpenSSH's configuration are read, and which of them wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from dasctl.adapters.ssh_connect import Target, routed
from dasctl.errors import NodeUnreachable
from tests.system.sshd import SshSetting

WEB = Target(name="n1", host="web")


def test_the_users_before_the_machines(tmp_path: Path, ssh: SshSetting) -> None:
    system = tmp_path / "ssh_config"
    (tmp_path / "more.conf").write_text("Host web\n  Port 24\n")
    ssh.config.write_text("Host web\n  HostName web.example.com\n  User deploy\n")
    system.write_text(
        f"Include {tmp_path}/*.conf\nHost *\n  User other\n  ProxyJump gate\n  SendEnv LANG LC_*\n"
        "  GSSAPIAuthentication yes\n  HashKnownHosts yes\n"
    )
    route = routed(WEB, None, system=system)
    assert (route.host, route.port, route.options.username) == ("web.example.com", 24, "deploy")
    assert route.jump == "gate"
    assert not route.options.send_env


def test_a_file_that_is_named_stands_alone(tmp_path: Path, ssh: SshSetting) -> None:
    system = tmp_path / "ssh_config"
    system.write_text("Port 24\n")
    own = tmp_path / "own"
    own.write_text("User deploy\n")
    assert routed(WEB, own, system=system).port == 22
    assert routed(WEB, None, system=tmp_path / "none").port == 22


def test_policies_with_algorithms_that_nobody_knows(tmp_path: Path, ssh: SshSetting) -> None:
    """As crypto policies of distributions list them."""
    system = tmp_path / "ssh_config"
    system.write_text(
        "Match final all\n  Ciphers aes256-gcm@openssh.com,new-cipher@example.com\n"
        "  KexAlgorithms new-exchange@example.com,curve25519-sha256\n  MACs hmac-sha2-256-etm@openssh.com\n"
        "  HostKeyAlgorithms ssh-ed25519,new-key@example.com\n  RequiredRSASize 2048\n"
    )
    assert routed(WEB, None, system=system).host == "web"


def test_a_fault_is_told(tmp_path: Path, ssh: SshSetting) -> None:
    system = tmp_path / "ssh_config"
    system.write_text("Port many\n")
    with pytest.raises(NodeUnreachable, match="line 1"):
        routed(WEB, None, system=system)
