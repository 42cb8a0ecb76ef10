"""What an operator may change while the service runs: GetConfig and SetConfig.

The deployment's settings are the defaults, and the configuration is laid over them. It is one
record with a version; its keys and passwords are kept apart from it, in a store for secrets, and
are never given out again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol, TypeVar
from urllib.parse import urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from robotchat.art.bot import ArtConfig
from robotchat.art.capabilities import HostKind, ImagesFlavour
from robotchat.art.checkpoints import CheckpointConfig
from robotchat.art.checks import ALLOWED_OPTIONS
from robotchat.art.workflows import MAX_WORKFLOWS_BYTES, Workflow
from robotchat.clock import Clock, rfc3339
from robotchat.errors import StaleVersion
from robotchat.jobs.limits import Limits
from robotchat.records import Put, Record, Records, Retries, Stale
from robotchat.settings import Settings

MAX_HOSTS = 64

_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_OF_THE_MACHINE = re.compile(r"dir|path|filename|password|secret|^api_|url", re.IGNORECASE)


def _address(url: str) -> str:
    """A base URL in its normal form. Refuses what is none, and one with a password in it."""
    parts = urlsplit(url.strip())
    try:
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.query or parts.fragment or re.search(r"\s", url.strip()):
        raise PydanticCustomError("value_error", "must be an http(s) URL without a query")
    if parts.username is not None or parts.password is not None:
        raise PydanticCustomError(
            "value_error", "must not hold a user name or password; they have fields of their own"
        )
    return parts.geturl().rstrip("/")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


ModelName = Annotated[str, Field(max_length=300)]


class SdHost(_Part):
    """An SD host."""

    url: str = Field(max_length=500, examples=["http://10.0.0.5:7860"])
    kind: HostKind | None = Field(
        default=None, description="How it is spoken to. Null: found out when it is first used."
    )
    flavour: ImagesFlavour | None = Field(
        default=None,
        description="Of a host of the kind `openai-images`: the program, since each heeds other "
        "fields. Null: only what OpenAI's API itself has is asked of it.",
    )
    models: list[ModelName] = Field(
        default=[],
        max_length=100,
        description="Of a host of the kind `openai-images`: the names to draw with, where it "
        "lists others as well.",
    )
    loras: dict[ModelName, ModelName] = Field(
        default={},
        max_length=100,
        description="Of a host of the kind `openai-images`: LoRAs that prompts may name, with "
        "their paths there, or empty where their names will do.",
    )
    username: str | None = Field(
        default=None, max_length=200, description="Of the host's `--api-auth`, if it has one."
    )
    password: str | None = Field(
        default=None,
        max_length=2000,
        description="The password, or an API key. Write-only. Left out: stays as it is for this "
        "URL; empty: is forgotten.",
    )
    password_set: bool | None = Field(
        default=None, description="Whether there is one. Ignored when it is sent."
    )

    _url = field_validator("url")(_address)

    @property
    def secret_name(self) -> str:
        """The name of its password in the store of secrets."""
        return f"sd_host {self.url}"

    @model_validator(mode="after")
    def _only_what_its_kind_has(self) -> SdHost:
        if self.kind != "openai-images" and (self.flavour or self.models or self.loras):
            raise PydanticCustomError(
                "value_error", "flavour, models and loras are for hosts of the kind openai-images"
            )
        return self

    @property
    def address(self) -> str:
        """Its URL, with its kind if one is named, and what that kind has in its query."""
        query: list[tuple[str, str]] = []
        if self.flavour:
            query.append(("flavour", self.flavour))
        query += [("model", name) for name in self.models]
        query += [("lora", f"{name}={path}") for name, path in self.loras.items()]
        url = f"{self.url}?{urlencode(query)}" if query else self.url
        return f"{self.kind}+{url}" if self.kind else url


class LanguageModel(_Part):
    """An OpenAI-compatible API, and the model to ask of it."""

    base_url: str | None = Field(
        default=None,
        max_length=500,
        description="Null: the deployment's.",
        examples=["https://api.openai.com/v1"],
    )
    model: str | None = Field(default=None, max_length=200, description="Null: the deployment's.")
    api_key: str | None = Field(
        default=None,
        max_length=2000,
        description="Write-only. Left out: stays as it is for this URL; empty: is forgotten.",
    )
    api_key_set: bool | None = Field(
        default=None, description="Whether there is one. Ignored when it is sent."
    )

    @field_validator("base_url")
    @classmethod
    def _base_url(cls, url: str | None) -> str | None:
        return None if url is None else _address(url)

    @property
    def secret_name(self) -> str:
        """The name of its key in the store of secrets."""
        return f"language_model {self.base_url or ''}"


class ServiceConfig(_Part):
    """The configuration; null or left out is the deployment's setting."""

    sd_hosts: list[SdHost] | None = Field(
        default=None, max_length=MAX_HOSTS, description="All SD hosts, instead of the deployment's."
    )
    checkpoint: str | None = Field(
        default=None,
        min_length=1,
        max_length=300,
        description="Drawn with when neither a request nor its tenant names one. Null: the home "
        "checkpoint of the host that comes free, which is what it had chosen when it was first "
        "seen; so set it where hosts differ.",
    )
    allowed_options: list[str] | None = Field(
        default=None,
        max_length=300,
        description="Options that requests may override and tenants may set. Null: those that "
        "shape pictures and nothing else.",
    )
    allowed_scripts: list[str] = Field(
        default=[],
        max_length=100,
        description="Titles of scripts that requests may run; ControlNet always is allowed.",
    )
    checkpoints: list[CheckpointConfig] = Field(
        default=[],
        max_length=300,
        description="How single checkpoints are drawn with when a request does not say: modules, "
        "sampler, schedule, steps, guidance.",
    )
    workflows: list[Workflow] = Field(
        default=[],
        max_length=50,
        description="Workflows of ComfyUI hosts, which callers name as they name a checkpoint. "
        "One is refused if no ComfyUI host that can be reached is able to draw it.",
    )
    limits: Limits | None = Field(
        default=None, description="For tenants that have none of their own."
    )
    language_model: LanguageModel | None = Field(
        default=None, description="What writes prompts and answers the GPT endpoints."
    )
    fallback_models: list[LanguageModel] = Field(
        default=[],
        max_length=5,
        description="Asked in this order when the language model fails or is overloaded.",
    )

    @field_validator("allowed_options")
    @classmethod
    def _options(cls, names: list[str] | None) -> list[str] | None:
        for name in names or ():
            if not _OPTION.fullmatch(name) or _OF_THE_MACHINE.search(name):
                raise PydanticCustomError(
                    "value_error",
                    "{name} is not an option that may be allowed",
                    {"name": repr(name[:100])},
                )
        return names

    @field_validator("workflows")
    @classmethod
    def _workflows(cls, workflows: list[Workflow]) -> list[Workflow]:
        names = [workflow.name for workflow in workflows]
        if len(names) != len(set(names)):
            raise PydanticCustomError("value_error", "a workflow's name is there twice")
        if sum(workflow.size for workflow in workflows) > MAX_WORKFLOWS_BYTES:
            raise PydanticCustomError(
                "value_error",
                "workflows must have {most} bytes together at most",
                {"most": MAX_WORKFLOWS_BYTES},
            )
        return workflows

    @model_validator(mode="after")
    def _each_address_once(self) -> ServiceConfig:
        urls = [host.url for host in self.sd_hosts or ()]
        if len(urls) != len(set(urls)):
            raise PydanticCustomError("value_error", "an SD host is listed twice")
        return self

    def places(self) -> list[SdHost | LanguageModel]:
        """Everything in it that may have a key or password."""
        models = [self.language_model] if self.language_model else []
        return [*(self.sd_hosts or ()), *models, *self.fallback_models]


class Effective(_Part):
    """What holds at present: the configuration over the deployment's settings."""

    sd_hosts: list[str] = Field(description="Base URLs, without user names and passwords.")
    checkpoint: str | None
    allowed_options: list[str]
    allowed_scripts: list[str]
    limits: Limits
    language_model: str | None = Field(description="Base URL of the API; null: there is none.")
    model: str


class ConfigView(_Part):
    """The configuration as it may be shown. ``PUT`` takes what is in ``config``."""

    object: Literal["config"] = "config"
    version: int = Field(description="Also the `ETag`; 0 for a configuration never written.")
    updated_at: datetime | None = None
    config: ServiceConfig
    effective: Effective


class Secrets(Protocol):
    """Stores keys and passwords. What was stored once is never changed."""

    def put(self, values: Mapping[str, str]) -> str:
        """Store these, by name. Gives the reference to ask for them with."""
        ...

    def get(self, reference: str) -> dict[str, str]:
        """What was stored under a reference."""
        ...


class MemorySecrets:
    """Secrets in this process."""

    def __init__(self) -> None:
        self._kept: list[dict[str, str]] = []

    def put(self, values: Mapping[str, str]) -> str:
        self._kept.append(dict(values))
        return str(len(self._kept) - 1)

    def get(self, reference: str) -> dict[str, str]:
        return dict(self._kept[int(reference)])


@dataclass(frozen=True)
class Stored:
    """The configuration as it is stored; ``reference`` is that of its secrets, if it has any."""

    config: ServiceConfig = field(default_factory=ServiceConfig)
    version: int = 0
    updated_at: datetime | None = None
    reference: str | None = None
    secret_names: frozenset[str] = frozenset()


class Configuration:
    """The configuration of one deployment, over its settings."""

    KEY = ("config#service", "config")
    """That of its record."""

    def __init__(
        self, records: Records, secrets: Secrets, settings: Settings, clock: Clock
    ) -> None:
        self._records = records
        self._secrets = secrets
        self._settings = settings
        self._clock = clock

    def read(self) -> Stored:
        """The configuration as it is now."""
        return self.stored(self._records.get(*self.KEY))

    @staticmethod
    def stored(record: Record | None) -> Stored:
        """The configuration in its record."""
        if record is None:
            return Stored()
        data = record.data
        return Stored(
            config=ServiceConfig.model_validate(data["config"]),
            version=record.version,
            updated_at=datetime.fromisoformat(data["updated_at"]),
            reference=data.get("reference"),
            secret_names=frozenset(data.get("secret_names", ())),
        )

    def secrets(self, stored: Stored) -> dict[str, str]:
        """The keys and passwords of a configuration, by the ``secret_name`` of their places."""
        return self._secrets.get(stored.reference) if stored.reference is not None else {}

    def view(self) -> ConfigView:
        """The configuration as an operator sees it."""
        return self._view(self.read())

    def write(self, config: ServiceConfig, *, if_version: int | None = None) -> ConfigView:
        """Replace the configuration; ``if_version``: only if this is still its version.

        Raises StaleVersion when it is not.
        """
        retries = Retries()
        while True:
            before = self.read()
            if if_version is not None and before.version != if_version:
                raise StaleVersion(
                    "The configuration was changed meanwhile: read it again.",
                    details={"version": before.version},
                )
            known = self.secrets(before)
            kept = _kept(config, known)
            reference = before.reference
            if kept != known:
                # Before the record, which is what makes them count.
                reference = self._secrets.put(kept) if kept else None
            data = {
                "config": _without_secrets(config).model_dump(mode="json", exclude_unset=True),
                "updated_at": rfc3339(self._clock.now()),
                "reference": reference,
                "secret_names": sorted(kept),
            }
            try:
                self._records.commit(Put(Record(*self.KEY, data, before.version)))
            except Stale:
                retries.spend()
                continue
            return self.view()

    def settings(self, stored: Stored) -> Settings:
        """The deployment's settings under a configuration, without its keys and passwords."""
        config = stored.config
        changes: dict[str, Any] = {}
        if config.sd_hosts is not None:
            changes["sd_hosts"] = tuple(host.address for host in config.sd_hosts)
        if config.limits is not None:
            changes["limits"] = config.limits.over(self._settings.limits)
        model = config.language_model
        if model is not None:
            changes["openai_model"] = model.model or self._settings.openai_model
            if model.base_url is not None:
                changes["openai_base_url"] = model.base_url
        if config.fallback_models:
            changes["openai_fallbacks"] = tuple(
                _fallback(one, changes.get("openai_base_url", self._settings.openai_base_url))
                for one in config.fallback_models
            )
        return replace(self._settings, **changes)

    def art(self, stored: Stored) -> ArtConfig:
        """What a configuration means for drawing."""
        config = stored.config
        options = config.allowed_options
        return ArtConfig(
            checkpoint=config.checkpoint,
            allowed_options=ALLOWED_OPTIONS if options is None else frozenset(options),
            allowed_scripts=frozenset(config.allowed_scripts),
            checkpoints=tuple(config.checkpoints),
            timeout=self._settings.run_timeout,
            max_image_bytes=self._settings.max_image_bytes,
            max_image_pixels=self._settings.max_image_pixels,
        )

    def _view(self, stored: Stored) -> ConfigView:
        settings, art = self.settings(stored), self.art(stored)
        return ConfigView(
            version=stored.version,
            updated_at=stored.updated_at,
            config=_marked(stored.config, stored.secret_names),
            effective=Effective(
                sd_hosts=[_without_user(url) for url in settings.sd_hosts],
                checkpoint=art.checkpoint,
                allowed_options=sorted(art.allowed_options),
                allowed_scripts=sorted(art.allowed_scripts),
                limits=settings.limits,
                language_model=_without_user(settings.openai_base_url or OPENAI)
                if settings.has_llm
                else None,
                model=settings.openai_model,
            ),
        )


OPENAI = "https://api.openai.com/v1"
"""The API that an API key without a base URL is for."""

P = TypeVar("P", SdHost, LanguageModel)


def _given(place: SdHost | LanguageModel) -> str | None:
    return place.password if isinstance(place, SdHost) else place.api_key


def _kept(config: ServiceConfig, known: Mapping[str, str]) -> dict[str, str]:
    """The secrets of a new configuration: those given, and those known for the same address."""
    kept: dict[str, str] = {}
    for place in config.places():
        given = _given(place)
        value = known.get(place.secret_name) if given is None else given
        if value:
            kept[place.secret_name] = value
    return kept


def _each(config: ServiceConfig, change: Any) -> ServiceConfig:
    """The configuration with everything changed that may have a secret."""
    changes: dict[str, Any] = {}
    if config.sd_hosts is not None:
        changes["sd_hosts"] = [change(host) for host in config.sd_hosts]
    if config.language_model is not None:
        changes["language_model"] = change(config.language_model)
    if config.fallback_models:
        changes["fallback_models"] = [change(model) for model in config.fallback_models]
    return config.model_copy(update=changes)


def _without_secrets(config: ServiceConfig) -> ServiceConfig:
    def bare(place: P) -> P:
        hidden = {"password", "password_set", "api_key", "api_key_set"}
        return type(place).model_validate(place.model_dump(exclude=hidden))

    return _each(config, bare)


def _marked(config: ServiceConfig, names: frozenset[str]) -> ServiceConfig:
    def marked(place: P) -> P:
        field = "password_set" if isinstance(place, SdHost) else "api_key_set"
        return place.model_copy(update={field: place.secret_name in names})

    return _each(config, marked)


def _fallback(one: LanguageModel, main: str | None) -> str:
    """A fallback as the deployment's settings write them: ``model@url``."""
    return f"{one.model or ''}@{one.base_url or main or OPENAI}"


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
