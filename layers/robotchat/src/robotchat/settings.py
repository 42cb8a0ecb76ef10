"""Everything that can be set from outside, read in one place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from robotchat.art.address import split_kind
from robotchat.errors import Misconfigured
from robotchat.images import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS
from robotchat.jobs.job import ALIVE
from robotchat.jobs.limits import Limits
from robotchat.prompt.models import PROMPT_TIMEOUT


@dataclass(frozen=True)
class Settings:
    """The service's settings. Times in seconds, sizes in bytes."""

    sd_hosts: tuple[str, ...] = ()
    """Base URLs of the SD hosts; a user and password for their ``--api-auth`` may be in them."""
    openai_base_url: str | None = None
    openai_api_key: str | None = None
    config_secret_arn: str | None = None
    """Secrets Manager secret for the keys and passwords of the configuration (see config.py)."""
    openai_secret_arn: str | None = None
    """Secrets Manager secret that holds the API key, instead of ``openai_api_key``."""
    openai_model: str = "gpt-4o-mini"
    openai_fallbacks: tuple[str, ...] = ()
    """Asked when the main API fails: ``model``, ``base_url``, or ``model@base_url`` each."""
    openai_fallback_keys: tuple[str, ...] = ()
    """API keys of the fallbacks, in their order; another model of the main API needs none."""
    openai_api: Literal["chat", "responses"] = "chat"
    """``responses`` leaves the state of responses to an upstream that knows that API."""
    openai_context_window: int | None = None
    """Tokens that the model takes in all, for truncation; None when only the upstream knows."""
    openai_max_tokens_field: str = "max_tokens"
    """The upstream's name for the limit on an answer: some want ``max_completion_tokens``."""
    openai_cache_prompt: bool = False
    """Send llama.cpp's ``cache_prompt`` with the requests of a conversation."""
    openai_timeout: float = 300.0
    """How long the upstream may be silent."""
    prompt_writer: str = "auto"
    """``auto``: the LLM when one is configured; ``llm`` or ``fallback`` to force one."""
    prompt_timeout: float = PROMPT_TIMEOUT

    table_name: str | None = None
    bucket_name: str | None = None
    jobs_queue_url: str | None = None
    requests_queue_url: str | None = None
    dead_letter_queue_url: str | None = None
    webhooks_queue_url: str | None = None
    responses_queue_url: str | None = None
    event_bus_name: str | None = None
    event_dead_letters_url: str | None = None
    service: str = "robotchat"
    """The stack's name, by which the queues of pools of SD hosts are called."""

    retention: timedelta = timedelta(days=7)
    """How long pictures and uploads are kept after the job has ended."""
    response_retention: timedelta = timedelta(days=30)
    """How long responses are kept that belong to no conversation."""
    max_attempts: int = 5
    retry_base: float = 2.0
    """First backoff after a transient failure; it doubles with each attempt."""
    run_timeout: float = 840.0
    """Longest a single drawing may take on a host; below the worker's Lambda timeout."""
    host_patience: float = 840.0
    """Longest that a request waits for a free host before it is given back or refused."""
    alive: timedelta = ALIVE
    """A job whose worker shows no sign of life for this long is taken up by another."""
    lease_ttl: float = 30.0
    """A host whose holder shows no sign of life for this long is free again."""
    max_image_bytes: int = MAX_IMAGE_BYTES
    max_image_pixels: int = MAX_IMAGE_PIXELS
    label_pictures: bool = True
    """Write into every picture file that a model made it (IPTC's digital source type)."""
    image_steps: Mapping[str, int] = field(
        default_factory=lambda: {"low": 12, "medium": 24, "high": 40}
    )
    """Sampling steps for the `quality` of OpenAI's image endpoints."""
    revise_image_prompts: bool = True
    """Have the language model, where there is one, put prompts of OpenAI's image endpoints into
    English that are in another language."""
    describe_uploads: bool = True
    """Find out what a picture shows that comes with a message, so that a change keeps the rest."""
    vision_model: str | None = None
    """A model of the upstream that takes pictures, to describe them; else an SD host does."""
    describe_timeout: float = 8.0
    """How long an SD host may take for that, and how long it is waited for."""
    link_ttl: float = 3600.0
    """How long a link to a picture works; links are made anew at each read."""
    limits: Limits = field(default_factory=Limits)
    """What tenants may use that have no limits of their own."""
    longest_silence: float = 240.0
    """How long an answer may be waited for without a byte of it; API Gateway cuts after 300."""
    sign_of_life: float = 60.0
    """Time between the signs of life that are sent after that."""
    follow_time: float = 150.0
    """How long a job or a response is followed before its follower must connect again."""
    allow_origin: str = "*"
    """The origin whose pages may call the API from a browser."""
    pull: bool = False
    """Workers beside the SD hosts take the jobs from their queue, and no function does."""
    local: bool = False
    """The local stack: lets image URLs and webhooks point at this machine."""

    def drawing_timeout(self, time_left: float) -> float:
        """Seconds that a host gets to draw, of those that whoever waits for it has left: some are
        kept for storing what it drew."""
        return max(min(self.run_timeout, time_left - 20.0), 1.0)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read settings from an environment. Raises Misconfigured, naming the variable."""

        def text(name: str) -> str | None:
            return env.get(name, "").strip() or None

        def number(name: str, default: float) -> float:
            value = text(name)
            if value is None:
                return default
            try:
                return float(value)
            except ValueError as error:
                raise Misconfigured(f"{name} must be a number.") from error

        def limit(name: str) -> int | None:
            value = number(name, 0)
            if value < 0:
                raise Misconfigured(f"{name} must not be negative; 0 is no limit.")
            return int(value) or None

        hosts = tuple(host.rstrip("/") for host in _list(env.get("SD_HOSTS", "")))
        for host in hosts:
            try:
                split_kind(host)
            except Misconfigured as error:
                raise Misconfigured(f"SD_HOSTS, separated by commas: {error.message}") from error
        writer = text("PROMPT_WRITER") or cls.prompt_writer
        if writer not in ("auto", "llm", "fallback"):
            raise Misconfigured("PROMPT_WRITER must be auto, llm or fallback.")
        api = text("OPENAI_API") or cls.openai_api
        if api not in ("chat", "responses"):
            raise Misconfigured("OPENAI_API must be chat or responses.")
        return cls(
            sd_hosts=hosts,
            openai_base_url=text("OPENAI_BASE_URL"),
            openai_api_key=text("OPENAI_API_KEY"),
            config_secret_arn=text("CONFIG_SECRET_ARN"),
            openai_secret_arn=text("OPENAI_SECRET_ARN"),
            openai_model=text("OPENAI_MODEL") or cls.openai_model,
            openai_fallbacks=_list(env.get("OPENAI_FALLBACKS", "")),
            openai_fallback_keys=_list(env.get("OPENAI_FALLBACK_API_KEYS", "")),
            openai_api="responses" if api == "responses" else "chat",
            openai_context_window=int(number("OPENAI_CONTEXT_WINDOW", 0)) or None,
            openai_max_tokens_field=text("OPENAI_MAX_TOKENS_FIELD") or cls.openai_max_tokens_field,
            openai_cache_prompt=text("OPENAI_CACHE_PROMPT") in ("1", "true"),
            openai_timeout=number("OPENAI_TIMEOUT_SECONDS", cls.openai_timeout),
            prompt_writer=writer,
            prompt_timeout=number("PROMPT_TIMEOUT_SECONDS", cls.prompt_timeout),
            table_name=text("TABLE_NAME"),
            bucket_name=text("BUCKET_NAME"),
            jobs_queue_url=text("JOBS_QUEUE_URL"),
            requests_queue_url=text("REQUESTS_QUEUE_URL"),
            dead_letter_queue_url=text("DEAD_LETTER_QUEUE_URL"),
            webhooks_queue_url=text("WEBHOOKS_QUEUE_URL"),
            responses_queue_url=text("RESPONSES_QUEUE_URL"),
            event_bus_name=text("EVENT_BUS_NAME"),
            event_dead_letters_url=text("EVENT_DEAD_LETTERS_URL"),
            service=text("POWERTOOLS_SERVICE_NAME") or cls.service,
            retention=timedelta(days=number("RETENTION_DAYS", cls.retention.days)),
            response_retention=timedelta(
                days=number("RESPONSE_RETENTION_DAYS", cls.response_retention.days)
            ),
            max_attempts=int(number("MAX_ATTEMPTS", cls.max_attempts)),
            retry_base=number("RETRY_BASE_SECONDS", cls.retry_base),
            run_timeout=number("RUN_TIMEOUT_SECONDS", cls.run_timeout),
            host_patience=number("HOST_PATIENCE_SECONDS", cls.host_patience),
            alive=timedelta(seconds=number("ALIVE_SECONDS", cls.alive.total_seconds())),
            lease_ttl=number("LEASE_TTL_SECONDS", cls.lease_ttl),
            max_image_bytes=int(number("MAX_IMAGE_BYTES", cls.max_image_bytes)),
            max_image_pixels=int(number("MAX_IMAGE_PIXELS", cls.max_image_pixels)),
            label_pictures=text("LABEL_PICTURES") not in ("0", "false"),
            image_steps=_steps(text("IMAGE_STEPS")) or cls().image_steps,
            revise_image_prompts=text("REVISE_IMAGE_PROMPTS") not in ("0", "false"),
            describe_uploads=text("DESCRIBE_UPLOADS") not in ("0", "false"),
            vision_model=text("VISION_MODEL"),
            describe_timeout=number("DESCRIBE_TIMEOUT_SECONDS", cls.describe_timeout),
            link_ttl=number("LINK_TTL_SECONDS", cls.link_ttl),
            limits=Limits(
                active_jobs=limit("LIMIT_ACTIVE_JOBS"),
                waiting_requests=limit("LIMIT_WAITING_REQUESTS"),
                images_per_day=limit("LIMIT_IMAGES_PER_DAY"),
                work_per_request=limit("LIMIT_WORK_PER_REQUEST"),
                stored_bytes=limit("LIMIT_STORED_BYTES"),
            ),
            longest_silence=number("LONGEST_SILENCE_SECONDS", cls.longest_silence),
            sign_of_life=number("SIGN_OF_LIFE_SECONDS", cls.sign_of_life),
            follow_time=number("FOLLOW_SECONDS", cls.follow_time),
            allow_origin=text("ALLOW_ORIGIN") or cls.allow_origin,
            pull=text("WORKERS") == "pull",
            local=text("ROBOTCHAT_LOCAL") == "1",
        )

    @property
    def has_llm(self) -> bool:
        """Whether an OpenAI-compatible API is configured."""
        return bool(self.openai_base_url or self.openai_api_key or self.openai_secret_arn)


def _list(text: str) -> tuple[str, ...]:
    """Words that are separated by commas or spaces."""
    return tuple(word for word in re.split(r"[,\s]+", text) if word)


def _steps(value: str | None) -> dict[str, int]:
    """Steps for each quality, as in ``low=12,medium=24,high=40``. Raises Misconfigured."""
    steps: dict[str, int] = {}
    for part in _list(value or ""):
        quality, _, number = part.partition("=")
        if quality not in ("low", "medium", "high") or not number.isdigit() or int(number) < 1:
            raise Misconfigured("IMAGE_STEPS must be like low=12,medium=24,high=40.")
        steps[quality] = int(number)
    return {**Settings().image_steps, **steps} if steps else {}
