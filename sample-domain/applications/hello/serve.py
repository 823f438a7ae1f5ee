#!/usr/bin/env python3
"""The shop's server: static pages from docroot, and /hello, a page made by a library and a configuration.

Standard library only, Python 3.9 or newer. SIGTERM ends it in order, SIGHUP lets it read its configuration again.
"""

import argparse
import html
import json
import logging
import os
import signal
import socket
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

sys.path.insert(0, str(Path("lib").resolve()))

from greeting import greeting

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<link rel="stylesheet" href="/shop.css">
<header><a href="/">{title}</a></header>
<main><h1>{line}</h1><p>Served by <strong>{instance}</strong> on <strong>{node}</strong>.</p></main>
</html>
"""


def read_properties(path):
    """A file of `key=value` lines as a dict; a missing file is an empty one."""
    found = {}
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return found
    for line in lines:
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[key.strip()] = value.strip()
    return found


class Shop(ThreadingHTTPServer):
    """The server and its settings, which `reload` replaces as a whole."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address, handler):
        super().__init__(address, handler)
        self.settings = {}

    def server_bind(self):
        # HTTPServer would ask the resolver for this host's name, which can take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]

    def reload(self):
        self.settings = read_properties("config/shop.properties")
        logs = read_properties("config/logging.properties")
        logging.basicConfig(
            stream=sys.stdout,
            level=logs.get("level", "info").upper(),
            format=logs.get("format", "%(asctime)s %(levelname)s %(message)s"),
            force=True,
        )
        logging.info("configuration read: %s", json.dumps(self.settings, sort_keys=True))


class Handler(SimpleHTTPRequestHandler):
    """Static files, and three pages that are made."""

    server_version = "shop"

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/health":
            self.answer("ok\n", "text/plain")
        elif url.path == "/hello":
            self.answer(self.hello(parse_qs(url.query)), "text/html")
        elif url.path == "/instance.json":
            self.answer(json.dumps(who_am_i()) + "\n", "application/json")
        else:
            super().do_GET()

    def hello(self, query):
        line = greeting(self.server.settings.get("greeting", "Hello"), query.get("name", ["guest"])[0])
        page = {"title": os.environ.get("SHOP_TITLE", "Shop"), "line": line, **who_am_i()}
        return PAGE.format(**{key: html.escape(value) for key, value in page.items()})

    def answer(self, text, kind):
        body = text.encode("utf-8")
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        logging.debug("%s %s", self.address_string(), format % args)


def who_am_i():
    """What dasctl says about this instance in its environment."""
    return {
        "instance": os.environ.get("DASCTL_INSTANCE", "nobody"),
        "node": os.environ.get("DASCTL_NODE", "nowhere"),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--docroot", default="docroot")
    options = parser.parse_args()
    shop = Shop((options.host, options.port), partial(Handler, directory=options.docroot))
    shop.reload()

    def stop(signum, frame):
        # shutdown() waits for serve_forever(), which runs in this very thread.
        threading.Thread(target=shop.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, lambda signum, frame: shop.reload())
    logging.info("listening on port %d", shop.server_port)
    shop.serve_forever(poll_interval=0.1)
    shop.server_close()
    logging.info("stopped")


if __name__ == "__main__":
    main()
