"""`robotchat redrive`: dead letters of the running service, looked at and put back."""

from __future__ import annotations

import json
from typing import Any

import boto3
import httpx
import pytest

from robotchat import cli
from tests.local_stack import RunningStack, wait_until


def test_dead_letters_are_shown_and_put_back(
    stack: RunningStack, capsys: pytest.CaptureFixture[str]
) -> None:
    sqs = boto3.Session("test", "test", region_name=stack.region).client(
        "sqs", endpoint_url=stack.aws_endpoint_url
    )
    here = ["--local", str(stack.state)]
    job_id = "job_deadletter0000000000000001"
    good = {"kind": "chat_text2image", "tenant": stack.tenant, "job_id": job_id}
    good |= {"message": "a secret beach", "settings": {"steps": 1, "width": 64, "height": 64}}
    for body in (json.dumps(good), "rubbish"):
        sqs.send_message(QueueUrl=stack.dead_letter_queue_url, MessageBody=body)

    def shown(*command: str) -> list[dict[str, Any]]:
        assert cli.main([*command, "--json", *here]) == 0
        letters: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
        return letters

    for _ in range(2):  # looking takes nothing away
        assert {letter["job_id"] for letter in shown("redrive", "--list")} >= {job_id, None}
    assert cli.main(["redrive", "--list", *here]) == 0
    said = capsys.readouterr()
    assert job_id in said.out
    assert "secret" not in said.out + said.err

    moved = shown("redrive")
    assert job_id in [letter["job_id"] for letter in moved]
    with httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=30) as api:
        wait_until(
            lambda: api.get(f"/v1/jobs/{job_id}").json().get("status") == "succeeded",
            "the job to be drawn",
            timeout=60,  # two functions start for the first time
        )
    # What still cannot be read is back among the dead, and says why.
    wait_until(
        lambda: "not JSON" in [letter["reason"] for letter in shown("redrive", "--list")],
        "the rubbish to be back",
        timeout=60,
    )
