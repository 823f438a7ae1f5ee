"""The pages hold together: links lead somewhere, and commands that they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dasctl.cli.app import PANELS

TOP = Path(__file__).resolve().parents[2]
PAGES = sorted([TOP / "README.md", TOP / "CHANGELOG.md", *(TOP / "docs").rglob("*.md")])

_LINK = re.compile(r"\]\(([^()\s]+)\)|(?:href|src)=\"([^\"]+)\"")
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_GLOBAL = r"(?:--(?:json|terse|quiet|verbose|version)|--(?:domain|parallel|wait|timeout)[ =]\S+|-[jqvt])"
_COMMAND = re.compile(rf"(?:^|[\s`/])dasctl((?: {_GLOBAL})*) ([a-z]+(?:-[a-z]+)+)\b", re.MULTILINE)


def ids(page: Path) -> str:
    return str(page.relative_to(TOP))


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower().replace("`", ""))
    return kept.replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = _FENCED.sub("", page.read_text("utf-8"))
    return {slug(line) for line in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def leads_somewhere(page: Path, link: str) -> bool:
    """Whether a relative link leads to a file of the project, and to a heading there if it names one."""
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.is_relative_to(TOP) or not target.exists():
        return False
    return not anchor or target.suffix != ".md" or anchor in anchors(target)


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for found in _LINK.finditer(_FENCED.sub("", page.read_text("utf-8"))):
        link = found[1] or found[2]
        if not re.match(r"[a-z]+:", link) and not leads_somewhere(page, link):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_that_are_named_exist(page: Path) -> None:
    known = {name for _, commands in PANELS for name in commands}
    named = {found[2] for found in _COMMAND.finditer(page.read_text("utf-8"))}
    assert named - known == set()


def test_commands_are_found_in_pages() -> None:
    """The pattern above sees something: a page that shows commands in all their forms."""
    text = "`dasctl stop-cluster web`\n    dasctl --json --wait 5 sync-domain\nx /opt/dasctl/bin/dasctl --quiet list-nodes"
    assert [found[2] for found in _COMMAND.finditer(text)] == ["stop-cluster", "sync-domain", "list-nodes"]


def test_every_page_is_in_the_index() -> None:
    index = (TOP / "docs" / "README.md").read_text("utf-8")
    linked = {(TOP / "docs" / found[1]).resolve() for found in _LINK.finditer(index) if found[1]}
    missing = [
        ids(page) for page in (TOP / "docs").rglob("*.md") if page.parent.name != "adr" and page not in linked
    ]
    assert missing in ([], ["docs/README.md"])


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_addresses_in_examples_are_reserved_for_examples(page: Path) -> None:
    """Hosts of others do not stand in our pages (RFC 2606, RFC 5737)."""
    text = page.read_text("utf-8")
    hosts = set(re.findall(r"\b(?:[a-z0-9-]+\.)+(?:com|net|org|io|dev)\b", text))
    assert {
        host for host in hosts if not host.endswith(("example.com", "example.org", "example.net"))
    } <= ALLOWED


ALLOWED: set[str] = set()
