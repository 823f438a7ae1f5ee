"""The commands of the panel "Clusters and instances"."""

from __future__ import annotations

from collections.abc import Callable

import typer

from dasctl.cli import complete
from dasctl.cli.session import session_of
from dasctl.errors import UsageError


def create_cluster(
    ctx: typer.Context,
    name: str = typer.Argument(..., metavar="NAME", help="What to call the cluster."),
    config: str | None = typer.Option(
        None,
        "--config",
        metavar="CONFIG",
        autocompletion=complete.configs,
        help="The config that its instances share. [default: NAME-config, made where there is none]",
    ),
) -> int:
    """Add a cluster: instances with one config in common.

    They have their applications in common, too.

        dasctl create-cluster web --config web-config
    """  # fmt: skip
    return session_of(ctx).carry_out(ctx, "create_cluster", name=name, config=config)


def delete_cluster(
    ctx: typer.Context,
    name: str = typer.Argument(..., metavar="NAME", autocompletion=complete.clusters, help="The cluster."),
) -> int:
    """Remove a cluster that has no instances any more.

    Its config stays.

        dasctl delete-cluster web
    """
    return session_of(ctx).carry_out(ctx, "delete_cluster", name=name)


def list_clusters(
    ctx: typer.Context,
    nostatus: bool = typer.Option(False, "--nostatus", help="Ask no node: names only."),
) -> int:
    """List the clusters and whether they run: `web running`.

    A cluster is `running`, `not running`, `partially running`, or `unknown` where no node answers.

        dasctl list-clusters
    """
    return session_of(ctx).carry_out(ctx, "list_clusters", status=not nostatus)


def create_instance(
    ctx: typer.Context,
    name: str = typer.Argument(..., metavar="NAME", help="What to call the instance."),
    node: str = typer.Option(
        ..., "--node", metavar="NODE", autocompletion=complete.nodes, help="Where it lives."
    ),
    cluster: str | None = typer.Option(
        None,
        "--cluster",
        metavar="CLUSTER",
        autocompletion=complete.clusters,
        help="The cluster that it joins.",
    ),
    config: str | None = typer.Option(
        None,
        "--config",
        metavar="CONFIG",
        autocompletion=complete.configs,
        help="The config of an instance without a cluster.",
    ),
    properties: list[str] | None = typer.Option(
        None,
        "--property",
        metavar="KEY=VALUE",
        help="A property of its own, such as http.port=8081; repeatable.",
    ),
) -> int:
    """Add an instance: one server process on one node.

    It has a folder of its own there. It belongs to a cluster, or has a config of its own. Its node is visited when it
    is synchronised or started.

        dasctl create-instance web4 --node n2 --cluster web --property http.port=8084
    """
    return session_of(ctx).carry_out(
        ctx, "create_instance", name=name, node=node, cluster=cluster, config=config,
        properties=properties_from(properties or []),
    )  # fmt: skip


def properties_from(words: list[str]) -> dict[str, str]:
    """`KEY=VALUE` words as properties. Raises UsageError for a word without a key, or a key given twice."""
    properties: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"not a property: {word!r}", hint="write --property KEY=VALUE")
        if key in properties:
            raise UsageError(f"the property {key!r} is given twice")
        properties[key] = value
    return properties


def delete_instance(
    ctx: typer.Context,
    name: str = typer.Argument(..., metavar="NAME", autocompletion=complete.instances, help="The instance."),
    keep_files: bool = typer.Option(False, "--keep-files", help="Leave its files on the node."),
) -> int:
    """Remove a stopped instance: its folder and its entry.

    For a server whose machine is gone, see `delete-server-config`.

        dasctl delete-instance web4
    """
    return session_of(ctx).carry_out(ctx, "delete_instance", name=name, keep_files=keep_files)


def list_instances(
    ctx: typer.Context,
    targets: list[str] | None = typer.Argument(
        None, metavar="[TARGET]...", autocompletion=complete.targets, help="Which ones. [default: domain]"
    ),
    long: bool = typer.Option(False, "--long", "-l", help="All columns, also those in which nothing stands."),
    nostatus: bool = typer.Option(False, "--nostatus", help="Ask no node: what is written down only."),
) -> int:
    """List instances and their states.

    A state is `running`, `not running`, `starting`, `failed`, or `unknown` where the node does not answer in time; it
    delays nobody else. `requires restart` stands where a server runs with something older than what it has on disk.

        dasctl list-instances web
    """
    return session_of(ctx).carry_out(
        ctx, "list_instances", long=long, with_long=True, targets=targets or [], status=not nostatus
    )


def delete_server_config(
    ctx: typer.Context,
    name: str = typer.Argument(..., metavar="NAME", autocompletion=complete.instances, help="The instance."),
) -> int:
    """Remove the entry of a server that is gone already.

    It was deleted while the DAS was away. Nothing is done on its node. A server that still answers is refused:
    `delete-instance` is for those.

        dasctl delete-server-config web4
    """
    return session_of(ctx).carry_out(ctx, "delete_server_config", name=name)


COMMANDS: dict[str, Callable[..., int]] = {
    "create-cluster": create_cluster,
    "delete-cluster": delete_cluster,
    "list-clusters": list_clusters,
    "create-instance": create_instance,
    "delete-instance": delete_instance,
    "list-instances": list_instances,
    "delete-server-config": delete_server_config,
}
