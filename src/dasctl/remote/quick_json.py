"""`json.loads` and `json.dumps` by the C code that they use themselves, without importing `json`, which imports `re`.

What lives here: the common case. Whatever is out of the ordinary, every error included, is left to `json`: so the results
and the errors are its own. What must not: meaning, limits (`frames.py`).

`_json` is no promise of Python's: where it is not there, or not as expected, `json` does all the work.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Scan = Callable[[str, int], tuple[Any, int]]
    Encode = Callable[[Any, int], "tuple[str, ...]"]

BLANK = " \t\n\r"
CONSTANTS = {"-Infinity": -float("inf"), "Infinity": float("inf"), "NaN": float("nan")}


class _Context:
    """What `json.JSONDecoder` tells the scanner."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = CONSTANTS.__getitem__


def _unknown(value: Any) -> Any:
    raise TypeError(type(value).__name__)


def _scanner() -> Scan | None:
    # A python for debugging takes it for fatal that the scanner wants to raise json's error and finds no json.
    if hasattr(sys, "gettotalrefcount"):
        return None
    try:
        from _json import make_scanner

        scan: Scan = make_scanner(_Context)  # type: ignore[arg-type]
        return scan if scan('{"a":[1,-2.5,"b",null]}', 0) == ({"a": [1, -2.5, "b", None]}, 23) else None
    except Exception:
        return None


def _encoder(separator: str) -> Encode | None:
    try:
        from _json import encode_basestring_ascii, make_encoder

        encode: Encode = make_encoder(
            None, _unknown, encode_basestring_ascii, None, separator, ",", False, False, True
        )
        return (
            encode if "".join(encode({"a": [1, "\xe9"]}, 0)) == '{"a"%s[1,"\\u00e9"]}' % separator else None
        )
    except Exception:
        return None


_scan, _encode = _scanner(), _encoder(":")


def loads(data: bytes) -> Any:
    """As `json.loads`. Raises ValueError, RecursionError."""
    if _scan is not None:
        try:
            text = data.decode("utf-8", "surrogatepass").strip(BLANK)
            value, end = _scan(text, 0)
            if end == len(text):
                return value
        except Exception:
            pass  # json tells what is wrong, or knows another encoding
    import json

    return json.loads(data)


def dumps(value: Any) -> str:
    """As `json.dumps` with separators without blanks. Raises TypeError, ValueError, RecursionError."""
    if _encode is not None:
        try:
            return "".join(_encode(value, 0))
        except Exception:
            pass  # json tells what is wrong
    import json

    return json.dumps(value, separators=(",", ":"))


def dumps_indented(value: dict[str, Any]) -> str:
    """As `json.dumps` with an indent of 1."""
    if value and all(
        type(key) is str and not isinstance(held, (dict, list, tuple)) for key, held in value.items()
    ):
        return "{\n %s\n}" % ",\n ".join(
            ["%s: %s" % (dumps(key), dumps(held)) for key, held in value.items()]
        )
    import json

    return json.dumps(value, indent=1)
