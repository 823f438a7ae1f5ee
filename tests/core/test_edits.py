"""Edits of plain data: what they make, and that they leave alone what they are given."""

import copy

import pytest

from dasctl.core.edits import Drop, Put, edited

DATA = {
    "format": 1,
    "nodes": {"n1": {"host": "h1"}},
    "clusters": None,
    "applications": {"hello": {"targets": ["web"]}},
}

TABLE = [
    ("a new key", [Put(path=("nodes", "n2"), value={"host": "h2"})],
     {**DATA, "nodes": {"n1": {"host": "h1"}, "n2": {"host": "h2"}}}),
    ("a key replaced", [Put(path=("nodes", "n1"), value={"host": "h9"})], {**DATA, "nodes": {"n1": {"host": "h9"}}}),
    ("a value deep inside", [Put(path=("nodes", "n1", "port"), value=22)],
     {**DATA, "nodes": {"n1": {"host": "h1", "port": 22}}}),
    ("a section that is not there", [Put(path=("instances", "web1"), value={"node": "n1"})],
     {**DATA, "instances": {"web1": {"node": "n1"}}}),
    ("a section that is empty", [Put(path=("clusters", "web"), value={"config": "c"})],
     {**DATA, "clusters": {"web": {"config": "c"}}}),
    ("a list", [Put(path=("applications", "hello", "targets"), value=[])],
     {**DATA, "applications": {"hello": {"targets": []}}}),
    ("a key dropped", [Drop(path=("nodes", "n1"))], {**DATA, "nodes": {}}),
    ("several in order", [Put(path=("a", "b"), value=1), Drop(path=("a", "b")), Put(path=("a", "c"), value=2)],
     {**DATA, "a": {"c": 2}}),
    ("none", [], DATA),
]  # fmt: skip


@pytest.mark.parametrize(("edits", "after"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_edits_make(edits, after):
    before = copy.deepcopy(DATA)
    assert edited(before, edits) == after
    assert before == DATA


@pytest.mark.parametrize("path", [("nodes", "n9"), ("nowhere", "x"), ("nowhere",)])
def test_what_is_dropped_must_be_there(path):
    with pytest.raises(KeyError):
        edited(DATA, [Drop(path=path)])


def test_values_are_copied():
    value = {"targets": ["web"]}
    after = edited({}, [Put(path=("applications", "hello"), value=value)])
    value["targets"].append("jobs")
    assert after == {"applications": {"hello": {"targets": ["web"]}}}
