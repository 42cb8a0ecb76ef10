"""The functions of the service in this process: over memory, with FakeArt for SD hosts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dev.checks.openapi import load_handler
from robotchat.aws import wiring
from robotchat.config import MemorySecrets
from robotchat.drivers.fake import FakeArt
from robotchat.images import MemoryImages
from robotchat.jobs.job import Job
from robotchat.records import MemoryRecords
from robotchat.robot import Robot
from robotchat.settings import Settings

ROOT = Path(__file__).parents[2]


class Context:
    """What Lambda passes beside the event."""

    function_name = "test"
    function_version = "1"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:test"
    memory_limit_in_mb = 512
    aws_request_id = "req-1"

    def get_remaining_time_in_millis(self) -> int:
        return 600_000


@dataclass
class Answer:
    """An answer of a function, taken apart."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass
class Service:
    """Functions by their folder (``sd/get_models``), and what is behind them."""

    hosts: dict[str, FakeArt]
    records: MemoryRecords = field(default_factory=MemoryRecords)
    images: MemoryImages = field(default_factory=MemoryImages)
    secrets: MemorySecrets = field(default_factory=MemorySecrets)
    queued: list[str] = field(default_factory=list)

    @classmethod
    @contextmanager
    def over(
        cls, hosts: Sequence[FakeArt], settings: Settings | None = None, **parts: Any
    ) -> Iterator[Service]:
        """A service whose stores and hosts are in this process. ``parts`` are of its deployment."""
        service = cls({f"sd-{number}": host for number, host in enumerate(hosts)})
        own = {
            "records": service.records,
            "images": service.images,
            "secrets": service.secrets,
            "hosts": service.hosts,
            "job_queue": service,
        }
        with wiring.serving(wiring.Deployment(settings or Settings(), **{**own, **parts})):
            yield service

    @property
    def robot(self) -> Robot:
        """The robot that the functions use."""
        return wiring.robot()

    def backlog(self) -> int:
        return 0

    def send(self, job: Job, *, delay: float = 0.0) -> None:
        """The queue's part: remember what was sent."""
        self.queued.append(job.id)

    def call(
        self,
        function: str,
        body: Any = ...,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        tenant: str = "dev",
        scopes: str = "*",
    ) -> Answer:
        """Call a function with its event file, changed where something is given."""
        event = json.loads((ROOT / "events" / f"{function}.json").read_text("utf-8"))
        if body is not ...:
            event["body"] = json.dumps(body)
        if path is not None:
            event["pathParameters"] = dict(path)
            event["path"] = event["resource"].format(**path)
        if query is not None:
            event["queryStringParameters"] = dict(query)
            event["multiValueQueryStringParameters"] = {k: [v] for k, v in query.items()}
        for name, value in (headers or {}).items():
            event["headers"][name] = value
            event["multiValueHeaders"][name] = [value]
        event["requestContext"]["authorizer"] |= {"tenant": tenant, "scopes": scopes}
        handler = load_handler(ROOT / "functions" / function / "app.py")
        answer = handler(event, Context())
        given = {n.lower(): values[0] for n, values in answer["multiValueHeaders"].items()}
        body = json.loads(answer["body"]) if answer["body"] else None
        return Answer(answer["statusCode"], given, body)


def path_of(function: str) -> str:
    """The route of a function, as in its event."""
    event = json.loads((ROOT / "events" / f"{function}.json").read_text("utf-8"))
    return str(event["resource"])
