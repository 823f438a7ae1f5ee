"""What is measured of dasctl alone: how time grows with the nodes, and how much memory it takes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from statistics import median

from contenders import Dasctl
from measure import measured
from nodes import Server
from report import size_text
from rich.console import Console
from trees import Tree, change_one, make_large

NODES = (8, 16, 32, 64)
MEMORY_NODES = 8
FILE_MB, FILES = 100, 20


def scale(server: Server, tree: Tree, base: Path, runs: int, console: Console) -> list[dict[str, float]]:
    """Seconds with more and more nodes: nothing to do, and one file changed."""
    found = []
    for nodes in NODES:
        if (nodes + 1) * tree.size * 1.3 > shutil.disk_usage(base.parent).free * 0.8:
            console.print(f"scale: {nodes} nodes are left out, they do not fit")
            continue
        dasctl = Dasctl(server=server, domain=tree.root.parent, target=base / "dasctl", nodes=nodes)
        dasctl.forget()
        dasctl.synchronise()
        taken: dict[str, list[float]] = {"nothing": [], "one_file": []}
        for turn in range(runs):
            taken["nothing"].append(measured(dasctl.synchronise, sshd=server.pid).seconds)
            change_one(tree, turn)
            taken["one_file"].append(measured(dasctl.synchronise, sshd=server.pid).seconds)
        line = {"nodes": nodes, **{name: median(seconds) for name, seconds in taken.items()}}
        each = ", ".join(
            f"{name} {line[name]:.2f} s ({1000 * line[name] / nodes:.0f} ms per node)" for name in taken
        )
        console.print(f"scale: {nodes} nodes: {each}")
        found.append(line)
        shutil.rmtree(base, ignore_errors=True)
        shutil.rmtree(tree.root.parent / ".dasctl", ignore_errors=True)
    return found


def memory(server: Server, folder: Path, console: Console, *, quick: bool) -> dict[str, float]:
    """The largest memory of the process for a first synchronisation of 2 GB to 8 nodes; on a disk where memory is short."""
    files = 2 if quick else FILES
    needed = (MEMORY_NODES + 2) * files * FILE_MB * 1.1e6
    elsewhere = (
        None if needed < shutil.disk_usage(folder).free * 0.7 else tempfile.mkdtemp(prefix="dasctl-bench-")
    )
    base = Path(elsewhere) if elsewhere else folder / "memory"
    try:
        base.mkdir(exist_ok=True)
        base.chmod(0o755)
        size = sum(
            make_large(base / "domain" / "docroot" / f"part{number}", megabytes=FILE_MB, seed=number).size
            for number in range(files)
        )
        server.own(base / "nodes")
        dasctl = Dasctl(
            server=server, domain=base / "domain", target=base / "nodes" / "dasctl", nodes=MEMORY_NODES
        )
        dasctl.forget()
        run = measured(dasctl.synchronise, sshd=server.pid)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    assert run.memory is not None
    console.print(
        f"memory: first synchronisation of {size_text(size)} to {MEMORY_NODES} nodes: at most {size_text(run.memory)}, "
        f"{run.seconds:.1f} s"
    )
    return {"bytes": size, "nodes": MEMORY_NODES, "peak": run.memory, "seconds": run.seconds}
