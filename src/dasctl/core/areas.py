"""Areas: the trees of the repository, and what in them is not synchronised.

What lives here: names of areas, the judgement over links and special files. What must not: reading files.
"""

from __future__ import annotations

import stat

from dasctl.remote import paths

CONFIG = b"config"
APPLICATIONS = b"applications"
LIB = b"lib"
DOCROOT = b"docroot"
DEFINITION = b"config/domain.yaml"
OWN_FOLDER = b".dasctl"
DEFINITIONS = b".dasctl/definitions"

# The archives of what was deployed, as GlassFish has it: kept with the repository, and nobody's application.
INTERNAL_NAME = "__internal"
INTERNAL = b"applications/__internal"

STRAY_APPLICATION = "not a folder, so it is no application; it is not synchronised"
NO_APPLICATION = "the application has no folder"

_SPECIAL = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


def application(name: str) -> bytes:
    """The area of the application called `name`."""
    return APPLICATIONS + b"/" + paths.from_printable(name)


def version_of_application(name: str, version: str) -> bytes:
    """The area of another version of it, for the targets that have that one."""
    return application(name) + b"~" + paths.from_printable(version)


def internal(name: str, version: str | None = None) -> bytes:
    """Where the archives of an application are kept, or that of one version."""
    folder = INTERNAL + b"/" + paths.from_printable(name)
    return folder if version is None else folder + b"/" + paths.from_printable(version)


def is_application(path: bytes) -> bool:
    """Whether an area is that of an application, or of a version of one."""
    return path.startswith(APPLICATIONS + b"/") and path != INTERNAL


def is_whole_domain(path: bytes) -> bool:
    """Whether `path` is domain.yaml, or what a killed command or an editor left beside it: no node may see it whole."""
    return path in (DEFINITION, DEFINITION + b"~") or path.startswith(b"config/.domain.yaml.")


def kind_of_mode(mode: int) -> str:
    """The kind in a manifest of what has this mode; "" for what is in no manifest."""
    kinds = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l"}
    return kinds.get(stat.S_IFMT(mode), "")


def special_fault(mode: int) -> str:
    """Why something that is no file, folder or link is left out."""
    return f"{special_name(mode)} is not synchronised"


def special_name(mode: int) -> str:
    """What something is that is no file, folder or link: `a device`."""
    return _SPECIAL.get(stat.S_IFMT(mode), "a special file")


def link_fault(path: bytes, target: bytes) -> str:
    """Why the link at `path` is refused, or "".

    Words alone decide, so `..` behind a name is refused too: the name may be a link itself, and then its `..` is
    elsewhere.
    """
    names = [name for name in target.split(b"/") if name not in (b"", b".")]
    climbs = names.count(b"..")
    if not paths.link_stays_inside(path, target):
        return f"a link that leads out of the domain is refused: it points to {paths.printable(target)!r}"
    if any(name != b".." for name in names[:climbs]):
        return f"a link with '..' behind a name is refused: it points to {paths.printable(target)!r}"
    return ""
