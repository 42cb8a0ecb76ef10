"""The items of the Responses API: what a request and a conversation are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from robotchat.errors import InvalidRequest
from robotchat.gpt.driver import Body
from robotchat.ids import new_id
from robotchat.jobs.job import Job, JobStatus

_ID_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
    "image_generation_call": "ig",
}


def parse_items(given: object, param: str) -> list[Body]:
    """Input as items in their stored form: with type, id and status, and content as parts.

    Ids are always ours, whatever the caller calls its items, so that no two are the same.

    Raises InvalidRequest for an item that could not be sent on.
    """
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise InvalidRequest(f"'{param}' must be a string or an array of items.", param=param)
    return [_parse_item(item, f"{param}[{index}]") for index, item in enumerate(given)]


def _parse_item(item: object, param: str) -> Body:
    if not isinstance(item, dict):
        raise InvalidRequest("An item must be an object.", param=param)
    kind = item.get("type", "message" if "role" in item else None)
    if kind not in _ID_PREFIXES:
        raise InvalidRequest(f"Items of type '{kind}' are not supported.", param=f"{param}.type")
    stored: Body = {
        **item,
        "type": kind,
        "id": new_id(_ID_PREFIXES[kind]),
        "status": item.get("status") or "completed",
    }
    if kind == "message":
        if item.get("role") not in ("user", "assistant", "system", "developer"):
            raise InvalidRequest(
                "A message's role is user, assistant, system or developer.", param=f"{param}.role"
            )
        stored["content"] = _parse_content(item.get("content"), item["role"], f"{param}.content")
    for name in {"function_call": ("call_id", "name", "arguments")}.get(kind, ()):
        if not isinstance(item.get(name), str):
            raise InvalidRequest(f"A function call needs '{name}'.", param=f"{param}.{name}")
    if kind == "function_call_output":
        if not isinstance(item.get("call_id"), str):
            raise InvalidRequest("The output needs its 'call_id'.", param=f"{param}.call_id")
        if not isinstance(item.get("output"), str):
            stored["output"] = _parse_content(item.get("output"), "user", f"{param}.output")
    return stored


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
        raise InvalidRequest(f"Content of type '{kind}' needs '{needed}'.", param=param)
    return part


_CALL_STATUS = {
    JobStatus.QUEUED: "in_progress",
    JobStatus.RUNNING: "generating",
    JobStatus.SUCCEEDED: "completed",
}


def picture_turn(job: Job) -> list[Body]:
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
    limit: int = 20,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> Body:
    """A page of a list of items, as the API gives it. Raises InvalidRequest."""
    if not 1 <= limit <= 100:
        raise InvalidRequest("'limit' must be between 1 and 100.", param="limit")
    ordered = list(items) if order == "asc" else list(reversed(items))
    if after is not None:
        ids = [item["id"] for item in ordered]
        if after not in ids:
            raise InvalidRequest("'after' is not the id of an item in this list.", param="after")
        ordered = ordered[ids.index(after) + 1 :]
    page = ordered[:limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(ordered) > limit,
    }
