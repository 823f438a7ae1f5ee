"""`make bench`: dasctl beside rsync, in one run, on OpenSSH servers of this machine.

Both bring the same tree to the same number of nodes over the same sshd, in turn, several times; the whole command is
timed. In the end both must have made identical trees: this is asserted, the figures are not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cases import CASES, Case
from contenders import Contender, ContenderFailed, Dasctl, Rsync
from measure import Measured, enter_own_network, measured
from nodes import NodesError, Server, server_running
from report import Figures, chart, size_text, table
from rich.console import Console
from trees import Tree, differences, make_tree

FILES, QUICK_FILES = 10_000, 500
RESULTS = Path(__file__).resolve().parents[2] / "bench-results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The ground: where things lie, the server, the tree, and what was asked for."""

    folder: Path
    server: Server
    tree: Tree
    runs: int
    only: str | None
    console: Console


def main() -> int:
    wanted = _arguments()
    own_network = enter_own_network(wanted.delay)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server and the folder go, too
    console = Console(width=None if sys.stdout.isatty() else 130, highlight=False)
    try:
        with _folder_open() as folder, server_running(folder) as server:
            tree = make_tree(folder / "domain" / "docroot", files=QUICK_FILES if wanted.quick else FILES)
            bench = Bench(
                folder=folder, server=server, tree=tree, runs=wanted.runs, only=wanted.only, console=console
            )
            console.print(_ground(bench, own_network=own_network, delay_ms=wanted.delay))
            done = [figures for case in _chosen(wanted) if (figures := _measure(bench, case)) is not None]
    except (ContenderFailed, NodesError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    caption = f"medians of {wanted.runs} runs; {tree.files:,} files, {size_text(tree.size)}"
    console.print(table(done, caption=caption))
    _write(done, wanted.chart, caption)
    shown = os.path.relpath(wanted.chart)
    console.print(f"Kept in {RESULTS.name}/latest.json and {shown}", style="dim")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure dasctl beside rsync.")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_FILES} files instead of {FILES:,}")
    parser.add_argument(
        "--case", action="append", choices=[c.name for c in CASES], help="this case; repeatable"
    )
    parser.add_argument("--nodes", type=int, help="so many nodes in each case")
    parser.add_argument("--runs", type=int, default=5, help="runs per case and contender (5)")
    parser.add_argument("--only", choices=["rsync", "dasctl"], help="measure one of them alone")
    parser.add_argument(
        "--delay", type=float, default=0, metavar="MS", help="put so many ms on each packet, each way"
    )
    parser.add_argument("--chart", type=Path, default=RESULTS / "bench.svg", help="where the chart goes")
    return parser.parse_args()


def _chosen(wanted: argparse.Namespace) -> list[Case]:
    cases = [case for case in CASES if wanted.case is None or case.name in wanted.case]
    if wanted.nodes is None:
        return cases
    by_title = {case.title: case for case in cases}  # the same situation once
    return [
        Case(name=c.name, title=c.title, nodes=wanted.nodes, change=c.change, fresh=c.fresh)
        for c in by_title.values()
    ]


@contextlib.contextmanager
def _folder_open() -> Iterator[Path]:
    """A folder in memory where there is one, so that no disk is measured."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    folder = Path(tempfile.mkdtemp(prefix="dasctl-bench-", dir=memory if usable else None)).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ground(bench: Bench, *, own_network: bool, delay_ms: float) -> str:
    rsync = subprocess.run(["rsync", "--version"], capture_output=True, text=True, check=True).stdout.split()[
        2
    ]
    network = "a network namespace of its own" if own_network else "the loopback that others use too"
    line = f", {delay_ms:g} ms on each packet" if delay_ms else ""
    return (
        f"{bench.tree.files:,} files, {size_text(bench.tree.size)}, in {bench.folder.parent}; "
        f"one sshd for all nodes (user {bench.server.user}), on {network}{line}\n"
        f"{os.cpu_count()} processors, Python {platform.python_version()}, rsync {rsync}: all nodes at once, "
        "without and with -z; the faster counts\n"
    )


def _contenders(bench: Bench, case: Case) -> list[Contender]:
    server, source, base = bench.server, bench.tree.root, bench.folder / "nodes"
    # Where nothing changes, both rsyncs can look at the same copies: 32 nodes would not fit in memory twice.
    second = "rsync-z" if case.change or case.fresh else "rsync"
    bench.server.own(base)
    found: list[Contender] = []
    if bench.only != "dasctl":
        found.append(Rsync(flags="-a", server=server, source=source, target=base / "rsync", nodes=case.nodes))
        found.append(Rsync(flags="-az", server=server, source=source, target=base / second, nodes=case.nodes))
    if bench.only != "rsync":
        found.append(Dasctl(server=server, domain=source.parent, target=base / "dasctl", nodes=case.nodes))
    return found


def _measure(bench: Bench, case: Case) -> Figures | None:
    contenders = _contenders(bench, case)
    copies = {copy for contender in contenders for copy in contender.copies()}
    needed, free = len(copies) * bench.tree.size * 1.3, shutil.disk_usage(bench.folder).free
    if needed > free * 0.8:
        bench.console.print(
            f"{case.name}: left out, it needs {size_text(needed)} and {size_text(free)} are free"
        )
        return None
    try:
        if not case.fresh:
            _prepare(bench, case, contenders)
        runs = _turns(bench, case, contenders)
        _compare(bench, copies)
    finally:
        shutil.rmtree(bench.folder / "nodes", ignore_errors=True)
        shutil.rmtree(bench.folder / "domain" / ".dasctl", ignore_errors=True)
    return Figures(case=case.name, title=case.title, nodes=case.nodes, runs=runs)


def _prepare(bench: Bench, case: Case, contenders: Sequence[Contender]) -> None:
    bench.console.print(f"{case.name}: preparing {case.nodes} nodes", style="dim")
    for contender in contenders:
        contender.forget()
    for contender in contenders:
        contender.synchronise()


def _turns(bench: Bench, case: Case, contenders: Sequence[Contender]) -> dict[str, list[Measured]]:
    runs: dict[str, list[Measured]] = {contender.name: [] for contender in contenders}
    for turn in range(1, bench.runs + 1):
        if case.change:
            case.change(bench.tree, turn)
        first = turn % len(contenders)  # nobody always goes first
        for contender in [*contenders[first:], *contenders[:first]]:
            if case.fresh:
                contender.forget()
            runs[contender.name].append(measured(contender.synchronise, sshd=bench.server.pid))
        said = ", ".join(f"{name} {taken[-1].seconds:.2f} s" for name, taken in runs.items())
        bench.console.print(f"{case.name} {turn}/{bench.runs}: {said}", style="dim")
    return runs


def _compare(bench: Bench, copies: set[Path]) -> None:
    """Every copy equals the tree, for rsync's eye and for our own."""
    for number, copy in enumerate(sorted(copies)):
        command = [
            "rsync",
            "-aniH",
            "--no-owner",
            "--no-group",
            "--delete",
            f"{bench.tree.root}/",
            f"{copy}/",
        ]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        if number % 8 == 0:  # contents are read once for each eight: this takes longer than the runs
            found += differences(bench.tree.root, copy)
        if found:
            raise ContenderFailed(f"{copy} is not like the tree: " + "; ".join(found[:5]))


def _write(done: Sequence[Figures], chart_file: Path, caption: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    document = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "what": caption,
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "cases": [figures.as_json() for figures in done],
    }
    text = json.dumps(document, indent=1) + "\n"
    for name in ("latest.json", time.strftime("%Y%m%d-%H%M%S.json", time.gmtime())):
        (RESULTS / name).write_text(text)
    if any(figures.ratio is not None for figures in done):
        chart_file.write_text(chart(done, title=f"dasctl and rsync: {caption}"))


if __name__ == "__main__":
    sys.exit(main())
