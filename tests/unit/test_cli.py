"""The operator's commands, over a table in memory."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from robotchat import cli
from robotchat.aws.dead_letters import DeadLetters
from robotchat.aws.keys import ApiKey, create_key, find_key, revoke_key
from robotchat.aws.queues import SqsQueue
from robotchat.jobs.limits import Limits
from robotchat.records import MemoryRecords
from tests.cases import hostile


class Terminal:
    """Runs commands; ``out`` and ``err`` are what the last one wrote."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.records = MemoryRecords()
        self._capsys = capsys
        self.out = ""
        self.err = ""

    def __call__(self, line: str) -> int:
        try:
            status = cli.main(line.split())
        except SystemExit as exit_:
            status = int(str(exit_.code))
        self.out, self.err = self._capsys.readouterr()
        return status

    def key(self) -> ApiKey:
        """The key whose secret was shown last."""
        found = find_key(self.records, self.out.strip())
        assert found
        return found


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    terminal = Terminal(capsys)
    monkeypatch.setattr(cli, "_table", lambda asked: terminal.records)
    return terminal


def test_a_new_key_is_shown_once_and_alone_on_standard_output(run: Terminal) -> None:
    assert run("keys create --tenant acme --name laptop") == 0
    secret = run.out.strip()
    assert secret.startswith("rk_")
    assert secret not in run.err
    key = run.key()
    assert (key.tenant, key.name, key.expires_at) == ("acme", "laptop", None)
    assert key.scopes == ("images", "chat", "jobs:read"), "no operator's rights unless asked for"
    assert run("keys list --tenant acme") == 0
    assert key.key_id in run.out
    assert secret not in run.out + run.err


def test_a_key_can_be_narrow_and_short_lived(run: Terminal) -> None:
    assert run("keys create --tenant acme --scopes images,jobs:read --expires 90d") == 0
    key = run.key()
    assert key.scopes == ("images", "jobs:read")
    assert key.expires_at
    left = key.expires_at - datetime.now(UTC)
    assert timedelta(days=89, hours=23) < left <= timedelta(days=90)


def test_a_revoked_key_is_listed_as_such(run: Terminal) -> None:
    run("keys create --tenant acme --json")
    made = json.loads(run.out)
    assert run(f"keys revoke {made['key_id']} --tenant acme") == 0
    assert "half a minute" in run.err
    assert run("keys list --tenant acme --json") == 0
    (listed,) = json.loads(run.out)
    assert listed["state"] == "revoked"
    assert "secret" not in listed


def test_rotation_makes_the_same_key_anew_and_lets_the_old_one_run_out(run: Terminal) -> None:
    run("keys create --tenant acme --scopes chat --name app --expires 30d")
    old = run.key()
    assert run(f"keys rotate {old.key_id} --tenant acme --grace 2h") == 0
    new = run.key()
    assert (new.scopes, new.name) == (old.scopes, old.name)
    assert new.expires_at
    assert abs(new.expires_at - new.created_at - timedelta(days=30)) < timedelta(seconds=1)
    run("keys list --tenant acme --json")
    ends = {key["key_id"]: datetime.fromisoformat(key["expires_at"]) for key in json.loads(run.out)}
    assert ends[old.key_id] - datetime.now(UTC) <= timedelta(hours=2)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("keys revoke key_nonesuch --tenant acme", "There is no such key."),
        ("keys rotate key_nonesuch --tenant acme", "There is no such key."),
        ("tenants set acme", "Nothing to set: name a limit, as in --active-jobs 5."),
    ],
)
def test_a_failure_is_one_sentence_and_status_one(run: Terminal, line: str, said: str) -> None:
    assert run(line) == 1
    assert (run.out, run.err) == ("", f"robotchat: {said}\n")


def test_another_tenants_key_cannot_be_revoked(run: Terminal) -> None:
    _, key = create_key(run.records, "other")
    assert run(f"keys revoke {key.key_id} --tenant acme") == 1
    run("keys list --tenant other --json")
    assert json.loads(run.out)[0]["state"] == "valid"


def test_a_revoked_key_cannot_be_rotated(run: Terminal) -> None:
    _, key = create_key(run.records, "acme")
    revoke_key(run.records, "acme", key.key_id)
    assert run(f"keys rotate {key.key_id} --tenant acme") == 1
    assert "not valid" in run.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("keys create", "--tenant"),
        ("keys create --tenant ../etc", "A tenant is named by"),
        ("keys create --tenant acme --scopes images,everything", "no scope 'everything'"),
        ("keys create --tenant acme --expires soon", "as in 90d"),
        ("tenants set acme --active-jobs many", "must be a number"),
        ("tenants set acme --stored-bytes 5XB", "must be a number"),
        ("keys", "ACTION"),
        ("", "COMMAND"),
    ],
)
def test_wrong_usage_is_status_two(run: Terminal, line: str, said: str) -> None:
    assert run(line) == 2
    assert said in run.err


def test_limits_are_set_changed_and_returned_to_the_default(run: Terminal) -> None:
    assert run("tenants set acme --active-jobs 5 --stored-bytes 2GB --checkpoints a,b") == 0
    run("tenants set acme --active-jobs default --images-per-day unlimited")
    assert run("tenants show acme --json") == 0
    assert json.loads(run.out)["limits"] == {
        "stored_bytes": 2 * 1024**3,
        "checkpoints": ["a", "b"],
        "images_per_day": None,
    }
    assert run("tenants show acme") == 0
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in run.out.splitlines()}
    assert rows["active_jobs"].split() == ["default", "0"]
    assert rows["checkpoints"] == "a, b"
    stored = run.records.get("tenant#acme", "limits")
    assert stored
    assert Limits.model_validate(stored.data).images_per_day is None


def test_without_a_local_stack_it_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["keys", "list", "--tenant", "acme", "--local", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"robotchat: No local stack is running on {tmp_path}: start it with make run.\n"
    )


def test_without_credentials_it_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    assert cli.main(["keys", "list", "--tenant", "acme", "--region", "us-east-1"]) == 1
    assert "no AWS credentials" in capsys.readouterr().err


class DeadQueue:
    """SQS with messages in its dead letter queue; it refuses those of a kind, as it may."""

    def __init__(self, *bodies: str, refused: str = "nothing", **attributes: Any) -> None:
        self.dead = {
            f"m{number}": {
                "MessageId": f"m{number}",
                "ReceiptHandle": f"m{number}",
                "Body": body,
                "Attributes": {"SentTimestamp": "1700000000000", "ApproximateReceiveCount": "10"},
                "MessageAttributes": attributes,
            }
            for number, body in enumerate(bodies)
        }
        self.refused = refused
        self.jobs: list[dict[str, Any]] = []

    def receive_message(self, **_: Any) -> dict[str, Any]:
        return {"Messages": list(self.dead.values())}

    def change_message_visibility(self, **_: Any) -> None:
        pass

    def delete_message(self, *, ReceiptHandle: str, **_: Any) -> None:
        del self.dead[ReceiptHandle]

    def send_message(self, **parameters: Any) -> None:
        group = parameters.get("MessageGroupId", "a")
        if self.refused in parameters["MessageBody"] or not re.fullmatch(r"[!-~]{1,128}", group):
            raise ClientError({"Error": {"Code": "InvalidParameterValue"}}, "SendMessage")
        self.jobs.append(parameters)


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> Callable[[DeadQueue], DeadQueue]:
    def use(queue: DeadQueue) -> DeadQueue:
        sqs: Any = queue
        letters = DeadLetters(SqsQueue(sqs, "https://dead"), SqsQueue(sqs, "https://jobs"))
        monkeypatch.setattr(cli, "_dead_letters", lambda asked: letters)
        return queue

    return use


LETTERS = [
    *hostile.VALUES.values(),
    *(json.dumps({"tenant": name, "job_id": name}) for name in hostile.TERMINAL),
    *(json.dumps({"tenant": name, "job_id": name}) for name in hostile.IDS),
    *(body.decode("utf-8", "replace") for body in hostile.NOT_JSON.values()),
    '{"tenant": ' + hostile.nested(5000) + "}",
]


def test_any_dead_letter_is_shown_on_one_short_and_harmless_line(
    run: Terminal, dead: Callable[[DeadQueue], DeadQueue]
) -> None:
    dead(DeadQueue(*LETTERS, reason={"DataType": "String", "StringValue": "\x1b[31m" * 500}))
    assert run("redrive --list") == 0
    lines = run.out.splitlines()
    assert len(lines) == len(LETTERS) + 1
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) < 1000
    assert run("redrive --list --json") == 0
    assert len(json.loads(run.out)) == len(LETTERS)
    assert len(run.out) < 1000 * len(LETTERS)


def test_any_dead_letter_is_put_back_and_what_is_refused_stays(
    run: Terminal, dead: Callable[[DeadQueue], DeadQueue]
) -> None:
    queue = dead(DeadQueue(*LETTERS, "too large", refused="too large"))
    assert run("redrive") == 0
    assert [sent["MessageBody"] for sent in queue.jobs] == LETTERS
    assert [message["Body"] for message in queue.dead.values()] == ["too large"]
    assert "1 could not be put back" in run.err


def test_what_is_among_the_dead_letters_twice_is_shown_and_put_back_once(
    run: Terminal, dead: Callable[[DeadQueue], DeadQueue]
) -> None:
    # As by a worker that died after it had put a message there, and before its own queue knew.
    first = {"DataType": "String", "StringValue": "m-first"}
    queue = dead(DeadQueue("rubbish", "rubbish", "other rubbish", first_id=first))
    assert run("redrive --list --json") == 0
    assert len(json.loads(run.out)) == 2
    queue = dead(DeadQueue("rubbish", "rubbish", "other rubbish", first_id=first))
    assert run("redrive") == 0
    assert [sent["MessageBody"] for sent in queue.jobs] == ["rubbish", "other rubbish"]
    kept = [sent["MessageAttributes"]["first_id"]["StringValue"] for sent in queue.jobs]
    assert kept == ["m-first", "m-first"]
    assert queue.dead == {}


@pytest.mark.parametrize("name", hostile.TERMINAL)
def test_names_are_shown_without_what_a_terminal_would_obey(run: Terminal, name: str) -> None:
    create_key(run.records, "acme", name=name)
    assert run("keys list --tenant acme") == 0
    assert all(line.isprintable() for line in run.out.splitlines())
    assert len(run.out.splitlines()) == 2


@pytest.mark.parametrize(
    "wrong",
    ["--pool Large", "--pool large/x", "--ahead -1", "--ahead x", "--drain soon", "--drain -1"],
)
def test_a_pull_worker_is_told_what_is_wrong_with_its_options(run: Terminal, wrong: str) -> None:
    assert run(f"worker --host http://127.0.0.1:7860 {wrong}") == 2


def test_a_pull_worker_needs_a_host(run: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    from robotchat.aws import pull

    monkeypatch.setattr(pull, "environment_of", lambda stack: {"SD_HOSTS": "http://lambdas:1"})
    monkeypatch.setattr(os, "environ", dict(os.environ) | {"SD_HOSTS": ""})
    assert run("worker") == 1
    assert "Name a host" in run.err


def test_a_pull_worker_of_no_local_stack_says_so(run: Terminal, tmp_path: Path) -> None:
    assert run(f"worker --local {tmp_path} --host http://127.0.0.1:7860") == 1
    assert "No local stack is running" in run.err
