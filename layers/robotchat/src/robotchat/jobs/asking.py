"""What a request says about its job, besides what is to be drawn.

The HTTPS endpoints, conversations and queue messages all have the same fields for it.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, field_validator

from robotchat.art.requests import (
    DrawRequest,
    Image2ImageRequest,
    Request,
    Text2ImageRequest,
)
from robotchat.jobs.job import WebhookTarget
from robotchat.text import no_switch

ExpiresIn = Annotated[
    int | None,
    Field(
        ge=60,
        description="For how many seconds the pictures are kept after the job has ended; it can "
        "only shorten what is usual here. A job that is not done within that time expires.",
        examples=[86400],
    ),
]


def _object(value: object) -> object:
    """PHP writes an empty object as ``[]``."""
    return {} if value is None or value == [] else value


def _set(value: object) -> object:
    """A form's empty field is none."""
    return None if value == "" else value


class JobFields(BaseModel):
    """What a request says of its job. None of it reaches an SD host."""

    metadata: Annotated[dict[str, Any], BeforeValidator(_object)] = Field(
        default_factory=dict,
        description="The caller's own data, up to 16 KB as JSON; comes back with the job.",
    )
    webhook: Annotated[WebhookTarget | str | None, BeforeValidator(_set)] = Field(
        default=None,
        description="An https URL to tell when the job has ended, or a URL and the events to tell "
        "there; the tenant's own webhook when left out.",
        examples=["https://example.com/hooks/robotchat"],
    )
    expires_in: ExpiresIn = None
    deadline: int | None = Field(
        default=None,
        ge=1,
        description="Seconds from now after which the job is of no use any more: it expires, even "
        "while it is being drawn, and its SD host is freed.",
        examples=[60],
    )
    dry_run: bool = Field(
        default=False,
        description="Only check the request and tell what it would cost; no job is made.",
    )

    _numbers = field_validator("expires_in", "deadline", mode="before")(no_switch)

    def job_fields(self) -> dict[str, Any]:
        """What was said of the job, as keyword arguments of those that accept jobs."""
        names = {"metadata", "webhook", "expires_in", "deadline"} & self.model_fields_set
        return {name: getattr(self, name) for name in sorted(names)}


class Text2ImageBody(JobFields, Text2ImageRequest):
    """A picture from words, and what becomes of its job."""

    @property
    def drawing(self) -> Text2ImageRequest:
        """What is to be drawn."""
        return _drawing(self, Text2ImageRequest)


class Image2ImageBody(JobFields, Image2ImageRequest):
    """A picture from a picture and words, and what becomes of its job."""

    @property
    def drawing(self) -> Image2ImageRequest:
        """What is to be drawn."""
        return _drawing(self, Image2ImageRequest)


def _drawing(body: DrawRequest, kind: type[Request]) -> Request:
    given = body.model_fields_set & set(kind.model_fields)
    return kind.model_validate({name: getattr(body, name) for name in given}).ignoring(body.ignored)
