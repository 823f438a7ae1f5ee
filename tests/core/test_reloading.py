"""When a synchronisation lets a running server take over what it changed."""

import pytest

from dasctl.core.domain import Config, Reload
from dasctl.core.reloading import wants_reload

RELOADS = Config(start="true", reload=Reload(signal="HUP"), restart_on=("lib/",))


@pytest.mark.parametrize(
    ("path", "why", "wanted"),
    [
        ("config/app.properties", "content", True),
        ("applications/shop/index.jsp", "new", True),
        ("config/app.properties", "modtime", False),
        ("config/domain.yaml", "content", False),
        ("docroot/index.html", "content", False),
        ("lib/driver.jar", "content", False),
    ],
)
def test_what_changed_decides(path, why, wanted):
    assert wants_reload(RELOADS, [{"path": path, "why": why}]) is wanted


def test_without_a_reload_nothing_does():
    assert not wants_reload(Config(start="true"), [{"path": "config/a", "why": "new"}], unnamed=3)


def test_changes_that_are_not_named_may_be_what_a_reload_is_for():
    assert wants_reload(RELOADS, [], unnamed=1)
