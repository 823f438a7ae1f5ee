"""Any sequence of edits, losses and commands: what arrived is the repository, and only the last authority is obeyed."""

from __future__ import annotations

import os
import random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from dasctl.adapters.streams import Fault
from tests.operations import model
from tests.operations.model import GOOD, INSTANCES, Model

PATHS = st.sampled_from(
    [
        f"{area}/{name}"
        for area in ("docroot", "config", "lib", "applications/hello")
        for name in ("a", "b", "a/x", "a/y", "a/x/deep", "b/x")
    ]
)
FOLDERS = st.sampled_from(["docroot", "config", "lib", "applications", "applications/hello"])
CONTENTS = st.sampled_from(["", "one", "two", "noise 40000", "noise 70000"])  # noise does not shrink
MODES = st.sampled_from([0o644, 0o600, 0o755, 0o444])
FOLDER_MODES = st.sampled_from([0o755, 0o700, 0o775])
TIMES = st.integers(min_value=-(10**18), max_value=3 * 10**18)
DAS = st.sampled_from(["das", "das", "das", "old"])
NODES = st.sampled_from(["n1", "n2"])
NAMES = st.sampled_from(INSTANCES)
HURT = st.sampled_from(["cut_after_sent", "cut_after_received"])


def bytes_of(data: str) -> bytes:
    word, _, size = data.partition(" ")
    return random.Random(1).randbytes(int(size)) if word == "noise" else data.encode()


class Operators(RuleBasedStateMachine):
    """People edit, nodes fail, two copies of the domain are used: all at random, checked by the model."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.model.copy_domain("old")

    def teardown(self) -> None:
        self.model.errors.clear()
        self.model.faults.clear()
        outcome = self.model.take_over("das")
        assert outcome.exit_code == 0, outcome
        self.model.close()

    # The repository.

    @rule(das=DAS, path=PATHS, data=CONTENTS, mode=MODES)
    def write(self, das: str, path: str, data: str, mode: int) -> None:
        model.put_file(self.model.root(das), path, bytes_of(data), mode)

    @rule(das=DAS, path=PATHS, same_time=st.booleans())
    def edit_in_place(self, das: str, path: str, same_time: bool) -> None:
        model.overwrite(self.model.root(das), path, same_time=same_time)

    @rule(das=DAS, path=PATHS, data=st.binary(min_size=1, max_size=50))
    def edit_in_the_middle(self, das: str, path: str, data: bytes) -> None:
        model.edit_middle(self.model.root(das), path, data)

    @rule(das=DAS, path=PATHS, mode=FOLDER_MODES)
    def make_folder(self, das: str, path: str, mode: int) -> None:
        model.put_folder(self.model.root(das), path, mode)

    @rule(das=DAS, path=PATHS, to=st.sampled_from(["a", "x", "nowhere"]))
    def make_link(self, das: str, path: str, to: str) -> None:
        model.put_link(self.model.root(das), path, to)

    @rule(das=DAS, path=PATHS)
    def delete(self, das: str, path: str) -> None:
        model.clear(self.model.root(das), path)

    @rule(das=DAS, path=PATHS, to=PATHS)
    def rename(self, das: str, path: str, to: str) -> None:
        model.rename(self.model.root(das), path, to)

    @rule(das=DAS, path=st.one_of(PATHS, FOLDERS), mode=MODES)
    def change_mode(self, das: str, path: str, mode: int) -> None:
        model.change_mode(self.model.root(das), path, mode)

    @rule(das=DAS, path=st.one_of(PATHS, FOLDERS), mtime=TIMES)
    def change_time(self, das: str, path: str, mtime: int) -> None:
        model.change_time(self.model.root(das), path, mtime)

    # Instances, by hand.

    @rule(name=NAMES, path=PATHS, data=CONTENTS, mode=MODES)
    def write_there(self, name: str, path: str, data: str, mode: int) -> None:
        if self.model.instance(name).exists():
            model.put_file(self.model.instance(name), path, bytes_of(data) + b" by hand", mode)

    @rule(name=NAMES, path=PATHS, to=PATHS)
    def rename_there(self, name: str, path: str, to: str) -> None:
        model.rename(self.model.instance(name), path, to)

    @rule(name=NAMES, path=st.one_of(PATHS, FOLDERS))
    def delete_there(self, name: str, path: str) -> None:
        if path in ("docroot",):
            self.model.foreign.pop(name, None)
        model.clear(self.model.instance(name), path)

    @rule(name=NAMES, path=PATHS, to=st.sampled_from(["a", "/etc"]))
    def make_link_there(self, name: str, path: str, to: str) -> None:
        if self.model.instance(name).exists():
            model.put_link(self.model.instance(name), path, to)

    @rule(name=NAMES, path=st.one_of(PATHS, FOLDERS), mode=MODES)
    def change_mode_there(self, name: str, path: str, mode: int) -> None:
        model.change_mode(self.model.instance(name), path, mode)

    @rule(name=NAMES, path=st.one_of(PATHS, FOLDERS), mtime=TIMES)
    def change_time_there(self, name: str, path: str, mtime: int) -> None:
        model.change_time(self.model.instance(name), path, mtime)

    @rule(name=NAMES, data=CONTENTS)
    def leave_foreign_file(self, name: str, data: str) -> None:
        self.model.put_foreign(name, bytes_of(data))

    # Accidents.

    @rule(node=NODES)
    def away(self, node: str) -> None:
        self.model.away(node)

    @rule(node=NODES)
    def back(self, node: str) -> None:
        self.model.errors.pop(node, None)

    @rule(node=NODES)
    def wipe_node(self, node: str) -> None:
        self.model.wipe_node(node)

    @rule(name=NAMES)
    def save(self, name: str) -> None:
        self.model.save(name)

    @rule(name=NAMES)
    def restore(self, name: str) -> None:
        self.model.restore(name)

    @rule(das=DAS)
    def lose_history(self, das: str) -> None:
        self.model.lose_history(das)

    @rule(das=DAS)
    def lose_das_folder(self, das: str) -> None:
        self.model.lose_das_folder(das)

    @rule(das=DAS, seed=st.integers(0, 1000), how=st.sampled_from(["lost", "cut", "damaged"]))
    def hurt_object(self, das: str, seed: int, how: str) -> None:
        self.model.hurt_object(das, random.Random(seed), how)

    @rule(das=DAS, seed=st.integers(0, 1000))
    def remember_wrongly(self, das: str, seed: int) -> None:
        self.model.remember_wrongly(das, random.Random(seed))

    @rule(name=NAMES)
    def forget_on_node(self, name: str) -> None:
        self.model.forget_on_node(name)

    @rule()
    def copy_domain(self) -> None:
        self.model.copy_domain("old")

    # Commands.

    @rule(das=DAS, options=st.fixed_dictionaries(
        {},
        optional={
            "deviations": st.sampled_from(["overwrite", "keep", "fail"]),
            "criterion": st.just("hash"),
            "full": st.just(True),
            "together": st.just(True),
            "verify": st.just(True),
        },
    ))  # fmt: skip
    def sync(self, das: str, options: dict[str, Any]) -> None:
        self.model.sync(das, **options)

    @rule(das=DAS)
    def sync_plainly(self, das: str) -> None:
        self.model.sync(das)

    @rule(das=DAS, name=NAMES)
    def sync_one(self, das: str, name: str) -> None:
        self.model.sync(das, [name])

    @rule(das=DAS, node=NODES, how=HURT, after=st.integers(min_value=0, max_value=150_000))
    def sync_with_a_cut(self, das: str, node: str, how: str, after: int) -> None:
        self.model.faults[node] = Fault(**{how: after})
        try:
            self.model.sync(das)
        finally:
            self.model.faults.clear()

    @rule(das=DAS, node=NODES, after=st.integers(min_value=0, max_value=1500))
    def sync_with_a_lost_answer(self, das: str, node: str, after: int) -> None:
        self.sync_with_a_cut(das, node, "cut_after_received", after)

    @rule(das=DAS)
    def take_over(self, das: str) -> None:
        if len(self.model.errors) < 2:
            outcome = self.model.take_over(das)
            assert all(row.status in (*GOOD, "unreachable") for row in outcome.results)


Operators.TestCase.settings = settings(
    max_examples=int(os.environ.get("DASCTL_MODEL_EXAMPLES", "40")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestOperators = Operators.TestCase
