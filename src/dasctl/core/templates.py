"""The template of a new domain: the sample's commented `domain.yaml`, with its entries turned into comments.

One text is the manual of every key, the sample, and what a new domain begins with.
"""

from __future__ import annotations

SECTIONS = ("nodes", "configs", "clusters", "instances", "applications")


def without_entries(sample: str) -> str:
    """`sample` with empty sections, the entries left below them as comments to uncomment."""
    lines = []
    inside = False
    for line in sample.splitlines():
        section = line.partition(":")[0]
        if line[:1].isalpha():
            inside = section in SECTIONS
            line = f"{section}: {{}}" if inside else line
        elif section == "  properties" and not inside:
            inside = True  # of the domain: they are the sample's own, and the last of its keys
            line = f"  #{line.strip()}"
        elif inside and line.startswith(" ") and line.strip():
            line = f"#{line}"
        lines.append(line)
    return "\n".join(lines) + "\n"
