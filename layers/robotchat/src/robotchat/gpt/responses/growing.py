"""The output of a response as its events tell it: each lets it grow."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from robotchat.gpt.driver import Body


def grow(output: list[Body], event: Mapping[str, Any]) -> None:
    """Let the items of an answer grow by what an event tells of them."""
    kind, index = event["type"], event.get("output_index")
    if kind in ("response.output_item.added", "response.output_item.done"):
        item: Any = copy.deepcopy(event.get("item"))
        if index == len(output):
            output.append(item)
        elif isinstance(index, int) and index < len(output):
            output[index] = item
        return
    grows = _GROWTH.get(kind)
    if grows is not None and isinstance(index, int) and index < len(output):
        grows(output[index], event)


def _grow_part(item: Body, event: Mapping[str, Any]) -> None:
    parts = item.setdefault("content", [])
    if event.get("content_index") == len(parts):
        parts.append(copy.deepcopy(event["part"]))


def _grow_text(item: Body, event: Mapping[str, Any]) -> None:
    part = item["content"][event["content_index"]]
    field = "refusal" if part["type"] == "refusal" else "text"
    part[field] += event["delta"]


def _grow_arguments(item: Body, event: Mapping[str, Any]) -> None:
    item["arguments"] = item.get("arguments", "") + event["delta"]


def _begin(item: Body, event: Mapping[str, Any]) -> None:
    item["status"] = "generating"


_GROWTH: Mapping[str, Callable[[Body, Mapping[str, Any]], None]] = {
    "response.content_part.added": _grow_part,
    "response.output_text.delta": _grow_text,
    "response.refusal.delta": _grow_text,
    "response.reasoning_text.delta": _grow_text,
    "response.function_call_arguments.delta": _grow_arguments,
    "response.image_generation_call.generating": _begin,
}
