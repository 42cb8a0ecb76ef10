"""The configuration: laid over the settings, versioned, and silent about its secrets."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from robotchat.art.checks import ALLOWED_OPTIONS
from robotchat.config import Configuration, MemorySecrets, ServiceConfig
from robotchat.drivers.hosts import host_driver
from robotchat.errors import StaleVersion
from robotchat.records import MemoryRecords, Put, Record
from robotchat.settings import Settings
from tests.cases.clock import FakeClock

HOST = "http://10.0.0.5:7860"
LLM = "https://llm.example/v1"


class World:
    """A configuration over certain settings, and where it is kept."""

    def __init__(self, **settings: Any) -> None:
        self.records = MemoryRecords()
        self.secrets = MemorySecrets()
        self.settings = Settings(**settings)
        self.configuration = Configuration(self.records, self.secrets, self.settings, FakeClock())

    def write(self, **fields: Any) -> dict[str, Any]:
        """Write these fields; gives what may be seen of them afterwards."""
        config = ServiceConfig.model_validate(fields)
        return self.configuration.write(config).model_dump(mode="json")

    def known(self) -> dict[str, str]:
        return self.configuration.secrets(self.configuration.read())


def test_without_a_configuration_the_settings_hold() -> None:
    world = World(sd_hosts=("http://me:secret@gpu:7860",), openai_base_url="https://k:s@api/v1")
    view = world.configuration.view()
    assert (view.version, view.updated_at) == (0, None)
    assert view.effective.sd_hosts == ["http://gpu:7860"]
    assert view.effective.language_model == "https://api/v1"
    assert view.effective.allowed_options == sorted(ALLOWED_OPTIONS)
    assert "secret" not in view.model_dump_json()
    stored = world.configuration.read()
    assert world.configuration.settings(stored) == world.settings


def test_the_configuration_is_laid_over_the_settings() -> None:
    world = World(sd_hosts=("http://old:7860",), openai_model="small")
    view = world.write(
        sd_hosts=[{"url": f"{HOST}/"}],
        checkpoint="one",
        allowed_options=["sd_vae"],
        allowed_scripts=["X/Y/Z plot"],
        limits={"active_jobs": 3},
        language_model={"base_url": LLM},
        fallback_models=[{"model": "other"}],
    )
    assert view["version"] == 1
    stored = world.configuration.read()
    settings, art = world.configuration.settings(stored), world.configuration.art(stored)
    assert settings.sd_hosts == (HOST,)
    assert (settings.openai_base_url, settings.openai_model) == (LLM, "small")
    assert settings.openai_fallbacks == (f"other@{LLM}",)
    assert settings.limits.active_jobs == 3
    assert art.checkpoint == "one"
    assert art.allowed_options == {"sd_vae"}
    assert art.allowed_scripts == {"X/Y/Z plot"}


def test_a_host_of_the_images_api_says_what_it_is() -> None:
    world = World()
    url = "http://10.0.0.7:8000/v1"
    host = {"url": url, "kind": "openai-images", "flavour": "localai", "password": "key-1"}
    view = world.write(
        sd_hosts=[{**host, "models": ["Qwen/Qwen-Image", "a,b"], "loras": {"ink": "/l/ink=1"}}]
    )
    assert "key-1" not in str(view)
    (address,) = world.configuration.settings(world.configuration.read()).sd_hosts
    driver = host_driver(address)
    assert driver.capabilities().flavour == "LocalAI"
    assert [model.alias for model in driver.models()] == ["Qwen/Qwen-Image", "a,b"]
    assert world.known() == {f"sd_host {url}": "key-1"}
    with pytest.raises(ValidationError, match="openai-images"):
        ServiceConfig.model_validate({"sd_hosts": [{"url": url, "flavour": "localai"}]})


def test_secrets_are_kept_apart_and_never_shown() -> None:
    world = World()
    view = world.write(
        sd_hosts=[{"url": HOST, "username": "me", "password": "pass-1"}],
        language_model={"base_url": LLM, "api_key": "sk-1"},
        fallback_models=[{"base_url": "https://b/v1", "api_key": "sk-2"}],
    )
    assert world.known() == {
        f"sd_host {HOST}": "pass-1",
        f"language_model {LLM}": "sk-1",
        "language_model https://b/v1": "sk-2",
    }
    record = world.records.get("config#service", "config")
    assert record is not None
    for text in (str(view), str(record.data), repr(world.configuration.read())):
        assert not any(secret in text for secret in ("pass-1", "sk-1", "sk-2"))
    assert view["config"]["sd_hosts"][0]["password_set"] is True
    assert view["config"]["language_model"]["api_key_set"] is True


def test_what_was_read_can_be_written_back() -> None:
    world = World()
    first = world.write(
        sd_hosts=[{"url": HOST, "username": "me", "password": "pass-1"}, {"url": "http://b"}],
        language_model={"base_url": LLM, "api_key": "sk-1"},
    )
    again = world.write(**{**first["config"], "checkpoint": "one"})
    assert again["config"] == {**first["config"], "checkpoint": "one"}
    assert world.known() == {f"sd_host {HOST}": "pass-1", f"language_model {LLM}": "sk-1"}


def test_a_secret_is_for_its_address_only_and_can_be_forgotten() -> None:
    world = World()
    world.write(language_model={"base_url": LLM, "api_key": "sk-1"}, sd_hosts=[{"url": HOST}])
    moved = world.write(language_model={"base_url": "https://elsewhere/v1"})
    assert moved["config"]["language_model"]["api_key_set"] is False
    assert world.known() == {}
    world.write(language_model={"base_url": LLM, "api_key": "sk-3"})
    world.write(language_model={"base_url": LLM, "api_key": ""})
    assert world.known() == {}


def test_only_the_version_that_was_read_is_replaced() -> None:
    world = World()
    config = ServiceConfig(checkpoint="one")
    assert world.configuration.write(config, if_version=0).version == 1
    with pytest.raises(StaleVersion):
        world.configuration.write(config, if_version=0)
    assert world.configuration.write(config, if_version=1).version == 2


def test_two_writes_at_once_are_both_done_one_after_the_other() -> None:
    class Contested(MemoryRecords):
        """A store in which somebody else is faster, once."""

        faster = True

        def commit(self, *operations: Any) -> None:
            if self.faster:
                self.faster = False
                data = {"config": {"checkpoint": "theirs"}, "updated_at": "2026-01-01T00:00:00Z"}
                super().commit(Put(Record("config#service", "config", data)))
            super().commit(*operations)

    configuration = Configuration(Contested(), MemorySecrets(), Settings(), FakeClock())
    view = configuration.write(ServiceConfig(checkpoint="ours"))
    assert (view.version, view.config.checkpoint) == (2, "ours")


@pytest.mark.parametrize(
    "fields",
    [
        {"sd_hosts": [{"url": "ftp://gpu"}]},
        {"sd_hosts": [{"url": "http://me:secret@gpu"}]},
        {"sd_hosts": [{"url": "http://gpu?x=1"}]},
        {"sd_hosts": [{"url": "http://gpu:99999"}]},
        {"sd_hosts": [{"url": "gpu:7860"}]},
        {"sd_hosts": [{"url": HOST}, {"url": f"{HOST}/"}]},
        {"language_model": {"base_url": "not a url"}},
        {"allowed_options": ["outdir_samples"]},
        {"allowed_options": ["a-b"]},
        {"limits": {"active_jobs": -1}},
        {"hosts": []},
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refusal:
        ServiceConfig.model_validate(fields)
    assert "secret" not in str(refusal.value.errors(include_input=False))
