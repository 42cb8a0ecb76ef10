"""The composition root: what a process of the service is made of, and how it is put together.

A `Deployment` has everything that there is once: stores, queues, clients. What depends on the
configuration, which operators change while the service runs, is in a `Configured`: a new one is
made when the configuration has changed. Every part is built when it is first used, since a function
uses few of them; tests give the parts that they want to be others.

Handlers take their parts from the functions at the end, which ask the deployment of this process.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast, overload

from robotchat.art.driver import ArtDriver
from robotchat.aws.links import origin, s3_config, term
from robotchat.aws.queues import SqsDeliveries, SqsJobs, SqsQueue, SqsResponses
from robotchat.aws.stores import DynamoRecords, ManagedSecrets, S3Images
from robotchat.clock import Clock, SystemClock
from robotchat.config import OPENAI, Configuration, SdHost, Secrets, Stored
from robotchat.errors import Misconfigured
from robotchat.hosts.calls import Calls
from robotchat.hosts.lease import host_name
from robotchat.hosts.pulled import PulledHosts
from robotchat.hosts.remote import RemoteHost
from robotchat.jobs.limits import Ledger
from robotchat.prompt.writer import PromptWriter
from robotchat.records import Records
from robotchat.robot import Robot
from robotchat.settings import Settings
from robotchat.views import Viewer

if TYPE_CHECKING:
    from robotchat.drivers.openai import OpenAIChat, Upstream
    from robotchat.events.webhooks import Webhooks
    from robotchat.gpt.bot import ChatBot
    from robotchat.gpt.responses.engine import Responses
    from robotchat.gpt.responses.painting import Draws
    from robotchat.jobs.job import Job


CONFIG_AGE = 20.0
"""Seconds for which the configuration is believed without looking whether it has changed."""

PULLED_AGE = 3.0
"""The same for the SD hosts that workers announce, where there are such, or no others."""

T = TypeVar("T")


class part(cached_property[T]):
    """A part of a whole, built when it is first used, and by one thread only."""

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Self | T:
        if instance is None:
            return self
        with instance.lock:  # its parent looks first whether another thread has built it meanwhile
            made: T = super().__get__(instance, owner)
            return made


class _Whole:
    """Something that consists of parts, of which some may be given instead of being built."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.lock = threading.RLock()
        vars(self).update(given)

    @classmethod
    def parts(cls) -> frozenset[str]:
        """The names of all parts."""
        return frozenset(name for name, value in vars(cls).items() if isinstance(value, part))


class Deployment(_Whole):
    """What there is once in a process of the service.

    ``environment`` has the settings of the function's environment. Any part, of this or of
    `Configured`, can be given by its name: ``Deployment(settings, records=MemoryRecords())``.
    """

    def __init__(self, environment: Settings, **given: Any) -> None:
        unknown = given.keys() - Deployment.parts() - Configured.parts()
        if unknown:
            raise TypeError(f"a deployment has no parts {sorted(unknown)}")
        own = {name: value for name, value in given.items() if name in Deployment.parts()}
        super().__init__(own)
        self.environment = environment
        self._given = {name: value for name, value in given.items() if name not in own}
        self._present: Configured | None = None
        self._looked = 0.0

    @property
    def present(self) -> Configured:
        """What was built from the present configuration, which is looked up again now and then."""
        with self.lock:
            now, present = self.monotonic(), self._present
            stored = None if present is None else present.stored
            if stored is None or now - self._looked >= CONFIG_AGE:
                stored, self._looked = self._read(), now
            pools = self._pools()
            if (
                present is None
                or present.stored.version != stored.version
                or present.pools != pools
            ):
                present = self._present = Configured(self, stored, pools, self._given)
            return present

    def _read(self) -> Stored:
        """The configuration, and in the same request the pulled hosts."""
        stored, *announced = self.records.get_all([Configuration.KEY, *PulledHosts.KEYS])
        self.pulled.note(announced)
        return self.configuration.stored(stored)

    def _pools(self) -> dict[str, str | None]:
        """The pulled hosts, and the pool of each."""
        none_else = self._present is not None and not self._present.hosts
        self.pulled.look(
            unless_within=PULLED_AGE if self.pulled.hosts() or none_else else CONFIG_AGE
        )
        own = self.own_hosts or {}
        return {host.name: host.pool for host in self.pulled.hosts() if host.name not in own}

    @part
    def clock(self) -> Clock:
        """The time by which everything is judged that is stored."""
        return SystemClock()

    @part
    def monotonic(self) -> Callable[[], float]:
        """The time in seconds, by which the configuration grows old."""
        return time.monotonic

    @part
    def client(self) -> Callable[[str], Any]:
        """Gives the boto3 client of a service, one per service."""
        return cache(_client)

    @part
    def records(self) -> Records:
        """The table."""
        name = _required(self.environment.table_name, "TABLE_NAME")
        return DynamoRecords(self.client("dynamodb"), name)

    @part
    def images(self) -> S3Images:
        """The bucket."""
        name = _required(self.environment.bucket_name, "BUCKET_NAME")
        client = self.client("s3")
        # The credentials that sign, which are nobody's business but botocore's.
        return S3Images(client, name, link_term=lambda s: term(client._get_credentials(), s))

    @part
    def secrets(self) -> Secrets:
        """The keys and passwords of the configuration."""
        arn = _required(self.environment.config_secret_arn, "CONFIG_SECRET_ARN")
        return ManagedSecrets(self.client("secretsmanager"), arn)

    @part
    def configuration(self) -> Configuration:
        """What operators have set, in the table and in Secrets Manager."""
        return Configuration(self.records, _LazySecrets(self), self.environment, self.clock)

    @part
    def job_queue(self) -> SqsJobs:
        """The queue of jobs, and those of the pools, which are named after the service."""
        url = _required(self.environment.jobs_queue_url, "JOBS_QUEUE_URL")
        pools = f"{url.rpartition('/')[0]}/{self.environment.service}-pool-"
        return SqsJobs(self.client("sqs"), url, pools=pools)

    @part
    def pulled(self) -> PulledHosts:
        """The SD hosts that only workers beside them reach."""
        return PulledHosts(self.records, self.clock)

    @part
    def calls(self) -> Calls:
        """What those workers are asked to do."""
        return Calls(self.records, self.clock)

    @part
    def own_hosts(self) -> Mapping[str, ArtDriver] | None:
        """The SD hosts beside this process, if it is a pull worker: it reaches no others."""
        return None

    @part
    def request_queue(self) -> SqsQueue:
        """The queue of producers' messages."""
        url = _required(self.environment.requests_queue_url, "REQUESTS_QUEUE_URL")
        return SqsQueue(self.client("sqs"), url)

    @part
    def dead_letters(self) -> SqsQueue:
        """The queue of messages that nobody can read or answer, for an operator to see."""
        url = _required(self.environment.dead_letter_queue_url, "DEAD_LETTER_QUEUE_URL")
        return SqsQueue(self.client("sqs"), url)

    @part
    def event_dead_letters(self) -> SqsQueue:
        """The queue of writes of which no event could be made."""
        url = _required(self.environment.event_dead_letters_url, "EVENT_DEAD_LETTERS_URL")
        return SqsQueue(self.client("sqs"), url)

    @part
    def response_queue(self) -> SqsResponses:
        """The queue of responses to be made in the background."""
        url = _required(self.environment.responses_queue_url, "RESPONSES_QUEUE_URL")
        return SqsResponses(self.client("sqs"), url)

    @part
    def webhooks(self) -> Webhooks:
        """Webhooks of all tenants."""
        from robotchat.events.webhooks import Webhooks

        local = self.environment.local
        return Webhooks(self.records, self.clock, self.webhook_queue, local=local)

    @part
    def webhook_queue(self) -> SqsDeliveries:
        """The queue of deliveries."""
        url = _required(self.environment.webhooks_queue_url, "WEBHOOKS_QUEUE_URL")
        return SqsDeliveries(self.client("sqs"), url)

    @part
    def deployed_keys(self) -> list[str | None]:
        """The keys of language models that were set with the deployment, the main one first.

        The secret is the key itself, or a JSON object
        ``{"api_key": ..., "fallback_api_keys": [...]}``.
        """
        own = self.environment
        if own.openai_secret_arn is None:
            return [own.openai_api_key, *own.openai_fallback_keys]
        manager = self.client("secretsmanager")
        answer = manager.get_secret_value(SecretId=own.openai_secret_arn)
        secret = str(answer["SecretString"]).strip()
        if not secret.startswith("{"):
            return [secret, *own.openai_fallback_keys]
        keys = json.loads(secret)
        return [keys.get("api_key"), *keys.get("fallback_api_keys", ())]


class Configured(_Whole):
    """What depends on the configuration, as of one version of it."""

    def __init__(
        self,
        deployment: Deployment,
        stored: Stored,
        pools: Mapping[str, str | None],
        given: Mapping[str, Any],
    ) -> None:
        super().__init__(given)
        self.stored = stored
        self.pools = pools
        """The SD hosts that only workers beside them reach, and the pool of each."""
        self._deployment = deployment

    @part
    def settings(self) -> Settings:
        """The settings that hold: the environment's under the configuration."""
        return self._deployment.configuration.settings(self.stored)

    @part
    def ledger(self) -> Ledger:
        """The tenants' limits and counters."""
        return Ledger(self._deployment.records, self._deployment.clock, self.settings.limits)

    @part
    def secrets(self) -> dict[str, str]:
        """The keys and passwords of this version, by name."""
        return self._deployment.configuration.secrets(self.stored)

    @part
    def robot(self) -> Robot:
        """The use cases of pictures, conversations and jobs."""
        deployment = self._deployment
        elsewhere = {name: pool for name, pool in self.pools.items() if name not in self.hosts}
        remote = {name: RemoteHost(name, deployment.pulled, deployment.calls) for name in elsewhere}
        return Robot(
            art={**self.hosts, **remote},
            elsewhere=elsewhere,
            clock=deployment.clock,
            art_config=deployment.configuration.art(self.stored),
            writer=self.writer,
            records=deployment.records,
            images=deployment.images,
            queue=deployment.job_queue,
            settings=self.settings,
            on_attempt=_record_attempt,
        )

    @part
    def viewer(self) -> Viewer:
        """Makes what callers see, with links that work for the configured time."""
        return Viewer(self._deployment.images, link_ttl=self.settings.link_ttl)

    @part
    def hosts(self) -> Mapping[str, ArtDriver]:
        """The SD hosts that this process reaches, by names that may be shown."""
        if self._deployment.own_hosts is not None:
            return self._deployment.own_hosts
        configured = self.stored.config.sd_hosts
        if configured is None:
            lazy = {url: _LazyHost(url, None, self) for url in self.settings.sd_hosts}
        else:
            lazy = {host.url: _LazyHost(host.address, host, self) for host in configured}
        return {host_name(url): cast(ArtDriver, host) for url, host in lazy.items()}

    @part
    def writer(self) -> PromptWriter:
        """Writes the prompts of conversations that draw."""
        own = self.settings
        if not own.has_llm or own.prompt_writer == "fallback":
            return PromptWriter(None, model="")
        return PromptWriter(
            _LazyChat(self),
            model=own.openai_model,
            timeout=own.prompt_timeout,
            vision_model=own.vision_model,
        )

    @part
    def chat(self) -> OpenAIChat:
        """The OpenAI-compatible API. Raises Misconfigured when none is set."""
        own = self.settings
        if not own.has_llm:
            raise Misconfigured(
                "No language model is configured: set OPENAI_BASE_URL to any OpenAI-compatible "
                "API, and OPENAI_API_KEY where it wants one."
            )
        from robotchat.drivers.openai import OpenAIChat

        base_url = own.openai_base_url or OPENAI
        keys = self._openai_keys()
        return OpenAIChat(
            base_url,
            keys[0],
            timeout=own.openai_timeout,
            fallbacks=_fallbacks(own.openai_fallbacks, base_url, keys),
        )

    @part
    def chatbot(self) -> ChatBot:
        """Chat and completions. Raises Misconfigured when no language model is set."""
        from robotchat.gpt.bot import ChatBot

        return ChatBot(self.chat, model=self.settings.openai_model)

    @part
    def responses(self) -> Responses:
        """Responses over the table, whether or not a language model is set."""
        from robotchat.conversation import Conversations
        from robotchat.gpt.responses.engine import Responses
        from robotchat.gpt.responses.inference import Options
        from robotchat.gpt.responses.store import ResponseStore
        from robotchat.jobs.store import Jobs

        deployment, own = self._deployment, self.settings
        records, clock = deployment.records, deployment.clock
        conversations = Conversations(records, Jobs(records, clock), clock)
        return Responses(
            _LazyChat(self),
            model=own.openai_model,
            store=ResponseStore(
                records,
                conversations,
                deployment.images,
                clock=clock,
                retention=own.response_retention,
            ),
            options=Options(
                mode=own.openai_api,
                context_window=own.openai_context_window,
                max_tokens_field=own.openai_max_tokens_field,
                cache_prompt=own.openai_cache_prompt,
            ),
            enqueue=lambda response_id, tenant: deployment.response_queue.send(response_id, tenant),
            draws=cast("Draws", _LazyDraws(self)),
            clock=clock,
            alive=own.alive,
        )

    def _openai_keys(self) -> list[str | None]:
        """The main API key, then those of the fallbacks."""
        config, deployment = self.stored.config, self._deployment
        own = self.settings.openai_base_url or OPENAI
        deployed = deployment.environment.openai_base_url or OPENAI
        model = config.language_model
        known = self.secrets.get(model.secret_name) if model is not None else None
        # Another API must not learn the deployment's key.
        main = known or (deployment.deployed_keys[0] if own == deployed else None)
        if not config.fallback_models:
            return [main, *deployment.deployed_keys[1:]]
        return [
            main,
            *(
                self.secrets.get(one.secret_name)
                or (main if (one.base_url or own) == own else None)
                for one in config.fallback_models
            ),
        ]


class _LazySecrets:
    """The store of secrets, built when it is first needed: most functions never do."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def put(self, values: Any) -> str:
        return self._deployment.secrets.put(values)

    def get(self, reference: str) -> dict[str, str]:
        return self._deployment.secrets.get(reference)


class _LazyHost:
    """An SD host, built when it is first asked: most functions never do, and need no httpx."""

    def __init__(self, address: str, host: SdHost | None, configured: Configured) -> None:
        self._address = address
        self._host = host
        self._configured = configured

    @cached_property
    def _driver(self) -> Any:
        from robotchat.drivers.hosts import host_driver
        from robotchat.drivers.webui import Timeouts

        auth = None
        if self._host is not None:
            password = self._configured.secrets.get(self._host.secret_name, "")
            if self._host.username is not None or password:
                auth = (self._host.username or "", password)
        # Below what API Gateway waits for those functions that only ask.
        return host_driver(
            self._address,
            auth=auth,
            timeouts=Timeouts(answer=15.0),
            workflows=self._configured.stored.config.workflows,
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)


class _LazyDraws:
    """Who draws for responses, built when one wants a picture: most do not."""

    def __init__(self, configured: Configured) -> None:
        self._configured = configured

    def __getattr__(self, name: str) -> Any:
        return getattr(self._configured.robot.draws, name)


class _LazyChat:
    """The LLM, built when it is first asked: most functions never do, and need not import it."""

    def __init__(self, configured: Configured) -> None:
        self._configured = configured

    def __getattr__(self, name: str) -> Any:
        return getattr(self._configured.chat, name)

    def chat_completion(self, body: Any, *, timeout: float | None = None) -> dict[str, Any]:
        return self._configured.chat.chat_completion(body, timeout=timeout)


def _client(service: str) -> Any:
    import boto3
    from botocore.config import Config

    # A name of our own: botocore would put one together for each request, twice, from all that it
    # knows, which is a tenth of what a request costs this process.
    config = Config(user_agent=f"robotchat Boto3/{boto3.__version__}")
    if service == "s3":
        config = config.merge(s3_config(_s3_endpoint()))
    make: Any = boto3.client  # its stubs know every service by name, and this is any of them
    return make(service, config=config)


def _s3_endpoint() -> str | None:
    """Where S3 is, if it is not AWS's."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _record_attempt(job: Job) -> None:
    from robotchat.aws.metrics import record_attempt

    record_attempt(job)


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


def _required(value: str | None, name: str) -> str:
    if value is None:
        raise Misconfigured(f"{name} is not set.")
    return value


# --- the deployment of this process ---------------------------------------------------------------

_served: Deployment | None = None


def deployment() -> Deployment:
    """What this process serves: the deployment of its environment, or the one it is `serving`."""
    global _served
    if _served is None:
        _served = Deployment(Settings.from_env(os.environ))
    return _served


@contextmanager
def serving(other: Deployment) -> Iterator[Deployment]:
    """Have this process serve another deployment meanwhile."""
    global _served
    before, _served = _served, other
    try:
        yield other
    finally:
        _served = before


def settings() -> Settings:
    """The settings that hold at present."""
    return deployment().present.settings


def robot() -> Robot:
    """Pictures, conversations and jobs."""
    return deployment().present.robot


def viewer() -> Viewer:
    """Makes what callers see."""
    return deployment().present.viewer


def chatbot() -> ChatBot:
    """Chat and completions. Raises Misconfigured when no language model is set."""
    return deployment().present.chatbot


def responses(*, new: bool = False) -> Responses:
    """Responses. Those that are there can be read without a language model; where ``new`` ones are
    to be made, it raises Misconfigured when none is set."""
    present = deployment().present
    if new:
        present.chat  # noqa: B018 - raises when there is none
    return present.responses


def image_origin() -> str:
    """The origin of links to pictures and uploads: a page names it before it has any."""
    bucket = _required(deployment().environment.bucket_name, "BUCKET_NAME")
    return origin(bucket, os.environ.get("AWS_REGION", "us-east-1"), _s3_endpoint())


def webhooks() -> Webhooks:
    """Webhooks, and their deliveries."""
    return deployment().webhooks
