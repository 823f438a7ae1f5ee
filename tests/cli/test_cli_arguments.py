"""From words to calls: which operation each command line means, and with which arguments."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from dasctl.cli.app import PANELS
from dasctl.core.archives import Limits
from dasctl.core.rolling import Rolling

FAILURES = {"failed": False, "max_failures": None}
SYNC = {
    "dry_run": False,
    "diff": False,
    "full": False,
    "verify": False,
    "criterion": None,
    "deviations": None,
    "only": [],
    "exclude": [],
    "together": None,
    "yes": False,
    "reload": True,
    **FAILURES,
}
NODE = {
    "name": "n1", "host": None, "port": None, "user": None, "key": None, "dir": None, "jump": None,
    "accept_host_key": False, "host_key": None, "force": False,
}  # fmt: skip

APPLIED: dict[str, Any] = {"apply": True, "rolling": None}
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("create-domain shop", "create_domain", {"root": Path("shop"), "name": None, "sample": False}),
    ("create-domain shop --sample --name s", "create_domain", {"root": Path("shop"), "name": "s", "sample": True}),
    ("verify-domain", "verify_domain", {}),
    ("history", "history", {"targets": [], "limit": None, "long": False}),
    ("history -n 3 web --long", "history", {"targets": ["web"], "limit": 3, "long": True}),
    ("show-revision", "show_revision", {"number": None}),
    ("show-revision 3", "show_revision", {"number": 3}),
    ("diff 3", "diff", {"one": 3, "other": None, "paths": [], "here": Path.cwd()}),
    ("diff 3 4", "diff", {"one": 3, "other": 4, "paths": [], "here": Path.cwd()}),
    ("diff 3 4 lib docroot", "diff", {"one": 3, "other": 4, "paths": ["lib", "docroot"], "here": Path.cwd()}),
    ("diff 3 lib 4", "diff", {"one": 3, "other": None, "paths": ["lib", "4"], "here": Path.cwd()}),
    (
        "rollback --to 3",
        "rollback",
        {"to": 3, "targets": [], "dry_run": False, "no_apply": False, "rolling": None},
    ),
    (
        "rollback web --to 3 --dry-run --no-apply",
        "rollback",
        {"to": 3, "targets": ["web"], "dry_run": True, "no_apply": True, "rolling": None},
    ),
    ("take-over", "take_over", {"targets": [], "yes": False}),
    ("take-over web", "take_over", {"targets": ["web"], "yes": False}),
    ("take-over --yes", "take_over", {"targets": [], "yes": True}),
    ("get domain.name", "get", {"patterns": ["domain.name"], "origin": False, "resolved": False}),
    ("get a b --origin --resolved", "get", {"patterns": ["a", "b"], "origin": True, "resolved": True}),
    ("list", "list", {"patterns": []}),
    ("list nodes.*", "list", {"patterns": ["nodes.*"]}),
    ("set a=b c=", "set", {"assignments": ["a=b", "c="], "unset": [], "dry_run": False}),
    (
        "set a=-1 --dry-run --unset b --unset c",
        "set",
        {"assignments": ["a=-1"], "unset": ["b", "c"], "dry_run": True},
    ),
    ("create-node-ssh n1 --nodehost h", "create_node_ssh", {**NODE, "host": "h"}),
    (
        "create-node-ssh --nodehost h --sshport 2222 --sshuser u --sshkeyfile k --nodedir d --jump j "
        "--accept-host-key --host-key SHA256:x --force n1",
        "create_node_ssh",
        {
            "name": "n1", "host": "h", "port": 2222, "user": "u", "key": "k", "dir": "d", "jump": "j",
            "accept_host_key": True, "host_key": "SHA256:x", "force": True,
        },
    ),
    ("update-node-ssh n1 --sshport 23", "update_node_ssh", {**NODE, "port": 23}),
    ("delete-node-ssh n1", "delete_node_ssh", {"name": "n1"}),
    ("list-nodes", "list_nodes", {"long": False}),
    ("list-nodes --terse", "list_nodes", {"long": True}),
    ("ping-node-ssh n1 n2", "ping_node_ssh", {"nodes": ["n1", "n2"]}),
    ("create-cluster web", "create_cluster", {"name": "web", "config": None}),
    ("create-cluster web --config c", "create_cluster", {"name": "web", "config": "c"}),
    ("delete-cluster web", "delete_cluster", {"name": "web"}),
    ("list-clusters", "list_clusters", {"status": True}),
    ("list-clusters --nostatus", "list_clusters", {"status": False}),
    (
        "create-instance web1 --node n1 --cluster web --property a=1 --property b=x=y",
        "create_instance",
        {"name": "web1", "node": "n1", "cluster": "web", "config": None, "properties": {"a": "1", "b": "x=y"}},
    ),
    ("delete-instance web1 --keep-files", "delete_instance", {"name": "web1", "keep_files": True}),
    ("list-instances", "list_instances", {"targets": [], "long": False, "status": True}),
    ("list-instances web --long --nostatus", "list_instances", {"targets": ["web"], "long": True, "status": False}),
    (
        "deploy build/shop.war --target web --target web1",
        "deploy",
        {
            "source": Path("build/shop.war"), "targets": ["web", "web1"], "name": None, "force": False, "later": False,
            "limits": None, **APPLIED,
        },
    ),
    (
        "deploy shop.war --name shop:2 --force --activate later --no-apply --max-size 5G --max-files 7 --limit 1M",
        "deploy",
        {
            "source": Path("shop.war"), "targets": [], "name": "shop:2", "force": True, "later": True, "apply": False,
            "limits": Limits(bytes=5 << 30, files=7, ratio=None), "rolling": None,
        },
    ),
    (
        "redeploy shop.war --rolling --batch 2 --max-files 7",
        "redeploy",
        {
            "source": Path("shop.war"), "targets": [], "name": None, "apply": True, "limits": Limits(files=7),
            "rolling": Rolling(batch="2"),
        },
    ),
    ("deploy shop.war --resume", "resume", {"command": "deploy", "rolling": Rolling(resume=True)}),
    ("undeploy shop:1", "undeploy", {"name": "shop:1", "targets": [], **APPLIED}),
    ("enable shop --target web", "enable", {"name": "shop", "targets": ["web"], **APPLIED}),
    ("disable shop --target web", "disable", {"name": "shop", "targets": ["web"], **APPLIED}),
    ("list-applications web -l", "list_applications", {"targets": ["web"], "long": True}),
    (
        "rollback-application shop --to 1 --target web",
        "rollback_application",
        {"name": "shop", "to": "1", "targets": ["web"], **APPLIED},
    ),
    ("delete-server-config web1", "delete_server_config", {"name": "web1"}),
    (
        "start-instance web1 web2",
        "start",
        {"targets": ["web1", "web2"], "command": "start-instance", "sync": "normal", **FAILURES},
    ),
    ("start-cluster web --sync none", "start", {"targets": ["web"], "command": "start-cluster", "sync": "none", **FAILURES}),
    ("stop-instance web1", "stop", {"targets": ["web1"], "command": "stop-instance", "kill": False, **FAILURES}),
    ("stop-cluster web --kill", "stop", {"targets": ["web"], "command": "stop-cluster", "kill": True, **FAILURES}),
    (
        "restart-instance web1 --sync full",
        "restart",
        {
            "targets": ["web1"], "command": "restart-instance", "sync": "full", "kill": False, "rolling": None,
            **FAILURES,
        },
    ),
    (
        "restart-cluster web --kill",
        "restart",
        {
            "targets": ["web"], "command": "restart-cluster", "sync": "normal", "kill": True, "rolling": None,
            **FAILURES,
        },
    ),
    (
        "restart-cluster web --rolling --batch 25% --max-failures 2 --pause 1.5 --auto-rollback",
        "restart",
        {
            "targets": ["web"], "command": "restart-cluster", "sync": "normal", "kill": False, "failed": False,
            "rolling": Rolling(batch="25%", max_failures="2", pause_s=1.5, auto_rollback=True),
        },
    ),
    (
        "restart-cluster web --resume",
        "resume",
        {"command": "restart-cluster", "rolling": Rolling(resume=True)},
    ),
    (
        "sync-cluster web --restart --rolling --anew",
        "sync",
        {
            **{key: value for key, value in SYNC.items() if key != "max_failures"}, "targets": ["web"],
            "command": "sync-cluster", "restart": True, "rolling": Rolling(anew=True),
        },
    ),
    (
        "sync-domain --restart",
        "sync",
        {**SYNC, "targets": ["domain"], "command": "sync-domain", "restart": True, "rolling": None},
    ),
    ("sync-instance web[1-3]", "sync", {"targets": ["web[1-3]"], "command": "sync-instance", **SYNC}),
    (
        "sync-cluster web --dry-run --full --criterion hash --deviations keep --only docroot --only lib --exclude *.mp4",
        "sync",
        {
            **SYNC, "targets": ["web"], "command": "sync-cluster", "dry_run": True, "full": True, "criterion": "hash",
            "deviations": "keep", "only": ["docroot", "lib"], "exclude": ["*.mp4"],
        },
    ),
    (
        "sync-cluster web --dry-run --diff --verify --together --yes --failed --max-failures 10% --no-reload",
        "sync",
        {
            **SYNC, "targets": ["web"], "command": "sync-cluster", "dry_run": True, "diff": True, "verify": True,
            "together": True, "yes": True, "failed": True, "max_failures": "10%", "reload": False,
        },
    ),
    ("list-deviations", "list_deviations", {"targets": [], "verify": False}),
    ("list-deviations web db1 --verify", "list_deviations", {"targets": ["web", "db1"], "verify": True}),
    ("diff-instance web1", "diff_instance", {"name": "web1", "paths": [], "verify": False}),
    (
        "diff-instance web1 config docroot/x --verify",
        "diff_instance",
        {"name": "web1", "paths": ["config", "docroot/x"], "verify": True},
    ),
    (
        "export-sync-bundle web node:n1 /tmp/b --since 7",
        "export_sync_bundle",
        {"targets": ["web", "node:n1"], "file": Path("/tmp/b"), "since": 7},
    ),
    (
        "import-sync-bundle b --nodedir /d --instance web1 --instance web2 --dry-run --yes",
        "import_sync_bundle",
        {
            "file": Path("b"), "node_dir": Path("/d"), "instances": ["web1", "web2"], "dry_run": True, "yes": True,
        },
    ),
    ("sync-domain --no-together", "sync", {**SYNC, "targets": ["domain"], "command": "sync-domain", "together": False}),
    ("sync-domain", "sync", {"targets": ["domain"], "command": "sync-domain", **SYNC}),
    (
        "join-domain web4 --das u@h:22 --domain-dir /srv/shop --cluster web --node-dir /d --host-key SHA256:x",
        "join_domain",
        {
            "name": "web4", "das": "u@h:22", "domain_dir": "/srv/shop", "cluster": "web", "config": None,
            "node_dir": Path("/d"), "properties": {}, "host": None, "port": None, "user": None, "key": None,
            "accept_host_key": False, "host_key": "SHA256:x", "das_command": "dasctl",
        },
    ),
    (
        "leave-domain --force --keep-files",
        "leave_domain",
        {"name": None, "node_dir": None, "keep_files": True, "force": True},
    ),
    ("start-local-instance", "start_local_instance", {"name": None, "node_dir": None, "sync": "normal"}),
    ("stop-local-instance web1 --kill", "stop_local_instance", {"name": "web1", "node_dir": None, "kill": True}),
    (
        "sync-local-instance --only docroot/*.jpg --exclude images/big*.png --dry-run",
        "sync_local_instance",
        {
            "name": None, "node_dir": None, "dry_run": True, "full": False, "only": ["docroot/*.jpg"],
            "exclude": ["images/big*.png"],
        },
    ),
    ("serve-members --node n1", "serve_members", {"node": "n1"}),
    (
        "collect-log-files web db1 --since 2h --grep a.b --file *.log --to x.tgz --max-size 1G --max-file-size 1M --force",
        "collect_log_files",
        {
            "targets": ["web", "db1"], "file": Path("x.tgz"), "since": "2h", "grep": "a.b", "files": ["*.log"],
            "max_size": 1 << 30, "max_file_size": 1 << 20, "force": True,
        },
    ),
    (
        "collect-log-files web",
        "collect_log_files",
        {
            "targets": ["web"], "file": None, "since": None, "grep": None, "files": [], "max_size": 100 << 20,
            "max_file_size": 20 << 20, "force": False,
        },
    ),
    ("dump web1", "dump", {"targets": ["web1"], "lines": 50, "time_limit_s": None, "file": None, "force": False}),
    (
        "dump web db1 --to d.tar.gz -n 5 --timeout 3 --force",
        "dump",
        {"targets": ["web", "db1"], "lines": 5, "time_limit_s": 3.0, "file": Path("d.tar.gz"), "force": True},
    ),
    ("run web -- uptime", "run", {"targets": ["web"], "command": "uptime", "time_limit_s": None, "most": 262144}),
    (
        "run web1 node:n1 --timeout 5 --max-output 1M -- grep -c --json a'b",
        "run",
        {
            "targets": ["web1", "node:n1"], "command": "grep -c --json 'a'\"'\"'b'", "time_limit_s": 5.0,
            "most": 1 << 20,
        },
    ),
    ("member-key n1", "member_key", {"node": "n1", "public_key": None}),
]  # fmt: skip

WITHOUT_DOMAIN = {
    "create-domain", "join-domain", "leave-domain", "start-local-instance", "stop-local-instance",
    "sync-local-instance", "serve-ssh", "import-sync-bundle",
}  # fmt: skip


@pytest.mark.parametrize(("line", "operation", "arguments"), CASES, ids=[case[0] for case in CASES])
def test_a_command_line_means_a_call(
    dasctl: Any, line: str, operation: str, arguments: dict[str, Any]
) -> None:
    ran = dasctl(*line.split())
    assert ran.code == 0, ran.err
    assert ran.call.operation == operation
    assert dict(ran.call.arguments) == arguments
    assert ran.call.needs_domain == (ran.call.command not in WITHOUT_DOMAIN)


@pytest.mark.parametrize(
    "line", [*(case[0] for case in CASES), "setup-ssh n1", "serve-ssh --dir d --authorized-keys k"]
)
def test_every_call_fits_its_operation(dasctl: Any, line: str) -> None:
    call = dasctl(*line.split()).call
    inspect.signature(call.resolve()).bind("world", **call.arguments)


def test_all_commands_are_there() -> None:
    wanted = {
        "create-domain", "verify-domain", "explain", "create-node-ssh", "update-node-ssh", "delete-node-ssh", "list-nodes",
        "setup-ssh", "ping-node-ssh", "create-cluster", "delete-cluster", "list-clusters", "create-instance",
        "delete-instance", "list-instances", "start-instance", "stop-instance", "restart-instance", "start-cluster",
        "stop-cluster", "restart-cluster", "sync-instance", "sync-cluster", "sync-domain", "join-domain",
        "leave-domain", "start-local-instance", "stop-local-instance", "sync-local-instance",
        "delete-server-config", "take-over", "serve-ssh", "serve-members", "history", "show-revision", "diff",
        "rollback", "member-key",
        "list-deviations", "diff-instance", "export-sync-bundle", "import-sync-bundle", "get",
        "set", "list",
        "deploy", "redeploy", "undeploy", "enable", "disable", "list-applications", "rollback-application",
        "run", "tail-log", "collect-log-files", "dump",
        "install-node", "upgrade-node", "uninstall-node", "serve-caller",
        "backup-domain", "list-backups", "restore-domain",
    }  # fmt: skip
    assert wanted == {name for _, commands in PANELS for name in commands}


def test_setup_ssh_can_ask(dasctl: Any) -> None:
    ran = dasctl("setup-ssh", "n1", "--generatekey")
    arguments = dict(ran.call.arguments)
    assert callable(arguments.pop("ask_password"))
    assert arguments == {
        "nodes": ["n1"], "public_key": None, "generate": True, "accept_host_key": False, "host_key": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "--domain /d --json --parallel 3 --wait 4.5 --timeout 6 sync-cluster web",
        "sync-cluster --domain /d --json --parallel 3 --wait 4.5 --timeout 6 web",
        "sync-cluster web --domain=/d --json --parallel=3 --wait=4.5 --timeout=6",
        "--domain /x --parallel 9 sync-cluster web --domain /d --json --parallel 3 --wait 4.5 --timeout 6",
        "--json --wait 4.5 sync-cluster web --domain /d --parallel 3 --timeout 6",
    ],
)
def test_global_options_before_and_after_the_command(dasctl: Any, line: str) -> None:
    settings = dasctl(*line.split()).settings
    assert (settings.domain, settings.json) == (Path("/d"), True)
    assert (settings.parallel, settings.wait_s, settings.timeout_s) == (3, 4.5, 6.0)


@pytest.mark.parametrize(
    "command", ["sync-domain", "start-cluster web", "restart-instance web1", "take-over"]
)
def test_a_limit_is_a_setting(dasctl: Any, command: str) -> None:
    assert dasctl(*command.split(), "--limit", "2.5K").settings.limit == 2560.0
    assert dasctl(*command.split()).settings.limit is None
    ran = dasctl(*command.split(), "--limit", "fast")
    assert (ran.code, ran.calls) == (2, [])
    assert "'fast' is not a rate" in ran.err


def test_flags_before_the_command_are_not_undone_behind_it(dasctl: Any) -> None:
    assert dasctl("-q", "sync-domain").settings.quiet
    assert dasctl("sync-domain", "-v").settings.verbose


def test_the_environment_names_the_domain_and_the_option_wins(
    dasctl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASCTL_DOMAIN", "/env")
    assert dasctl("verify-domain").settings.domain == Path("/env")
    assert dasctl("--domain", "/d", "verify-domain").settings.domain == Path("/d")
    monkeypatch.setenv("DASCTL_DOMAIN", "")
    assert dasctl("verify-domain").settings.domain is None


def test_two_dashes_end_the_options(dasctl: Any) -> None:
    ran = dasctl("sync-instance", "--", "--json")
    assert ran.call.arguments["targets"] == ["--json"]
    assert not ran.settings.json


def test_an_options_value_is_no_global_option(dasctl: Any) -> None:
    ran = dasctl("sync-instance", "web1", "--only", "--json")
    assert ran.call.arguments["only"] == ["--json"]
    assert not ran.settings.json


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sync-cluter web", "did you mean 'sync-cluster'?"),
        ("sync-cluster web --dryrun", "did you mean '--dry-run'?"),
        ("sync-cluster", "missing argument 'CLUSTER...'"),
        ("create-node-ssh n1", "missing option '--nodehost'"),
        ("sync-cluster web --criterion size", "'size' is not one of"),
        ("history --limit 0", "--limit"),
        ("--parallel none list-nodes", "--parallel"),
        ("list-nodes extra", "unexpected extra argument"),
        ("list-nodes --quiet --verbose", "contradict each other"),
        ("create-instance w --node n --property x", "write --property KEY=VALUE"),
        ("create-instance w --node n --property a=1 --property a=2", "given twice"),
        ("", "no command given"),
    ],
)
def test_wrong_usage(dasctl: Any, line: str, message: str) -> None:
    ran = dasctl(*line.split())
    assert ran.code == 2
    assert ran.err.startswith("dasctl: ")
    assert message in ran.err
    assert "\n  hint: " in ran.err or "twice" in message
    assert (ran.out, ran.calls) == ("", [])


@pytest.mark.parametrize(
    "line",
    [
        "--json frobble",
        "sync-cluster --json",
        "sync-cluster web --frobble --json",
        "--json",
        "list-nodes --json --terse",
    ],
)
def test_wrong_usage_in_json(dasctl: Any, line: str) -> None:
    ran = dasctl(*line.split())
    document = json.loads(ran.out)
    assert (ran.code, document["exit_code"], document["status"], ran.err) == (2, 2, "failed", "")
    assert document["error"]["message"]


@pytest.mark.parametrize("name", [name for _, commands in PANELS for name in commands])
@pytest.mark.parametrize("columns", ["40", "100"])
def test_help_of_every_command(
    dasctl: Any, name: str, columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert dasctl(name, "--help").code == 0
    page = capsys.readouterr().out
    assert "Global options:" in page
    assert "--domain DIR" in page
    assert ("255  " if name == "run" else "6  refused by a node's guard") in page
    assert "\n    dasctl " in page or "\n    command=" in page  # an example
    assert "\033" not in page


def test_help_of_the_whole(dasctl: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert dasctl("--help").code == 0
    page = capsys.readouterr().out
    for panel, commands in PANELS:
        assert f"\n{panel}:\n" in page
        for name in commands:
            assert f"\n  {name} " in page
    assert all(len(line) <= 100 for line in page.splitlines())


@pytest.mark.parametrize("columns", [80, 100])
def test_help_of_the_whole_can_be_taken_in_at_a_glance(
    dasctl: Any, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert dasctl("--help").code == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    listed = lines[lines.index(f"{PANELS[0][0]}:") : lines.index("Options:")]
    names = {name for _, commands in PANELS for name in commands}
    starts = [at for at, line in enumerate(listed) if line[2:3].isalpha() and line.split()[0] in names]
    assert len(starts) == len(names)
    for start, end in zip(starts, [*starts[1:], len(listed)], strict=True):
        more = [line for line in listed[start + 1 : end] if line.startswith("   ")]
        assert not more, "\n".join([listed[start], *more])
        assert len(listed[start].split()) > 2  # the summary begins beside the name
