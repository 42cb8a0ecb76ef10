"""What is generated and committed: the OpenAPI document, and the parts of documents made from it.

``python -m dev.checks.generated --write`` writes all of it, ``--check`` fails when something is not
current. The table of endpoints stands between ``<!-- endpoints -->`` comments, that of SD hosts
between ``<!-- hosts -->`` ones, the gateway's own answers in the template between
``gateway-responses`` ones.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from dev.checks import clients, errors, gateway, hosts, openapi
from robotchat.lifecycle import queue_messages as messages

ROOT = Path(__file__).resolve().parents[2]
ENDPOINTS = "docs/endpoints.md"
_TABLE = re.compile(r"(<!-- endpoints -->\n).*?(<!-- /endpoints -->)", re.DOTALL)
_METHODS = ("get", "post", "put", "delete", "patch")


def endpoint_table(document: dict[str, Any]) -> str:
    """A Markdown table of every endpoint, in the order of the paths."""
    rows = ["| Method | Path | |", "|---|---|---|"]
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                summary = item[method]["summary"].rstrip(".")
                rows.append(f"| `{method.upper()}` | `{path}` | {summary} |")
    return "\n".join(rows) + "\n"


def generated(root: Path = ROOT) -> dict[Path, str]:
    """Every generated file with what it should hold."""
    text = openapi.written(root)
    document = json.loads(text)
    table = endpoint_table(document)
    files = {
        root / openapi.COMMITTED: text,
        root / errors.DOCUMENT: errors.document(),
        root / gateway.TEMPLATE: gateway.written(root),
        root / "docs/job-message.schema.json": json.dumps(messages.schema(), indent=2) + "\n",
        **{root / path: text for path, text in clients.configurations(document).items()},
    }
    listed = (root / ENDPOINTS).read_text("utf-8")
    files[root / hosts.DOCUMENT] = hosts.written((root / hosts.DOCUMENT).read_text("utf-8"))
    files[root / ENDPOINTS] = _TABLE.sub(lambda found: found[1] + table + found[2], listed)
    return files


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.checks.generated", description=__doc__)
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--check", action="store_true", help="fail if something is not current")
    choice.add_argument("--write", action="store_true", help="write what is not current")
    asked = parser.parse_args()
    try:
        files = generated()
    except openapi.Disagreement as error:
        print(error, file=sys.stderr)
        return 1
    stale = [p for p, text in files.items() if not p.exists() or p.read_text("utf-8") != text]
    for path in stale:
        if asked.write:
            path.write_text(files[path], "utf-8")
        else:
            print(f"{path.relative_to(ROOT)} is not current: run `make docs`.", file=sys.stderr)
    return 1 if stale and asked.check else 0


if __name__ == "__main__":
    sys.exit(main())
