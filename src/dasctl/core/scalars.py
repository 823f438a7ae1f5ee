"""What a text without quotes means in `domain.yaml`, and on a command line that sets something there.

YAML 1.2 rather than 1.1, with one more rule: only a text that Python would write in the same way is a number. So `no`,
`0644`, `12:30`, `1.10` and dates stay the texts that they look like, and nothing that reaches a server differs from what
was written.
"""

from __future__ import annotations

import re

from dasctl.core.domain import Scalar

_NULLS = ("", "~", "null", "Null", "NULL")
_INT = re.compile(r"-?(?:0|[1-9][0-9]{0,18})\Z")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+\Z")


def scalar(text: str) -> Scalar | None:
    """What a text without quotes means."""
    if text in _NULLS:
        return None
    if text == "true":
        return True
    if text == "false":
        return False
    if _INT.match(text) and text != "-0":
        return int(text)
    if _FLOAT.match(text) and repr(float(text)) == text:
        return float(text)
    return text
