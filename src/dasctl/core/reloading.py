"""Whether a running server shall take over, by its config's `reload`, what a synchronisation has just changed.

What lives here: the judgement. `docroot` is read anew at each request, so it asks for nothing; what `restart-on` names needs
a restart, which is the operator's to order; what is left is what `reload` is for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from dasctl.core.domain import Config
from dasctl.core.patterns import regexes
from dasctl.remote.paths import from_printable

OWN_PART = "config/domain.yaml"  # its start-relevant keys ask for a restart, the others for nothing
ALWAYS_READ = "docroot/"


def wants_reload(config: Config, changes: Sequence[Mapping[str, Any]], *, unnamed: int = 0) -> bool:
    """`changes` as in the protocol: `path` and `why`. A modtime alone is no change of content.

    Where some are `unnamed` (beyond 100,000), one of them may be what a reload is for.
    """
    if config.reload is None:
        return False
    if unnamed:
        return True
    restart = [re.compile(pattern) for pattern in regexes(tuple(config.restart_on))]
    return any(_concerns(restart, change) for change in changes)


def _concerns(restart: Sequence[re.Pattern[str]], change: Mapping[str, Any]) -> bool:
    path = str(change.get("path", ""))
    if path == OWN_PART or path.startswith(ALWAYS_READ) or change.get("why") == "modtime":
        return False
    text = from_printable(path).decode("latin-1")
    return not any(pattern.search(text) for pattern in restart)
