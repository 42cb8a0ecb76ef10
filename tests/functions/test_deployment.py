"""How the service is put together: each part once, when it is needed, and whatever tests give."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from robotchat.aws import wiring
from robotchat.aws.wiring import Deployment, deployment, serving
from robotchat.config import LanguageModel, MemorySecrets, ServiceConfig
from robotchat.errors import Misconfigured
from robotchat.records import MemoryRecords
from robotchat.settings import Settings
from tests.cases.counted import CountedRecords


class Clients:
    """Stands for boto3: remembers what was asked for, and is the secrets manager."""

    def __init__(self, secret: str = "") -> None:
        self.asked: list[str] = []
        self._secret = secret

    def __call__(self, service: str) -> Any:
        self.asked.append(service)
        return self

    def get_secret_value(self, *, SecretId: str) -> dict[str, str]:
        return {"SecretString": self._secret}


def test_parts_are_built_when_they_are_needed_and_once() -> None:
    clients = Clients()
    made = Deployment(Settings(table_name="table", sd_hosts=("http://a",)), client=clients)
    assert clients.asked == []
    assert made.records is made.records
    assert clients.asked == ["dynamodb"]


def test_threads_share_what_one_of_them_builds() -> None:
    made = Deployment(Settings(jobs_queue_url="https://q"), client=Clients())
    found: list[object] = []
    ready = threading.Barrier(8)

    def look() -> None:
        ready.wait()
        found.append(made.job_queue)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1


def test_a_new_process_reads_the_configuration_and_the_pulled_hosts_in_one_request() -> None:
    records = CountedRecords()
    made = Deployment(Settings(), records=records, client=Clients())
    assert made.present is made.present
    assert dict(records.requests) == {"get_all": 1}


def test_what_is_missing_in_the_environment_is_named_when_it_is_needed() -> None:
    made = Deployment(Settings(), records=MemoryRecords(), client=Clients())
    assert made.present.settings == Settings()
    for part, variable in (
        ("images", "BUCKET_NAME"),
        ("job_queue", "JOBS_QUEUE_URL"),
        ("webhooks", "WEBHOOKS_QUEUE_URL"),
        ("secrets", "CONFIG_SECRET_ARN"),
    ):
        with pytest.raises(Misconfigured, match=variable):
            getattr(made, part)


def test_a_part_that_does_not_exist_cannot_be_given() -> None:
    with pytest.raises(TypeError, match="robots"):
        Deployment(Settings(), robots=None)


def test_a_process_serves_its_environment_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TABLE_NAME", "theirs")
    other = Deployment(Settings(table_name="other"))
    with serving(other):
        assert deployment() is other
        with serving(Deployment(Settings())):
            assert deployment() is not other
        assert deployment() is other
    assert deployment() is not other
    assert deployment() is deployment()


@pytest.mark.parametrize(
    ("secret", "keys"),
    [
        ("key\n", ["key", "fallback"]),
        (json.dumps({"api_key": "key", "fallback_api_keys": ["a", None]}), ["key", "a", None]),
        ("{}", [None]),
    ],
)
def test_the_keys_of_the_deployment_are_in_its_secret(secret: str, keys: list[str | None]) -> None:
    settings = Settings(openai_secret_arn="arn:secret", openai_fallback_keys=("fallback",))
    clients = Clients(secret)
    assert Deployment(settings, client=clients).deployed_keys == keys
    assert clients.asked == ["secretsmanager"]


def test_another_api_never_learns_the_deployments_key() -> None:
    settings = Settings(openai_base_url="https://ours.example/v1", openai_api_key="ours")
    given: dict[str, Any] = {"records": MemoryRecords(), "secrets": MemorySecrets()}
    now = [0.0]
    made = Deployment(settings, monotonic=lambda: now[0], **given)
    assert made.present._openai_keys() == ["ours"]
    theirs = LanguageModel(base_url="https://theirs.example/v1", model="m")
    made.configuration.write(ServiceConfig(language_model=theirs))
    now[0] += wiring.CONFIG_AGE + 1
    assert made.present._openai_keys() == [None]
