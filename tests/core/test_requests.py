"""Which manifests and contents go along with a request."""

import zlib
from hashlib import sha256

import pytest

from dasctl.core import requests
from dasctl.core.domain import Cluster, Config, Domain, Instance, Node, Reload, Settings
from dasctl.core.requests import SyncOptions, Want
from dasctl.core.slices import Part, Slice
from dasctl.core.stamps import Revision, Standing
from dasctl.remote import manifest
from dasctl.remote.manifest import Entry, digest_of, encode

DOMAIN = Domain(
    format=1, domain=Settings(name="shop", id="6f1c"), nodes={"n1": Node(host="h")}, configs={"c": Config(start="true")},
    clusters={"web": Cluster(config="c")}, instances={f"web{n}": Instance(node="n1", cluster="web") for n in (1, 2, 3)},
)  # fmt: skip
REVISION = Revision(
    number=7, epoch=2, config_id=5, who="anna", host="das", when=1.5, command="sync-domain", summary="", state="ss"
).sealed("")  # fmt: skip
PLACE = Standing(revision=6, digest="dd")
OPTIONS = SyncOptions(criterion="modtime", deviations="overwrite")


def part(name: str, *files: tuple[str, bytes], mtime: int = 1) -> Part:
    entries = [Entry(name.encode(), "d", 0o755, 0, 1, b"-")]
    for path, data in files:
        entries.append(Entry(f"{name}/{path}".encode(), "f", 0o644, len(data), mtime, sha(data).encode()))
    text = encode(sorted(entries, key=lambda entry: manifest.order(entry.path)))
    return Part(name=name, digest=digest_of(text), data=text)


def sha(data: bytes) -> str:
    return sha256(data).hexdigest()


def want(*parts: Part, old: tuple[Part, ...] = (), name: str = "web1", trusted: bool = True) -> Want:
    return Want(
        slice=Slice(instance=name, parts=parts), expect=PLACE if old else None,
        parts={p.name: p.digest for p in old}, trusted=trusted,
    )  # fmt: skip


def made(*wants: Want, kept: tuple[Part, ...] = (), options: SyncOptions = OPTIONS) -> requests.Request:
    known = {p.digest: p.data for p in kept}
    return requests.sync(DOMAIN, "n1", wants, REVISION, options, requests.Deltas(known.get))


def blobs(request: requests.Request) -> dict[str, tuple[str | None, bytes]]:
    """Digest to base and bytes, as the helper finds them in the body."""
    found, offset = {}, 0
    for blob in request.header["blobs"]:
        data = request.body[offset : offset + blob["size"]]
        offset += blob["size"]
        found[blob["part"]] = (blob["base"], zlib.decompress(data))
    assert offset == len(request.body)
    return found


OLD = part("docroot", ("index.html", b"one"), ("logo.svg", b"logo"))
NEW = part("docroot", ("index.html", b"two"), ("logo.svg", b"logo"))
LIB = part("lib", ("util.jar", b"jar"))


def test_a_first_request_has_whole_manifests_and_no_contents():
    request = made(want(NEW, LIB, trusted=False))
    assert blobs(request) == {NEW.digest: (None, NEW.data), LIB.digest: (None, LIB.data)}
    assert request.unasked == {}
    (instance,) = request.header["instances"]
    assert instance["expect"] is None
    assert instance["parts"] == [["docroot", NEW.digest], ["lib", LIB.digest]]


def test_nothing_to_do_sends_nothing():
    request = made(want(OLD, LIB, old=(OLD, LIB)), kept=(OLD, LIB))
    assert (blobs(request), request.body, request.unasked) == ({}, b"", {})


def test_a_change_travels_as_a_difference_with_its_content():
    request = made(want(NEW, LIB, old=(OLD, LIB)), kept=(OLD, LIB))
    ((digest, (base, changes)),) = blobs(request).items()
    assert (digest, base) == (NEW.digest, OLD.digest)
    assert manifest.apply(OLD.data, changes) == NEW.data
    assert request.unasked == {sha(b"two"): 3}
    assert request.header["instances"][0]["expect"] == [6, "dd"]


UNASKED = [
    # what, old files, new files, contents that go along
    ("a new file", [("a", b"1")], [("a", b"1"), ("b", b"2")], [b"2"]),
    ("a rename", [("a", b"1")], [("b", b"1")], []),
    ("a copy", [("a", b"1")], [("a", b"1"), ("b", b"1")], []),
    ("two that swap", [("a", b"1"), ("b", b"2")], [("a", b"2"), ("b", b"1")], []),
    ("a deletion", [("a", b"1"), ("b", b"2")], [("a", b"1")], []),
    ("two new files with one content", [], [("a", b"1"), ("b", b"1")], [b"1"]),
    ("an empty file", [], [("a", b"")], [b""]),
    ("everything new", [("a", b"1")], [("a", b"2"), ("b", b"3")], [b"2", b"3"]),
]


@pytest.mark.parametrize(
    ("old", "new", "contents"), [row[1:] for row in UNASKED], ids=[row[0] for row in UNASKED]
)
def test_contents_that_go_along(old, new, contents):
    before, after = part("lib", *old), part("lib", *new)
    request = made(want(after, old=(before,)), kept=(before,))
    assert set(request.unasked) == {sha(data) for data in contents}
    assert len(request.unasked) == len(contents)


def test_a_modtime_alone_sends_no_content():
    before, after = part("lib", ("a", b"1")), part("lib", ("a", b"1"), mtime=2)
    assert made(want(after, old=(before,)), kept=(before,)).unasked == {}


def test_a_part_that_is_new_brings_its_contents():
    request = made(want(OLD, LIB, old=(OLD,)), kept=(OLD,))
    assert blobs(request) == {LIB.digest: (None, LIB.data)}
    assert request.unasked == {sha(b"jar"): 3}


def test_an_old_part_that_is_forgotten_means_the_whole_manifest_and_contents_on_demand():
    request = made(want(NEW, old=(OLD,)), kept=())
    assert blobs(request) == {NEW.digest: (None, NEW.data)}
    assert request.unasked == {}


def test_who_is_not_trusted_is_sent_nothing_unasked():
    request = made(want(NEW, old=(OLD,), trusted=False), kept=(OLD,))
    assert blobs(request)[NEW.digest][0] == OLD.digest
    assert request.unasked == {}


@pytest.mark.parametrize(
    "change", [{"dry_run": True}, {"only": ("docroot",)}, {"exclude": ("logo",)}, {"only": ()}]
)
def test_dry_runs_and_parts_of_it_send_nothing_unasked(change):
    options = SyncOptions(criterion="modtime", deviations="keep", **change)
    assert made(want(NEW, old=(OLD,)), kept=(OLD,), options=options).unasked == {}


def test_instances_share_what_they_have_in_common():
    wants = [want(NEW, LIB, old=(OLD, LIB), name=name) for name in ("web1", "web2")]
    request = made(*wants, kept=(OLD, LIB))
    assert len(blobs(request)) == 1
    assert request.unasked == {sha(b"two"): 3}
    assert [row["name"] for row in request.header["instances"]] == ["web1", "web2"]


def test_what_every_request_carries():
    header = made(want(NEW)).header
    assert {key: header[key] for key in ("op", "dir", "domain", "name", "epoch", "dry_run")} == {
        "op": "sync", "dir": "~/dasctl/shop", "domain": "6f1c", "name": "shop", "epoch": 2, "dry_run": False,
    }  # fmt: skip


def test_what_an_instance_is_told():
    options = SyncOptions(
        criterion="hash", deviations="fail", full=True, only=("a",), exclude=("b",), excluded={"web1": ("c",)}
    )
    (instance,) = made(want(NEW, old=(OLD,)), options=options).header["instances"]
    assert instance == {
        "name": "web1", "expect": [6, "dd"], "lead": REVISION.as_lead(), "config_id": 5,
        "parts": [["docroot", NEW.digest]], "criterion": "hash", "deviations": "fail", "full": True,
        "only": ["a"], "except": ["b"], "excluded": ["c"], "keep": None, "mass_deletion": False,
    }  # fmt: skip


def test_an_instance_is_told_what_is_its_own_and_that_much_may_go():
    options = SyncOptions(
        criterion="modtime", deviations="keep", keep={"web1": ("^a$",), "web2": ("b",)}, mass_deletion=True
    )
    first, second = made(want(NEW), want(NEW, name="web3"), options=options).header["instances"]
    assert (first["keep"], second["keep"]) == (["^a$"], None)
    assert first["mass_deletion"] is True


def test_nodes_hold_only_where_all_commit_together():
    for together, dry_run, hold in [(False, False, False), (True, False, True), (True, True, False)]:
        options = SyncOptions(criterion="modtime", deviations="keep", together=together, dry_run=dry_run)
        assert made(want(NEW), options=options).header["hold"] is hold


BIG = 20_000  # bytes: enough for a delta


def sized(name: str, *files: tuple[str, bytes, int]) -> Part:
    """A part of files whose contents stand for larger ones."""
    entries = [Entry(name.encode(), "d", 0o755, 0, 1, b"-")]
    for path, data, size in files:
        entries.append(Entry(f"{name}/{path}".encode(), "f", 0o644, size, 1, sha(data).encode()))
    text = encode(sorted(entries, key=lambda entry: manifest.order(entry.path)))
    return Part(name=name, digest=digest_of(text), data=text)


ANCESTORS = [
    ("the same path", [("a", b"1", BIG)], [("a", b"2", BIG)], {b"2": b"1"}),
    ("too small before", [("a", b"1", 16_383)], [("a", b"2", BIG)], {}),
    ("too small now", [("a", b"1", BIG)], [("a", b"2", 16_383)], {}),
    ("a new version beside the old one", [("app-1.2.war", b"1", BIG)],
     [("app-1.2.war", b"1", BIG), ("app-1.3.war", b"2", BIG)], {}),
    ("a new version instead of the old one", [("app-1.2.war", b"1", BIG)], [("app-1.3.war", b"2", BIG)], {b"2": b"1"}),
    ("another suffix", [("app-1.2.war", b"1", BIG)], [("app-1.3.jar", b"2", BIG)], {}),
    ("another folder", [("x/app-1.2.war", b"1", BIG)], [("y/app-1.3.war", b"2", BIG)], {}),
    ("another name", [("app.war", b"1", BIG)], [("shop.war", b"2", BIG)], {}),
    ("the most similar name", [("spring-core-5.jar", b"1", BIG), ("spring-web-5.jar", b"2", BIG)],
     [("spring-core-6.jar", b"3", BIG), ("spring-web-6.jar", b"4", BIG)], {b"3": b"1", b"4": b"2"}),
    ("equal names: the nearest size", [("app-1.war", b"1", BIG), ("app-2.war", b"2", BIG * 2)],
     [("app-3.war", b"3", BIG * 2)], {b"3": b"2"}),
    ("a content that is there already", [("a", b"1", BIG), ("b", b"2", BIG)], [("a", b"2", BIG), ("b", b"2", BIG)], {}),
    ("two paths, one new content", [("a", b"1", BIG), ("b", b"2", BIG)], [("a", b"3", BIG), ("b", b"3", BIG)], {b"3": b"1"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "expected"), [row[1:] for row in ANCESTORS], ids=[row[0] for row in ANCESTORS]
)
def test_what_a_new_content_was_probably_made_of(old, new, expected):
    before, after = sized("lib", *old), sized("lib", *new)
    request = made(want(after, old=(before,)), kept=(before,))
    assert request.ancestors == {sha(one): sha(other) for one, other in expected.items()}


def test_ancestors_of_names_that_are_no_text():
    before = [
        Entry(b"lib", "d", 0o755, 0, 1, b"-"),
        Entry(b"lib/\xff\n 1.war", "f", 0o644, BIG, 1, sha(b"1").encode()),
    ]
    after = [before[0], Entry(b"lib/\xff\n 2.war", "f", 0o644, BIG, 1, sha(b"2").encode())]
    old, new = (
        Part(name="lib", digest=digest_of(encode(entries)), data=encode(entries))
        for entries in (before, after)
    )
    assert made(want(new, old=(old,)), kept=(old,)).ancestors == {sha(b"2"): sha(b"1")}


def test_the_sizes_of_a_slice():
    deltas = requests.Deltas(lambda digest: None)
    wanted = Slice(instance="web1", parts=(NEW, LIB))
    assert deltas.sizes(wanted, [sha(b"none"), sha(b"two"), sha(b"logo"), sha(b"jar")]) == {
        sha(b"two"): 3,
        sha(b"logo"): 4,
        sha(b"jar"): 3,
    }


def test_a_request_that_leads_nowhere():
    assert requests.guarded("web1", PLACE, 5, wait=True) == {
        "name": "web1", "expect": [6, "dd"], "lead": None, "config_id": 5, "wait": True,
    }  # fmt: skip
    assert requests.guarded("web1", None, None)["expect"] is None


def test_a_delta_is_made_once_for_all_nodes():
    asked = []

    def kept(digest):
        asked.append(digest)
        return OLD.data if digest == OLD.digest else None

    deltas = requests.Deltas(kept)
    assert deltas.of(OLD.digest, NEW) is deltas.of(OLD.digest, NEW)
    assert asked == [OLD.digest]
    assert deltas.of("gone", NEW).base is None


def test_all_changes_are_asked_for_where_they_decide_about_a_reload():
    assert made(want(part("lib"))).header["changes"] == "first"
    reloading = Domain(
        format=1, domain=DOMAIN.domain, nodes=DOMAIN.nodes, clusters=DOMAIN.clusters, instances=DOMAIN.instances,
        configs={"c": Config(start="true", reload=Reload(signal="HUP"))},
    )  # fmt: skip
    request = requests.sync(reloading, "n1", [want(part("lib"))], REVISION, OPTIONS, requests.Deltas({}.get))
    assert request.header["changes"] == "all"


def test_a_path_that_looks_like_a_content_is_none() -> None:
    digest, other = "a" * 64, "b" * 64
    base = f"f 644 1 1 {other} lib/{digest} x\0l 777 0 1 {digest} lib/z\0".encode()
    wanted = (
        f"f 644 1 1 {other} lib/{digest} x\0f 644 7 1 {digest} lib/y\0l 777 0 1 {digest} lib/z\0".encode()
    )
    delta = requests.Deltas({digest_of(base): base}.get).of(
        digest_of(base), Part(name="lib", digest=digest_of(wanted), data=wanted)
    )
    assert delta.contents == {digest: 7}
    again = requests.Deltas({digest_of(wanted): wanted}.get).of(
        digest_of(wanted), Part(name="lib", digest=digest_of(base), data=base)
    )
    assert again.contents == {}
