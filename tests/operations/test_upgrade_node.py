"""`upgrade-node`, `max-skew` and what a server runs with: real servers, through the real helper, on memory links."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dasctl.adapters.history import SqliteHistory
from dasctl.core.begun_switches import Begun
from dasctl.core.domain import Node
from dasctl.core.outcome import Outcome
from dasctl.core.rolling import Rolling
from dasctl.operations.switch_notes import note
from dasctl.operations.upgrade_node import upgrade_node
from dasctl.remote import words
from tests.operations.software import BAD, Shop, current

DRAINED = """\
    stop: {grace: 5s}
    drain: {command: echo drain >> story, timeout: 10s}
    undrain: {command: echo undrain >> story, timeout: 10s}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(base=tmp_path)
    shop.install("1.0")
    yield shop
    shop.errors.clear()
    code, shown = shop.run("stop-cluster app --kill")
    assert code == 0, shown


def test_servers_restart_with_the_new_release(shop: Shop) -> None:
    shop.good("start-cluster app")
    shop.install("2.0")
    revision = shop.revision()
    shown = shop.good("upgrade-node n1 n2 --version 2.0")
    assert "app1 restarted" in shown
    assert (shop.served("app1"), shop.served("app2")) == (["1.0", "2.0"], ["1.0", "2.0"])
    assert {shop.domain().nodes[node].software for node in ("n1", "n2")} == {"2.0"}
    assert shop.revision() == revision + 1
    assert "2.0" in shop.good("list-instances")
    shop.good("upgrade-node n1 n2 --version 2.0")
    assert shop.served("app1") == ["1.0", "2.0"]  # it was not restarted for nothing
    assert shop.revision() == revision + 1


def test_a_node_without_running_servers_simply_switches(shop: Shop) -> None:
    shop.install("2.0")
    shop.good("upgrade-node n1 --version 2.0")
    assert current(shop, "n1") == "releases/2.0"
    assert shop.served("app1") == []
    assert shop.domain().nodes["n2"].software == "1.0"


def test_what_fails_its_ready_check_goes_back(shop: Shop) -> None:
    shop.good("start-cluster app")
    shop.install("2.0", server=BAD)
    before = shop.file.read_bytes()
    code, shown = shop.run("upgrade-node n1 n2 --version 2.0 --rolling")
    assert code == 1
    assert "cannot start" in shown  # the last lines of its log
    assert "back to 1.0" in shown
    assert "not begun" in shown
    assert current(shop, "n1") == "releases/1.0"
    assert (shop.served("app1"), shop.served("app2")) == (["1.0", "1.0"], ["1.0"])
    assert shop.file.read_bytes() == before
    assert "running" in shop.good("list-instances app1")
    (story,) = SqliteHistory(shop.root).told([shop.revision()])[-1:]
    assert (story.succeeded, sorted(story.failed)) == (0, ["n1", "n2"])
    assert "ended with exit status 3" in story.failed["n1"]


def test_one_node_fails_and_the_other_is_recorded(shop: Shop) -> None:
    shop.good("start-cluster app")
    shop.install("2.0")
    (shop.software("n2") / "releases/2.0/bin/server").chmod(0o644)
    code, shown = shop.run("upgrade-node n1 n2 --version 2.0")
    assert code == 3, shown
    domain = shop.domain()
    assert (domain.nodes["n1"].software, domain.nodes["n2"].software) == ("2.0", "1.0")
    assert (current(shop, "n1"), current(shop, "n2")) == ("releases/2.0", "releases/1.0")
    assert shop.served("app2") == ["1.0", "1.0"]


def test_auto_rollback_brings_the_others_back(shop: Shop) -> None:
    shop.good("start-cluster app")
    shop.install("2.0")
    (shop.software("n2") / "releases/2.0/bin/server").chmod(0o644)
    code, shown = shop.run("upgrade-node n1 n2 --version 2.0 --rolling --auto-rollback")
    assert code == 1, shown
    assert current(shop, "n1") == "releases/1.0"
    assert shop.served("app1") == ["1.0", "2.0", "1.0"]
    assert shop.domain().nodes["n1"].software == "1.0"


def test_rolling_goes_node_by_node_and_drains(shop: Shop) -> None:
    shop.change("    stop: {grace: 5s}\n", DRAINED)
    shop.good("start-cluster app")
    shop.install("2.0")
    code, shown = shop.run("upgrade-node n1 n2 --version 2.0 --rolling --batch 1")
    assert code == 0, shown
    assert (shop.nodes / "n1/app1/story").read_text() == "drain\nundrain\n"


def test_a_drain_that_fails_changes_nothing(shop: Shop) -> None:
    shop.change("    stop: {grace: 5s}\n", DRAINED.replace("echo drain >> story", "exit 7"))
    shop.good("start-cluster app")
    shop.install("2.0")
    code, shown = shop.run("upgrade-node n1 --version 2.0")
    assert code == 1
    assert "stays with 1.0" in shown
    assert shop.served("app1") == ["1.0"]
    assert (shop.nodes / "n1/app1/story").read_text() == "undrain\n"


def test_a_node_that_has_not_the_release_is_refused_untouched(shop: Shop) -> None:
    shop.good("start-cluster app")
    shop.install("2.0", "n1")
    code, shown = shop.run("upgrade-node n2 --version 2.0")
    assert (code, "has no release 2.0; it has 1.0" in shown) == (1, True)
    assert shop.served("app2") == ["1.0"]
    code, shown = shop.run("upgrade-node n2 --version 7")
    assert code == 2


def test_a_release_that_a_running_server_uses_is_not_uninstalled(shop: Shop) -> None:
    shop.good("start-instance app1")
    shop.install("2.0")
    link = shop.software("n1") / "current"
    link.unlink()
    link.symlink_to("releases/2.0")  # switched by hand, and so not restarted
    assert "requires restart" in shop.good("list-instances app1")
    shop.good("upgrade-node n2 --version 2.0")
    shop.change('software: "1.0"', 'software: "2.0"')
    code, shown = shop.run("uninstall-node n1 --version 1.0")
    assert code == 1
    assert "is used by app1, which runs" in shown
    shop.good("upgrade-node n1 --version 2.0")
    assert shop.served("app1") == ["1.0", "2.0"]
    shop.good("uninstall-node '*' --version 1.0")
    assert list(shop.domain().releases) == ["2.0"]


def test_max_skew_refuses_a_start_that_exceeds_it(shop: Shop) -> None:
    shop.install("1.1")
    shop.install("2.0")
    shop.change("domain:\n", "domain:\n  max-skew: 1\n")
    shop.good("start-instance app1")
    code, shown = shop.run("upgrade-node n1 --version 2.0")  # alone: nobody else runs
    assert code == 0, shown
    code, shown = shop.run("start-instance app2")
    assert code == 1
    assert "app2 would run with release 1.0, and app1 on node n1 runs with 2.0: 2 releases apart" in shown
    assert shop.served("app2") == []
    shop.good("upgrade-node n2 --version 1.1")
    shop.good("start-instance app2")
    code, shown = shop.run("upgrade-node n2 --version 1.0")
    assert code == 1
    assert "was not touched" in shown
    assert shop.served("app2") == ["1.1"]
    shop.good("restart-cluster app")


def test_all_nodes_at_once_may_pass_over_releases_and_a_rolling_change_may_not(shop: Shop) -> None:
    shop.install("1.1")
    shop.install("2.0")
    shop.change("domain:\n", "domain:\n  max-skew: 1\n")
    shop.good("start-cluster app")
    code, shown = shop.run("upgrade-node n1 n2 --version 2.0 --rolling")
    assert code == 1
    assert "2 releases apart, max-skew is 1" in shown
    assert shop.served("app1") == ["1.0"]
    shop.good("upgrade-node n1 n2 --version 2.0")
    assert shop.served("app1") == ["1.0", "2.0"]


def test_of_a_cluster_that_is_started_at_once_those_that_do_not_fit_are_refused(shop: Shop) -> None:
    shop.install("2.0")
    shop.good("upgrade-node n2 --version 2.0")
    shop.change("domain:\n", "domain:\n  max-skew: 0\n")
    code, shown = shop.run("start-cluster app")
    assert code == 3
    assert "app2 would run with release 2.0, and app1" in shown
    assert (shop.served("app1"), shop.served("app2")) == (["1.0"], [])


def test_a_rolling_restart_stops_no_server_that_must_not_be_started_again(shop: Shop) -> None:
    shop.install("2.0")
    shop.good("start-cluster app")
    shop.good("upgrade-node n2 --version 2.0")
    shop.change("domain:\n", "domain:\n  max-skew: 0\n")
    code, shown = shop.run("restart-cluster app --rolling")
    assert code == 1
    assert "not started: app1 would run with release 1.0, and app2" in shown
    assert (shop.served("app1"), shop.served("app2")) == (["1.0"], ["1.0", "2.0"])
    assert "app1      n1    failed   3         running" in shown


@pytest.mark.parametrize("line", [
    "restart-cluster app --rolling", "restart-cluster app --rolling --sync none", "sync-cluster app --restart --rolling",
])  # fmt: skip
def test_a_rolling_change_tells_how_long_that_of_each_instance_took(shop: Shop, line: str) -> None:
    server = "trap 'sleep 0.4; exit 0' TERM; echo serving; while :; do sleep 0.1; done"
    shop.change("exec ${node.software}/bin/server", f"({server})")
    shop.good("start-cluster app")
    if "sync-" in line:
        shop.change("sleep 0.1", "sleep 0.11")
    began = time.monotonic()
    rows = json.loads(shop.good(f"{line} --json"))["results"]
    whole = time.monotonic() - began
    taken = [row["seconds"] for row in rows]
    assert len(taken) == 2
    assert min(taken) >= 0.4
    assert sum(taken) <= whole


def test_what_ends_a_deployment_stops_no_server_that_must_not_be_started_again(shop: Shop) -> None:
    shop.install("2.0")
    shop.good("start-cluster app")
    shop.change("domain:\n", "domain:\n  max-skew: 0\n")
    link = shop.software("n2") / "current"
    link.unlink()
    link.symlink_to("releases/2.0")  # by hand
    code, shown = shop.run("sync-cluster app --restart")
    assert code == 3
    assert "synchronised, but not restarted: app2 would run with release 2.0, and app1" in shown
    assert (shop.served("app1"), shop.served("app2")) == (["1.0"], ["1.0"])
    assert "running" in shop.good("list-instances app2")


def test_a_node_that_does_not_answer_is_told_where_skew_is_judged(shop: Shop) -> None:
    shop.change("domain:\n", "domain:\n  max-skew: 0\n")
    shop.good("start-instance app2")
    shop.away("n2")
    shown = shop.good("start-instance app1")
    assert "did not answer" in shown


def test_a_start_tells_when_a_folder_has_changed(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    (folder / "bin").mkdir(parents=True)
    server = shop.software("n1") / "releases/1.0/bin/server"
    (folder / "bin/server").write_text(server.read_text())
    (folder / "bin/server").chmod(0o755)
    shop.good(f"install-node n1 --folder {folder} --version deb")
    shop.good("upgrade-node n1 --version deb")
    assert "changed" not in shop.good("start-instance app1")
    (folder / "README").write_text("a new package")
    shown = shop.good("restart-instance app1")
    assert "has changed since release deb was installed" in shown
    code, shown = shop.run("upgrade-node n1 --version deb")
    assert (code, "has changed" in shown) == (1, True)


def test_a_start_needs_a_release_and_verify_domain_says_which_node_lacks_one(shop: Shop) -> None:
    shop.change(
        "  app2: {node: n2, cluster: app}\n",
        "  app2: {node: n2, cluster: app}\n  app3: {node: n3, cluster: app}\n",
    )
    shown = shop.good("verify-domain")
    assert "app3" in shown
    assert "install-node n3" in shown
    code, shown = shop.run("start-instance app3")
    assert code == 1
    assert "names ${node.software}, but" in shown
    assert "install-node n3" in shown
    shop.good("install-node n3 --version 1.0")
    shop.good("start-instance app3")


@pytest.mark.parametrize("line", [
    "restart-cluster app --rolling --max-failures 100%", "restart-cluster app", "restart-instance app3",
    "sync-cluster app --restart", "sync-cluster app --restart --rolling --max-failures 100%",
])  # fmt: skip
def test_a_restart_stops_no_server_whose_node_has_no_release_by_now(shop: Shop, line: str) -> None:
    shop.change(
        "  app2: {node: n2, cluster: app}\n",
        "  app2: {node: n2, cluster: app}\n  app3: {node: n3, cluster: app}\n",
    )
    shop.change("exec ${node.software}/bin/server", "echo serving; exec sleep 1000")
    shop.good("start-cluster app")
    shop.change("echo serving; exec sleep 1000", "exec ${node.software}/bin/server")
    before = pids(shop)
    code, shown = shop.run(line)
    assert code in (1, 3), shown
    assert "node n3 has no release of software" in shown
    assert "install-node n3 --version 1.0" in shown
    after = pids(shop)
    assert after["app3"] == before["app3"] is not None
    assert (after["app1"] != before["app1"]) == ("cluster" in line)


LOST = [
    "restart-cluster app --rolling --max-failures 100%", "restart-cluster app", "restart-cluster app --sync none",
    "restart-instance app2", "sync-cluster app --restart", "sync-cluster app --restart --rolling --max-failures 100%",
]  # fmt: skip


@pytest.mark.parametrize("how", ["removed", "dangling"])
@pytest.mark.parametrize("line", LOST)
def test_a_node_that_lost_its_release_is_found_before_its_server_is_stopped(
    shop: Shop, line: str, how: str
) -> None:
    """domain.yaml says that it has one; nothing is taken out of the load balancer either."""
    shop.change("    start:", "    drain: {command: touch drained}\n    start:")
    shop.good("start-cluster app")
    before = pids(shop)
    shop.change("${node.software}/bin/server", "${node.software}/bin/server ''")  # now they require a restart
    gone = shop.software("n2") if how == "removed" else shop.software("n2") / "releases"
    shutil.rmtree(gone)
    code, shown = shop.run(line)
    assert code in (1, 3), shown
    lost = "has lost its release of software: current leads to releases/1.0, which is no folder"
    assert f"node n2 {'has no release of software' if how == 'removed' else lost}" in shown
    assert "not restarted" in shown or "not started" in shown
    assert "install-node n2 --version 1.0" in shown
    after = pids(shop)
    assert after["app2"] == before["app2"] is not None
    assert (after["app1"] != before["app1"]) == ("cluster" in line)
    assert not (shop.nodes / "n2/app2/drained").exists()


def test_a_rolling_restart_that_would_end_in_the_middle_is_refused_before_it_begins(shop: Shop) -> None:
    shop.good("start-cluster app")
    before = pids(shop)
    shutil.rmtree(shop.software("n2"))
    code, shown = shop.run("restart-cluster app --rolling")
    assert code == 1
    assert "app2 could not be started again: its config names ${node.software}, and node n2 has no" in shown
    assert "install-node n2 --version 1.0" in shown
    assert "no server was stopped" in shown
    assert pids(shop) == before
    assert "no rolling change is unfinished" in shop.run("restart-cluster app --rolling --resume")[1]
    shop.good("install-node n2 --version 1.0")
    shop.good("restart-cluster app --rolling")
    assert all(pids(shop)[name] != pid for name, pid in before.items())


def test_a_server_that_needs_no_restart_is_not_told_of_a_release_that_it_does_not_need_now(
    shop: Shop,
) -> None:
    shop.good("start-cluster app")
    shop.change("exec ${node.software}/bin/server", "echo serving; exec sleep 1000")
    shop.good("sync-cluster app --restart")
    shutil.rmtree(shop.software("n2"))
    shop.good("sync-cluster app --restart")
    shop.good("restart-cluster app --rolling")


def pids(shop: Shop) -> dict[str, int | None]:
    rows = json.loads(shop.good("list-instances --json"))["results"]
    return {row["instance"]: row["pid"] for row in rows}


def test_a_release_that_was_put_there_by_hand_is_enough_to_restart(shop: Shop) -> None:
    shop.good("start-cluster app")
    shop.change(f'{shop.nodes}/n1, software: "1.0"', f"{shop.nodes}/n1")
    assert shop.domain().nodes["n1"].software is None
    before = pids(shop)
    shop.good("restart-cluster app")
    assert pids(shop)["app1"] != before["app1"]


def test_instances_json_says_what_a_server_runs_with(shop: Shop) -> None:
    shop.good("start-instance app1")
    rows = json.loads(shop.good("list-instances --json"))["results"]
    assert [(row["instance"], row.get("software")) for row in rows] == [("app1", "1.0"), ("app2", None)]


def test_a_switch_that_was_begun_is_finished_when_somebody_interrupts(shop: Shop) -> None:
    """The first Ctrl-C: the node at work comes to its end, no further one is begun, what was done is written down."""
    shop.good("start-cluster app")
    slow = "#!/bin/sh\necho 2.0 >> served\nsleep 1.5\necho serving\nexec sleep 1000\n"
    shop.install("2.0", server=slow)

    async def interrupted() -> Outcome:
        ctx = shop.context("upgrade-node")
        rolling = Rolling(batch="1")
        task = asyncio.ensure_future(upgrade_node(ctx, ["n1", "n2"], version="2.0", rolling=rolling))
        while "2.0" not in shop.served("app1"):  # noqa: ASYNC110 (a server cannot set an event)
            await asyncio.sleep(0.02)
        task.cancel()
        return await task

    outcome = asyncio.run(interrupted())
    assert [row.status for row in outcome.results] == ["upgraded", "skipped"]
    assert outcome.results[1].error is not None
    assert "interrupted" in outcome.results[1].error.message
    assert shop.domain().nodes["n1"].software == "2.0"
    assert (shop.served("app1"), shop.served("app2")) == (["1.0", "2.0"], ["1.0"])
    assert "running" in shop.good("list-instances app1")


# -- a switch that was broken off


class Killed(BaseException):
    """What ends the process: nobody mends anything behind it."""


class Mortal:
    """links.Links whose process ends right before, or right after, a request of this kind is answered."""

    def __init__(self, links: Any, op: str, *, after: bool) -> None:
        self._links, self._op, self._after = links, op, after

    @asynccontextmanager
    async def open(self, name: str, node: Node) -> AsyncIterator[Any]:
        async with self._links.open(name, node) as link:
            ask = link.ask

            async def dying(header: dict[str, Any], *more: Any, **options: Any) -> Any:
                if header["op"] == self._op and not self._after:
                    raise Killed
                answer = await ask(header, *more, **options)
                if header["op"] == self._op:
                    raise Killed
                return answer

            link.ask = dying
            yield link


def broken_off(shop: Shop, op: str, *, after: bool, version: str = "2.0") -> None:
    ctx = replace(shop.context("upgrade-node"), links=Mortal(shop.links, op, after=after))
    with pytest.raises(BaseException) as caught:
        asyncio.run(upgrade_node(ctx, ["n1"], version=version))
    assert "Killed" in repr(caught.value)


KILLS = [
    (words.STOP, False), (words.STOP, True), (words.SWITCH, False), (words.SWITCH, True),
    (words.START, False), (words.START, True),
]  # fmt: skip


@pytest.mark.parametrize(("op", "after"), KILLS)
def test_whoever_finishes_a_switch_starts_what_it_had_stopped(shop: Shop, op: str, after: bool) -> None:
    shop.change("    stop: {grace: 5s}\n", DRAINED)
    shop.good("start-instance app1")
    shop.install("2.0")
    broken_off(shop, op, after=after)
    shop.good("upgrade-node n1 n2 --version 2.0")
    assert shop.served("app1") == ["1.0", "2.0"]
    assert shop.served("app2") == []  # it did not run
    assert (shop.nodes / "n1/app1/story").read_text().endswith("undrain\n")
    assert "running" in shop.good("list-instances app1")
    assert shop.domain().nodes["n1"].software == "2.0"
    shop.good("stop-instance app1")
    shop.install("3.0")
    shop.good("upgrade-node n1 --version 3.0")
    assert shop.served("app1") == ["1.0", "2.0"]  # what was finished is forgotten
    assert not (shop.root / ".dasctl/upgrading").exists()


def test_a_switch_that_is_finished_goes_back_to_what_the_server_had(shop: Shop) -> None:
    shop.good("start-instance app1")
    shop.install("2.0", server=BAD)
    broken_off(shop, words.SWITCH, after=True)
    assert current(shop, "n1") == "releases/2.0"
    code, shown = shop.run("upgrade-node n1 --version 2.0")
    assert (code, "back to 1.0; app1 runs with it again" in shown) == (1, True), shown
    assert (current(shop, "n1"), shop.served("app1")) == ("releases/1.0", ["1.0", "1.0"])


def test_a_switch_that_was_broken_off_is_taken_back_on_purpose(shop: Shop) -> None:
    shop.good("start-instance app1")
    shop.install("2.0", server=BAD)
    broken_off(shop, words.SWITCH, after=True)
    assert "app1 started, which a switch that was broken off had stopped" in shop.good(
        "upgrade-node n1 --version 1.0"
    )
    assert (current(shop, "n1"), shop.served("app1")) == ("releases/1.0", ["1.0", "1.0"])


def test_what_was_begun_is_remembered_while_its_node_is_away(shop: Shop) -> None:
    shop.good("start-instance app1")
    shop.install("2.0")
    begun = Begun(was="releases/1.0", servers=("app1",))
    shop.good("stop-instance app1")
    note(shop.context("upgrade-node"), "n1", begun)
    shop.away("n1")
    assert shop.run("upgrade-node n1 --version 2.0")[0] == 4
    shop.errors.clear()
    shop.good("upgrade-node n1 --version 2.0")
    assert shop.served("app1") == ["1.0", "2.0"]


def test_nothing_is_stopped_where_it_cannot_be_noted(shop: Shop) -> None:
    shop.good("start-instance app1")
    shop.install("2.0")
    (shop.root / ".dasctl/upgrading").write_text('{"format": 1, "nodes": 7}')
    code, shown = shop.run("upgrade-node n1 --version 2.0")
    assert (code, ".dasctl/upgrading" in shown) == (1, True)
    assert "running" in shop.good("list-instances app1")
    (shop.root / ".dasctl/upgrading").unlink()
    (shop.root / ".dasctl/upgrading").mkdir()  # no file can be put here
    assert shop.run("upgrade-node n1 --version 2.0")[0] == 1
    assert "running" in shop.good("list-instances app1")


def test_max_skew_counts_who_is_to_be_started_again(shop: Shop) -> None:
    shop.install("1.1")
    shop.install("2.0")
    shop.good("start-cluster app")
    broken_off(shop, words.SWITCH, after=False)
    shop.change("domain:\n", "domain:\n  max-skew: 1\n")
    code, shown = shop.run("upgrade-node n1 --version 2.0")
    assert (code, "max-skew is 1" in shown) == (1, True), shown
    assert current(shop, "n1") == "releases/1.0"
