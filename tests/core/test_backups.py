"""Backups: the form of the manifest, names, which go, what is believed of one's own words."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from dasctl.core import backups
from dasctl.core.backups import Facts
from dasctl.errors import FormatTooNew, OperationFailed
from dasctl.remote.manifest import Entry

FACTS = Facts(
    domain="shop", id="1-2", revision=12, digest="d" * 64, epoch=2, when=1.5, made=1_800_000_000.0, who="ann", host="das",
    history=True, tree="e" * 64, files=3, size=7,
)  # fmt: skip
ODD = [
    b"plain",
    b"a b",
    b"new\nline",
    b"re\rturn",
    b"back\\slash",
    b"\\n",
    b"not-utf8-\xff",
    b"-dash",
    b"*star",
]


def test_the_manifest_is_one_of_sha256sum(tmp_path: Path) -> None:
    files = []
    for name in ODD:
        (tmp_path / name.decode("utf-8", "surrogateescape")).write_bytes(name)
        files.append((name, hashlib.sha256(name).hexdigest()))
    listing = backups.manifest(files)
    (tmp_path / "MANIFEST.sha256").write_bytes(listing)
    done = subprocess.run(
        ["sha256sum", "--quiet", "-c", "MANIFEST.sha256"], cwd=tmp_path, capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    made = subprocess.run(["sha256sum", "--", *ODD], cwd=tmp_path, capture_output=True, check=True)
    assert made.stdout == listing
    assert backups.manifest_of(listing) == dict(files)


@pytest.mark.parametrize("data", [b"x\n", b"a" * 64 + b"  \n", b"a" * 64 + b" x\n", b"a" * 64 + b"  cut off"])
def test_what_is_no_manifest(data: bytes) -> None:
    with pytest.raises(ValueError, match="manifest"):
        backups.manifest_of(data)


def test_facts_survive_and_are_checked() -> None:
    data = FACTS.as_bytes()
    assert backups.facts_of(data, "x") == FACTS
    with pytest.raises(FormatTooNew):
        backups.facts_of(json.dumps({**json.loads(data), "format": 2}).encode(), "x")
    for key, value in (("domain", "../x"), ("domain", 3), ("revision", "x"), ("tree", None)):
        with pytest.raises(OperationFailed, match=r"x is no backup"):
            backups.facts_of(json.dumps({**json.loads(data), key: value}).encode(), "x")
    with pytest.raises(OperationFailed):
        backups.facts_of(b"[]", "x")


def test_names() -> None:
    name = backups.name_of("shop", 1_800_000_000.0, 12)
    assert name == "shop-20270115T080000Z-r12.tar.gz"
    assert backups.name_of("shop", 1_800_000_000.0, 12, 2) == "shop-20270115T080000Z-r12-2.tar.gz"
    assert backups.is_name(name)
    assert not any(
        map(backups.is_name, ("shop.tar.gz", "x" + name + ".part", "-20270115T080000Z-r12.tar.gz"))
    )


def test_the_oldest_of_this_domain_go() -> None:
    found = [(str(number), replace(FACTS, made=float(number))) for number in (3, 1, 2)]
    found.append(("0", replace(FACTS, made=0.0, id="another")))
    assert backups.superfluous(found, "1-2", 2) == ["1"]
    assert backups.superfluous(found, "1-2", 3) == []
    assert backups.superfluous(found, "another", 1) == []


def test_the_digest_of_a_tree_knows_no_order() -> None:
    entries = [
        Entry(b"a", "d", 0o755, 0, 5, b"-"),
        Entry(b"a/b", "f", 0o644, 1, 6, b"1" * 64),
        Entry(b"a-b", "l", 0o777, 0, 7, b"t"),
    ]
    assert backups.tree_digest(entries) == backups.tree_digest(reversed(entries))
    assert backups.tree_digest(entries) != backups.tree_digest(entries[:2])
    assert backups.tree_digest(entries) != backups.tree_digest([entries[0]._replace(mtime=4), *entries[1:]])
