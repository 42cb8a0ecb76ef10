"""What of an SD host's answers about itself is nobody else's business."""

from __future__ import annotations

import re
from typing import Any

HARMLESS_FLAGS = frozenset(
    {
        *("api", "nowebui", "medvram", "medvram_sdxl", "lowvram", "lowram", "xformers"),
        *("opt_sdp_attention", "opt_sdp_no_mem_attention", "opt_split_attention"),
        *("opt_sub_quad_attention", "opt_channelslast", "no_half", "no_half_vae", "precision"),
        *("upcast_sampling", "always_batch_cond_uncond", "disable_nan_check", "use_cpu", "theme"),
    }
)
"""Command-line flags that may be shown: the others hold paths, addresses and passwords."""

_PUBLIC_REMOTE = re.compile(r"https://(github\.com|gitlab\.com|codeberg\.org)/[\w./-]+")
_PRIVATE_NAME = re.compile(r"dir|path|filename|password|secret|^api_|_key$|url|auth", re.IGNORECASE)
_PRIVATE_VALUE = re.compile(r"(/|~|[A-Za-z]:[\\/]|\\\\)")
"""Options with such names or values say something of the machine rather than of pictures."""


def is_private(name: str, value: object) -> bool:
    """Whether an option is none of a tenant's business."""
    if _PRIVATE_NAME.search(name):
        return True
    return isinstance(value, str) and _PRIVATE_VALUE.match(value) is not None


def harmless(flags: dict[str, Any]) -> dict[str, Any]:
    """Command-line flags, as far as they concern nobody but the host."""
    return {name: value for name, value in flags.items() if name in HARMLESS_FLAGS}


def is_public(remote: str) -> bool:
    """Whether the address that an extension was got from is anybody's."""
    return _PUBLIC_REMOTE.fullmatch(remote) is not None


def shareable(path: str, answer: Any) -> Any:
    """A host's answer at a path as it may leave its machine; what is no such answer stays so."""
    if path == "sdapi/v1/options" and isinstance(answer, dict):
        return {name: value for name, value in answer.items() if not is_private(name, value)}
    if path == "sdapi/v1/cmd-flags" and isinstance(answer, dict):
        return harmless(answer)
    if path == "sdapi/v1/extensions" and isinstance(answer, list):
        return [
            {**one, "remote": ""}
            if isinstance(one, dict) and not is_public(str(one.get("remote", "")))
            else one
            for one in answer
        ]
    return answer
