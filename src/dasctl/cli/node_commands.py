"""The commands of the panel "Nodes"."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer

from dasctl.cli import complete
from dasctl.cli.session import ask_on_terminal, session_of

_NODE = typer.Argument(..., metavar="NAME", autocompletion=complete.nodes, help="The node.")
_NODES = typer.Argument(
    None, metavar="[NODE]...", autocompletion=complete.nodes, help="The nodes. [default: all]"
)
_PORT = typer.Option(None, "--sshport", metavar="PORT", min=1, max=65535, help="The port of its sshd.")
_USER = typer.Option(None, "--sshuser", metavar="USER", help="Whom to log in as.")
_KEY = typer.Option(None, "--sshkeyfile", metavar="FILE", help="The private key to log in with.")
_DIR = typer.Option(
    None, "--nodedir", metavar="DIR", help="Where its instances live. [default: ~/dasctl/DOMAIN]"
)
_JUMP = typer.Option(
    None,
    "--jump",
    metavar="HOST",
    help="The jump host: another node, a name in OpenSSH's config, or [USER@]HOST[:PORT].",
)
_ACCEPT = typer.Option(False, "--accept-host-key", help="Trust the host key that is shown now.")
_HOST_KEY = typer.Option(
    None, "--host-key", metavar="SHA256:...", help="Trust the host key with this fingerprint."
)


def create_node_ssh(
    ctx: typer.Context,
    name: str = typer.Argument(..., metavar="NAME", help="What to call the node."),
    host: str = typer.Option(
        ..., "--nodehost", metavar="HOST", help="Its address, or its name in OpenSSH's config."
    ),
    port: int | None = _PORT,
    user: str | None = _USER,
    key: str | None = _KEY,
    dir: str | None = _DIR,
    jump: str | None = _JUMP,
    accept_host_key: bool = _ACCEPT,
    host_key: str | None = _HOST_KEY,
    force: bool = typer.Option(False, "--force", help="Add it also when it does not answer yet."),
) -> int:
    """Add a node: a machine that is reached by SSH.

    What is not given is left to OpenSSH's config. The node's host key must be known, or be accepted; it is kept in
    the domain then.

        dasctl create-node-ssh n1 --nodehost web1.example.com --sshuser deploy
    """
    return session_of(ctx).carry_out(
        ctx, "create_node_ssh", name=name, host=host, port=port, user=user, key=key, dir=dir, jump=jump,
        accept_host_key=accept_host_key, host_key=host_key, force=force,
    )  # fmt: skip


def update_node_ssh(
    ctx: typer.Context,
    name: str = _NODE,
    host: str | None = typer.Option(None, "--nodehost", metavar="HOST", help="Its new address."),
    port: int | None = _PORT,
    user: str | None = _USER,
    key: str | None = _KEY,
    dir: str | None = _DIR,
    jump: str | None = _JUMP,
    accept_host_key: bool = _ACCEPT,
    host_key: str | None = _HOST_KEY,
    force: bool = typer.Option(False, "--force", help="Change it also when the node does not answer."),
) -> int:
    """Change how a node is reached.

    Only what is given changes. After a machine was set up anew, `--host-key` or `--accept-host-key` replaces the host
    key that the domain keeps.

        dasctl update-node-ssh n1 --nodehost 192.0.2.7 --accept-host-key
    """
    return session_of(ctx).carry_out(
        ctx, "update_node_ssh", name=name, host=host, port=port, user=user, key=key, dir=dir, jump=jump,
        accept_host_key=accept_host_key, host_key=host_key, force=force,
    )  # fmt: skip


def delete_node_ssh(ctx: typer.Context, name: str = _NODE) -> int:
    """Remove a node that has no instances any more.

    The machine itself is not visited.

        dasctl delete-node-ssh n1
    """
    return session_of(ctx).carry_out(ctx, "delete_node_ssh", name=name)


def list_nodes(
    ctx: typer.Context,
    long: bool = typer.Option(
        False,
        "--long",
        "-l",
        help="Also port, user, key, directory, jump host, and the releases of software that the node has.",
    ),
) -> int:
    """List the nodes as they are written down.

    No node is asked, but for its releases of software with `--long`; `ping-node-ssh` checks whether they can be used.

        dasctl list-nodes --long
    """
    return session_of(ctx).carry_out(ctx, "list_nodes", long=long, with_long=True)


def setup_ssh(
    ctx: typer.Context,
    nodes: list[str] | None = _NODES,
    public_key: Path | None = typer.Option(
        None, "--sshpublickeyfile", metavar="FILE", help="The public key to install. [default: your own]"
    ),
    generate: bool = typer.Option(False, "--generatekey", help="Make a key pair where there is none."),
    accept_host_key: bool = _ACCEPT,
    host_key: str | None = _HOST_KEY,
) -> int:
    """Put your public key on nodes that ask for a password.

    Asks for each password once, on the terminal. Nodes that let you in already are left as they are.

        dasctl setup-ssh n1 n2 --generatekey
    """
    return session_of(ctx).carry_out_asking(
        ctx, "setup_ssh", ask=ask_on_terminal, nodes=nodes or [], public_key=public_key, generate=generate,
        accept_host_key=accept_host_key, host_key=host_key,
    )  # fmt: skip


def ping_node_ssh(ctx: typer.Context, nodes: list[str] | None = _NODES) -> int:
    """Check that nodes can be worked on, all at once.

    Looks at authentication, python3, the node's directory, free disk, clock and latency, and says for each failure
    what to do about it.

        dasctl ping-node-ssh
    """
    return session_of(ctx).carry_out(ctx, "ping_node_ssh", nodes=nodes or [])


COMMANDS: dict[str, Callable[..., int]] = {
    "create-node-ssh": create_node_ssh,
    "update-node-ssh": update_node_ssh,
    "delete-node-ssh": delete_node_ssh,
    "list-nodes": list_nodes,
    "setup-ssh": setup_ssh,
    "ping-node-ssh": ping_node_ssh,
}
