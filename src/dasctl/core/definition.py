"""The instance's own part of `domain.yaml`: resolved, as JSON, enough to start by itself, and nobody else's.

What lives here: the shape in docs/protocol.md ("start"). What must not: files; the helper's reading of it.
"""

from __future__ import annotations

import json
from typing import Any

from dasctl.core.domain import FORMAT, Config, Domain, Ready, Reload, Stop
from dasctl.core.durations import seconds
from dasctl.core.patterns import regexes
from dasctl.core.properties import Scope, scalar_text, scope

DEFAULT_SIGNAL = "TERM"


def definition(domain: Domain, instance: str) -> bytes:
    """The own part of `instance` in a valid domain: JSON with sorted keys, a newline at its end."""
    entry = domain.instances[instance]
    name = domain.config_of(instance)
    config = domain.configs[name]
    known = scope(domain, instance)
    document = {
        "format": FORMAT,
        "domain": {"name": domain.domain.name, "id": domain.domain.id},
        "instance": {
            "name": instance,
            "cluster": entry.cluster,
            "config": name,
            "node": entry.node,
            "host": domain.nodes[entry.node].host,
        },
        "properties": known.texts(),
        "start": known.command(config.start),
        "env": {key: known.text(scalar_text(value)) for key, value in config.env.items()},
        "ready": _ready(config.ready, known),
        "stop": _stop(config.stop, known),
        "reload": _reload(config.reload, known),
        "restart_on": _restart_on(config),
    }
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def _restart_on(config: Config) -> list[str]:
    return list(regexes(config.restart_on))


def _ready(ready: Ready, known: Scope) -> dict[str, Any]:
    kind, value = "alive", ""
    if ready.http is not None:
        kind, value = "http", known.text(ready.http)
    elif ready.tcp is not None:
        kind, value = "tcp", known.text(str(ready.tcp))
    elif ready.command is not None:
        kind, value = "command", known.command(ready.command)
    elif ready.log is not None:
        kind, value = "log", known.text(ready.log)
    return {"kind": kind, "value": value, "timeout": seconds(ready.timeout)}


def _stop(stop: Stop, known: Scope) -> dict[str, Any]:
    return _action(stop, known) | {"grace": seconds(stop.grace)}


def _reload(reload: Reload | None, known: Scope) -> dict[str, Any] | None:
    return None if reload is None else _action(reload, known)


def _action(action: Stop | Reload, known: Scope) -> dict[str, Any]:
    if action.command is not None:
        return {"kind": "command", "value": known.command(action.command)}
    return {"kind": "signal", "value": signal_name(action.signal or DEFAULT_SIGNAL)}


def signal_name(text: str) -> str:
    """`TERM` of `TERM`, `term`, `SIGTERM`."""
    return text.upper().removeprefix("SIG")
