"""The short way of the command lines that run all day, from cron and by hand: no parser is imported and built, 70 ms.

What lives here: recognising a plain line: a command of the table, global options, targets. What must not: judgement over
what is wrong. A line that is not recognised word for word goes the long way (`app.py`), for the same call or an error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dasctl.cli.call import Call, Settings

DOMAIN_VARIABLE = "DASCTL_DOMAIN"
DAS_VARIABLE = "DASCTL_DAS"
FLAGS = {
    "--json": "json", "--terse": "terse", "--quiet": "quiet", "-q": "quiet", "--verbose": "verbose", "-v": "verbose",
}  # fmt: skip
NAMED = ("sync-instance", "sync-cluster")  # they take targets
ALL = ("sync-domain",)
# What the commands' own options say where none of them is given.
DEFAULTS: Mapping[str, Any] = {
    "criterion": None, "deviations": None, "only": [], "exclude": [], "reload": True, "dry_run": False, "diff": False,
    "full": False, "verify": False, "together": None, "failed": False, "max_failures": None, "yes": False,
}  # fmt: skip
CONTRADICT = ({"json", "terse"}, {"quiet", "verbose"})


def recognised(
    words: Sequence[str], environment: Mapping[str, str] = os.environ
) -> tuple[Call, Settings] | None:
    """The call that this command line amounts to, and its settings; None: it has to go the long way."""
    given: dict[str, Any] = {}
    plain: list[str] = []
    left = iter(words)
    for word in left:
        if word in FLAGS:
            given[FLAGS[word]] = True
        elif word == "--domain":
            given["domain"] = next(left, "")
        elif word.startswith("-") or not word:
            return None
        else:
            plain.append(word)
    if not plain or any(pair <= {*given} for pair in CONTRADICT):
        return None
    if "domain" in given and (not given["domain"] or given["domain"].startswith("-")):
        return None  # an empty one is a folder to the parser; here it would be as if none were named
    command, *targets = plain
    if bool(targets) != (command in NAMED) or command not in (*NAMED, *ALL):
        return None
    if environment.get(DAS_VARIABLE) and "domain" not in given:
        return None  # it is not for this machine
    domain = given.pop("domain", None) or environment.get(DOMAIN_VARIABLE) or None
    arguments = {"targets": targets or ["domain"], "command": command, **DEFAULTS}
    call = Call(command=command, operation="sync", arguments=arguments)
    return call, Settings(domain=Path(domain) if domain is not None else None, **given)


def is_plain(call: Call) -> bool:
    """Whether `call` is a synchronisation without any option of its own."""
    given = dict(call.arguments)
    return call.operation == "sync" and all(given.get(name) == value for name, value in DEFAULTS.items())
