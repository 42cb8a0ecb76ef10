"""The composition root: from the environment to a `Robot` over AWS, built once, on first use."""

from __future__ import annotations

import os
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
    from robotchat.drivers.webui import WebUI
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
    """The LLM, built when a prompt is written: most functions never write one."""

    def chat_completion(self, body: Any, *, timeout: float | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = chat().chat_completion(body, timeout=timeout)
        return answer


@cache
def chat() -> Any:
    """The OpenAI-compatible API. Raises Misconfigured when none is set."""
    if not settings().has_llm:
        raise Misconfigured(
            "No language model is configured: set OPENAI_BASE_URL (and OPENAI_API_KEY)."
        )
    from robotchat.drivers.openai import OpenAIChat

    return OpenAIChat(settings().openai_base_url or OPENAI, _openai_key())


def _openai_key() -> str | None:
    arn = settings().openai_secret_arn
    if arn is None:
        return settings().openai_api_key
    answer = client("secretsmanager").get_secret_value(SecretId=arn)
    return str(answer["SecretString"])


def _set(value: str | None, name: str) -> str:
    if value is None:
        raise Misconfigured(f"{name} is not set.")
    return value
