"""`make picture`: docs/terminal.svg, the picture of the README, made by running the real program.

The same loopback nodes and sample as the demo; the commands run in a terminal of 80 columns, and what stands
on its screen in the end is drawn.
"""

from __future__ import annotations

import html
import io
import re
import sys
from pathlib import Path

from demo import CLUSTER, NEW_WORDS, NODES, OLD_WORDS, Demo, StepFailed, choose_ports
from playground import Playground, PlaygroundError, dasctl, playground_open
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text
from terminal import last_screen, run_in_terminal

COLUMNS = 80
CELL = 12.2  # the width of a character in Rich's drawings
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
TARGET = Path(__file__).resolve().parent.parent / "docs" / "terminal.svg"


def main() -> int:
    with playground_open("dasctl-picture-") as place:
        try:
            screen = play(place)
        except (StepFailed, PlaygroundError) as error:
            sys.stderr.write(f"{error}\n")
            return 1
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, legacy_windows=False
    )
    console.print(screen, soft_wrap=False)
    # A fixed id: the same screen makes the same file.
    drawing = console.export_svg(title="dasctl", theme=MONOKAI, unique_id="terminal")
    TARGET.write_text(for_every_viewer(drawing))
    sys.stdout.write(f"{TARGET.relative_to(TARGET.parent.parent)}: {screen.plain.count(chr(10))} lines\n")
    return 0


def for_every_viewer(drawing: str) -> str:
    """Rich's SVG, without fonts from a web server, and with each column at its place whatever the font's width.

    Viewers differ in what they make of spaces, so no text begins with any or holds two of them.
    """
    drawing = re.sub(r"\s*@font-face \{.*?\}", "", drawing, flags=re.DOTALL)
    drawing = drawing.replace("Fira Code, monospace", FONTS)
    text = r'<text class="([^"]+)" x="([\d.]+)" y="([\d.]+)" textLength="[\d.]+" clip-path="([^"]+)">([^<]*)</text>'
    return re.sub(text, _at_its_columns, drawing)


def _at_its_columns(found: re.Match[str]) -> str:
    style, x, y, clip, escaped = found.groups()
    return "".join(
        f'<text class="{style}" x="{float(x) + word.start() * CELL:.1f}" y="{y}" '
        f'textLength="{len(word[0]) * CELL:.1f}" clip-path="{clip}">{html.escape(word[0], quote=False)}</text>'
        for word in re.finditer(r"[^\s](?: ?[^\s])*", html.unescape(escaped).replace("\xa0", " "))
    )


def play(place: Playground) -> Text:
    """What a person sees who starts the cluster, looks, changes a page, synchronises, and stops."""
    demo = Demo(place=place, console=Console(file=io.StringIO()))
    prepare(demo)
    screen = Text()
    type_in(demo, screen, "start-cluster", CLUSTER)
    type_in(demo, screen, "list-instances")
    page = demo.domain / "docroot" / "index.html"
    page.write_text(page.read_text().replace(OLD_WORDS, NEW_WORDS))
    screen.append_text(prompt("vi docroot/index.html"))
    screen.append("\n")
    type_in(demo, screen, "sync-cluster", CLUSTER)
    type_in(demo, screen, "stop-cluster", CLUSTER)
    screen.rstrip()
    return screen


def prepare(demo: Demo) -> None:
    """The demo's domain, with hosts that have names: aliases in OpenSSH's configuration, as operators have them."""
    demo.run("create-domain", str(demo.domain), "--sample", show=False, cwd=demo.place.root)
    choose_ports(demo)
    aliases = demo.place.root / "home" / ".ssh" / "config"
    aliases.parent.mkdir(mode=0o700)
    for name in NODES:
        node = demo.place.start_node(name)
        host = f"{name.replace('n', 'web')}.example.com"
        with aliases.open("a") as file:
            file.write(f"Host {host}\n    HostName 127.0.0.1\n")
        demo.run(
            "update-node-ssh", name, "--nodehost", host, "--sshport", str(node.port), "--sshkeyfile",
            str(demo.place.key), "--nodedir", str(node.folder), "--host-key", node.host_key, show=False,
        )  # fmt: skip


def prompt(command: str) -> Text:
    return Text.assemble(("~/shop $ ", "bold green"), (command, "bold"), "\n")


def type_in(demo: Demo, screen: Text, *words: str) -> None:
    env = {**demo.place.env, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    env.pop("NO_COLOR", None)
    ran = run_in_terminal(
        [dasctl(), *words], env=env, cwd=demo.domain, columns=COLUMNS, show=False, timeout_s=120.0
    )
    if ran.code != 0:
        raise StepFailed(f"`dasctl {' '.join(words)}` ended with exit code {ran.code}:\n{ran.output}")
    screen.append_text(prompt("dasctl " + " ".join(words)))
    screen.append_text(Text.from_ansi(last_screen(ran.output)))
    screen.append("\n")


if __name__ == "__main__":
    sys.exit(main())
