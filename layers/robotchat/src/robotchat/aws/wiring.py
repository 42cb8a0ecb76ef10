"""The composition root: from the environment to a `Robot` over AWS, built once, on first use."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from robotchat.aws.stores import DynamoRecords, S3Images, SqsQueue
from robotchat.errors import Misconfigured
from robotchat.hosts import host_name
from robotchat.prompt import PromptWriter
from robotchat.robot import Robot
from robotchat.settings import Settings
from robotchat.views import Viewer

if TYPE_CHECKING:
    from robotchat.chat import ChatBot
    from robotchat.drivers.openai import OpenAIChat, Upstream
    from robotchat.drivers.webui import WebUI
    from robotchat.responses import Responses
    from robotchat.webhooks import Webhooks


OPENAI = "https://api.openai.com/v1"
"""The API that an API key without a base URL is for."""


@cache
def settings() -> Settings:
    """The settings of this function's environment."""
    return Settings.from_env(os.environ)


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
    return DynamoRecords(client("dynamodb"), _set(settings().table_name, "TABLE_NAME"))


@cache
def images() -> S3Images:
    """The bucket."""
    return S3Images(client("s3"), _set(settings().bucket_name, "BUCKET_NAME"))


@cache
def robot() -> Robot:
    """The robot of this process."""
    return Robot(
        art=_hosts(settings().sd_hosts),
        writer=_writer(settings()),
        records=records(),
        images=images(),
        queue=SqsQueue(client("sqs"), _set(settings().jobs_queue_url, "JOBS_QUEUE_URL")),
        settings=settings(),
    )


@cache
def viewer() -> Viewer:
    """Makes what callers see, with links that work for the configured time."""
    return Viewer(images(), link_ttl=settings().link_ttl)


@cache
def webhooks() -> Webhooks:
    """Webhooks of all tenants, and the queue of their deliveries."""
    from robotchat.aws.deliver import SqsDeliveries
    from robotchat.clock import SystemClock
    from robotchat.webhooks import Webhooks

    queue = SqsDeliveries(client("sqs"), _set(settings().webhooks_queue_url, "WEBHOOKS_QUEUE_URL"))
    return Webhooks(records(), SystemClock(), queue, local=settings().local)


def _hosts(urls: tuple[str, ...]) -> dict[str, WebUI]:
    from robotchat.drivers.webui import WebUI

    return {host_name(url): WebUI(url) for url in urls}


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


@cache
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


@cache
def chatbot() -> ChatBot:
    """Chat and completions. Raises Misconfigured when no language model is set."""
    from robotchat.chat import ChatBot

    return ChatBot(chat(), model=settings().openai_model)


@cache
def responses() -> Responses:
    """Responses over the table, whether or not a language model is set (see `talking`)."""
    from robotchat.clock import SystemClock
    from robotchat.conversation import Conversations
    from robotchat.jobs import Jobs
    from robotchat.response_items import picture_turns
    from robotchat.response_store import ResponseStore
    from robotchat.responses import Options, Responses

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
        pictures=lambda conversation_id, tenant: picture_turns(
            conversations.turns(conversation_id)
        ),
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
    """The main API key, then those of the fallbacks.

    The secret is the key itself, or a JSON object ``{"api_key": ..., "fallback_api_keys": [...]}``.
    """
    arn = settings().openai_secret_arn
    if arn is None:
        return [settings().openai_api_key, *settings().openai_fallback_keys]
    secret = str(client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]).strip()
    if not secret.startswith("{"):
        return [secret, *settings().openai_fallback_keys]
    keys = json.loads(secret)
    return [keys.get("api_key"), *keys.get("fallback_api_keys", ())]


def _fallbacks(given: Sequence[str], base_url: str, keys: Sequence[str | None]) -> list[Upstream]:
    from robotchat.drivers.openai import Upstream

    upstreams = []
    for number, text in enumerate(given, start=1):
        model, at, url = text.partition("@") if "@http" in text else (text, "", base_url)
        if not at and "://" in text:
            model, url = "", text
        # The main key is for the main upstream only: another one must not learn it.
        key = keys[number] if number < len(keys) else keys[0] if url == base_url else None
        upstreams.append(Upstream(url, key, model or None))
    return upstreams


def _set(value: str | None, name: str) -> str:
    if value is None:
        raise Misconfigured(f"{name} is not set.")
    return value
