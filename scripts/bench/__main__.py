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
from dataclasses import dataclass, field
from pathlib import Path

from cases import CASES, Case, ground_of
from contenders import Contender, ContenderFailed, Dasctl, Rsync
from delay import delayed
from measure import Measured, adopt_orphans, enter_own_network, measured
from nodes import NodesError, Server, server_running
from report import Figures, chart, page, size_text, table
from rich.console import Console
from series import memory, scale
from trees import Tree, differences

RESULTS = Path(__file__).resolve().parents[2] / "bench-results"
SPARE = 1.3  # files in memory take more room than they have bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The ground: where things lie, the server, the trees made so far by kind, and what was asked for."""

    folder: Path
    server: Server
    quick: bool
    runs: int
    only: str | None
    console: Console
    trees: dict[str, Tree] = field(default_factory=dict)

    def tree(self, kind: str) -> Tree:
        """The tree of that kind, in a domain of its own."""
        if kind not in self.trees:
            self.trees[kind] = ground_of(kind, self.folder / kind / "docroot", quick=self.quick)
        return self.trees[kind]


def main() -> int:
    wanted = _arguments()
    own_network = enter_own_network()
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server and the folder go, too
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    done: list[Figures] = []
    series: dict[str, object] = {}
    try:
        with _folder_open() as folder, server_running(folder) as server:
            bench = Bench(
                folder=folder,
                server=server,
                quick=wanted.quick,
                runs=wanted.runs,
                only=wanted.only,
                console=console,
            )
            console.print(_ground(bench, own_network=own_network))
            for case in _chosen(wanted):
                figures = _measure(bench, case)
                if figures is not None:
                    done.append(figures)
            if wanted.scale:
                series["scale"] = scale(server, bench.tree("mixed"), folder / "nodes", wanted.runs, console)
            if wanted.memory:
                series["memory"] = memory(server, folder, console, quick=wanted.quick)
    except (ContenderFailed, NodesError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    for file in wanted.join or ():
        document = json.loads(file.read_text())
        done = [Figures.of_json(found) for found in document["cases"]] + done
        series = {name: document[name] for name in ("scale", "memory") if name in document} | series
    least = min((len(runs) for figures in done for runs in figures.runs.values()), default=wanted.runs)
    most = max((len(runs) for figures in done for runs in figures.runs.values()), default=wanted.runs)
    counted = str(least) if least == most else f"{least} to {most}"
    caption = f"medians of {counted} runs, the faster of rsync -a and rsync -az"
    console.print(table(done, caption=caption))
    _write(done, series, wanted, caption)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure dasctl beside rsync.")
    parser.add_argument("--quick", action="store_true", help="smaller trees")
    parser.add_argument(
        "--case", action="append", choices=[c.name for c in CASES], help="this case; repeatable"
    )
    parser.add_argument("--nodes", type=int, help="so many nodes in each case")
    parser.add_argument("--runs", type=int, default=5, help="runs per case and contender (5)")
    parser.add_argument("--only", choices=["rsync", "dasctl"], help="measure one of them alone")
    parser.add_argument("--scale", action="store_true", help="also dasctl alone with 8, 16, 32 and 64 nodes")
    parser.add_argument(
        "--memory", action="store_true", help="also the memory of a first synchronisation of 2 GB to 8 nodes"
    )
    parser.add_argument("--none", action="store_true", help="no case, only --scale or --memory")
    parser.add_argument("--chart", type=Path, default=RESULTS / "bench.svg", help="where the chart goes")
    parser.add_argument(
        "--join", type=Path, action="append", help="also show what this JSON document holds; repeatable"
    )
    parser.add_argument("--page", type=Path, help="where a page of the figures goes (Markdown)")
    return parser.parse_args()


def _chosen(wanted: argparse.Namespace) -> list[Case]:
    if wanted.none:
        return []
    cases = [case for case in CASES if wanted.case is None or case.name in wanted.case]
    if wanted.nodes is None:
        return cases
    by_title = {case.title: case for case in cases}  # the same situation once
    return [case.on(wanted.nodes) for case in by_title.values()]


@contextlib.contextmanager
def _folder_open() -> Iterator[Path]:
    """A folder in memory where there is one, so that no disk is measured."""
    memory_backed = Path("/dev/shm")
    usable = memory_backed.is_dir() and os.access(memory_backed, os.W_OK)
    folder = Path(tempfile.mkdtemp(prefix="dasctl-bench-", dir=memory_backed if usable else None)).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ground(bench: Bench, *, own_network: bool) -> str:
    rsync = subprocess.run(["rsync", "--version"], capture_output=True, text=True, check=True).stdout.split()[
        2
    ]
    network = "a network namespace of its own" if own_network else "the loopback that others use too"
    return (
        f"In {bench.folder.parent}; one sshd for all nodes (user {bench.server.user}), on {network}\n"
        f"{os.cpu_count()} processors, Python {platform.python_version()}, rsync {rsync}: all nodes at once, "
        "without and with -z; the faster counts\n"
    )


def _contenders(bench: Bench, case: Case, server: Server) -> list[Contender]:
    source, base = bench.tree(case.ground).root, bench.folder / "nodes"
    # Where nothing changes, both rsyncs can look at the same copies: 32 nodes would not fit in memory twice.
    second = "rsync-z" if case.change or case.fresh else "rsync"
    if case.nodes > 8:
        second = "rsync"
    server.own(base)
    found: list[Contender] = []
    if bench.only != "dasctl":
        found.append(Rsync(flags="-a", server=server, source=source, target=base / "rsync", nodes=case.nodes))
        if second != "rsync" or not case.change:
            found.append(
                Rsync(flags="-az", server=server, source=source, target=base / second, nodes=case.nodes)
            )
    if bench.only != "rsync":
        found.append(Dasctl(server=server, domain=source.parent, target=base / "dasctl", nodes=case.nodes))
    return found


def _measure(bench: Bench, case: Case) -> Figures | None:
    tree = bench.tree(case.ground)
    with contextlib.ExitStack() as stack:
        server = bench.server
        if case.delay_ms:
            server = server.behind(stack.enter_context(delayed(server.port, case.delay_ms)))
        contenders = _contenders(bench, case, server)
        copies = {copy for contender in contenders for copy in contender.copies()}
        needed, free = (len(copies) + 1) * tree.size * SPARE, shutil.disk_usage(bench.folder).free
        if needed > free * 0.8:
            bench.console.print(
                f"{case.name}: left out, it needs {size_text(needed)} and {size_text(free)} are free"
            )
            return None
        stack.enter_context(case.around(tree))
        try:
            if not case.fresh:
                _prepare(bench, case, contenders)
            runs = _turns(bench, case, tree, contenders)
            _compare(tree, copies)
        finally:
            shutil.rmtree(bench.folder / "nodes", ignore_errors=True)
            shutil.rmtree(tree.root.parent / ".dasctl", ignore_errors=True)
    return Figures(case=case.name, title=case.title, nodes=case.nodes, goal=case.goal, runs=runs)


def _prepare(bench: Bench, case: Case, contenders: Sequence[Contender]) -> None:
    bench.console.print(f"{case.name}: preparing {case.nodes} nodes", style="dim")
    for contender in contenders:
        contender.forget()
    for contender in contenders:
        contender.synchronise()


def _turns(
    bench: Bench, case: Case, tree: Tree, contenders: Sequence[Contender]
) -> dict[str, list[Measured]]:
    runs: dict[str, list[Measured]] = {contender.name: [] for contender in contenders}
    passes = 2 if case.delay_ms else 1
    for turn in range(1, bench.runs + 1):
        if case.change:
            case.change(tree, turn)
        first = turn % len(contenders)  # nobody always goes first
        for contender in [*contenders[first:], *contenders[:first]]:
            if case.fresh:
                contender.forget()
            runs[contender.name].append(measured(contender.synchronise, sshd=bench.server.pid, passes=passes))
        said = ", ".join(f"{name} {taken[-1].seconds:.2f} s" for name, taken in runs.items())
        bench.console.print(f"{case.name} {turn}/{bench.runs}: {said}", style="dim")
    return runs


def _compare(tree: Tree, copies: set[Path]) -> None:
    """Every copy equals the tree, for rsync's eye and for our own."""
    for number, copy in enumerate(sorted(copies)):
        command = [
            "rsync",
            "-aniH",
            "--no-owner",
            "--no-group",
            "--delete",
            f"{tree.root}/",
            f"{copy}/",
        ]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        # Contents are read once for each eight: this takes longer than the runs. rsync leaves the modtimes of
        # folders that it deleted from at another nanosecond, and is judged by its own eye alone.
        if number % 8 == 0 and "dasctl" in copy.parts[-4:]:
            found += differences(tree.root, copy)
        if found:
            raise ContenderFailed(f"{copy} is not like the tree: " + "; ".join(found[:5]))


def _write(
    done: Sequence[Figures], series: dict[str, object], wanted: argparse.Namespace, caption: str
) -> None:
    RESULTS.mkdir(exist_ok=True)
    document = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "what": caption,
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "cases": [figures.as_json() for figures in done],
        **series,
    }
    text = json.dumps(document, indent=1) + "\n"
    for name in ("latest.json", time.strftime("%Y%m%d-%H%M%S.json", time.gmtime())):
        (RESULTS / name).write_text(text)
    if any(figures.ratio is not None for figures in done):
        wanted.chart.write_text(chart(done, title=f"dasctl and rsync: {caption}"))
        if wanted.page:
            wanted.page.write_text(page(done, document, chart_file=wanted.chart.name))


if __name__ == "__main__":
    sys.exit(main())
