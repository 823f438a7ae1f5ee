"""All the ways in which OpenSSH leads to a node, through the real command line and real OpenSSH servers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.ssh_domain import (
    agent_with,
    certify,
    copied_key,
    entry_of,
    fails,
    fingerprint_of,
    new_key,
    nodes_domain,
    public_of,
    reaches,
)
from tests.system.sshd import Sshd, SshSetting, append, free_port, run

Factory = Callable[..., Sshd]


def logins(server: Sshd) -> int:
    """How many connections `server` has let in."""
    return server.log.count("Accepted publickey")


# Jump hosts and the SSH configuration.


def test_jump_names_another_node(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    """Several nodes through one jump: one tunnel serves them all."""
    bastion, servers = sshd_factory("bastion"), [sshd_factory(f"n{number}") for number in range(1, 5)]
    inner = {f"n{i}": entry_of(server, ssh, jump="bastion") for i, server in enumerate(servers, 1)}
    cluster = nodes_domain(tmp_path, ssh, {"bastion": entry_of(bastion, ssh), **inner})
    run = reaches(cluster, *inner)
    assert len(run.json["results"]) == 4
    assert logins(bastion) == 1
    assert [logins(server) for server in servers] == [1] * 4


def test_jump_is_an_address(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    bastion, server = sshd_factory("bastion"), sshd_factory("n1")
    append(ssh.config, f"Host *\n  IdentityFile {ssh.key}\n")
    entry = entry_of(server, ssh, jump=f"{bastion.user}@127.0.0.1:{bastion.port}")
    reaches(nodes_domain(tmp_path, ssh, {"n1": entry}))
    assert logins(bastion) == 1


def test_jump_host_that_is_no_node_is_made_known_by_hand(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    """dasctl has no command for it: the remedies are those of OpenSSH."""
    bastion, server = sshd_factory("bastion", known=False), sshd_factory("n1")
    text = f"{bastion.user}@127.0.0.1:{bastion.port}"
    by_hand = f"-p {bastion.port} {bastion.user}@127.0.0.1"
    cluster = nodes_domain(tmp_path, ssh, {"n1": entry_of(server, ssh, jump=text)})
    said = fails(cluster, "ping-node-ssh")
    assert "jump host" in said and fingerprint_of(ssh.host_key) in said
    assert f"ssh {by_hand}" in said and "update-node-ssh" not in said
    append(ssh.known_hosts, f"[127.0.0.1]:{bastion.port} {public_of(ssh.other_key)}\n")
    said = fails(cluster, "ping-node-ssh")
    assert f"ssh-keygen -R '[127.0.0.1]:{bastion.port}'; ssh {by_hand}" in said
    ssh.know(bastion)
    assert f"ssh-copy-id {by_hand}" in fails(cluster, "ping-node-ssh")
    append(ssh.config, f"Host *\n  IdentityFile {ssh.key}\n")
    reaches(cluster)


def test_proxy_jump_of_the_configuration(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    """Two hosts in a row, each an alias of the configuration."""
    first, second, server = sshd_factory("first"), sshd_factory("second"), sshd_factory("n1")
    for name, hop in (("first", first), ("second", second)):
        append(ssh.config, f"Host {name}\n  HostName 127.0.0.1\n  Port {hop.port}\n  User {hop.user}\n")
    append(ssh.config, f"Host inner\n  HostName 127.0.0.1\n  Port {server.port}\n  ProxyJump first,second\n")
    append(ssh.config, f"Host *\n  IdentityFile {ssh.key}\n")
    entry = {"host": "inner", "user": server.user, "dir": f"{server.home}/das"}
    reaches(nodes_domain(tmp_path, ssh, {"n1": entry}))
    assert (logins(first), logins(second), logins(server)) == (1, 1, 1)


def test_proxy_command_of_the_configuration(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    """OpenSSH's own client as ProxyCommand, and `none` that undoes it."""
    bastion, server = sshd_factory("bastion"), sshd_factory("n1")
    client = shutil.which("ssh")
    append(
        ssh.config,
        f"Host direct\n  HostName 127.0.0.1\n  Port {server.port}\n  ProxyCommand none\n"
        f"Host inner\n  HostName 127.0.0.1\n  Port {server.port}\n"
        f"  ProxyCommand {client} -F none -o UserKnownHostsFile={ssh.known_hosts} -i {ssh.key} -p {bastion.port} "
        f"-W %h:%p {bastion.user}@127.0.0.1\n",
    )
    rest = {"user": server.user, "key": str(ssh.key), "dir": f"{server.home}/das"}
    cluster = nodes_domain(tmp_path, ssh, {"n1": {"host": "inner", **rest}, "n2": {"host": "direct", **rest}})
    reaches(cluster, "n1")
    assert logins(bastion) == 1
    reaches(cluster, "n2")
    assert logins(bastion) == 1


def test_proxy_command_that_fails_says_why(tmp_path: Path, ssh: SshSetting) -> None:
    append(ssh.config, "Host inner\n  ProxyCommand echo the gate is shut >&2; exit 1\n")
    said = fails(nodes_domain(tmp_path, ssh, {"n1": {"host": "inner"}}), "ping-node-ssh")
    assert "ProxyCommand" in said
    assert "the gate is shut" in said


def test_alias_of_the_configuration(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    """domain.yaml names the alias alone."""
    server = sshd_factory("n1")
    append(
        ssh.config,
        f"Host web\n  HostName 127.0.0.1\n  Port {server.port}\n  User {server.user}\n  IdentityFile {ssh.key}\n",
    )
    reaches(nodes_domain(tmp_path, ssh, {"n1": {"host": "web", "dir": f"{server.home}/das"}}))


# The user's keys.


def test_agent_holds_the_only_key(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = sshd_factory("n1")
    key = copied_key(ssh.key, tmp_path / "id")
    with agent_with(tmp_path, key) as socket:
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        key.unlink()
        named = {
            "n1": entry_of(server),
            "n2": entry_of(server, key=str(key)),
            "n3": entry_of(server, key=f"{key}.pub"),
        }
        cluster = nodes_domain(tmp_path, ssh, named)
        reaches(cluster)
    said = fails(cluster, "ping-node-ssh")
    assert "no agent" in said


def test_encrypted_key_without_agent(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    """Named by the node, or by the SSH configuration: what is wrong is the same."""
    server = sshd_factory("n1")
    key = new_key(tmp_path / "locked", passphrase="secret words")
    (server.folder / "authorized_keys").write_text(public_of(key) + "\n")
    cluster = nodes_domain(tmp_path, ssh, {"n1": entry_of(server, key=str(key)), "n2": entry_of(server)})
    append(ssh.config, f"Host *\n  IdentityFile {key}\n")
    for name in ("n1", "n2"):
        said = fails(cluster, "ping-node-ssh", name)
        assert f"{key} is encrypted" in said
        assert "ssh-add" in said


def test_encrypted_key_with_agent(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = sshd_factory("n1")
    key = new_key(tmp_path / "locked", passphrase="secret words")
    (server.folder / "authorized_keys").write_text(public_of(key) + "\n")
    append(ssh.config, f"Host *\n  IdentityFile {key}\n  IdentitiesOnly yes\n")
    cluster = nodes_domain(tmp_path, ssh, {"n1": entry_of(server, key=str(key)), "n2": entry_of(server)})
    with agent_with(tmp_path, key, "secret words") as socket:
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        reaches(cluster)


@pytest.mark.parametrize("beside", [True, False], ids=["beside the key", "named by CertificateFile"])
def test_user_certificate(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting, beside: bool) -> None:
    authority = new_key(tmp_path / "authority")
    server = sshd_factory("n1", TrustedUserCAKeys=f"{authority}.pub")
    (server.folder / "authorized_keys").write_text("")
    key = copied_key(ssh.key, tmp_path / "id")
    cluster = nodes_domain(tmp_path, ssh, {"n1": entry_of(server, key=str(key)), "n2": entry_of(server)})
    append(ssh.config, f"Host *\n  IdentityFile {key}\n")
    assert "no key was accepted" in fails(cluster, "ping-node-ssh")
    certificate = certify(authority, key, server.user)
    if not beside:
        append(ssh.config, f"  CertificateFile {certificate.rename(tmp_path / 'pass.pub')}\n")
    reaches(cluster)
    assert "Accepted certificate" in server.log or "ED25519-CERT" in server.log


def test_certificate_that_the_node_does_not_take(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    """The plain key is offered all the same."""
    server = sshd_factory("n1")
    key = copied_key(ssh.key, tmp_path / "id")
    certify(new_key(tmp_path / "authority"), key, "somebody")
    reaches(nodes_domain(tmp_path, ssh, {"n1": entry_of(server, key=str(key))}))


def test_user_that_does_not_exist(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    server = sshd_factory("n1")
    cluster = nodes_domain(tmp_path, ssh, {"n1": entry_of(server, ssh, user="nobody-of-this-name")})
    said = fails(cluster, "ping-node-ssh")
    assert "no key was accepted" in said
    assert "nobody-of-this-name" in said
    assert "setup-ssh n1" in said


# Host keys.


def test_host_certificate(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    authority = new_key(tmp_path / "authority")
    key = copied_key(ssh.host_key, tmp_path / "host")
    certificate = certify(authority, key, "127.0.0.1", host=True)
    server = sshd_factory("n1", known=False, HostCertificate=str(certificate))
    cluster = nodes_domain(tmp_path, ssh, {"n1": entry_of(server, ssh)})
    append(ssh.known_hosts, f"@cert-authority * {public_of(authority)}\n")
    reaches(cluster)
    words = ("--sshport", str(server.port), "--sshuser", server.user, "--sshkeyfile", str(ssh.key))
    assert (
        cluster.json("create-node-ssh", "n2", "--nodehost", "127.0.0.1", *words).row("n2")["status"]
        == "created"
    )
    assert cluster.json("update-node-ssh", "n1", "--nodedir", f"{server.home}/other").json["exit_code"] == 0
    reaches(cluster)


def test_host_certificate_for_another_host(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    authority = new_key(tmp_path / "authority")
    key = copied_key(ssh.host_key, tmp_path / "host")
    certificate = certify(authority, key, "elsewhere.example.com", host=True)
    server = sshd_factory("n1", known=False, HostCertificate=str(certificate))
    append(ssh.known_hosts, f"@cert-authority * {public_of(authority)}\n")
    said = fails(nodes_domain(tmp_path, ssh, {"n1": entry_of(server, ssh)}), "ping-node-ssh")
    assert "certificate" in said
    cluster = nodes_domain(tmp_path / "new", ssh, {})
    words = ("--sshport", str(server.port), "--sshuser", server.user, "--sshkeyfile", str(ssh.key))
    assert "certificate" in fails(cluster, "create-node-ssh", "n1", "--nodehost", "127.0.0.1", *words)


def test_hashed_known_hosts(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    server = sshd_factory("n1")
    run(["ssh-keygen", "-H", "-f", str(ssh.known_hosts)])
    assert "127.0.0.1" not in ssh.known_hosts.read_text()
    reaches(nodes_domain(tmp_path, ssh, {"n1": entry_of(server, ssh)}))


def test_revoked_host_key(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    """Refused, whoever accepts it."""
    server = sshd_factory("n1")
    append(ssh.known_hosts, f"@revoked * {ssh.host_public}\n")
    cluster = nodes_domain(tmp_path, ssh, {"n1": entry_of(server, ssh)})
    assert "revoked" in fails(cluster, "ping-node-ssh")
    for words in ((), ("--accept-host-key",), ("--host-key", fingerprint_of(ssh.host_key))):
        assert "revoked" in fails(cluster, "update-node-ssh", "n1", *words)
        assert "revoked" in fails(
            cluster, "create-node-ssh", "n2", "--nodehost", "127.0.0.1", "--sshport", str(server.port), *words
        )
    assert not (cluster.root / ".dasctl/known_hosts").exists()


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_known_host_key_of_another_type(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting, kind: str
) -> None:
    """The server has two keys; the one that is known is asked for, though ed25519 is preferred."""
    key = new_key(tmp_path / "second", kind)
    server = sshd_factory("n1", known=False, HostKey=f"{ssh.host_key}\nHostKey {key}")
    append(ssh.known_hosts, f"[127.0.0.1]:{server.port} {public_of(key)}\n")
    cluster = nodes_domain(tmp_path, ssh, {"n1": entry_of(server, ssh)})
    reaches(cluster)
    row = cluster.json("update-node-ssh", "n1", "--nodedir", f"{server.home}/other").row("n1")
    assert row["host_key"] == fingerprint_of(key)


# Many, and none.


def test_many_nodes_on_one_server(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    """OpenSSH's default drops logins at random from the eleventh on: there must never be so many at once."""
    server = sshd_factory("n1", MaxStartups="10:30:100")
    nodes = {f"n{number}": entry_of(server, ssh, dir=f"{server.home}/das{number}") for number in range(1, 21)}
    assert len(reaches(nodes_domain(tmp_path, ssh, nodes)).json["results"]) == 20
    assert "MaxStartups" not in server.log
    assert "drop connection" not in server.log


def test_address_of_version_6(tmp_path: Path, ssh: SshSetting, sshd_factory: Factory) -> None:
    if not Path("/proc/net/if_inet6").exists() or "lo" not in Path("/proc/net/if_inet6").read_text():
        pytest.skip("this machine has no IPv6 on its loopback")
    port = free_port()
    server = sshd_factory(
        "n1", known=False, Port=str(port), AddressFamily="any", Banner="none\nListenAddress ::1"
    )
    entry = {**entry_of(server, ssh), "host": "::1", "port": port}
    cluster = nodes_domain(tmp_path, ssh, {"n1": entry})
    assert f"[::1]:{port}" in fails(cluster, "ping-node-ssh")
    cluster.json("update-node-ssh", "n1", "--host-key", fingerprint_of(ssh.host_key))
    reaches(cluster)


def test_host_name_that_does_not_resolve(tmp_path: Path, ssh: SshSetting) -> None:
    cluster = nodes_domain(tmp_path, ssh, {"n1": {"host": "no-such-host.invalid"}})
    said = fails(cluster, "ping-node-ssh")
    assert "no-such-host.invalid" in said
    assert "host name is not known" in said
    assert "update-node-ssh n1 --nodehost" in said
    said = fails(cluster, "create-node-ssh", "n2", "--nodehost", "no-such-host.invalid")
    assert "host name is not known" in said
    assert "--force" in said


def test_broken_agent_is_no_obstacle(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSH_AUTH_SOCK names what is no agent any more; the key file opens the node."""
    monkeypatch.setenv("SSH_AUTH_SOCK", os.fspath(tmp_path / "gone"))
    server = sshd_factory("n1")
    append(ssh.config, f"Host *\n  IdentityFile {ssh.key}\n")
    reaches(nodes_domain(tmp_path, ssh, {"n1": entry_of(server), "n2": entry_of(server, ssh)}))


def test_agent_with_more_keys_than_the_node_lets_one_try(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server hangs up before the right key has its turn; the node's own key is the way out."""
    server = sshd_factory("n1", MaxAuthTries="3")
    with agent_with(tmp_path, new_key(tmp_path / "k0")) as socket:
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        for number in range(1, 5):
            run(["ssh-add", "-q", str(new_key(tmp_path / f"k{number}"))])
        append(ssh.config, f"Host *\n  IdentityFile {ssh.key}\n")
        cluster = nodes_domain(tmp_path, ssh, {"n1": entry_of(server), "n2": entry_of(server, ssh)})
        said = fails(cluster, "ping-node-ssh", "n1")
        assert "too many keys" in said.lower()
        assert "update-node-ssh n1 --sshkeyfile" in said
        reaches(cluster, "n2")
