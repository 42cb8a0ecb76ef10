"""What a failure of a server with OpenAI's images API means, in whatever shape it is told.

OpenAI and LocalAI send an object in ``error``, sd-server a text, FastAPI's programs ``detail`` as
a text or as a list of wrong fields. No message here repeats the server's own words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robotchat.drivers.openai_errors import error_in
from robotchat.drivers.webui import plain
from robotchat.errors import (
    NotSupported,
    UpstreamBusy,
    UpstreamError,
    UpstreamGarbage,
    UpstreamRejected,
    UpstreamUnavailable,
)
from robotchat.text import read_json

_RETRY_LATER = (408, 425, 502, 503, 504)
_QUOTA = {"insufficient_quota", "billing_hard_limit_reached", "quota_exceeded"}
_MODERATION = {"moderation_blocked", "content_policy_violation", "contentFilter"}
_OUR_NAMES = {
    "size": "width",
    "image": "init_images",
    "image[]": "init_images",
    "mask_image": "mask",
    "num_inference_steps": "steps",
    "step": "steps",
    "guidance_scale": "cfg_scale",
    "true_cfg_scale": "cfg_scale",
    "n": "n_iter",
    "model": "override_settings.sd_model_checkpoint",
}


def error_of(status: int, headers: Mapping[str, str], data: bytes) -> UpstreamError:
    """The error for an answer with a status other than 200."""
    try:
        body = read_json(data)
    except ValueError:
        body = None
    error = error_in(body) or {}
    text = str(error.get("message") or "")
    codes = {one for one in (error.get("code"), error.get("type")) if isinstance(one, str)}
    details: dict[str, Any] = {"upstream_status": status}
    if status < 400:
        return UpstreamGarbage("The SD host's answer has an unexpected status.", details=details)
    named = next((one for one in sorted(codes) if one.isidentifier()), None)
    if named:
        details["upstream_error"] = named
    if status in (401, 403) and "model_disabled" not in codes:
        return UpstreamUnavailable("The SD host refuses the configured API key.", details=details)
    if status == 402 or codes & _QUOTA:
        return UpstreamUnavailable("The SD host's quota is used up.", details=details)
    later = _retry_after(headers)
    if status == 429:
        return UpstreamBusy("The SD host is busy.", retry_after=later, details=details)
    if status in _RETRY_LATER:
        return UpstreamUnavailable(
            "The SD host is not available.", retry_after=later, details=details
        )
    if status >= 500:
        if text:
            # An exception of the server's program, not a proxy's page: see `art.blame`.
            details["reason"] = plain(text)
        return UpstreamUnavailable("The SD host failed.", details=details)
    if codes & _MODERATION:
        return UpstreamRejected(
            "The SD host's moderation does not allow this.", param="prompt", details=details
        )
    if _names_a_model(text, codes):
        return UpstreamRejected(
            "The SD host does not have the checkpoint.", param=_OUR_NAMES["model"], details=details
        )
    if status in (404, 405):
        return NotSupported("The SD host does not have this function.", details=details)
    param = _param(error, body)
    return UpstreamRejected(
        f"The SD host does not accept {param}." if param else "The SD host refused the request.",
        param=param,
        details=details,
    )


def _names_a_model(text: str, codes: set[str]) -> bool:
    lower = text.lower()
    unknown = any(word in lower for word in ("not found", "does not exist", "mismatch", "disabled"))
    return bool(codes & {"model_not_found", "model_disabled"}) or ("model" in lower and unknown)


def _param(error: Mapping[str, Any], body: object) -> str | None:
    """The field that is refused, by our name; None when it is not told."""
    name = error.get("param")
    detail = body.get("detail") if isinstance(body, dict) else None
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        where = detail[0].get("loc")
        parts = [str(part) for part in where] if isinstance(where, list) else []
        name = ".".join(parts[1:]) or None
    if not isinstance(name, str) or not name.replace("[]", "").replace(".", "_").isidentifier():
        return None
    return _OUR_NAMES.get(name, name)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after", "")
    try:
        return max(float(value), 0.0)
    except ValueError:
        return None
