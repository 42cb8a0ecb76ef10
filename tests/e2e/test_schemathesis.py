"""The API is what its OpenAPI document says, whatever is sent to it: no 5xx, no other shape.

By hand, against any stack that runs: ``ROBOTCHAT_KEY=rk_... schemathesis --config-file
tests/e2e/schemathesis.toml run docs/openapi.json --url http://127.0.0.1:8080 -n 50``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import llm
from tests.local_stack import RunningStack

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs/openapi.json"
TIMEOUT = 600.0


@pytest.fixture
def healthy(tmp_path: Path) -> Iterator[RunningStack]:
    """A stack of its own, whose model servers are there and quick."""
    with llm.running() as upstream:
        stack = RunningStack(
            tmp_path / "stack",
            {
                "OPENAI_BASE_URL": upstream.base_url,
                "OPENAI_API_KEY": "sk-upstream",
                "OPENAI_MODEL": "stand-in",
                "ROBOTCHAT_SD_ARGS": "--fixed-seconds 0.02 --load-seconds 0",
            },
        ).start()
        try:
            yield stack
        finally:
            stack.stop()


@pytest.mark.skipif(
    not os.environ.get("ROBOTCHAT_FUZZ"), reason="takes many minutes: ROBOTCHAT_FUZZ=1 runs it"
)
def test_schemathesis_finds_nothing(healthy: RunningStack, tmp_path: Path) -> None:
    schemathesis = Path(sys.executable).with_name("schemathesis")
    result = subprocess.run(
        [
            str(schemathesis),
            *("--config-file", str(HERE / "schemathesis.toml")),
            *("run", str(DOCUMENT), "--url", healthy.api_url),
            *("--seed", "1", "--warnings", "off"),
        ],
        env={**os.environ, "ROBOTCHAT_KEY": healthy.api_key, "NO_COLOR": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-20_000:]
    assert "No issues found" in result.stdout
    errors = [
        line
        for log in (healthy.state / "logs").glob("*.log")
        for line in log.read_text("utf-8", errors="replace").splitlines()
        if '"unforeseen error"' in line
    ]
    assert errors == []
