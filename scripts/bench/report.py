"""Figures for people and for programs: a table, a JSON document, a chart. Medians of the runs; nothing is judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any
from xml.sax.saxutils import escape

from measure import Measured
from rich.table import Table

# Chart, in SVG user units.
WIDTH, ROW, BAR, LEFT, RIGHT, TOP = 860, 58, 18, 250, 150, 70
COLOURS = {"rsync": "#9aa5b1", "dasctl": "#1f7ae0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one case came to: the runs of each contender by name."""

    case: str
    title: str
    nodes: int
    goal: float
    runs: Mapping[str, Sequence[Measured]]

    def medians(self, contender: str) -> Measured:
        runs = self.runs[contender]
        trips = [run.round_trips for run in runs if run.round_trips is not None]
        memory = [run.memory for run in runs if run.memory is not None]
        nodes = [run.nodes_cpu_s for run in runs if run.nodes_cpu_s is not None]
        return Measured(
            seconds=median(run.seconds for run in runs),
            cpu_s=median(run.cpu_s for run in runs),
            wire=int(median(run.wire for run in runs)),
            round_trips=max(trips) if trips else None,
            memory=max(memory) if memory else None,
            nodes_cpu_s=median(nodes) if nodes else None,
        )

    @property
    def best_rsync(self) -> str | None:
        """The faster of the rsyncs, by its median."""
        rsyncs = [name for name in self.runs if name.startswith("rsync")]
        return min(rsyncs, key=lambda name: self.medians(name).seconds, default=None)

    @property
    def ratio(self) -> float | None:
        """dasctl / rsync in seconds."""
        if self.best_rsync is None or "dasctl" not in self.runs:
            return None
        return self.medians("dasctl").seconds / self.medians(self.best_rsync).seconds

    @property
    def wire_ratio(self) -> float | None:
        """dasctl / the same rsync in bytes."""
        if self.best_rsync is None or "dasctl" not in self.runs:
            return None
        return self.medians("dasctl").wire / max(1, self.medians(self.best_rsync).wire)

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> Figures:
        """What `as_json` gave."""
        runs = {name: [Measured(**run) for run in runs] for name, runs in found["runs"].items()}
        return cls(
            case=found["case"], title=found["title"], nodes=found["nodes"], goal=found["goal"], runs=runs
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "case": self.case,
            "title": self.title,
            "nodes": self.nodes,
            "goal": self.goal,
            "ratio": self.ratio,
            "wire_ratio": self.wire_ratio,
            "medians": {name: asdict(self.medians(name)) for name in self.runs},
            "runs": {name: [asdict(run) for run in runs] for name, runs in self.runs.items()},
        }


def table(all_figures: Sequence[Figures], *, caption: str) -> Table:
    """One line per case and contender, the better rsync only."""
    shown = Table(caption=caption, caption_justify="left", header_style="bold")
    for column, justify in (
        ("case", "left"), ("nodes", "right"), ("", "left"), ("seconds", "right"), ("min … max", "right"),
        ("CPU s", "right"), ("of nodes", "right"), ("on the wire", "right"), ("trips", "right"),
        ("dasctl : rsync", "right"), ("goal", "right"), ("bytes", "right"),
    ):  # fmt: skip
        shown.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for figures in all_figures:
        for row, last in rows(figures):
            shown.add_row(*row, end_section=last)
    return shown


def rows(figures: Figures) -> Iterator[tuple[list[str], bool]]:
    """The cells of one case, a row per contender, and whether it is the last."""
    names = [name for name in (figures.best_rsync, "dasctl") if name in figures.runs]
    for number, name in enumerate(names):
        assert name is not None
        first, last = number == 0, number == len(names) - 1
        middle, times = figures.medians(name), [run.seconds for run in figures.runs[name]]
        told = last and figures.ratio is not None
        yield (
            [
                figures.title if first else "", str(figures.nodes) if first else "", name,
                f"{middle.seconds:.2f}", f"{min(times):.2f} … {max(times):.2f}", f"{middle.cpu_s:.2f}",
                "" if middle.nodes_cpu_s is None else f"{middle.nodes_cpu_s:.2f}",
                size_text(middle.wire), "" if middle.round_trips is None else str(middle.round_trips),
                f"{figures.ratio:.2f}" if told else "", f"{figures.goal:.2f}" if told else "",
                f"{figures.wire_ratio:.3f}" if told else "",
            ],
            last,
        )  # fmt: skip


def page(all_figures: Sequence[Figures], document: Mapping[str, Any], *, chart_file: str) -> str:
    """The figures as a page of the docs."""
    lines = [
        "# Figures", "",
        "Made by `make bench` with `--page`; nothing here is typed in. Whole commands are timed, the start of the",
        "interpreter included. OpenSSH on loopback, repository and nodes in memory, all nodes behind one `sshd` of one",
        "machine; rsync runs for all nodes at once, without and with `-z`, and the faster one counts. Both must end in",
        "identical trees. Ratios are dasctl / rsync, smaller is better. CPU seconds are those of all processes; of these,",
        "“of nodes” are those of `sshd` and of what it ran. Both log in with what they take by themselves: `ssh` below",
        "rsync with the key exchange that it prefers, dasctl with Curve25519 and logins that an earlier run remembered.",
        "",
        f"{document['when']}, {document['processors']} processors, Python {document['python']}; {document['what']}.", "",
        f"![{document['what']}]({chart_file})", "",
        "| case | nodes | | seconds | min … max | CPU s | of nodes | on the wire | trips | ratio | goal | bytes, ratio |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    lines += [f"| {' | '.join(row)} |" for figures in all_figures for row, _last in rows(figures)]
    if "scale" in document:
        lines += ["", "## More nodes", "", "Seconds of dasctl alone, 10,000 files.", "",
                  "| nodes | nothing to do | one file changed |", "|---:|---:|---:|"]  # fmt: skip
        lines += [f"| {n['nodes']} | {n['nothing']:.2f} | {n['one_file']:.2f} |" for n in document["scale"]]
    if "memory" in document:
        found = document["memory"]
        lines += ["", "## Memory", "",
                  f"A first synchronisation of {size_text(found['bytes'])} to {found['nodes']} nodes: the largest memory of "
                  f"the dasctl process was {size_text(found['peak'])}; it took {found['seconds']:.0f} s."]  # fmt: skip
    return "\n".join(lines) + "\n"


def size_text(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def chart(all_figures: Sequence[Figures], *, title: str) -> str:
    """Two bars per case, each case on its own scale; the labels carry the seconds."""
    shown = [figures for figures in all_figures if figures.ratio is not None]
    height = TOP + ROW * len(shown) + 20
    body = [_text(20, 30, title, size=17, weight="bold")]
    body.append(
        _text(20, 50, "seconds for the whole command, shorter is better; each pair on its own scale", size=12)
    )
    for number, figures in enumerate(shown):
        body += _pair(figures, TOP + ROW * number)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" role="img">\n'
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def _pair(figures: Figures, top: int) -> list[str]:
    assert figures.best_rsync is not None
    named = [("rsync", figures.best_rsync), ("dasctl", "dasctl")]
    longest = max(figures.medians(name).seconds for _, name in named)
    nodes = f"{figures.nodes} node" + ("s" if figures.nodes > 1 else "")
    drawn = [
        _text(20, top + 16, figures.title, size=14),
        _text(20, top + 34, nodes, size=12, colour="#5b6672"),
    ]
    for line, (kind, name) in enumerate(named):
        seconds, y = figures.medians(name).seconds, top + line * (BAR + 4)
        width = max(1.0, (WIDTH - LEFT - RIGHT) * seconds / longest)
        drawn.append(
            f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2" fill="{COLOURS[kind]}"/>'
        )
        drawn.append(_text(LEFT + width + 6, y + 14, f"{seconds:.2f} s  {name}", size=12))
    return drawn


def _text(
    x: float, y: float, text: str, *, size: int, weight: str = "normal", colour: str = "#1c232b"
) -> str:
    return f'<text x="{x:.1f}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{colour}">{escape(text)}</text>'
