"""A helper that can do nothing but talk: for tests of links. Shipped as `dasctl.remote.main`."""

from __future__ import annotations

import json
import os
import sys
import time


def main(stdin, stdout):
    def say(header, body=b""):
        if body:
            header["size"] = len(body)
        stdout.write(json.dumps(header).encode("ascii") + b"\n" + body)
        stdout.flush()

    def frame():
        line = stdin.readline()
        if not line.endswith(b"\n"):
            return None, b""
        header = json.loads(line)
        return header, stdin.read(header.get("size", 0))

    stdout.write(b"\nDASCTL-LINK-1\n")
    say(
        {
            "greeting": 1,
            "python": list(sys.version_info[:3]),
            "pid": os.getpid(),
            "home": os.environ.get("HOME"),
        }
    )
    while True:
        header, body = frame()
        if header is None:
            return
        op = header["op"]
        if op == "ping":
            say({"reply": "ping"}, body)
        elif op == "events":
            for number in range(header["count"]):
                say({"event": "phase", "number": number})
            say({"reply": op})
        elif op in ("drain", "early"):
            if op == "early":
                say({"reply": op})
            received = 0
            while True:
                part, piece = frame()
                if part is None or part.get("end"):
                    break
                received += len(piece)
                if header.get("echo"):
                    say({"event": "phase"}, piece)
            if op == "drain":
                say({"reply": op, "received": received})
        elif op == "slow":
            for _ in range(header["beats"]):
                time.sleep(header["seconds"])
                say({"event": "beat"})
            say({"reply": op})
        elif op == "error":
            say({"reply": "error", "message": "the disk is full", "hint": "make room"})
        elif op == "other":
            say({"reply": "something else"})
        elif op == "nonsense":
            stdout.write(b"this is no frame\n")
            stdout.flush()
        elif op == "complain":
            sys.stderr.write("it hurts\n")
            sys.stderr.flush()
            sys.exit(3)
        elif op == "silent":
            time.sleep(header["seconds"])
            return
