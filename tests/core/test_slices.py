"""Which file goes to which instance, who wins in `config`, and what the digests tell."""

import time

import pytest

from dasctl.adapters.memory_repository import MemoryRepository
from dasctl.core import slices
from dasctl.core.areas import link_fault
from dasctl.core.domain import Application, Cluster, Config, Domain, Instance, Node, Settings
from dasctl.core.overlays import Owner, owners_of
from dasctl.errors import RepositoryError
from dasctl.remote import manifest
from dasctl.remote.manifest import digest_of, slice_digest


def domain_of(**changes) -> Domain:
    parts = {
        "domain": Settings(name="shop", id="6f1c"),
        "nodes": {"n1": Node(host="localhost")},
        "configs": {"tomcat-config": Config(start="exec true"), "plain": Config(start="exec true")},
        "clusters": {"web": Cluster(config="tomcat-config"), "app": Cluster(config="plain")},
        "instances": {
            "web1": Instance(node="n1", cluster="web"),
            "web2": Instance(node="n1", cluster="web"),
            "app1": Instance(node="n1", cluster="app"),
            "alone": Instance(node="n1", config="plain"),
        },
        "applications": {
            "hello": Application(targets=["web"]),
            "admin": Application(targets=["web1", "alone", "web"]),
            "idle": Application(),
        },
    }
    return Domain(format=1, **(parts | changes))


DOMAIN = domain_of()


@pytest.fixture
def repository():
    return MemoryRepository()


def built(repository: MemoryRepository, domain: Domain = DOMAIN) -> slices.Slices:
    scan = repository.scan(domain, criterion="modtime")
    published = repository.publish({name: f"part of {name}".encode() for name in domain.instances})
    return slices.build(domain, scan, published)


def tree(found: slices.Slices, instance: str) -> dict[bytes, manifest.Entry]:
    """All entries of an instance by path; decoding checks order and form."""
    return {
        entry.path: entry
        for part in found.by_instance[instance].parts
        for entry in manifest.decode(part.data)
    }


def said(repository: MemoryRepository, found: slices.Slices, instance: str) -> dict[str, bytes]:
    """Files and their contents as an instance gets them."""
    return {
        entry.path.decode(): b"".join(repository.read(found.contents[entry.digest.decode()], piece=100))
        for entry in tree(found, instance).values()
        if entry.kind == "f"
    }


def test_parts_come_in_order(repository):
    for path in (
        b"docroot/i",
        b"lib/l",
        b"applications/hello/h",
        b"applications/admin/a",
        b"applications/idle/i",
    ):
        repository.put_file(path, path)
    found = built(repository)
    names = {name: [part.name for part in each.parts] for name, each in found.by_instance.items()}
    assert names == {
        "web1": ["config", "applications", "applications/admin", "applications/hello", "lib", "docroot"],
        "web2": ["config", "applications", "applications/admin", "applications/hello", "lib", "docroot"],
        "app1": ["config", "applications", "lib", "docroot"],
        "alone": ["config", "applications", "applications/admin", "lib", "docroot"],
    }


def test_areas_that_do_not_exist_are_no_parts(repository):
    found = built(repository)
    assert [part.name for part in found.by_instance["web1"].parts] == ["config"]
    assert [problem.path for problem in found.problems] == [
        b"applications/admin", b"applications/hello", b"applications/idle",
    ]  # fmt: skip


def test_parts_and_slices_have_their_digests(repository):
    repository.put_file(b"config/z", b"")
    repository.put_file(b"docroot/a", b"")
    for each in built(repository).by_instance.values():
        assert all(part.digest == digest_of(part.data) for part in each.parts)
        assert each.digest == slice_digest(each.listing)


def test_each_gets_its_own_part_of_domain_yaml_and_nobody_elses(repository):
    repository.put_file(b"config/a", b"first")
    repository.put_file(b"config/domain.yaml.bak", b"last")
    repository.put_file(b"config/domain.yam/deep", b"x")
    found = built(repository)
    for name in DOMAIN.instances:
        assert said(repository, found, name) == {
            "config/a": b"first", "config/domain.yaml": f"part of {name}".encode(),
            "config/domain.yaml.bak": b"last", "config/domain.yam/deep": b"x",
        }  # fmt: skip


def test_a_definition_keeps_its_mode_and_modtime(repository):
    first = tree(built(repository), "web1")[b"config/domain.yaml"]
    repository.put_file(b"config/other", b"")
    assert tree(built(repository), "web1")[b"config/domain.yaml"] == first
    assert first.mode == 0o644


def test_without_config_there_is_a_folder_for_the_definition(repository):
    domain = domain_of(instances={"web1": Instance(node="n1", cluster="web")})
    definitions = repository.publish({"web1": b"{}"})
    found = slices.build(domain, slices.Scan(areas={}), definitions)
    assert list(tree(found, "web1")) == [b"config", b"config/domain.yaml"]
    assert tree(found, "web1")[b"config"].mtime == definitions["web1"].mtime


def test_the_own_config_wins_over_the_clusters_and_that_over_the_common(repository):
    for folder in ("", "tomcat-config/", "web-config/", "web1-config/", "alone-config/"):
        repository.put_file(f"config/{folder}all".encode(), folder.encode())
    for folder in ("", "tomcat-config/", "web-config/"):
        repository.put_file(f"config/{folder}three".encode(), folder.encode())
    for folder in ("", "tomcat-config/"):
        repository.put_file(f"config/{folder}two".encode(), folder.encode())
    found = built(repository)
    files = {name: said(repository, found, name) for name in DOMAIN.instances}
    for each in files.values():
        del each["config/domain.yaml"]
    tomcat = {"config/three": b"web-config/", "config/two": b"tomcat-config/"}
    common = {"config/three": b"", "config/two": b""}
    assert files == {
        "web1": {"config/all": b"web1-config/"} | tomcat,
        "web2": {"config/all": b"web-config/"} | tomcat,
        "app1": {"config/all": b""} | common,
        "alone": {"config/all": b"alone-config/"} | common,
    }
    assert found.problems[3:] == ()


def test_folders_of_layers_are_merged_and_the_highest_gives_mode_and_modtime(repository):
    repository.put_folder(b"config/d", mode=0o700, mtime=1)
    repository.put_file(b"config/d/common", b"c")
    repository.put_folder(b"config/web-config", mode=0o711, mtime=5)
    repository.put_folder(b"config/web-config/d", mode=0o750, mtime=2)
    repository.put_file(b"config/web-config/d/own", b"o")
    repository.put_folder(b"config", mode=0o755, mtime=9)
    found = built(repository)
    entries = tree(found, "web1")
    assert list(entries) == [
        b"config",
        b"config/d",
        b"config/d/common",
        b"config/d/own",
        b"config/domain.yaml",
    ]
    assert (entries[b"config/d"].mode, entries[b"config/d"].mtime) == (0o750, 2)
    assert (entries[b"config"].mode, entries[b"config"].mtime) == (0o755, 9)
    assert list(tree(found, "app1")) == [b"config", b"config/d", b"config/d/common", b"config/domain.yaml"]


@pytest.mark.parametrize("put", ["put_file", "put_link"])
def test_a_file_over_a_folder_leaves_nothing_of_it(repository, put):
    repository.put_file(b"config/d/x/y", b"common")
    repository.put_file(b"config/d-other", b"stays")
    getattr(repository, put)(b"config/web-config/d", b"target")
    repository.put_file(b"config/web1-config/d/z", b"again a folder")
    found = built(repository)
    assert list(tree(found, "web2"))[1:] == [b"config/d", b"config/d-other", b"config/domain.yaml"]
    assert list(tree(found, "web1"))[1:] == [
        b"config/d", b"config/d/z", b"config/d-other", b"config/domain.yaml",
    ]  # fmt: skip
    assert tree(found, "web1")[b"config/d"].kind == "d"


def test_an_overlay_must_not_replace_the_definition(repository):
    repository.put_file(b"config/web-config/domain.yaml", b"")
    with pytest.raises(RepositoryError, match=r"config/web-config/domain\.yaml"):
        built(repository)


def test_a_domain_yaml_deeper_down_is_an_ordinary_file(repository):
    repository.put_file(b"config/web-config/deep/domain.yaml", b"mine")
    assert said(repository, built(repository), "web1")["config/deep/domain.yaml"] == b"mine"


def test_an_overlay_of_nobody_goes_to_nobody_with_a_warning(repository):
    repository.put_file(b"config/wbe-config/x", b"typo")
    found = built(repository)
    assert not [path for path in said(repository, found, "alone") if "wbe" in path or path.endswith("/x")]
    assert found.problems[-1].path == b"config/wbe-config"
    assert "no cluster or instance is called 'wbe'" in found.problems[-1].message


def test_a_file_and_a_link_named_like_an_overlay_are_none(repository):
    repository.put_file(b"config/web-config", b"a file")
    repository.put_link(b"config/web1-config", b"web-config")
    found = built(repository)
    assert tree(found, "app1")[b"config/web-config"].kind == "f"
    assert tree(found, "app1")[b"config/web1-config"].kind == "l"
    assert found.problems[-1].path == b"config/web1-config"


def test_a_link_is_judged_where_it_will_be(repository):
    repository.put_link(b"config/web-config/out", b"../../lib/x")
    repository.put_link(b"config/web-config/in", b"../lib/x")
    found = built(repository)
    assert tree(found, "web1")[b"config/in"].digest == b"../lib/x"
    assert b"config/out" not in tree(found, "web1")
    assert found.problems[-1].path == b"config/web-config/out"


@pytest.mark.parametrize(
    "path, target, kept",
    [
        (b"docroot/a", b"b", True),
        (b"docroot/a", b"../lib/b", True),
        (b"docroot/d/a", b"../../lib/./b//c", True),
        (b"docroot/a", b"../..", False),
        (b"docroot/a", b"/etc/passwd", False),
        (b"docroot/a", b"", False),
        # x may be a link to the top, and then its `..` is above it
        (b"docroot/a", b"x/..", False),
        (b"docroot/a", b"../x/../..", False),
    ],
)
def test_links_that_are_kept(path, target, kept):
    assert (link_fault(path, target) == "") == kept


def test_names_in_any_bytes(repository):
    for name in (b"\xff\xfe", b"two\nlines", b"-rf", b" f 644 1 1 ", b"%00"):
        repository.put_file(b"config/web-config/" + name, name)
        repository.put_file(b"docroot/" + name, name)
    found = built(repository)
    for name in (b"\xff\xfe", b"two\nlines", b"-rf", b" f 644 1 1 ", b"%00"):
        for area in (b"config/", b"docroot/"):
            digest = tree(found, "web1")[area + name].digest.decode()
            assert b"".join(repository.read(found.contents[digest], piece=7)) == name


def test_the_state_tells_every_change(repository):
    repository.put_file(b"docroot/a", b"1")
    states = [built(repository).state]
    for change in (
        lambda: repository.put_file(b"docroot/a", b"1", mtime=5),
        lambda: repository.put_file(b"docroot/a", b"1", mtime=5, mode=0o600),
        lambda: repository.put_folder(b"docroot/empty"),
        lambda: repository.put_file(b"config/domain.yaml", b"format: 1\n# a remark\n"),
        lambda: repository.put_folder(b"lib"),
        lambda: repository.put_file(b"applications/idle/x", b""),
    ):
        change()
        states.append(built(repository).state)
    assert len(set(states)) == len(states)
    assert built(repository).state == states[-1]


def test_the_repository_is_its_areas_by_digest(repository):
    repository.put_file(b"docroot/a", b"1")
    found = built(repository)
    assert {digest_of(data): data for data in found.repository.values()} == found.repository
    assert len(found.repository) == 3  # config, docroot, and domain.yaml by itself


def test_contents_are_all_that_may_be_asked_for(repository):
    repository.put_file(b"docroot/a", b"same")
    repository.put_file(b"lib/b", b"same")
    repository.put_link(b"docroot/l", b"a")
    found = built(repository)
    assert len(found.contents) == 1 + len(DOMAIN.instances)
    assert "ab" * 32 not in found.contents
    wanted = {
        e.digest.decode() for name in DOMAIN.instances for e in tree(found, name).values() if e.kind == "f"
    }
    assert wanted == set(found.contents)


@pytest.mark.parametrize(
    "folder, owners",
    [
        ("web-config", {Owner.CLUSTER}),
        ("web1-config", {Owner.INSTANCE}),
        ("tomcat-config", {Owner.CONFIG}),
        ("plain", set()),
        ("plain-config", set()),
        ("web", set()),
        ("-config", set()),
    ],
)
def test_owners(folder, owners):
    assert owners_of(folder, DOMAIN) == owners


def test_a_config_called_like_a_clusters_folder_is_the_clusters():
    domain = domain_of(configs={"web-config": Config(start="x"), "plain": Config(start="x")})
    assert owners_of("web-config", domain) == {Owner.CLUSTER}


def test_a_thousand_instances_share_what_they_can(repository):
    for number in range(1000):
        repository.put_file(b"config/f%d" % number, b"x")
        repository.put_file(b"docroot/f%d" % number, b"x")
    domain = domain_of(instances={f"web{n}": Instance(node="n1", cluster="web") for n in range(1000)})
    scan = repository.scan(domain, criterion="modtime")
    definitions = repository.publish({name: name.encode() for name in domain.instances})
    start = time.monotonic()
    found = slices.build(domain, scan, definitions)
    assert time.monotonic() - start < 5  # measured: some 0.1 s
    assert len({id(each.parts[-1]) for each in found.by_instance.values()}) == 1
    assert len({each.parts[0].digest for each in found.by_instance.values()}) == 1000


def test_a_config_leaves_out_what_it_says_after_the_overlays(repository):
    for path in (
        b"config/a",
        b"config/web-config/secret",
        b"docroot/i",
        b"docroot/video/v",
        b"lib/l",
        b"applications/hello/h",
    ):
        repository.put_file(path, path)
    repository.put_file(b"docroot/video/\xff new\nline", b"")
    configs = {
        "tomcat-config": Config(
            start="x", exclude=["/docroot/video/", "lib", "config/secret", "config/domain.yaml"]
        ),
        "plain": Config(start="y"),
    }
    found = built(repository, domain_of(configs=configs))
    assert sorted(said(repository, found, "web1")) == [
        "applications/hello/h", "config/a", "config/domain.yaml", "docroot/i",
    ]  # fmt: skip
    assert [part.name for part in found.by_instance["web1"].parts] == [
        "config", "applications", "applications/hello", "docroot",
    ]  # fmt: skip
    assert b"docroot/video/v" in tree(found, "app1") and b"lib/l" in tree(found, "app1")


def test_parts_without_what_a_config_leaves_out_are_made_once(repository):
    repository.put_file(b"docroot/i", b"")
    repository.put_file(b"docroot/x.tmp", b"")
    configs = {"tomcat-config": Config(start="x", exclude=["*.tmp"]), "plain": Config(start="y")}
    found = built(repository, domain_of(configs=configs))
    one, two, other = (found.by_instance[name].parts[-1] for name in ("web1", "web2", "app1"))
    assert one is two and one.digest == digest_of(one.data) != other.digest
    assert found.repository[other.digest] is other.data  # where a config says nothing, the area itself


def test_whatever_a_config_leaves_out_its_own_part_stays(repository):
    repository.put_file(b"config/a", b"")
    configs = {"tomcat-config": Config(start="x", exclude=["*"]), "plain": Config(start="y")}
    found = built(repository, domain_of(configs=configs))
    assert list(tree(found, "web1")) == [b"config", b"config/domain.yaml"]
