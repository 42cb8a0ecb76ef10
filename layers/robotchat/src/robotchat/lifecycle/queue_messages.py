"""Jobs as queue messages: what a producer puts on the SQS queue, and what becomes of it.

The message is the JSON that the HTTPS endpoint of the same kind takes, with ``kind``, ``tenant``
and, if the producer likes, ``job_id`` or ``idempotency_key`` beside it. The published JSON Schema
is ``docs/job-message.schema.json``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from robotchat.conversation import ChatEditRequest, ChatImageRequest
from robotchat.errors import ForbiddenUrl, IdempotencyKeyReused, InvalidRequest, RobotchatError
from robotchat.events.event import accept_target
from robotchat.ids import TENANT_PATTERN, fingerprint, id_for_key
from robotchat.jobs.asking import Image2ImageBody, JobFields, Text2ImageBody
from robotchat.jobs.job import Job, JobKind, WebhookTarget
from robotchat.lifecycle.accept import Intake
from robotchat.text import salvage_json

logger = logging.getLogger(__name__)

JobId = Annotated[str, Field(pattern=r"^job_[a-z0-9]{16,64}$")]
Key = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,255}$")]
Tenant = Annotated[str, Field(pattern=TENANT_PATTERN)]


class _Message(BaseModel):
    version: Literal[1] = Field(default=1, description="Version of this schema.")
    tenant: Tenant = Field(description="Whose job it is: access to the queue is trust enough.")
    job_id: JobId | None = Field(
        default=None,
        description="The id that the job shall have: `job_` and at least 16 random letters and "
        "digits. The same id twice is one job.",
        examples=["job_0123456789abcdef"],
    )
    idempotency_key: Key | None = Field(
        default=None, description="The same key twice is one job, as with the HTTPS header."
    )


class ChatText2ImageMessage(_Message, ChatImageRequest):
    """A turn of a conversation that draws."""

    kind: Literal["chat_text2image"]


class ChatImage2ImageMessage(_Message, ChatEditRequest):
    """A turn of a conversation that changes a picture."""

    kind: Literal["chat_image2image"]


class _ImageMessage(_Message, JobFields):
    model_config = ConfigDict(extra="forbid")


class Text2ImageMessage(_ImageMessage):
    """A picture from words."""

    kind: Literal["text2image"]
    request: Text2ImageBody = Field(description="The body of `POST /sdapi/v1/txt2img`.")


class Image2ImageMessage(_ImageMessage):
    """A picture from a picture and words; large pictures go by upload id or https URL."""

    kind: Literal["image2image"]
    request: Image2ImageBody = Field(description="The body of `POST /sdapi/v1/img2img`.")


Message = Annotated[
    ChatText2ImageMessage | ChatImage2ImageMessage | Text2ImageMessage | Image2ImageMessage,
    Field(discriminator="kind"),
]

_MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)
_TENANT: TypeAdapter[str] = TypeAdapter(Tenant)
_JOB_ID: TypeAdapter[str] = TypeAdapter(JobId)
_TARGET: TypeAdapter[WebhookTarget | str | None] = TypeAdapter(WebhookTarget | str | None)


class Unreadable(Exception):
    """There is nobody who could be answered: the message does not even tell whose it is, or its
    id is that of another job."""


def schema() -> dict[str, Any]:
    """The JSON Schema of the messages."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "robotchat job message, version 1",
        **_MESSAGE.json_schema(),
    }


def accept(intake: Intake, text: str, *, message_id: str, last: bool = False) -> Job:
    """Take a producer's message in. Gives the job, which is queued, or failed if it was invalid.

    ``text`` is the body of the message, whatever it may be. ``message_id`` is the queue's id of
    it: a message that names no key of its own is accepted once however often it is delivered.
    Raises Unreadable, and what may pass (the tenant's limits, SD hosts that are away, a bug of
    ours), unless this is the ``last`` time that it is tried: then the job has failed of it.
    """
    try:
        message, fault = salvage_json(text)
    except ValueError:
        raise Unreadable("not JSON") from None
    if not isinstance(message, Mapping):
        raise Unreadable("not an object")
    try:
        tenant = _TENANT.validate_python(message.get("tenant"))
    except ValidationError:
        raise Unreadable("no tenant") from None
    try:
        if fault is not None:
            raise InvalidRequest(f"The message is not accepted: {fault}.")
        return _submit(intake, _parse(message), message_id)
    except RobotchatError as error:
        if error.retryable and not last:
            raise
        refusal = error
    except Exception:
        if not last:
            raise
        logger.exception("a message cannot be accepted", extra={"message_id": message_id})
        refusal = RobotchatError("An internal error occurred.")
    try:
        return intake.reject(
            _kind(message),
            tenant,
            refusal,
            job_id=_job_id(message, tenant, message_id),
            # It comes again if this is cut short before its queue knows that it was refused.
            said=fingerprint(message),
            webhook=_webhook(message, local=intake.settings.local),
        )
    except IdempotencyKeyReused as error:
        # Under this id the producer reads another job, which is not to be touched.
        raise Unreadable("its id or key stands for another request") from error


def _parse(message: Mapping[str, Any]) -> Message:
    try:
        return _MESSAGE.validate_python(message)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"{where}: {first['msg']}", param=where) from None


def _submit(intake: Intake, message: Message, message_id: str) -> Job:
    if message.dry_run:
        raise InvalidRequest("A dry run is answered over HTTPS only.", param="dry_run")
    identity: dict[str, Any] = {"tenant": message.tenant, "job_id": message.job_id}
    if message.job_id is None:
        identity["idempotency_key"] = message.idempotency_key or _own_key(message_id)
    if isinstance(message, Text2ImageMessage | Image2ImageMessage):
        return intake.submit_image(
            message.request.drawing,
            **{**message.request.job_fields(), **message.job_fields()},
            **identity,
        )
    return intake.submit_chat_image(message, **identity)


def _job_id(message: Mapping[str, Any], tenant: str, message_id: str) -> str:
    """The id under which the producer will look for the job."""
    try:
        return _JOB_ID.validate_python(message.get("job_id"))
    except ValidationError:
        key = message.get("idempotency_key")
        return id_for_key("job", tenant, key if isinstance(key, str) else _own_key(message_id))


def _webhook(message: Mapping[str, Any], *, local: bool) -> WebhookTarget | None:
    """Whom to tell that the message was refused, if it says so in a way that can be followed."""
    try:
        return accept_target(_TARGET.validate_python(message.get("webhook")), local=local)
    except (ValidationError, ForbiddenUrl):
        return None


def _kind(message: Mapping[str, Any]) -> JobKind:
    try:
        return JobKind(str(message.get("kind")))
    except ValueError:
        return JobKind.TEXT2IMAGE


def _own_key(message_id: str) -> str:
    return f"sqs-message-{message_id}"
