"""What came of a prompt on a ComfyUI host: its picture, or what its failure means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from robotchat.art.requests import DrawRequest
from robotchat.art.results import DrawnImage
from robotchat.art.workflows import Graph, Nodes
from robotchat.drivers.comfyui import asked, graphs
from robotchat.drivers.comfyui.client import Refusal
from robotchat.errors import (
    RobotchatError,
    UnknownCheckpoint,
    UpstreamError,
    UpstreamGarbage,
    UpstreamRejected,
    UpstreamUnavailable,
    WrongResult,
)
from robotchat.images import inspect, with_png_text

MAX_BYTES = 128 * 1024 * 1024
MAX_PIXELS = 16384 * 16384


def saves_to_socket(graph: Graph) -> bool:
    """Whether the pictures of a graph come over the socket."""
    return bool(graph.nodes[graph.output]["class_type"] == "SaveImageWebsocket")


def _messages(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The events of a prompt that has ended, by name."""
    status = entry.get("status")
    messages = status.get("messages") if isinstance(status, dict) else None
    pairs = [one for one in messages or () if isinstance(one, list) and len(one) == 2]
    return {str(name): data for name, data in pairs}


def was_interrupted(entry: Mapping[str, Any]) -> bool:
    """Whether a prompt that has ended was stopped."""
    return "execution_interrupted" in _messages(entry)


def place_of(entry: Mapping[str, Any], nodes: Nodes, graph: Graph) -> Mapping[str, Any] | None:
    """Where the picture of a prompt is; None if it came over the socket. Raises what went wrong."""
    status = entry.get("status")
    outcome = status.get("status_str") if isinstance(status, dict) else None
    if outcome == "error":
        raise _execution_error(_messages(entry).get("execution_error"))
    prompt = entry.get("prompt")
    if outcome != "success" or not isinstance(prompt, list) or len(prompt) < 3:
        raise UpstreamGarbage("The SD host's history is not what it should be.")
    if not graphs.is_stored(nodes, prompt[2]):
        raise WrongResult("The SD host drew something else than was asked for.")
    if saves_to_socket(graph):
        return None
    outputs = entry.get("outputs")
    told = outputs.get(graph.output) if isinstance(outputs, dict) else None
    images = told.get("images") if isinstance(told, dict) else None
    if not isinstance(images, list) or not all(isinstance(one, dict) for one in images):
        raise UpstreamGarbage("The SD host does not tell of a picture.")
    if len(images) != 1:
        raise WrongResult(
            f"The SD host drew {len(images)} of 1 pictures.",
            details={"expected": 1, "actual": len(images)},
        )
    return dict(images[0])


def _execution_error(told: object) -> UpstreamError:
    """What a node's exception means; the request or the host may be at fault."""
    told = told if isinstance(told, dict) else {}
    kind = str(told.get("exception_type") or "").rpartition(".")[2]
    name = kind if kind.isidentifier() else ""
    reason = _plain(str(told.get("exception_message") or ""))
    details: dict[str, Any] = {"reason": ": ".join(part for part in (name, reason) if part)}
    node = str(told.get("node_type") or "")
    where = f" in {node}" if re.fullmatch(r"[\w ()+-]{1,60}", node) else ""
    return UpstreamUnavailable(f"The SD host failed{where}.", details=details)


def refused(refusal: Refusal, graph: Graph) -> RobotchatError:
    """What it means that a host does not take a graph."""
    slots = graph.slots
    for node, kind, title, value in refusal.problems:
        place = f"{node}.{title}"
        if kind == "value_not_in_list" and place in slots.checkpoint:
            return UnknownCheckpoint(
                f"The SD host does not have the checkpoint {str(value)[:100]!r}.",
                param="override_settings.sd_model_checkpoint",
            )
    told = [f"node {node}: {kind}" for node, kind, _, _ in refusal.problems[:5]]
    return UpstreamRejected(
        "The SD host does not accept the workflow" + (f" ({'; '.join(told)})." if told else "."),
        details={"problems": told} if told else {},
    )


def image_of(data: bytes, seed: int, request: DrawRequest, told: Mapping[str, Any]) -> DrawnImage:
    """A picture file with its account. Raises UpstreamGarbage for what is none."""
    try:
        found = inspect(data, max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS)
    except RobotchatError as error:
        raise UpstreamGarbage("The SD host sent a picture that cannot be decoded.") from error
    text = asked.infotext(request, told)
    if found.content_type == "image/png":
        # The graph that ComfyUI writes there is the operator's, and no program of ours reads it.
        data = with_png_text(data, {"parameters": text})
    return DrawnImage(data, found.content_type, found.width, found.height, seed, text)


_OF_THE_MACHINE = re.compile(
    r"""\S*(?:[/\\]|://)\S*                        # paths and URLs
    |\b[\w-]+(?:\.[\w-]+)*:\d{2,5}\b             # addresses with their port
    |\b\d{1,3}(?:\.\d{1,3}){3}\b""",
    re.VERBOSE,
)
_LONGEST_REASON = 200


def _plain(text: str) -> str:
    """What the host says of an exception, without what it tells of its machine."""
    return " ".join(_OF_THE_MACHINE.sub("...", text).split())[:_LONGEST_REASON]
