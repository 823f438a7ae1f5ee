"""Makes docs/domain-yaml.md of the sample's commented `domain.yaml`: `python docs/make_domain_reference.py [--check]`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parent / "sample-domain" / "config" / "domain.yaml"
PAGE = HERE / "domain-yaml.md"

HEAD = """\
# domain.yaml

`config/domain.yaml` says which servers there are, where, and how they run. This page is the sample domain's file, which
explains every key; a test sees that none is missing. (Made by `docs/make_domain_reference.py`: edit the sample instead.)

`dasctl verify-domain` checks the file as a whole and tells all faults at once, each with its line and its path:

    config/domain.yaml:41: instances/web1/node: no node named 'n9'; did you mean 'n1'?

"""


def page(sample: str) -> str:
    """The page: the comment at the file's head as text, then each section under its own title."""
    head, *sections = _paragraphs(sample)
    parts = [HEAD, _prose(head), "\n"]
    for section in sections:
        comments, keys = _split(section)
        title = keys[0].partition(":")[0]
        parts.append(f"\n## {title}\n\n{_prose(comments)}\n```yaml\n" + "\n".join(keys) + "\n```\n")
    return "".join(parts)


def _paragraphs(sample: str) -> list[list[str]]:
    """The head, then the lines of each top-level key with the comment above it."""
    found: list[list[str]] = [[]]
    waiting: list[str] = []
    for line in sample.splitlines():
        if line[:1].isalpha():
            found.append([*waiting, line])
            waiting = []
        elif not line.strip() or line.startswith("#"):
            if not line.strip() and len(found) == 1:
                found[0] += waiting
                waiting = []
            waiting.append(line)
        else:
            found[-1] += [*waiting, line]
            waiting = []
    found[-1] += waiting
    return found


def _split(section: list[str]) -> tuple[list[str], list[str]]:
    lines = [line for line in section if line.strip()]
    first = next(number for number, line in enumerate(lines) if line[:1].isalpha())
    return lines[:first], lines[first:]


def _prose(comments: list[str]) -> str:
    text = [line.lstrip("#").removeprefix(" ") for line in comments]
    return "\n".join(text).strip("\n") + "\n"


def main() -> int:
    wanted = page(SAMPLE.read_text("utf-8"))
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.exists() and PAGE.read_text("utf-8") == wanted else 1
    PAGE.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
