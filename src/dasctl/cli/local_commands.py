"""The commands of the panel "On a node": for whoever stands on the node, where dasctl is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer

from dasctl.cli.bundle_commands import import_sync_bundle
from dasctl.cli.cluster_commands import properties_from
from dasctl.cli.life_cycle_commands import Sync
from dasctl.cli.session import session_of
from dasctl.cli.synchronisation_commands import DRY_RUN, EXCLUDE, FULL, ONLY

_NAME = typer.Argument(None, metavar="[NAME]", help="The instance. [default: the only one here]")
_NODE_DIR = typer.Option(
    None, "--node-dir", metavar="DIR", help="The node's directory. [default: the only one below ~/dasctl]"
)


def join_domain(
    ctx: typer.Context,
    name: str | None = typer.Argument(
        None, metavar="[NAME]", help="What to call it. [default: this host's name]"
    ),
    das: str = typer.Option(..., "--das", metavar="USER@HOST[:PORT]", help="Where the DAS's sshd answers."),
    domain_dir: str = typer.Option(
        ..., "--domain-dir", metavar="PATH", help="The domain's folder on the DAS."
    ),
    cluster: str | None = typer.Option(None, "--cluster", metavar="CLUSTER", help="The cluster to join."),
    config: str | None = typer.Option(
        None, "--config", metavar="CONFIG", help="The config of an instance without a cluster."
    ),
    node_dir: Path | None = typer.Option(
        None, "--node-dir", metavar="DIR", help="Where to keep the instance. [default: ~/dasctl/DOMAIN]"
    ),
    properties: list[str] | None = typer.Option(
        None,
        "--property",
        metavar="KEY=VALUE",
        help="A property of its own, such as http.port=8081; repeatable.",
    ),
    host: str | None = typer.Option(
        None, "--nodehost", metavar="HOST", help="The address by which the DAS reaches this node."
    ),
    port: int | None = typer.Option(
        None, "--sshport", metavar="PORT", min=1, max=65535, help="The port of this node's sshd."
    ),
    user: str | None = typer.Option(
        None, "--sshuser", metavar="USER", help="Whom the DAS logs in as. [default: you]"
    ),
    key: str | None = typer.Option(
        None, "--sshkeyfile", metavar="FILE", help="The key to log in to the DAS with."
    ),
    accept_host_key: bool = typer.Option(
        False, "--accept-host-key", help="Trust the DAS's host key as shown now."
    ),
    host_key: str | None = typer.Option(
        None, "--host-key", metavar="SHA256:...", help="Trust the DAS's host key with this fingerprint."
    ),
    das_command: str = typer.Option(
        "dasctl", "--das-command", metavar="COMMAND", help="How dasctl is called on the DAS."
    ),
) -> int:
    """Join this machine to a domain, and synchronise.

    Registers node and instance with the DAS, and makes the instance's folder. Says afterwards whether the DAS can
    reach this node in return, and what to do if it cannot.

        dasctl join-domain web4 --das deploy@das.example.com --domain-dir /srv/shop --cluster web
    """
    return session_of(ctx).carry_out_without_domain(
        ctx, "join_domain", name=name, das=das, domain_dir=domain_dir, cluster=cluster, config=config,
        node_dir=node_dir, properties=properties_from(properties or []), host=host, port=port, user=user, key=key,
        accept_host_key=accept_host_key, host_key=host_key, das_command=das_command,
    )  # fmt: skip


def leave_domain(
    ctx: typer.Context,
    name: str | None = _NAME,
    node_dir: Path | None = _NODE_DIR,
    keep_files: bool = typer.Option(False, "--keep-files", help="Leave the instance's files here."),
    force: bool = typer.Option(False, "--force", help="Leave also when the DAS does not answer."),
) -> int:
    """Leave the domain: stop, remove the entry and the files.

    With `--force` it goes on without the DAS; there `delete-server-config` removes the entry later.

        dasctl leave-domain web4
    """
    return session_of(ctx).carry_out_without_domain(
        ctx, "leave_domain", name=name, node_dir=node_dir, keep_files=keep_files, force=force
    )


def start_local_instance(
    ctx: typer.Context,
    name: str | None = _NAME,
    node_dir: Path | None = _NODE_DIR,
    sync: Sync = typer.Option(
        Sync.normal, "--sync", metavar="none|normal|full", help="What to synchronise from the DAS first."
    ),
) -> int:
    """Synchronise this node's instance, and start it.

    When the DAS does not answer, says so and starts with what is here.

        dasctl start-local-instance
    """
    return session_of(ctx).carry_out_without_domain(
        ctx, "start_local_instance", name=name, node_dir=node_dir, sync=sync.value
    )


def stop_local_instance(
    ctx: typer.Context,
    name: str | None = _NAME,
    node_dir: Path | None = _NODE_DIR,
    kill: bool = typer.Option(
        False, "--kill", help="End a server that has not stopped after its grace period."
    ),
) -> int:
    """Stop this node's instance, without asking the DAS.

    dasctl stop-local-instance
    """
    return session_of(ctx).carry_out_without_domain(
        ctx, "stop_local_instance", name=name, node_dir=node_dir, kill=kill
    )


def sync_local_instance(
    ctx: typer.Context,
    name: str | None = _NAME,
    node_dir: Path | None = _NODE_DIR,
    dry_run: bool = DRY_RUN,
    full: bool = FULL,
    only: list[str] | None = ONLY,
    exclude: list[str] | None = EXCLUDE,
) -> int:
    """Bring this node's instance to the repository's state.

    Made for cron: with `--quiet` it prints only on change of state or failure.

    dasctl sync-local-instance --quiet --exclude 'docroot/images/big*.png'
    """
    return session_of(ctx).carry_out_without_domain(
        ctx, "sync_local_instance", name=name, node_dir=node_dir, dry_run=dry_run, full=full, only=only or [],
        exclude=exclude or [],
    )  # fmt: skip


COMMANDS: dict[str, Callable[..., int]] = {
    "join-domain": join_domain,
    "leave-domain": leave_domain,
    "start-local-instance": start_local_instance,
    "stop-local-instance": stop_local_instance,
    "sync-local-instance": sync_local_instance,
    "import-sync-bundle": import_sync_bundle,
}
