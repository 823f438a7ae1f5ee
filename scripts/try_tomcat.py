"""`make try-tomcat`: the page docs/how-to/tomcat.md, done for real: two Tomcats on this machine.

What is tried is what the page says: its blocks are taken out of it. Debian's packages are installed where they are missing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from demo import CLUSTER, Demo, StepFailed, show_logs
from playground import PlaygroundError, free_port, playground_open
from rich.console import Console

PAGE = Path(__file__).resolve().parent.parent / "docs" / "how-to" / "tomcat.md"
PACKAGES = ("tomcat10-common", "default-jre-headless")
HOME = Path("/usr/share/tomcat10")
SHOWS_WITHIN_S = 60.0  # Tomcat looks for changes every few seconds, and compiles
WEB_XML = """<web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="6.0"></web-app>\n"""
JSP = '<h1>Hello from <%= System.getProperty("dasctl.instance") %></h1>\n'


def install() -> None:
    """The page's section “On the nodes”."""
    if (HOME / "bin" / "catalina.sh").exists() and shutil.which("java"):
        return
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    command = [*as_root, "apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StepFailed(f"{done.stderr.strip()[-500:]}\nPlease run: apt-get install {' '.join(PACKAGES)}")


def block(after: str) -> str:
    """The first indented block behind the line that begins with `after`."""
    text = PAGE.read_text("utf-8")
    found = re.search(rf"^{re.escape(after)}.*?\n\n((?:    [^\n]*\n|\n)+)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise StepFailed(f"{PAGE.name} has no block behind {after!r}")
    return (
        "".join(line.removeprefix("    ") for line in found[1].strip("\n").splitlines(keepends=True)) + "\n"
    )


def write_domain(demo: Demo) -> None:
    demo.begin("The domain, as the page describes it")
    demo.run("create-domain", str(demo.domain), cwd=demo.place.root)
    for name in ("n1", "n2"):
        node = demo.place.start_node(name)
        demo.run(
            "create-node-ssh", name, "--nodehost", "127.0.0.1", "--sshport", str(node.port), "--sshkeyfile",
            str(demo.place.key), "--nodedir", str(node.folder), "--host-key", node.host_key,
        )  # fmt: skip
    file = demo.domain / "config" / "domain.yaml"
    text = re.sub(
        r"^(configs|clusters|instances|applications): \{\}\n", "", file.read_text(), flags=re.MULTILINE
    )
    ports = [free_port(8080), free_port(8081)]
    ours = re.sub(
        r"(  web\d: \{.*)\}",
        lambda m: f"{m[1]}, properties: {{http.port: {ports.pop(0)}}}}}",
        block("## config/domain.yaml"),
    )
    file.write_text(text + "\n" + ours)
    config = demo.domain / "config" / "web-config"
    config.mkdir()
    for name in ("server.xml", "logging.properties"):
        (config / name).write_text(block(f"`config/web-config/{name}`"))
    fetch_web_xml(demo.place.root, config)
    hello = demo.domain / "applications" / "hello"
    (hello / "WEB-INF").mkdir(parents=True)
    (hello / "WEB-INF" / "web.xml").write_text(WEB_XML)
    (hello / "index.jsp").write_text(JSP)
    (demo.domain / "docroot" / "about.html").write_text("<h1>About us</h1>\n")
    demo.run("verify-domain")


def fetch_web_xml(root: Path, config: Path) -> None:
    """The page's commands, in a folder of their own."""
    unpacked = root / "package"
    unpacked.mkdir()
    script = block("`config/web-config/web.xml`").replace("shop/config/web-config/", f"{config}/")
    done = subprocess.run(
        ["sh", "-e", "-c", script], cwd=unpacked, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise StepFailed(f"web.xml: {done.stderr.strip()[-500:]}")


def start(demo: Demo) -> None:
    demo.begin("Start: a page of the application, and static content, from each")
    demo.run("start-cluster", CLUSTER)
    demo.run("list-instances")
    for row in demo.ask("list-instances", CLUSTER)["results"]:
        demo.require(row["state"] == "running", f"{row['instance']} is {row['state']}")
    read_ports(demo)
    for name, port in demo.ports.items():
        shows(demo, f"http://127.0.0.1:{port}/hello/", f"Hello from {name}")
        shows(demo, f"http://127.0.0.1:{port}/static/about.html", "About us")


def read_ports(demo: Demo) -> None:
    text = (demo.domain / "config" / "domain.yaml").read_text()
    found = re.findall(r"^  (web\d): .*http\.port: (\d+)", text, re.MULTILINE)
    demo.ports = {name: int(port) for name, port in found}


def change(demo: Demo) -> None:
    demo.begin("Change a JSP and a static page while they run")
    (demo.domain / "applications" / "hello" / "index.jsp").write_text(JSP.replace("Hello", "Good morning"))
    (demo.domain / "docroot" / "about.html").write_text("<h1>All about us</h1>\n")
    demo.run("sync-cluster", CLUSTER)
    for name, port in demo.ports.items():
        shows(demo, f"http://127.0.0.1:{port}/hello/", f"Good morning from {name}")
        shows(demo, f"http://127.0.0.1:{port}/static/about.html", "All about us")
    rows = demo.ask("list-instances", CLUSTER)["results"]
    demo.require(not any(row["requires_restart"] for row in rows), f"a restart is asked for: {rows}")
    demo.verified("no restart is asked for")


def restart(demo: Demo) -> None:
    demo.begin("Change the configuration: it asks for a restart")
    server = demo.domain / "config" / "web-config" / "server.xml"
    server.write_text(server.read_text().replace('connectionTimeout="20000"', 'connectionTimeout="10000"'))
    demo.run("sync-cluster", CLUSTER)
    rows = demo.ask("list-instances", CLUSTER)["results"]
    demo.require(all(row["requires_restart"] for row in rows), f"no restart is asked for: {rows}")
    demo.run("restart-cluster", CLUSTER)
    rows = demo.ask("list-instances", CLUSTER)["results"]
    demo.require(not any(row["requires_restart"] for row in rows), f"still asks for a restart: {rows}")
    demo.verified("restarted, and nothing more is asked for")


def writes_nothing_else(demo: Demo) -> None:
    demo.begin("Tomcat has written nothing into what is synchronised")
    document = demo.ask("sync-cluster", CLUSTER, "--full", "--criterion", "hash")
    demo.require(document["status"] == "unchanged", f"a full synchronisation found work: {document}")
    demo.verified("a full synchronisation finds nothing to do")


def stop(demo: Demo) -> None:
    demo.begin("Stop")
    demo.run("stop-cluster", CLUSTER)
    demo.place.stop_nodes()
    left = demo.place.wait_for_no_process()
    demo.require(not left, f"processes were left behind: {left}")
    demo.verified("no process is left behind")


STEPS: tuple[Callable[[Demo], None], ...] = (write_domain, start, change, restart, writes_nothing_else, stop)


def shows(demo: Demo, url: str, words: str) -> None:
    """Ask until the page shows `words`."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    begun, said = time.monotonic(), ""
    while time.monotonic() < begun + SHOWS_WITHIN_S:
        try:
            with direct.open(url, timeout=30) as answer:
                said = answer.read().decode("utf-8", "replace")
        except urllib.error.URLError as error:
            said = str(error)
        if f">{words}<" in said:
            demo.verified(f"{url}: {words} (after {time.monotonic() - begun:.1f} s)")
            return
        time.sleep(0.5)
    raise StepFailed(f"{url} does not show {words!r}: {said[:500]}")


def main() -> int:
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    console = Console(highlight=False, soft_wrap=True)
    with playground_open("dasctl-tomcat-") as place:
        demo = Demo(place=place, console=console)
        try:
            install()
            for step in STEPS:
                step(demo)
        except (StepFailed, PlaygroundError) as error:
            show_logs(demo)
            console.print(f"\n✗ {demo.title}: {error}", markup=False)
            return 1
    console.print("\ndocs/how-to/tomcat.md does what it says.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
