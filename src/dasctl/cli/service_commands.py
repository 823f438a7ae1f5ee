"""The commands of the panel "Services"."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer

from dasctl.cli import complete
from dasctl.cli.carried import FROM_EITHER
from dasctl.cli.options import settings_of
from dasctl.cli.session import session_of


def serve_ssh(
    ctx: typer.Context,
    dir: Path = typer.Option(..., "--dir", metavar="DIR", help="The directory that sessions begin in."),
    authorized_keys: Path = typer.Option(
        ..., "--authorized-keys", metavar="FILE", help="The public keys that may log in, as for OpenSSH."
    ),
    address: str = typer.Option("127.0.0.1", "--address", metavar="ADDRESS", help="Where to listen."),
    port: int = typer.Option(2222, "--port", metavar="PORT", min=0, max=65535, help="0: one that is free."),
    host_key: Path | None = typer.Option(
        None, "--host-key", metavar="FILE", help="The server's private key. [default: made and kept in DIR]"
    ),
) -> int:
    """Make a node of a machine that has no sshd.

    An SSH server for one directory and one list of keys.     Runs without privileges, as you, until it is stopped.
    Says where it listens, with its host key's fingerprint.

        dasctl serve-ssh --dir ~/node --authorized-keys ~/.ssh/authorized_keys --port 2222
    """
    return session_of(ctx).carry_out_service(
        ctx,
        "serve_ssh",
        dir=dir,
        authorized_keys=authorized_keys,
        address=address,
        port=port,
        host_key=host_key,
    )


def serve_members(
    ctx: typer.Context,
    node: str | None = typer.Option(
        None,
        "--node",
        metavar="NODE",
        autocompletion=complete.nodes,
        help="The node that the key belongs to. [default: whoever logs in is trusted as an operator is]",
    ),
) -> int:
    """Answer one node: a forced command for `authorized_keys`.

    Speaks on standard input and output. Whoever comes in through it reads the slices of that node and changes its own
    entry, and nothing else. `member-key` prints the line to put there.

        command="dasctl --domain /srv/shop serve-members --node n4",restrict ssh-ed25519 AAAA...
    """
    return session_of(ctx).carry_out_conversation(ctx, "serve_members", node=node)


def serve_caller(ctx: typer.Context) -> int:
    """Carry out one command line that came through `--das`.

    It is what `--das` starts at the other end. Speaks on standard input and output. As a forced command for
    `authorized_keys` it lets a key run dasctl on one domain, and nothing else; its files come and go all the same.

        command="dasctl --domain /srv/shop serve-caller",restrict ssh-ed25519 AAAA...
    """
    from dasctl import wiring

    wiring.serve_caller(settings_of(ctx, {}).domain)  # not what its own environment names
    return 0


def member_key(
    ctx: typer.Context,
    node: str = typer.Argument(..., metavar="NODE", autocompletion=complete.nodes, help="The node."),
    public_key: Path | None = typer.Option(
        None,
        "--sshpublickeyfile",
        metavar="FILE",
        parser=FROM_EITHER,
        help="The node's public key. [default: the one it sent when it joined]",
    ),
) -> int:
    """Print the `authorized_keys` line that lets a node in.

    It leads to `serve-members` and nowhere else.

    dasctl member-key n4 --sshpublickeyfile n4.pub >> ~/.ssh/authorized_keys
    """
    return session_of(ctx).carry_out(ctx, "member_key", node=node, public_key=public_key)


COMMANDS: dict[str, Callable[..., int]] = {
    "serve-ssh": serve_ssh,
    "serve-members": serve_members,
    "member-key": member_key,
    "serve-caller": serve_caller,
}
