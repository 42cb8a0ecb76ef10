"""The items of the Responses API: what a request and a conversation are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from robotchat.errors import InvalidRequest
from robotchat.gpt.driver import Body
from robotchat.gpt.responses.image_tool import CALL
from robotchat.gpt.responses.tools import OUTPUTS
from robotchat.jobs.job import Job, JobStatus
from robotchat.records import PAGE_BYTES, PAGE_SIZE
from robotchat.text import json_size

ID_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "local_shell_call": "lsh",
    "local_shell_call_output": "lsho",
    "shell_call": "sh",
    "shell_call_output": "sho",
    "apply_patch_call": "apc",
    "apply_patch_call_output": "apco",
    "reasoning": "rs",
    "image_generation_call": "ig",
}
"""The types of items, and how the ids of each begin."""

REFERENCE = "item_reference"
"""Stands in an input for an item that is known already."""

_OURS = re.compile(r"[a-z]+_([a-z2-7]{26})_[io]\d+")
_IMAGE_TURN = re.compile(r"ig_([a-z2-7]{26})")
_KEPT = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def item_id(kind: str, response_id: str, place: str) -> str:
    """The id of an item of a response, which says whose it is.

    ``place`` is ``i`` or ``o`` for input or output, and a number.
    """
    return f"{ID_PREFIXES[kind]}_{response_id.partition('_')[2]}_{place}"


def response_of(item_id: str) -> str | None:
    """The response that made an item, by the item's id; None for an id that a caller chose."""
    ours = _OURS.fullmatch(item_id)
    return f"resp_{ours.group(1)}" if ours else None


def job_of(item_id: str) -> str | None:
    """The job of a picture turn (see `image_turn`), by the id of its picture's item."""
    found = _IMAGE_TURN.fullmatch(item_id)
    return f"job_{found.group(1)}" if found else None


def identified(items: Iterable[Body], response_id: str) -> list[Body]:
    """The input of a response, each item under an id: the caller's own, or else ours.

    No two have the same: later ones get another.
    """
    taken: set[str] = set()
    made = []
    for number, item in enumerate(items):
        given = item.get("id")
        keep = isinstance(given, str) and _KEPT.fullmatch(given) and given not in taken
        if item["type"] != REFERENCE and not keep:
            item = {**item, "id": item_id(item["type"], response_id, f"i{number}")}
        taken.add(item["id"])
        made.append(item)
    return made


def parse_items(given: object, param: str) -> list[Body]:
    """Input as items in their stored form: with type and status, and content as parts.

    Raises InvalidRequest for an item that could not be sent on.
    """
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise InvalidRequest(f"'{param}' must be a string or an array of items.", param=param)
    return [_parse_item(item, f"{param}[{index}]") for index, item in enumerate(given)]


_NEEDED: Mapping[str, Sequence[tuple[str, type]]] = {
    "function_call": (("call_id", str), ("name", str), ("arguments", str)),
    "custom_tool_call": (("call_id", str), ("name", str), ("input", str)),
    "local_shell_call": (("call_id", str), ("action", dict)),
    "shell_call": (("call_id", str), ("action", dict)),
    "apply_patch_call": (("call_id", str), ("operation", dict)),
}
"""What the item of a call cannot do without."""


def _parse_item(item: object, param: str) -> Body:
    if not isinstance(item, dict):
        raise InvalidRequest("An item must be an object.", param=param)
    kind = item.get("type") or ("message" if "role" in item else None)
    if kind is None and set(item) <= {"id", "type"}:
        kind = REFERENCE
    if kind == REFERENCE:
        if not isinstance(item.get("id"), str) or not item["id"]:
            raise InvalidRequest("A reference needs the 'id' of an item.", param=f"{param}.id")
        return {"type": REFERENCE, "id": item["id"]}
    if not isinstance(kind, str) or kind not in ID_PREFIXES:
        raise InvalidRequest(f"Items of type '{kind}' are not supported.", param=f"{param}.type")
    stored: Body = {**item, "type": kind, "status": item.get("status") or "completed"}
    if kind == "message":
        if item.get("role") not in ("user", "assistant", "system", "developer"):
            raise InvalidRequest(
                "A message's role is user, assistant, system or developer.", param=f"{param}.role"
            )
        stored["content"] = _parse_content(item.get("content"), item["role"], f"{param}.content")
    for name, wanted in _NEEDED.get(kind, ()):
        if not isinstance(item.get(name), wanted):
            raise InvalidRequest(f"A call of a tool needs '{name}'.", param=f"{param}.{name}")
    if kind in OUTPUTS:
        if kind == "local_shell_call_output":
            # OpenAI has the id of the call in 'id' here.
            stored["call_id"] = item.get("call_id") or item.get("id")
        if not isinstance(stored.get("call_id"), str):
            raise InvalidRequest("The output needs its 'call_id'.", param=f"{param}.call_id")
        if kind in ("function_call_output", "custom_tool_call_output") and not isinstance(
            item.get("output"), str
        ):
            stored["output"] = _parse_content(item.get("output"), "user", f"{param}.output")
    if kind == "reasoning":
        _check_reasoning(item, param)
    if kind == CALL:
        _check_image(item, param)
    return stored


def _check_image(item: Body, param: str) -> None:
    for name in ("id", "result", "revised_prompt"):
        if not isinstance(item.get(name), str | None):
            raise InvalidRequest(f"'{name}' must be a string.", param=f"{param}.{name}")
    if not item.get("id") and not item.get("result"):
        raise InvalidRequest("A picture needs its 'id' or its 'result'.", param=f"{param}.id")


def _check_reasoning(item: Body, param: str) -> None:
    for name in ("content", "summary"):
        parts = item.get(name)
        if parts is not None and not (
            isinstance(parts, list) and all(isinstance(part, dict) for part in parts)
        ):
            raise InvalidRequest(f"'{name}' must be an array of parts.", param=f"{param}.{name}")


def _parse_content(content: object, role: str, param: str) -> list[Body]:
    text = "output_text" if role == "assistant" else "input_text"
    if isinstance(content, str):
        content = [{"type": text, "text": content}]
    if not isinstance(content, list):
        raise InvalidRequest("Content must be a string or an array of parts.", param=param)
    return [_parse_part(part, f"{param}[{index}]") for index, part in enumerate(content)]


def _parse_part(part: object, param: str) -> Body:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict):
        raise InvalidRequest("A part of a content must be an object.", param=param)
    needed: str | None = None
    match kind:
        case "input_text" | "text":
            part, needed = {**part, "type": "input_text"}, "text"
        case "output_text":
            part, needed = {"annotations": [], "logprobs": [], **part}, "text"
        case "refusal":
            needed = "refusal"
        case "input_image":
            part, needed = {"detail": "auto", **part}, "image_url"
        case "input_file":
            needed = "file_data"
        case "input_audio":
            return part
        case _:
            raise InvalidRequest(
                f"Content of type '{kind}' is not supported.", param=f"{param}.type"
            )
    if not isinstance(part.get(needed), str):
        if part.get("file_id") is not None:
            raise InvalidRequest(
                f"No files are kept here: give '{needed}' in place of 'file_id'.",
                param=f"{param}.file_id",
            )
        raise InvalidRequest(f"Content of type '{kind}' needs '{needed}'.", param=param)
    return part


_CALL_STATUS = {
    JobStatus.QUEUED: "in_progress",
    JobStatus.RUNNING: "generating",
    JobStatus.SUCCEEDED: "completed",
}


def image_turn(job: Job) -> list[Body]:
    """A picture turn of a conversation as items: what was said, and what was drawn or answered.

    The item of a picture carries its job's id. A job that was deleted is no turn any more.
    """
    if job.deleted:
        return []
    name = job.id.partition("_")[2]
    message = {
        "id": f"msg_{name}",
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_text", "text": job.message or ""}],
    }
    items: list[Body] = [message]
    if job.reply is None or job.draws:
        items.append(
            {
                "id": f"ig_{name}",
                "type": "image_generation_call",
                "status": _CALL_STATUS.get(job.status, "failed"),
                "revised_prompt": job.prompt,
                "result": None,
                "job_id": job.id,
            }
        )
    if job.reply is not None:
        part = {"type": "output_text", "text": job.reply, "annotations": [], "logprobs": []}
        items.append(
            {
                "id": f"msg_{name}_reply",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [part],
            }
        )
    return items


def title_of(items: Iterable[Body]) -> str:
    for item in items:
        if item["type"] == "message" and item["role"] == "user":
            texts = [part["text"] for part in item["content"] if part["type"] == "input_text"]
            return " ".join(texts)[:80]
    return ""


def item_page(
    items: Sequence[Body],
    *,
    limit: int = PAGE_SIZE,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
    show: Callable[[Body], Body] = lambda item: item,
) -> Body:
    """A page of a list of items, as the API gives it and ``show`` makes each of them.

    It ends after ``limit`` items, or sooner when they are large (``PAGE_BYTES``). Raises
    InvalidRequest.
    """
    if not 1 <= limit <= 100:
        raise InvalidRequest("'limit' must be between 1 and 100.", param="limit")
    ordered = list(items) if order == "asc" else list(reversed(items))
    if after is not None:
        ids = [item["id"] for item in ordered]
        if after not in ids:
            raise InvalidRequest("'after' is not the id of an item in this list.", param="after")
        ordered = ordered[ids.index(after) + 1 :]
    page: list[Body] = []
    size = 0
    for item in ordered[:limit]:
        shown = show(item)
        size += json_size(shown)
        if page and size > PAGE_BYTES:
            break
        page.append(shown)
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(ordered) > len(page),
    }
