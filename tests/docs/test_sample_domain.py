"""The sample domain is a real shop, and its `domain.yaml` the manual of every key."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from dasctl.adapters.store import YamlStore, create_domain, sample_folder, sample_text
from dasctl.core import domain as shapes
from dasctl.core.decoding import keys_of
from dasctl.core.validate import warnings

TOP = Path(__file__).resolve().parents[2]
SAMPLE = TOP / "sample-domain"
ID = "7d0f8a52-4c1e-4b7e-9a55-3f1c6f0b2d11"


def test_the_sample_loads_without_a_warning() -> None:
    domain = YamlStore(SAMPLE).load()
    assert warnings(domain) == ()
    assert list(domain.instances) == ["web1", "web2", "web3"]
    assert list(domain.applications) == [path.name for path in (SAMPLE / "applications").iterdir()]


def test_the_sample_in_the_package_is_the_one_on_top() -> None:
    assert sample_folder().resolve() == SAMPLE


def test_loading_is_quick() -> None:
    store = YamlStore(SAMPLE)
    store.load()
    begin = time.process_time()
    store.load()
    assert time.process_time() - begin < 0.15  # measured: 0.002


SECTIONS = {
    "domain": shapes.Settings,
    "areas": shapes.Areas,
    "nodes": shapes.Node,
    "configs": shapes.Config,
    "clusters": shapes.Cluster,
    "instances": shapes.Instance,
    "applications": shapes.Application,
}
NESTED = {"ready": shapes.Ready, "stop": shapes.Stop, "reload": shapes.Reload}


def section(name: str) -> str:
    """The lines of a top-level key."""
    found = re.search(rf"^{name}:.*\n(?:(?: .*|#.*|)\n)*", sample_text(), re.MULTILINE)
    assert found is not None, name
    return found[0]


def shown(key: str, text: str) -> bool:
    """Whether `key` is there, be it commented out."""
    return re.search(rf"^ *#?{re.escape(key)}:", text, re.MULTILINE) is not None


def test_every_section_is_in_the_manual() -> None:
    assert [key for key in keys_of(shapes.Domain) if not shown(key, sample_text())] == []


@pytest.mark.parametrize("name", SECTIONS)
def test_every_key_is_in_the_manual(name: str) -> None:
    assert [key for key in keys_of(SECTIONS[name]) if not shown(key, section(name))] == []


@pytest.mark.parametrize("name", NESTED)
def test_every_nested_key_is_in_the_manual(name: str) -> None:
    text = section("configs")
    found = re.search(rf"^    {name}:\n(?: {{6}}.*\n)+", text, re.MULTILINE)
    assert found is not None
    assert [key for key in keys_of(NESTED[name]) if not shown(key, found[0])] == []


def test_what_is_commented_out_is_valid(tmp_path: Path) -> None:
    """Each `#key: value` alone, uncommented in place, makes no fault but those of keys that exclude each other."""
    lines = sample_text().splitlines(keepends=True)
    store = create_domain(tmp_path / "d", "shop", sample=True, id=ID)
    tried = 0
    for number, line in enumerate(lines):
        if not re.match(r" +#[a-z-]+: ", line):
            continue
        key = line.strip().lstrip("#").partition(":")[0]
        indent = line[: line.index("#")]
        others = {
            "tcp": "http",
            "command": "signal" if "sh" in line else "http",
            "log": "http",
            "config": "cluster",
        }
        text = [*lines[:number], line.replace("#", "", 1), *lines[number + 1 :]]
        block = _siblings(text, number, indent)
        for other in {others.get(key), key} - {None}:
            for place in block:
                if place != number and text[place].startswith(f"{indent}{other}:"):
                    text[place] = "\n"
        if key == "software":  # it names a release, and those are commented out as a whole
            text = [re.sub(r"^#(releases:|  [0-9.]+: \{)", r"\1", kept) for kept in text]
        store.path.write_text("".join(text))
        store.load()
        tried += 1
    assert tried > 12


def _siblings(text: list[str], number: int, indent: str) -> list[int]:
    """The lines around `number` that belong to the same entry."""
    first = last = number
    while first > 0 and text[first - 1].startswith(indent):
        first -= 1
    while last + 1 < len(text) and text[last + 1].startswith(indent):
        last += 1
    return list(range(first, last + 1))


def test_the_reference_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, TOP / "docs/make_domain_reference.py", "--check"])
    assert done.returncode == 0, "run: python docs/make_domain_reference.py"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def shop_running(root: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    command = [sys.executable, "applications/hello/serve.py", "--port", str(port), "--docroot", "docroot"]
    env = {**os.environ, "DASCTL_INSTANCE": "web<1>", "DASCTL_NODE": "n1"}
    with subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, env=env) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(600):
                with contextlib.suppress(OSError):
                    fetched(url + "/health")
                    break
                time.sleep(0.05)
            yield server, url
        finally:
            server.kill()


def fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


def test_the_shop_serves(tmp_path: Path) -> None:
    root = create_domain(tmp_path / "shop", None, sample=True, id=ID).root
    with shop_running(root) as (server, url):
        assert "Fresh today" in fetched(url + "/")
        for image in re.findall(r'src="([^"]+)"', fetched(url + "/")):
            assert fetched(f"{url}/{image}").startswith("<svg")
        page = fetched(url + "/hello?name=<Ada>")
        assert "Good morning, &lt;Ada&gt;!" in page
        assert "web&lt;1&gt;" in page
        (root / "config/shop.properties").write_text("greeting=Hei\n")
        server.send_signal(signal.SIGHUP)
        for _ in range(600):
            if "Hei, guest!" in fetched(url + "/hello"):
                break
            time.sleep(0.05)
        else:
            raise AssertionError("SIGHUP did not reload")
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
