"""The command line as a whole: the group of all commands, in panels, and the classes that they share.

What lives here: how commands get the global options, help pages and suggestions. Each panel's commands stand in a file
of their own.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from dasctl.cli import (
    application_commands,
    backup_commands,
    cluster_commands,
    configuration_commands,
    domain_commands,
    elsewhere,
    help,
    history_commands,
    life_cycle_commands,
    local_commands,
    log_commands,
    node_commands,
    service_commands,
    software_commands,
    synchronisation_commands,
)
from dasctl.cli.log_commands import DASHES
from dasctl.cli.options import global_params
from dasctl.cli.session import session_of
from dasctl.errors import UsageError

PANELS: tuple[tuple[str, Mapping[str, Callable[..., Any]]], ...] = (
    ("Domain", domain_commands.COMMANDS),
    ("Nodes", node_commands.COMMANDS),
    ("Clusters and instances", cluster_commands.COMMANDS),
    ("Applications", application_commands.COMMANDS),
    ("Configuration", configuration_commands.COMMANDS),
    ("Life cycle", life_cycle_commands.COMMANDS),
    ("Synchronisation", synchronisation_commands.COMMANDS),
    ("History", {**history_commands.COMMANDS, **backup_commands.COMMANDS}),
    ("Software of nodes", software_commands.COMMANDS),
    ("Logs and diagnosis", log_commands.COMMANDS),
    ("On a node", local_commands.COMMANDS),
    ("Services", service_commands.COMMANDS),
)


# What is about the machine on which it is called: DASCTL_DAS is not meant for it, and some never run elsewhere.
NEVER_ELSEWHERE = frozenset({"join-domain", "serve-ssh", "serve-members", "serve-caller"})
HERE = NEVER_ELSEWHERE | frozenset(local_commands.COMMANDS)


class Command(TyperCommand):
    """A command with the global options behind its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own = {text for param in self.params for text in param.opts}  # join-domain has a --das of its own
        self.params = [*self.params, *(param for param in global_params() if own.isdisjoint(param.opts))]

    def invoke(self, ctx: Any) -> Any:
        """Run the command, here or on the machine that `--das` names."""
        place = elsewhere.place_of(ctx, local=self.name in HERE)
        if place is not None and self.name not in NEVER_ELSEWHERE:
            return elsewhere.run(ctx, self, place, session_of(ctx))
        if place is not None:
            raise UsageError(f"{self.name} is about this machine", hint="call it without --das")
        return super().invoke(ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Where `--` divides a command's words into two kinds, the parser must not swallow it."""
        elsewhere.remember(ctx, args)
        divides = any(f" {DASHES} " in str(param.metavar) for param in self.params)
        if divides and DASHES in args:
            at = args.index(DASHES)
            args = [*args[:at], DASHES, *args[at:]]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = [param for param in self.params if param.param_type_name == "argument"]
        return ["[OPTIONS]", *(str(param.metavar) for param in arguments)]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(help.page(self, ctx))


class Group(TyperGroup):
    """All commands, with the global options before their names."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *global_params()]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(help.page(self, ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        elsewhere.remember(ctx, args)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if name not in self.commands and not ctx.resilient_parsing:
            raise UsageError(f"no such command {name!r}", hint=_meant(name, list(self.commands)))
        return super().resolve_command(ctx, args)


def _meant(name: str, known: Sequence[str]) -> str:
    """`did you mean …?`, or where to look."""
    close = difflib.get_close_matches(name, known, n=2, cutoff=0.75)
    if not close:
        return "`dasctl --help` lists the commands"
    return f"did you mean {' or '.join(repr(word) for word in close)}?"


def build_app() -> Any:
    """The click command of the whole program. It runs in a session: `main(…, obj=session)`."""
    app = typer.Typer(
        name="dasctl",
        cls=Group,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["--help", "-h"], "max_content_width": help.WIDEST},
        invoke_without_command=True,
    )
    app.callback()(_dasctl)
    for panel, commands in PANELS:
        for name, function in commands.items():
            app.command(name, cls=Command, rich_help_panel=panel)(function)
    return typer.main.get_command(app)


def _dasctl(ctx: typer.Context) -> int | None:
    """Administer a cluster of servers from one command line, over SSH, with no agent on the nodes.

    A domain is a folder: it says which servers run where, and holds what they need. Commands take effect on targets:
    `domain`, a cluster, an instance, `node:NAME`, a pattern like `web[1-3]`, or several of these.

        dasctl create-domain shop --sample
        dasctl start-cluster web
        dasctl list-instances
    """
    if ctx.invoked_subcommand is None and not ctx.resilient_parsing:
        raise UsageError("no command given", hint="`dasctl --help` lists the commands")
    return None


def explained(error: Any) -> UsageError | None:
    """A UsageError for click's own; None where `error` is not one of click's."""
    if not hasattr(error, "format_message"):
        return None
    message = str(error.format_message()).strip()
    ctx = getattr(error, "ctx", None)
    option = getattr(error, "option_name", None)
    path = ctx.command_path if ctx is not None else "dasctl"
    hint = f"`{path} --help` shows its options"
    if option is not None and message.lower().startswith("no such option"):
        message = f"no such option {option!r}"
        known = (
            [word for param in ctx.command.params for word in param.opts if word.startswith("--")]
            if ctx
            else []
        )
        close = difflib.get_close_matches(option, [*known, "--help"], n=2, cutoff=0.6)
        if close:
            hint = f"did you mean {' or '.join(repr(word) for word in close)}?"
    return UsageError(message[:1].lower() + message[1:].rstrip("."), hint=hint)
