from __future__ import annotations

from typing import Any

import pytest

from dasctl.adapters.yaml_text import domain_of
from dasctl.core.config_id import config_id

TEXT = """\
format: 1
domain: {name: shop, id: 7d0f8a52-4c1e-4b7e-9a55-3f1c6f0b2d11}
nodes:
  n1: {host: a}
  n2: {host: b}
configs: {c: {start: x}}
clusters: {web: {config: c}}
instances:
  web1: {node: n1, cluster: web}
  web2: {node: n2, config: c}
"""


# Instances keep it: another value would make every node of every domain disagree after an upgrade.
KNOWN = 0x1F1FF8E5


def test_the_config_id_has_32_bits_and_a_known_value() -> None:
    assert config_id(domain_of(TEXT)) == KNOWN


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("  n1: {host: a}\n  n2: {host: b}\n", "  n2: {host: b}  # x\n\n  n1: {host: a}\n", True),
        ("{host: a}", "{host: a, user: u, key: k, jump: j}", True),
        ("{host: a}", "{host: a, dir: ~/dasctl/shop}", True),
        ("start: x", "start: y", True),
        ("{node: n1, cluster: web}", "{node: n1, cluster: web, properties: {a: 1}}", True),
        ("{host: a}", "{host: aa}", False),
        ("{host: a}", "{host: a, port: 23}", False),
        ("{host: a}", "{host: a, dir: /srv}", False),
        ("{node: n1, cluster: web}", "{node: n2, cluster: web}", False),
        ("{node: n2, config: c}", "{node: n2, cluster: web}", False),
        ("  web2: {node: n2, config: c}\n", "", False),
        ("clusters: {web: {config: c}}", "clusters: {web: {config: c}, api: {config: c}}", False),
    ],
)
def test_what_counts_as_membership(old: str, new: str, same: bool) -> None:
    changed: Any = TEXT.replace(old, new)
    assert changed != TEXT
    assert (config_id(domain_of(changed)) == config_id(domain_of(TEXT))) is same
