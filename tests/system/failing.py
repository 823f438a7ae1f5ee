"""What holds for every failure of the command line: one document with message and hint, and no traceback."""

from __future__ import annotations

import json

from tests.system.cluster import Cluster, Run


def decent(run: Run) -> Run:
    """No failure shows the program's insides, or says that the program itself is at fault."""
    for text in (run.out, run.err):
        assert "Traceback" not in text, str(run)
        assert "a fault in dasctl" not in text, str(run)
        assert "Exception" not in text, str(run)
    return run


def refused(cluster: Cluster, *words: str, code: int) -> Run:
    """Run `dasctl --json WORDS`, which fails with `code`: one JSON document that says what and what now."""
    run = decent(cluster.run("--json", *words))
    assert run.code == code, str(run)
    document = json.loads(run.out)  # exactly one document: more would be a fault of the text
    assert document["exit_code"] == code
    assert document["error"]["message"], str(run)
    assert document["error"]["hint"], str(run)
    for row in document["results"]:
        if row["status"] in ("failed", "refused", "unreachable"):
            assert row["error"]["message"], str(run)
            assert row["error"]["hint"], str(run)
    return run
