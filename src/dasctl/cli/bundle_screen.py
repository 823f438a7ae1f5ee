"""What is shown of a bundle that was written: what is in it, how to check it, how to use it."""

from __future__ import annotations

from dasctl.cli import text
from dasctl.cli.screen import Screen
from dasctl.core.outcome import Outcome

TOO_LARGE = (
    "before Python 3.13 python3 does not run a bundle of that size by itself; on the node unpack it for that:",
    "  python3 -m zipfile -e {file} bundle && python3 bundle/__main__.py {file}",
)


def show_export(outcome: Outcome, screen: Screen) -> None:
    """The lines of `export-sync-bundle`; the digest stands as `sha256sum` prints it, to be compared on the node."""
    for result in outcome.results:
        fields = result.fields
        file = text.path_text(str(fields["file"]))
        since = f" since revision {fields['since']}" if fields.get("since") else ""
        whom = f"{text.folded(fields['instances'])} on {text.folded(fields['nodes'])}"
        screen.line(
            f"exported {whom}: {text.count(fields['contents'], 'content')}{since}, {text.size(fields['bytes'])}, "
            f"in a file of {text.size(fields['size'])} (revision {outcome.revision})"
        )
        screen.line(f"{fields['sha256']}  {file}")
        if not fields["runs"]:
            for line in TOO_LARGE:
                screen.line(line.format(file=file))
