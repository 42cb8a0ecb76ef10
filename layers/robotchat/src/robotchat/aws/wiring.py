"""The composition root: from the environment and the configuration to a `Robot` over AWS.

Everything is built once, on first use; what depends on the configuration is built anew when that
has changed.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache, cached_property, wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from robotchat.art.driver import ArtDriver
from robotchat.aws.queues import SqsDeliveries, SqsQueue
from robotchat.aws.stores import DynamoRecords, ManagedSecrets, S3Images
from robotchat.clock import SystemClock
from robotchat.config import OPENAI, Configuration, SdHost, Stored
from robotchat.errors import Misconfigured
from robotchat.hosts.lease import host_name
from robotchat.prompt.writer import PromptWriter
from robotchat.robot import Robot
from robotchat.settings import Settings
from robotchat.views import Viewer

if TYPE_CHECKING:
    from robotchat.drivers.openai import OpenAIChat, Upstream
    from robotchat.events.webhooks import Webhooks
    from robotchat.gpt.bot import ChatBot
    from robotchat.gpt.responses.engine import Responses
    from robotchat.jobs.job import Job


CONFIG_AGE = 20.0
"""Seconds for which the configuration is believed without looking whether it has changed."""

T = TypeVar("T")


@cache
def environment() -> Settings:
    """The settings of this function's environment."""
    return Settings.from_env(os.environ)


def settings() -> Settings:
    """The settings that hold at present: the environment's under the configuration."""
    return _present().settings


@cache
def client(service: str) -> Any:
    """A boto3 client, one per service and process."""
    import boto3
    from botocore.config import Config

    make: Any = boto3.client  # its stubs know every service by name, and this is any of them
    # Links that cannot be tampered with need the fourth version of signatures.
    config = Config(retries={"mode": "standard", "max_attempts": 5}, signature_version="s3v4")
    return make(service, config=config if service == "s3" else None)


@cache
def records() -> DynamoRecords:
    """The table."""
    return DynamoRecords(client("dynamodb"), _set(environment().table_name, "TABLE_NAME"))


@cache
def images() -> S3Images:
    """The bucket."""
    return S3Images(client("s3"), _set(environment().bucket_name, "BUCKET_NAME"))


@cache
def configuration() -> Configuration:
    """The configuration in the table; its keys and passwords are in Secrets Manager."""
    return Configuration(records(), _Secrets(), environment(), SystemClock())


class _Secrets:
    """The store of secrets, built when it is first needed: most functions never do."""

    @cached_property
    def _store(self) -> ManagedSecrets:
        arn = _set(environment().config_secret_arn, "CONFIG_SECRET_ARN")
        return ManagedSecrets(client("secretsmanager"), arn)

    def put(self, values: Any) -> str:
        return self._store.put(values)

    def get(self, reference: str) -> dict[str, str]:
        return self._store.get(reference)


class _Configured:
    """A version of the configuration, and what was built from it."""

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self.settings = configuration().settings(stored)
        self.made: dict[Callable[[], Any], Any] = {}
        self.lock = threading.RLock()

    @cached_property
    def secrets(self) -> dict[str, str]:
        return configuration().secrets(self.stored)


class _Watch:
    """The present configuration, looked up again now and then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._present: _Configured | None = None
        self._looked = 0.0

    def __call__(self) -> _Configured:
        with self._lock:
            now = time.monotonic()
            if self._present is None or now - self._looked >= CONFIG_AGE:
                stored = configuration().read()
                if self._present is None or self._present.stored.version != stored.version:
                    self._present = _Configured(stored)
                self._looked = now
            return self._present


_present = _Watch()


def _configured(make: Callable[[], T]) -> Callable[[], T]:
    """As ``cache``, but made anew when the configuration has changed."""

    @wraps(make)
    def made() -> T:
        present = _present()
        with present.lock:
            if make not in present.made:
                present.made[make] = make()
            return cast(T, present.made[make])

    return made


@_configured
def robot() -> Robot:
    """The robot of this process."""
    return Robot(
        art=_hosts(),
        art_config=configuration().art(_present().stored),
        writer=_writer(settings()),
        records=records(),
        images=images(),
        queue=job_queue(),
        settings=settings(),
        on_attempt=_record_attempt,
    )


def _record_attempt(job: Job) -> None:
    from robotchat.aws.metrics import record_attempt

    record_attempt(job)


@cache
def job_queue() -> SqsQueue:
    """The queue of jobs."""
    url = settings().jobs_queue_url
    return SqsQueue(client("sqs"), _set(url, "JOBS_QUEUE_URL"))


@_configured
def viewer() -> Viewer:
    """Makes what callers see, with links that work for the configured time."""
    return Viewer(images(), link_ttl=settings().link_ttl)


@cache
def webhooks() -> Webhooks:
    """Webhooks of all tenants, and the queue of their deliveries."""
    from robotchat.events.webhooks import Webhooks

    queue = SqsDeliveries(client("sqs"), _set(settings().webhooks_queue_url, "WEBHOOKS_QUEUE_URL"))
    return Webhooks(records(), SystemClock(), queue, local=settings().local)


def _hosts() -> dict[str, ArtDriver]:
    present = _present()
    configured = present.stored.config.sd_hosts
    if configured is None:
        return {host_name(url): _lazy_host(url, None, present) for url in settings().sd_hosts}
    return {host_name(host.url): _lazy_host(host.url, host, present) for host in configured}


def _lazy_host(url: str, host: SdHost | None, present: _Configured) -> ArtDriver:
    return cast(ArtDriver, _LazyHost(url, host, present))


class _LazyHost:
    """An SD host, built when it is first asked: most functions never do, and need no httpx."""

    def __init__(self, url: str, host: SdHost | None, present: _Configured) -> None:
        self._url = url
        self._host = host
        self._present = present

    @cached_property
    def _driver(self) -> Any:
        from robotchat.drivers.webui import Timeouts, WebUI

        auth = None
        if self._host is not None and self._host.username is not None:
            password = self._present.secrets.get(self._host.secret_name, "")
            auth = (self._host.username, password)
        # Below what API Gateway waits for those functions that only ask.
        return WebUI(self._url, auth=auth, timeouts=Timeouts(answer=15.0))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)


def _writer(settings: Settings) -> PromptWriter:
    if not settings.has_llm or settings.prompt_writer == "fallback":
        return PromptWriter(None, model="")
    return PromptWriter(_LazyChat(), model=settings.openai_model, timeout=settings.prompt_timeout)


class _LazyChat:
    """The LLM, built when it is first asked: most functions never do, and need not import it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(chat(), name)

    def chat_completion(self, body: Any, *, timeout: float | None = None) -> dict[str, Any]:
        return chat().chat_completion(body, timeout=timeout)


@_configured
def chat() -> OpenAIChat:
    """The OpenAI-compatible API. Raises Misconfigured when none is set."""
    if not settings().has_llm:
        raise Misconfigured(
            "No language model is configured: set OPENAI_BASE_URL to any OpenAI-compatible API, "
            "and OPENAI_API_KEY where it wants one."
        )
    from robotchat.drivers.openai import OpenAIChat

    base_url = settings().openai_base_url or OPENAI
    keys = _openai_keys()
    return OpenAIChat(
        base_url,
        keys[0],
        timeout=settings().openai_timeout,
        fallbacks=_fallbacks(settings().openai_fallbacks, base_url, keys),
    )


@_configured
def chatbot() -> ChatBot:
    """Chat and completions. Raises Misconfigured when no language model is set."""
    from robotchat.gpt.bot import ChatBot

    return ChatBot(chat(), model=settings().openai_model)


@_configured
def responses() -> Responses:
    """Responses over the table, whether or not a language model is set (see `talking`)."""
    from robotchat.conversation import Conversations
    from robotchat.gpt.responses.engine import Responses
    from robotchat.gpt.responses.inference import Options
    from robotchat.gpt.responses.store import ResponseStore
    from robotchat.jobs.store import Jobs

    clock = SystemClock()
    conversations = Conversations(records(), Jobs(records(), clock), clock)
    return Responses(
        _LazyChat(),
        model=settings().openai_model,
        store=ResponseStore(
            records(),
            conversations,
            images(),
            clock=clock,
            retention=settings().response_retention,
        ),
        options=Options(
            mode=settings().openai_api,
            context_window=settings().openai_context_window,
            max_tokens_field=settings().openai_max_tokens_field,
            cache_prompt=settings().openai_cache_prompt,
        ),
        enqueue=_enqueue_response,
        clock=clock,
    )


def talking() -> Responses:
    """Responses, where new ones are made. Raises Misconfigured when no language model is set."""
    chat()
    return responses()


def _enqueue_response(response_id: str, tenant: str) -> None:
    client("sqs").send_message(
        QueueUrl=_set(settings().responses_queue_url, "RESPONSES_QUEUE_URL"),
        MessageBody=json.dumps({"response_id": response_id}),
        MessageGroupId=tenant,  # makes the queue a fair one
    )


def _openai_keys() -> list[str | None]:
    """The main API key, then those of the fallbacks."""
    present = _present()
    config, deployed = present.stored.config, environment().openai_base_url or OPENAI
    keys: list[str | None] | None = None

    def deployments() -> list[str | None]:
        nonlocal keys
        if keys is None:
            keys = _deployments_keys()
        return keys

    model = config.language_model
    known = present.secrets.get(model.secret_name) if model is not None else None
    own = settings().openai_base_url or OPENAI
    # Another API must not learn the deployment's key.
    main = known or (deployments()[0] if own == deployed else None)
    if not config.fallback_models:
        return [main, *deployments()[1:]]
    return [
        main,
        *(
            present.secrets.get(one.secret_name) or (main if (one.base_url or own) == own else None)
            for one in config.fallback_models
        ),
    ]


def _deployments_keys() -> list[str | None]:
    """The keys that were set with the deployment.

    The secret is the key itself, or a JSON object ``{"api_key": ..., "fallback_api_keys": [...]}``.
    """
    arn = environment().openai_secret_arn
    if arn is None:
        return [environment().openai_api_key, *environment().openai_fallback_keys]
    secret = str(client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]).strip()
    if not secret.startswith("{"):
        return [secret, *environment().openai_fallback_keys]
    keys = json.loads(secret)
    return [keys.get("api_key"), *keys.get("fallback_api_keys", ())]


def _fallbacks(given: Sequence[str], base_url: str, keys: Sequence[str | None]) -> list[Upstream]:
    from robotchat.drivers.openai import Upstream

    upstreams = []
    for number, text in enumerate(given, start=1):
        model, at, url = text.partition("@") if "@http" in text else (text, "", base_url)
        if not at and "://" in text:
            model, url = "", text
        own = keys[number] if number < len(keys) else None
        # The main key is for the main upstream only: another one must not learn it.
        key = own or (keys[0] if url == base_url else None)
        upstreams.append(Upstream(url, key, model or None))
    return upstreams


def _set(value: str | None, name: str) -> str:
    if value is None:
        raise Misconfigured(f"{name} is not set.")
    return value
