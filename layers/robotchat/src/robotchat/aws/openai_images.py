"""OpenAI's image endpoints: drawn while the caller waits, or told in events."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from robotchat.art.requests import Image2ImageRequest, Text2ImageRequest
from robotchat.aws.answers import run_context
from robotchat.aws.api import Endpoint, EventStream
from robotchat.aws.wiring import robot, settings, viewer
from robotchat.errors import InvalidImage, InvalidRequest, NotFound, RobotchatError, UpstreamError
from robotchat.hosts import openai_images
from robotchat.hosts.openai_images import CreateImageEditRequest, CreateImageRequest
from robotchat.ids import id_for_key, new_id
from robotchat.images import decode_base64, encode_base64, inspect
from robotchat.jobs.job import Job, JobStatus
from robotchat.jobs.states import watched
from robotchat.lifecycle.inputs import load_images

HEARTBEAT = 5.0
"""Seconds of silence after which a stream shows that it is still there."""

LOOK_EVERY = 0.5
"""Seconds between two looks for a preview."""


def created(
    request: CreateImageRequest, endpoint: Endpoint, *, idempotency_key: str | None
) -> dict[str, Any] | EventStream:
    """OpenAI's answer to a request for pictures, whole or streamed."""
    endpoint.occupy()
    with _fields_named():
        return _created(request, endpoint, idempotency_key)


def _created(
    request: CreateImageRequest, endpoint: Endpoint, idempotency_key: str | None
) -> dict[str, Any] | EventStream:
    config = None
    if isinstance(request, CreateImageEditRequest) and request.prompt:
        config = robot().checkpoint_config(request.checkpoint, endpoint.tenant)
    instruct = config is not None and config.instruct
    # An instruction is for the checkpoint as it is: to describe the picture would be another one.
    revised = None if instruct else _revised(request)
    if revised is not None:
        request = request.model_copy(update={"prompt": revised})
    steps = settings().image_steps
    draw: Text2ImageRequest | Image2ImageRequest
    if isinstance(request, CreateImageEditRequest):
        tenant = endpoint.tenant
        draw = openai_images.to_redraw(
            request,
            steps,
            lambda text, at: _load(text, at, tenant),
            instruct=instruct,
            references=config.reference_pictures if config is not None and instruct else 0,
        )
    else:
        draw = openai_images.to_draw(request, steps)
    drawn = _ImageRequest(request, draw, endpoint, idempotency_key, revised)
    if request.stream:
        return EventStream(drawn.events(), heartbeat=HEARTBEAT, cancel=drawn.cancel)
    return drawn.response(drawn.run())


class _ImageRequest:
    """One request on its way through the hosts."""

    def __init__(
        self,
        request: CreateImageRequest,
        draw: Text2ImageRequest | Image2ImageRequest,
        endpoint: Endpoint,
        idempotency_key: str | None,
        revised: str | None,
    ) -> None:
        self._request = request
        self._draw = draw
        self._tenant = endpoint.tenant
        self._context = run_context(endpoint.lambda_context)
        self._key = idempotency_key or new_id("request")
        self._revised = revised
        self._job_id = id_for_key("job", self._tenant, self._key)
        changing = isinstance(request, CreateImageEditRequest)
        self._event = "image_edit" if changing else "image_generation"

    def run(self) -> Job:
        """The final job. Raises what made it fail."""
        asked: dict[str, Any] = {
            "tenant": self._tenant,
            "idempotency_key": self._key,
            "context": self._context,
        }
        with _fields_named():
            if isinstance(self._draw, Image2ImageRequest):
                return robot().image2image(self._draw, **asked)
            return robot().text2image(self._draw, **asked)

    def response(self, job: Job) -> dict[str, Any]:
        return openai_images.images_response(
            self._request,
            robot().drawing(job),
            created=int(job.created_at.timestamp()),
            links=[image.url for image in viewer().job(job).images if image.url],
            revised_prompt=self._revised,
        )

    def events(self) -> Iterator[tuple[str, Any]]:
        """Previews while it is drawn, and the pictures at the end, each in an event of its own."""
        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(contextvars.copy_context().run, self.run)
            yield from self._partial_images(running)
            job = running.result()
        answer = self.response(job)
        changing = isinstance(self._request, CreateImageEditRequest)
        drawn = robot().drawing(job).images
        for image, file in zip(answer["data"], drawn, strict=True):
            size = (file.width, file.height)
            usage = openai_images.usage(self._request.prompt, [size], changing=changing)
            yield self._told(
                "completed", answer["created"], **image, **_shared(answer), usage=usage
            )

    def _partial_images(self, running: Future[Job]) -> Iterator[tuple[str, Any]]:
        shown, last = 0, b""
        while not running.done():
            if shown < self._request.partial_images:
                preview = self._preview()
                if preview is not None and preview != last:
                    last = preview
                    yield self._told(
                        "partial_image",
                        0,
                        b64_json=encode_base64(preview),
                        partial_image_index=shown,
                        **openai_images.as_drawn(self._request, None),
                    )
                    shown += 1
            try:
                running.exception(timeout=LOOK_EVERY)
            except TimeoutError:
                continue

    def _preview(self) -> bytes | None:
        """What the picture looks like so far, if the host shows that."""
        job = robot().jobs.find(self._job_id)
        if job is None or job.status is not JobStatus.RUNNING:
            return None
        job = robot().jobs.change(job.id, watched)
        try:
            return robot().images.get(job.preview) if job.preview else None
        except NotFound:
            return None

    def _told(self, what: str, created_at: int, **fields: Any) -> tuple[str, Any]:
        kind = f"{self._event}.{what}"
        moment = created_at or int(robot().clock.now().timestamp())
        return kind, {"type": kind, "created_at": moment, **fields}

    def cancel(self) -> None:
        """The client has gone: nobody will see the picture."""
        if robot().jobs.find(self._job_id) is not None:
            robot().cancel(self._job_id, tenant=self._tenant)


def _shared(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: answer[name] for name in ("background", "output_format", "quality", "size")}


@contextmanager
def _fields_named() -> Iterator[None]:
    """Errors name OpenAI's fields, and not those of the hosts."""
    try:
        yield
    except RobotchatError as error:
        error.param = openai_images.field_of(error.param)
        raise


def _load(text: str, field: str, tenant: str) -> bytes:
    """A picture's bytes, checked. Raises InvalidImage, ImageTooLarge, ForbiddenUrl."""
    limits = settings()
    body = {"init_images": [text]}
    try:
        (loaded,) = load_images(body, tenant, robot().images, limits)["init_images"]
    except UpstreamError as error:
        # As OpenAI has it: a URL that does not lead to a picture is its sender's fault.
        raise InvalidImage(error.message, param=field) from error
    except InvalidRequest as error:
        error.param = field
        raise
    data = decode_base64(loaded, max_bytes=limits.max_image_bytes, param=field)
    inspect(
        data,
        max_bytes=limits.max_image_bytes,
        max_pixels=limits.max_image_pixels,
        param=field,
    )
    return data


def _revised(request: CreateImageRequest) -> str | None:
    """The prompt in English, where a language model is to put it so; None for as it is.

    SD models know English; a prompt that has other letters than Latin ones is worth a question.
    """
    if not settings().revise_image_prompts or not settings().has_llm:
        return None
    if all(letter < "\u0250" for letter in request.prompt if letter.isalpha()):
        return None
    editing = isinstance(request, CreateImageEditRequest)
    fold, source = robot().writer.write(None, request.prompt, editing=editing)
    if source != "llm" or not fold.prompt or fold.prompt == request.prompt:
        return None
    return fold.prompt
