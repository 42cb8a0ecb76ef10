"""The API is what its OpenAPI document says, whatever is sent to it: no 5xx, no other shape.

All checks and phases of schemathesis, over the gateway's own routes and every function in one
process, so that thousands of requests take a minute. By hand, against any stack that runs:
``ROBOTCHAT_KEY=rk_... schemathesis --config-file tests/functions/schemathesis.toml run
docs/openapi.json --url http://127.0.0.1:8080 -n 50``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev import llm, sd_host
from robotchat.settings import Settings
from tests.cases.served import served

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DOCUMENT = ROOT / "docs/openapi.json"
TIMEOUT = 1200.0
"""Far more than it takes: only what hangs is to end by it."""


def test_schemathesis_finds_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with llm.running() as upstream, sd_host.running() as host:
        settings = Settings(
            sd_hosts=(host.url,),
            openai_base_url=upstream.base_url,
            openai_api_key="sk-upstream",
            openai_model="stand-in",
            follow_time=0.2,
            local=True,
        )
        with served(settings) as api:
            result = subprocess.run(
                [
                    str(Path(sys.executable).with_name("schemathesis")),
                    *("--config-file", str(HERE / "schemathesis.toml")),
                    *("run", str(DOCUMENT), "--url", api.url),
                    *("--seed", "1", "--warnings", "off"),
                ],
                env={
                    **os.environ,
                    "ROBOTCHAT_KEY": api.key,
                    "NO_COLOR": "1",
                    "PYTHONPATH": str(ROOT),  # for the hooks
                },
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
    assert result.returncode == 0, result.stdout[-20_000:]
    assert "No issues found" in result.stdout
    logged = capfd.readouterr().out
    assert '"message":"answered"' in logged
    assert [line for line in logged.splitlines() if '"unforeseen error"' in line] == []
