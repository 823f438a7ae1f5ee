"""Modules that are imported when something of them is used: nobody notices but by the clock."""

from __future__ import annotations

import subprocess
import sys

HEAD = """
import sys
from dasctl.cli.quick_modules import import_late
import_late()
def is_there(name):
    return type(sys.modules[name]).__name__ == "module"
"""


def said_by(program: str) -> str:
    """What a process that runs `program` prints; modules stay out only of one that has not imported them."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_naming_a_module_does_not_import_it() -> None:
    assert (
        said_by("""
import asyncio, dataclasses, inspect, logging, pathlib, shutil, traceback
from dasctl.cli.quick_classes import compile_late
compile_late()
@dataclasses.dataclass
class Undocumented:
    x: int = 1
log = logging.getLogger("x")
log.debug("unheard")
async def nothing(): return pathlib.Path("/a").name
asyncio.run(nothing())
print(*[name for name in ("inspect", "logging", "shutil", "urllib.parse") if is_there(name)])
""")
        == "\n"
    )


def test_using_one_imports_it() -> None:
    assert (
        said_by("""
import inspect, shutil
from inspect import signature
print(is_there("inspect"), is_there("shutil"), str(signature(lambda a, b=1: 0)), inspect.ismodule(sys))
import inspect as again
print(again is sys.modules["inspect"], again.signature is signature)
""")
        == "True False (a, b=1) True\nTrue True\n"
    )


def test_urls_of_paths_and_of_others() -> None:
    assert (
        said_by("""
import pathlib
print(is_there("urllib.parse"), pathlib.Path("/a b").as_uri())
import urllib.parse
print(urllib.parse.urlsplit("http://h/p").netloc)
""")
        == "False file:///a%20b\nh\n"
    )


def test_what_was_said_of_loggers_holds_when_logging_comes() -> None:
    assert (
        said_by("""
import logging
quiet, loud = logging.getLogger("asyncssh"), logging.getLogger("loud")
quiet.setLevel("CRITICAL")
loud.info("unheard")
print(is_there("logging"))
loud.warning("heard")
print(is_there("logging"), logging.getLogger("asyncssh").level == logging.CRITICAL, quiet.isEnabledFor(40))
import logging.handlers
logging.basicConfig(level="DEBUG", stream=sys.stdout, force=True)
loud.debug("heard too")
""")
        == "False\nTrue True False\nDEBUG:loud:heard too\n"
    )


def test_what_is_there_already_stays() -> None:
    program = "import traceback\nbefore = traceback\n" + HEAD + "print(sys.modules['traceback'] is before)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "True\n"


def test_threads_that_need_one_at_once_get_it_whole() -> None:
    assert (
        said_by("""
import threading, traceback, inspect
wrong = []
def use():
    try:
        traceback.format_exc(); inspect.signature(use)
    except Exception as error:
        wrong.append(error)
threads = [threading.Thread(target=use) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(wrong)
""")
        == "[]\n"
    )
