"""Which way an instance goes through a rolling change, from what is known of it before anything is done to it.

What lives here: the judgement. What must not: the order of the steps (`operations/rolling_node.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from dasctl.core.domain import Config
from dasctl.core.patterns import regexes
from dasctl.core.rollout import Ordered
from dasctl.remote import words
from dasctl.remote.paths import from_printable

OWN_PART = (
    "config/domain.yaml"  # whether what it says of the start has changed, the node knows when it is there
)
MEANINGLESS = ("modtime", "mode")  # no running server is restarted for those alone


class Way(StrEnum):
    """What is done to one instance."""

    RESTART = "restart"  # drain, stop, synchronise, start, undrain
    START = "start"  # synchronise, start, undrain; its server does not run
    IN_PLACE = "in place"  # synchronise, reload; restart only if the node then says that it is required
    FILES = "files"  # synchronise: there is no server


def way_of(ordered: Ordered, *, state: str, ran: bool | None, outdated: bool, touched: bool) -> Way:
    """`state`: of its server now, `ran`: whether it ran when it was begun first (None: it was not begun before).

    `outdated`: it requires a restart already; `touched`: it will, since files change that it must not see changing.
    """
    if state in (words.RUNNING, words.STARTING):
        needed = ordered.restart == "needed" and (outdated or touched)
        # One that was started by this change and is not ready yet did not come up as it should.
        stuck = state == words.STARTING and ran is not None
        return Way.RESTART if needed or stuck or ordered.restart == "always" else Way.IN_PLACE
    return Way.START if ordered.starts or ran else Way.FILES


def touches(config: Config, changes: Sequence[Mapping[str, Any]], *, unnamed: int = 0) -> bool:
    """Whether `changes` (as in the protocol) concern what `restart-on` names; some that are `unnamed` may."""
    patterns = [re.compile(pattern) for pattern in regexes(tuple(config.restart_on))]
    return unnamed > 0 or any(_concerns(patterns, change) for change in changes)


def _concerns(patterns: Sequence[re.Pattern[str]], change: Mapping[str, Any]) -> bool:
    path = str(change.get("path", ""))
    if path == OWN_PART or change.get("why") in MEANINGLESS:
        return False
    text = from_printable(path).decode("latin-1")
    return any(pattern.search(text) for pattern in patterns)
