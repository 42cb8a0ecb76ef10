"""The operator's commands, over a table in memory."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from robotchat import cli
from robotchat.aws.keys import ApiKey, create_key, find_key, revoke_key
from robotchat.jobs.limits import Limits
from robotchat.records import MemoryRecords


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
        ("keys create --tenant ../etc", "a tenant is named by"),
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
