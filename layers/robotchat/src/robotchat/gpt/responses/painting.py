"""Drawing for a response: what the model called for becomes a job, and the job an item.

The drawing itself is elsewhere: a job is accepted, queued and drawn as any other, and only watched
here. So it survives the process that waits for it, and is a turn of its conversation.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Protocol

from robotchat.clock import Clock
from robotchat.errors import JobExpired, RobotchatError
from robotchat.gpt.driver import Body
from robotchat.gpt.responses.events import ChatAnswer, OpenItem, summed
from robotchat.gpt.responses.image_tool import CALL, Action, ImageCall, Shape
from robotchat.gpt.responses.turns import Turn
from robotchat.images import encode_base64
from robotchat.jobs.job import Job, JobStatus

PATIENCE = timedelta(seconds=780)
"""For how long after its beginning a response waits for pictures; a function may run for 900 s."""

LOOK_EVERY = 0.3
"""Seconds between two looks at a job."""

_EVENTS = f"response.{CALL}"
_QUALITIES = ("low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True)
class Source:
    """A picture that can be changed: a job's, or one that came with a request."""

    job_id: str | None = None
    image: str | None = None
    """Base64, a data URL or an https URL."""
    given: bool = False
    """It came with the request, whose picture need not be one of the same conversation."""


@dataclass(frozen=True)
class Order:
    """A picture that a response asks for."""

    tenant: str
    key: str
    """The same key stands for the same picture."""
    tool: Mapping[str, Any]
    """The fields of the tool in the request."""
    message: str
    """What the user said."""
    call: ImageCall | None
    """How the model called the tool; None: the message itself is to be drawn."""
    source: Source | None
    """The newest picture of the context."""
    conversation_id: str | None
    left: frozenset[str]
    """Conversations that the response continues without being part of them."""
    deadline: int
    """Seconds after which nobody waits for it any more."""

    @property
    def action(self) -> Action:
        """Whether to draw anew or to change the source, as far as that is said."""
        asked: Action = self.tool.get("action") or "auto"
        return self.call.action if asked == "auto" and self.call is not None else asked

    @property
    def shape(self) -> Shape | None:
        """The shape that the model chose, where the tool leaves it that."""
        return self.call.shape if self.call and self.tool.get("size", "auto") == "auto" else None


class Draws(Protocol):
    """Whoever draws for responses."""

    def check(self, tool: Mapping[str, Any], param: str, tenant: str) -> None:
        """Whether the tool can be had as it is asked for. Raises InvalidRequest and its kin,
        naming the field below ``param``, and LimitExceeded."""
        ...

    def check_image(self, text: str, param: str) -> None:
        """Whether a text (base64, data URL, https URL) can be an image that is to be changed.
        Raises InvalidRequest and its kin."""
        ...

    def usage(self, job: Job) -> Body:
        """OpenAI's usage of what a job has drawn."""
        ...

    def accept(self, order: Order) -> Job:
        """The job that draws an order, now or since an earlier call. Raises RobotchatError."""
        ...

    def look(self, job: Job) -> Job:
        """The job as it is now; while it runs, previews are made for the next looks."""
        ...

    def preview(self, job: Job) -> bytes | None:
        """What a running job's picture looks like so far, if its host shows that."""
        ...

    def image(self, job: Job) -> bytes:
        """The file that a final job has drawn. Raises what kept it from drawing."""
        ...

    def cancel(self, job: Job) -> None:
        """Nobody waits for the job any more."""
        ...

    def delete(self, job_id: str, tenant: str) -> None:
        """Forget what was drawn, if it is there."""
        ...


def newest_image(items: Sequence[Mapping[str, Any]]) -> Source | None:
    """The last picture among items, drawn or sent."""
    for item in reversed(items):
        if item["type"] == CALL:
            if item.get("status") == "failed":
                continue
            if item.get("job_id"):
                return Source(job_id=str(item["job_id"]))
            if item.get("result"):
                return Source(image=str(item["result"]))
        for part in reversed(_parts(item)):
            if part.get("type") == "input_image":
                return Source(image=str(part["image_url"]))
    return None


def given_images(items: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """The images that came with a request, and where in its input each of them is."""
    for number, item in enumerate(items):
        if item["type"] == CALL and item.get("result"):
            yield str(item["result"]), f"input[{number}].result"
        place = "content" if item["type"] == "message" else "output"
        for index, part in enumerate(_parts(item)):
            if part.get("type") == "input_image":
                yield str(part["image_url"]), f"input[{number}].{place}[{index}].image_url"


def _parts(item: Mapping[str, Any]) -> list[Body]:
    found = item.get("content") if item["type"] == "message" else item.get("output")
    return [part for part in found if isinstance(part, dict)] if isinstance(found, list) else []


def last_message(items: Iterable[Mapping[str, Any]]) -> str:
    """What the user said last."""
    said = ""
    for item in items:
        if item["type"] == "message" and item["role"] == "user":
            texts = [part["text"] for part in item["content"] if part["type"] == "input_text"]
            said = " ".join(texts).strip() or said
    return said


class Painter:
    """Draws the pictures of one response. ``past`` are the items that it continues, and ``left``
    is that of `Order`."""

    def __init__(
        self,
        draws: Draws,
        turn: Turn,
        past: Sequence[Body],
        *,
        left: frozenset[str],
        clock: Clock,
    ) -> None:
        self._draws = draws
        self._turn = turn
        self._past = past
        self._left = left
        self._clock = clock
        self._until = clock.now() + PATIENCE
        self.used: dict[str, Body] = {}
        """The usage of each image, by the id of its item."""
        self.reply: str | None = None
        """What there is to say of the last picture, where its message was understood in part."""

    def source(self, drawn: Sequence[Body] = ()) -> Source | None:
        """The newest picture of the context, with what was ``drawn`` for this response."""
        given = newest_image(self._turn.request.items)
        return (
            newest_image(drawn)
            or (given and replace(given, given=True))
            or newest_image(self._past)
        )

    def paint(
        self,
        answer: ChatAnswer,
        call: ImageCall | None,
        closed: threading.Event,
        *,
        told: Sequence[str] = (),
    ) -> Iterator[Body]:
        """The events of one picture, up to its finished item; of a failed one, with the error.

        When ``closed`` is set while it is drawn, the job is canceled and the item left as it is.
        ``told`` are the types of the events that another one has told of it before it died: the
        item is then the last one of the answer, and nothing is told or drawn twice.
        """
        item: Body = {"id": answer.next_id(CALL), "type": CALL, "status": "in_progress"}
        if told:
            item = answer.response["output"][-1]
        tool = self._turn.request.image_tool or {}
        opened = OpenItem(answer, item)
        if not told:
            yield from opened.added()
        if f"{_EVENTS}.in_progress" not in told:
            yield opened.event(f"{_EVENTS}.in_progress")
        try:
            job = self._draws.accept(self._order(answer, item, tool, call))
            item["job_id"] = job.id
            job = yield from self._watched(opened, job, tool, closed, told)
            if closed.is_set():
                return
            result = encode_base64(self._draws.image(job))
        except RobotchatError as error:
            if closed.is_set():
                return
            item |= {"result": "", "error": _error_of(error)}
            yield from opened.done("failed")
            return
        self.reply = job.reply
        self.used[item["id"]] = self._draws.usage(job)
        answer.response["tool_usage"] = {
            "image_gen": summed(self.used.values()),
            "web_search": {"num_requests": 0},
        }
        item |= {
            "result": result,
            "revised_prompt": job.prompt,
            "action": "edit" if (job.effective or {}).get("init_images") else "generate",
            **_look_of(tool, job),
        }
        if f"{_EVENTS}.completed" not in told:
            yield opened.event(f"{_EVENTS}.completed")
        yield from opened.done("completed")

    def _order(
        self,
        answer: ChatAnswer,
        item: Body,
        tool: Mapping[str, Any],
        call: ImageCall | None,
    ) -> Order:
        request, stored = self._turn.request, self._turn.stored
        before = [one for one in answer.response["output"] if one is not item]
        left = (self._until - self._clock.now()).total_seconds()
        if left < 1:
            raise JobExpired("There was no time left to draw it in this response.")
        said = last_message(request.items) or last_message(self._past)
        return Order(
            tenant=stored.tenant,
            key=item["id"],
            tool=tool,
            message=said or (call.prompt if call else ""),
            call=call,
            source=self.source(before),
            conversation_id=self._turn.claim.conversation_id if self._turn.claim else None,
            left=self._left,
            deadline=int(left),
        )

    def _watched(
        self,
        opened: OpenItem,
        job: Job,
        tool: Mapping[str, Any],
        closed: threading.Event,
        told: Sequence[str],
    ) -> Generator[Body, None, Job]:
        """Watch a job to its end, and tell of it."""
        wanted = tool.get("partial_images") or 0
        shown, last = told.count(f"{_EVENTS}.partial_image"), b""
        generating = f"{_EVENTS}.generating" in told
        while True:
            if closed.is_set():
                self._draws.cancel(job)
                return job
            job = self._draws.look(job)
            if not generating and job.status is not JobStatus.QUEUED:
                generating = True
                opened.item["status"] = "generating"
                yield opened.event(f"{_EVENTS}.generating")
            if job.status.final:
                return job
            if self._clock.now() >= self._until:
                self._draws.cancel(job)
                raise JobExpired("It was not drawn in time.")
            preview = self._draws.preview(job) if shown < wanted else None
            if preview is not None and preview != last:
                yield opened.event(
                    f"{_EVENTS}.partial_image",
                    partial_image_b64=encode_base64(preview),
                    partial_image_index=shown,
                    **_look_of(tool, None),
                )
                shown, last = shown + 1, preview
            self._clock.sleep(LOOK_EVERY)


def _error_of(error: RobotchatError) -> Body:
    kind = "image_generation_user_error" if error.status < 500 else "server_error"
    param = "input" if error.param in ("init_images", "image") else error.param
    return {"type": kind, "code": error.code, "message": error.message, "param": param}


def _look_of(tool: Mapping[str, Any], job: Job | None) -> Body:
    """The fields that say how a picture is, in items and events alike."""
    quality = tool.get("quality")
    size = f"{job.images[0].width}x{job.images[0].height}" if job and job.images else None
    return {
        "background": "opaque",
        "output_format": tool.get("output_format") or "png",
        "quality": quality if quality in _QUALITIES else "auto",
        "size": size or tool.get("size") or "auto",
    }
