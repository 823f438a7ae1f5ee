"""What is printed: text, tab-separated rows, JSON; where, and what a terminal must never see."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from dasctl.cli.text import width
from dasctl.core.outcome import Outcome, Problem, Result, failed, summed_up
from dasctl.errors import DomainLocked, ExitCode, GuardRefused, InvalidDomain, OperationFailed

EVIL = "docroot/a\x1b[31m\nb\tc\udcff\u202e.html"


def synchronised(count: int, **more: Any) -> list[Result]:
    fields = {
        "revision": 7, "files_changed": 2, "files_deleted": 0, "bytes_sent": 410, "deviations": [], "round_trips": 1,
        "seconds": 0.2, **more,
    }  # fmt: skip
    return [
        Result(status="synchronised", instance=f"web{i}", node=f"n{i}", fields=dict(fields))
        for i in range(1, count + 1)
    ]


def unchanged(count: int, note: str = "") -> list[Result]:
    return [Result(status="unchanged", instance=f"web{i}", node="n1", note=note) for i in range(1, count + 1)]


def unreachable(count: int) -> list[Result]:
    problem = Problem(
        message="node n9 (10.0.0.9:22): refused",
        hint="dasctl ping-node-ssh n9",
        exit_code=ExitCode.UNREACHABLE,
    )
    return [
        Result(status="unreachable", instance=f"db{i}", node="n9", error=problem) for i in range(1, count + 1)
    ]


def sync(rows: list[Result], **more: Any) -> Outcome:
    return summed_up("sync-cluster", rows, revision=7, **more).timed(0.41)


def test_a_synchronisation_in_words(dasctl: Any) -> None:
    ran = dasctl("sync-cluster", "web", outcome=sync(synchronised(2) + unchanged(1)))
    assert ran.out.splitlines() == [
        "web1  n1  synchronised  2 files, 410 B",
        "web2  n2  synchronised  2 files, 410 B",
        "web1  n1  unchanged",
        "synchronised 2 of 3 instances, 1 unchanged: 4 files, 820 B sent, in 0.41 s (revision 7)",
    ]
    assert (ran.code, ran.err) == (0, "")


def test_nothing_to_do_is_one_line(dasctl: Any) -> None:
    ran = dasctl("sync-cluster", "web", outcome=sync(unchanged(3)))
    assert ran.out == "unchanged: web[1-3] (revision 7)\n"


def test_what_runs_already_is_said_as_such(dasctl: Any) -> None:
    outcome = summed_up("start-cluster", unchanged(3, "already running"))
    assert dasctl("start-cluster", "web", outcome=outcome).out == "already running: web[1-3]\n"


def test_many_equal_answers_are_folded(dasctl: Any) -> None:
    ran = dasctl("sync-cluster", "web", outcome=sync(synchronised(12)))
    assert ran.out.splitlines()[0] == "web[1-12]  n[1-12]  synchronised  2 files, 410 B"
    assert len(ran.out.splitlines()) == 2


def test_pids_do_not_hinder_folding(dasctl: Any) -> None:
    rows = [
        Result(status="started", instance=f"web{i}", node="n1", fields={"pid": 4000 + i})
        for i in range(1, 11)
    ]
    ran = dasctl("start-cluster", "web", outcome=summed_up("start-cluster", rows))
    assert ran.out.splitlines()[0] == "web[1-10]  n1  started"


def test_failures_go_to_standard_error_with_their_hint_equal_ones_together(dasctl: Any) -> None:
    ran = dasctl("sync-cluster", "web", outcome=sync(synchronised(1) + unreachable(3)))
    assert ran.code == 3
    assert "synchronised 1 of 4 instances, 3 unreachable" in ran.out
    assert ran.err.splitlines() == [
        "dasctl: db[1-3]: node n9 (10.0.0.9:22): refused",
        "  hint: dasctl ping-node-ssh n9",
    ]


def test_one_failure_is_told_once(dasctl: Any) -> None:
    ran = dasctl("sync-cluster", "web", outcome=sync(unreachable(1)))
    assert ran.code == 4
    assert ran.err.count("refused") == 1
    assert ran.err.startswith("dasctl: db1: node n9")


def test_a_server_that_died_shows_its_last_words(dasctl: Any) -> None:
    died = Result(
        status="failed",
        instance="web2",
        node="n2",
        fields={"log": ["OSError: \x1b]0;evil\x07 in use"], "by_hand": "ssh n2 'sh run'"},
        error=Problem(message="ended while starting, with exit status 1"),
    )
    ran = dasctl("start-instance", "web2", outcome=summed_up("start-instance", [died]))
    assert ran.code == 1
    assert ran.err.splitlines() == [
        "dasctl: web2 on n2: ended while starting, with exit status 1",
        r"    | OSError: \x1b]0;evil\x07 in use",
        "  by hand: ssh n2 'sh run'",
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GuardRefused("refused by n1: fenced", hint="dasctl take-over"), 6),
        (DomainLocked("locked by ann on das, pid 1"), 5),
        (InvalidDomain("2 faults", faults=("domain.yaml:3: a", "domain.yaml:4: b")), 2),
    ],
)
def test_errors_before_there_are_results(dasctl: Any, error: Any, code: int) -> None:
    ran = dasctl("sync-domain", outcome=failed("sync-domain", error))
    first, *others = error.message.split("\n")
    assert (ran.code, ran.out) == (code, "")
    hint = [f"  hint: {error.hint}"] if error.hint else []
    assert ran.err.splitlines() == [f"dasctl: {first}", *(f"  {line}" for line in others), *hint]


def test_deviations_and_problems_are_named_per_instance(dasctl: Any) -> None:
    deviation = {
        "path": "docroot/x",
        "kind": "changed",
        "action": "replaced",
        "aside": ".dasctl/replaced/7/docroot/x",
    }
    rows = synchronised(1, deviations=[deviation], problems=[{"path": "docroot/s", "message": "a socket"}])
    ran = dasctl("sync-cluster", "web", outcome=sync(rows))
    assert (
        "web1: docroot/x was changed on the node: replaced, the node's file is kept in .dasctl/replaced/7/docroot/x"
        in ran.out
    )
    assert ran.err == "dasctl: warning: web1: docroot/s: a socket\n"


def test_a_dry_run_says_exactly_what_would_travel(dasctl: Any) -> None:
    changes = [
        {"path": "docroot/new", "why": "new", "bytes": 1200, "from": "docroot/old"},
        {"path": EVIL, "why": "content", "bytes": 0},
    ]
    rows = synchronised(1, changes=changes, bytes_to_send=1200) + unchanged(1)
    outcome = sync(rows, data={"dry_run": True})
    ran = dasctl("sync-cluster", "web", "--dry-run", outcome=outcome)
    assert ran.out.splitlines() == [
        "web1  new      1.2 KiB  docroot/new from docroot/old",
        r"web1  content  -        docroot/a\x1b[31m\nb\tc\xff\u202e.html",
        "web1: 2 changes (1 new, 1 content), 1.2 KiB",
        "dry run: 2 changes on 1 of 2 instances, 1.2 KiB of contents would travel; nothing was touched",
    ]
    terse = dasctl("sync-cluster", "web", "--dry-run", "--terse", outcome=outcome).out.splitlines()
    assert terse == [
        "web1\tnew\tdocroot/new\t1200\tdocroot/old",
        "web1\tcontent\t" + r"docroot/a\x1b[31m\nb\tc\xff\u202e.html" + "\t0\t-",
    ]


def test_equal_answers_of_a_dry_run_are_folded(dasctl: Any) -> None:
    changes = [{"path": "docroot/new", "why": "new", "bytes": 10}]
    others = [
        {"path": "docroot/new", "why": "new", "bytes": 10},
        {"path": "docroot/gone", "why": "deleted", "bytes": 0},
    ]
    rows = synchronised(4, changes=changes, bytes_to_send=10)
    rows[1].fields["changes"] = others
    shown = dasctl(
        "sync-cluster", "web", "--dry-run", outcome=sync(rows, data={"dry_run": True})
    ).out.splitlines()
    assert shown == [
        "web[1,3-4]  new  10 B  docroot/new",
        "web2  new      10 B  docroot/new",
        "web2  deleted  -     docroot/gone",
        "web2: 2 changes (1 new, 1 deleted), 10 B",
        "dry run: 5 changes on 4 of 4 instances, 40 B of contents would travel; nothing was touched",
    ]


def test_a_diff_is_coloured_and_escaped_on_a_terminal_alone(dasctl: Any) -> None:
    diff = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n same\n-- old\n+\x1b[31mnew\udcfc\tt\n"
    fields = {"path": "x", "kind": "changed", "diff": diff}
    row = Result(status="different", instance="web1", node="n1", fields=fields)
    outcome = Outcome(command="diff-instance", status="different", exit_code=ExitCode.DIFFERS, results=(row,))
    ran = dasctl("diff-instance", "web1", outcome=outcome)
    assert (ran.code, ran.out, ran.err) == (7, diff, "")
    shown = dasctl("diff-instance", "web1", outcome=outcome, terminal=True).out.splitlines()
    assert shown[2:] == [
        "\x1b[1m+++ b/x\x1b[0m", "\x1b[2m@@ -1,2 +1,2 @@\x1b[0m", " same", "\x1b[31m-- old\x1b[0m",
        "\x1b[32m+\\x1b[31mnew\\xfc\tt\x1b[0m",
    ]  # fmt: skip


@pytest.mark.parametrize("flags", [[], ["--terse"], ["--verbose"], ["--json"]])
@pytest.mark.parametrize("terminal", [False, True])
def test_no_name_reaches_a_terminal_unescaped(dasctl: Any, flags: list[str], terminal: bool) -> None:
    deviation = {"path": EVIL, "kind": "changed", "action": "replaced", "aside": EVIL}
    row = Result(
        status="failed",
        instance="web1",
        node="n1",
        fields={
            "deviations": [deviation], "changes": [{"path": EVIL, "why": "new"}], "log": [EVIL], "by_hand": EVIL,
            "problems": [{"path": EVIL, "message": EVIL}],
        },
        error=Problem(message=EVIL, hint=EVIL),
    )  # fmt: skip
    outcome = summed_up("sync-cluster", [row, *synchronised(1)], notes=(EVIL,), warnings=(EVIL,))
    ran = dasctl("sync-cluster", "web", *flags, outcome=outcome, terminal=terminal)
    shown = re.sub(r"\033\[[0-9]{1,2}m", lambda m: "" if m[0] != "\033[31m" else m[0], ran.out + ran.err)
    shown = shown.replace("\033[31mdasctl:", "dasctl:").replace("\033[31mfailed", "failed")
    assert "\033" not in shown
    assert "\u202e" not in shown
    shown.encode("utf-8")  # no surrogates


def test_json_is_one_document_and_nothing_else(dasctl: Any) -> None:
    rows = synchronised(2, changes=[{"path": EVIL, "why": "new"}]) + unreachable(1)
    ran = dasctl("sync-cluster", "web", "--json", outcome=sync(rows, warnings=("w",)))
    document = json.loads(ran.out)
    assert ran.out.isascii()
    assert ran.out.count("\n") == 1
    assert ran.err == ""
    assert document["results"][0]["changes"][0]["path"] == EVIL
    assert {"command", "status", "exit_code", "revision", "seconds", "results", "error"} <= set(document)
    assert (document["status"], document["exit_code"], ran.code) == ("partial", 3, 3)


def test_terse_rows(dasctl: Any) -> None:
    ran = dasctl("sync-cluster", "web", "--terse", outcome=sync(synchronised(1) + unreachable(1)))
    assert ran.out.splitlines() == [
        "web1\tn1\tsynchronised\t7\t2\t0\t410\t1\t0.200\t-",
        "db1\tn9\tunreachable\t-\t-\t-\t-\t-\t-\tnode n9 (10.0.0.9:22): refused",
    ]


@pytest.mark.parametrize("flags", [[], ["--terse"]])
def test_quiet_prints_on_change_or_failure_only(dasctl: Any, flags: list[str]) -> None:
    silent = dasctl("sync-cluster", "web", "-q", *flags, outcome=sync(unchanged(3), warnings=("a socket",)))
    assert (silent.code, silent.out, silent.err) == (0, "", "")
    assert dasctl("sync-cluster", "web", "-q", *flags, outcome=sync(synchronised(1))).out
    assert dasctl("sync-cluster", "web", "-q", *flags, outcome=sync(unreachable(1))).err
    listed = summed_up("list-instances", unchanged(1), changed=True)
    assert dasctl("list-instances", "-q", *flags, outcome=listed).out == ""


def instances() -> Outcome:
    rows = [
        Result(
            status="ok",
            instance=f"web{i}",
            node="n1",
            fields={
                "cluster": "web", "host": "web.example.com", "state": state, "pid": 4711 if i == 1 else None,
                "since": "2026-11-20T10:00:00Z" if i == 1 else None, "revision": 7, "requires_restart": i == 1,
            },
        )
        for i, state in enumerate(["running", "not running", "unknown"], 1)
    ]  # fmt: skip
    return summed_up("list-instances", rows, changed=True)


def test_a_list_has_a_heading_and_aligned_columns(dasctl: Any) -> None:
    ran = dasctl("list-instances", outcome=instances())
    heading, first, *_ = lines = ran.out.splitlines()
    assert heading.split() == ["INSTANCE", "CLUSTER", "NODE", "HOST", "STATE", "PID", "UP", "REVISION"]
    assert first.endswith("requires restart")
    assert {line.find("web.example.com") for line in lines[1:]} == {heading.find("HOST")}
    assert ran.out.isascii()


def test_a_list_for_scripts(dasctl: Any) -> None:
    rows = dasctl("list-instances", "--terse", outcome=instances()).out.splitlines()
    assert rows[0].split("\t") == [
        "web1", "web", "n1", "web.example.com", "running", "4711", "2026-11-20T10:00:00Z", "7", "true", "-", "-",
        "-", "-",
    ]  # fmt: skip


def test_clusters_in_asadmins_words(dasctl: Any) -> None:
    rows = [Result(status="ok", fields={"cluster": "web", "state": "partially running"})]
    assert dasctl("list-clusters", outcome=summed_up("list-clusters", rows)).out == "web  partially running\n"


@pytest.mark.parametrize("command", ["list-nodes", "list-clusters", "list-instances", "history"])
def test_an_empty_list_says_so(dasctl: Any, command: str) -> None:
    assert dasctl(command, outcome=summed_up(command, [], changed=True)).out.startswith("no ")
    assert dasctl(command, "--terse", outcome=summed_up(command, [], changed=True)).out == ""


def test_colours_on_terminals_only(dasctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert "\033[32mrunning\033[0m" in dasctl("list-instances", outcome=instances(), terminal=True).out
    assert "\033" not in dasctl("list-instances", outcome=instances()).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033" not in dasctl("list-instances", outcome=instances(), terminal=True).out
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\033" not in dasctl("list-instances", outcome=instances(), terminal=True).out


def test_a_narrow_terminal_gets_blocks(dasctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    ran = dasctl("list-instances", outcome=instances(), terminal=True)
    assert max(len(line) for line in ran.out.splitlines()) <= 40
    assert ran.out.splitlines()[:3] == ["web1", "  cluster: web", "  node: n1"]


LONG_SUMMARY = "set clusters.web.property.http.port=9090, " * 5
STORY = [
    ("deploy build/shop.war --target web --name shop:1.4.2 --force --rolling --batch 25%", LONG_SUMMARY, []),
    (
        "sync-domain",
        "the domain as it was first seen",
        ["web[1-3] (sync-cluster web --max-failures 2)", "jobs1"],
    ),
    ("日本語" * 30, "日本語" * 30, []),
]


def story() -> Any:
    rows = [
        Result(
            status="ok",
            fields={
                "revision": 120 - at, "when": "2026-11-20T10:00:00Z", "who": "anna", "host": "das.example.com",
                "command": command, "summary": summary, "failed_on": failed,
            },
        )
        for at, (command, summary, failed) in enumerate(STORY)
    ]  # fmt: skip
    return summed_up("history", rows, changed=True)


@pytest.mark.parametrize("columns", [80, 100, 120, 500])
def test_a_revision_stays_on_a_line(dasctl: Any, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    lines = dasctl("history", outcome=story(), terminal=True).out.splitlines()
    assert len(lines) == 4
    assert max(width(line) for line in lines) <= columns
    assert ("das.example.com" in lines[1]) == (columns > 120)
    assert ("…" in lines[1]) == (columns < 500)
    assert re.search(r"119 .* sync-domain +the domain", lines[2])


def test_a_revision_has_a_line_where_it_is_piped_and_all_of_it_with_long(dasctl: Any) -> None:
    lines = dasctl("history", outcome=story()).out.splitlines()
    assert len(lines) == 4
    assert max(width(line) for line in lines) < 260
    assert all(line.count("…") == 2 for line in lines[1:4:2])
    long = dasctl("history", "--long", outcome=story()).out
    assert LONG_SUMMARY.strip(", ") in long
    assert STORY[0][0] in long
    assert LONG_SUMMARY.strip(", ") in dasctl("history", "--json", outcome=story()).out


def test_an_edit_shows_the_host_key(dasctl: Any) -> None:
    row = Result(
        status="created",
        node="n1",
        fields={"host": "h", "host_key": "SHA256:abc", "host_key_type": "ssh-ed25519"},
    )
    outcome = summed_up("create-node-ssh", [row], revision=3, changed=True)
    ran = dasctl("create-node-ssh", "n1", "--nodehost", "h", outcome=outcome)
    assert ran.out == "created n1 (revision 3)\n  host key SHA256:abc ssh-ed25519\n"


def test_a_valid_domain_is_counted(dasctl: Any) -> None:
    row = Result(
        status="ok", fields={"domain": "shop", "nodes": 3, "clusters": 1, "instances": 3, "applications": 1}
    )
    ran = dasctl("verify-domain", outcome=summed_up("verify-domain", [row], changed=True))
    assert ran.out == "the domain shop is valid: 3 nodes, 1 cluster, 3 instances, 1 application\n"


def test_a_line_to_be_copied_stands_alone(dasctl: Any) -> None:
    rows = [Result(status="ok", node="n1", fields={"line": "x"})]
    outcome = summed_up("member-key", rows, data={"line": 'command="x",restrict ssh-ed25519 AAAA'})
    for flags in ([], ["--terse"]):
        assert (
            dasctl("member-key", "n1", *flags, outcome=outcome).out
            == 'command="x",restrict ssh-ed25519 AAAA\n'
        )


def test_ctrl_c_is_a_failure(dasctl: Any) -> None:
    def interrupt(*_: Any, **__: Any) -> Outcome:
        raise KeyboardInterrupt

    ran = dasctl("sync-domain", runner=interrupt)
    assert ran.code == 1
    assert ran.err.startswith("dasctl: interrupted\n  hint: ")


def test_a_fault_of_the_program_is_one_line(dasctl: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def break_down(*_: Any, **__: Any) -> Outcome:
        raise ZeroDivisionError("oops")

    ran = dasctl("sync-domain", runner=break_down)
    assert ran.code == 1
    assert "ZeroDivisionError: oops" in ran.err
    assert "Traceback" not in ran.err + capsys.readouterr().err
    assert json.loads(dasctl("sync-domain", "--json", runner=break_down).out)["exit_code"] == 1


def test_a_service_says_when_it_is_ready_and_prints_one_document(dasctl: Any) -> None:
    def serve(call: Any, settings: Any, *, on_event: Any) -> Outcome:
        call.arguments["on_ready"]({"address": "127.0.0.1", "port": 2222, "host_key": "SHA256:abc"})
        return Outcome(command=call.command, status="ok", exit_code=ExitCode.OK)

    line = ("serve-ssh", "--dir", "d", "--authorized-keys", "k")
    assert dasctl(*line, runner=serve).out == "ready: address 127.0.0.1, port 2222, host key SHA256:abc\n"
    document = json.loads(dasctl(*line, "--json", runner=serve).out)
    assert (document["status"], document["port"]) == ("ready", 2222)


def test_a_conversation_owns_standard_output(dasctl: Any) -> None:
    ran = dasctl(
        "serve-members", "--node", "n1", "--json", outcome=failed("serve-members", GuardRefused("not yours"))
    )
    assert (ran.code, ran.out, ran.err) == (6, "", "dasctl: not yours\n")
    assert dasctl("serve-members", "--node", "n1").out == ""


def test_a_ping_shows_what_it_measured_and_in_detail_each_check(dasctl: Any) -> None:
    fields = {
        "host": "h", "python": "3.11.2", "dir": "/home/d", "free_bytes": 5 << 30, "clock_difference_s": -0.25,
        "latency_ms": 3.2, "checks": [{"check": "python3", "ok": True, "detail": "3.11.2", "remedy": ""}],
    }  # fmt: skip
    good = Result(status="ok", node="n1", fields=fields)
    bad = Result(
        status="unreachable", node="n2", error=Problem(message="node n2 (h:22): refused", hint="try sshd")
    )
    outcome = summed_up("ping-node-ssh", [good, bad], changed=True)
    ran = dasctl("ping-node-ssh", outcome=outcome)
    assert re.split("  +", ran.out.splitlines()[1]) == [
        "n1", "h", "ok", "3.11.2", "/home/d", "5.0 GiB", "-0.25 s", "3.2 ms",
    ]  # fmt: skip
    assert ran.err == "dasctl: node n2 (h:22): refused\n  hint: try sshd\n"
    assert dasctl("ping-node-ssh", "-v", outcome=outcome).out.endswith("\nn1  ok  python3  3.11.2\n")


def test_a_take_over_names_the_new_epoch(dasctl: Any) -> None:
    outcome = summed_up("take-over", synchronised(1), revision=9, data={"epoch": 2}, changed=True).timed(1)
    assert dasctl("take-over", outcome=outcome).out.endswith("in 1.00 s (revision 9, epoch 2)\n")


def test_a_hint_of_several_lines_can_be_copied(dasctl: Any) -> None:
    error = OperationFailed("web1 died", hint="by hand: sh -c 'a\nb'")
    ran = dasctl("start-instance", "web1", outcome=failed("start-instance", error))
    assert ran.err == "dasctl: web1 died\n  hint: by hand: sh -c 'a\n  b'\n"


def test_a_backup_of_the_domain_is_listed_by_the_name_that_restoring_needs(dasctl: Any) -> None:
    made = {"made": "2026-11-20T10:00:00Z", "domain": "shop", "revision": 8, "history": True, "size": 64_300}
    rows = [
        Result(status="ok", fields={**made, "file": f"{folder}/shop-20261121T163230Z-r8.tar.gz"})
        for folder in ("/srv/shop/.dasctl/backups", "/mnt/backups")
    ]
    outcome = summed_up("list-backups", rows, changed=True)
    own, other = dasctl("list-backups", outcome=outcome).out.splitlines()[1:]
    assert own.endswith("62.8 KiB  shop-20261121T163230Z-r8.tar.gz")
    assert other.endswith(" /mnt/backups/shop-20261121T163230Z-r8.tar.gz")
    assert "/srv/shop/.dasctl/backups/" in dasctl("list-backups", "--terse", outcome=outcome).out
