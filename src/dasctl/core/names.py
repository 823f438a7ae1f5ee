"""Names by asadmin's rules, for everything that an operator gives a name to.

What lives here: the rules of one name, and which names share a space. What must not: the domain's other rules.
"""

from __future__ import annotations

import re

MAX_NAME = 255  # asadmin's limit, and NAME_MAX of a folder
MAX_VERSION = 100  # an application's name and its version make one folder's name
RESERVED = ("domain", "server")  # asadmin's own targets

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*\Z")
_PROPERTY = re.compile(r"[A-Za-z0-9_.-]+\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def fault_of(name: str) -> str | None:
    """Why `name` cannot be a name, or None if it can."""
    if not name:
        return "a name must not be empty"
    if len(name) > MAX_NAME:
        return f"a name has at most {MAX_NAME} characters, this one has {len(name)}"
    if not _NAME.match(name):
        return (
            f"{name!r} is not a name: letters, digits, '_', '-' and '.' are allowed, "
            "and it begins with a letter, a digit or '_'"
        )
    if name in RESERVED:
        return f"the name {name!r} is reserved"
    return None


def fault_of_version(text: str) -> str | None:
    """Why `text` cannot be a version (of an application, of software), or None if it can: it names a folder, too."""
    if len(text) > MAX_VERSION or not _VERSION.match(text):
        return (
            f"{text!r} is not a version: letters, digits, '_', '-', '.' and '+' are allowed, at most {MAX_VERSION}, "
            "and it begins with a letter, a digit or '_'"
        )
    return None


def is_property(name: str) -> bool:
    """Whether `name` can be the name of a property."""
    return bool(_PROPERTY.match(name))


def is_variable(name: str) -> bool:
    """Whether `name` can be the name of an environment variable."""
    return bool(_VARIABLE.match(name))


def is_port(name: str) -> bool:
    """Whether the property `name` holds a port: it is called `port`, or ends in `.port`."""
    return name == "port" or name.endswith(".port")
