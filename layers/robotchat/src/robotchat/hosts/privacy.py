"""Taking out of an SD host's answers what only concerns the machine that it runs on."""

from __future__ import annotations

import re
from typing import Any

from robotchat.art.modules import MODULES, base_name
from robotchat.art.requests import CHECKPOINT

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
_PRIVATE_NAME = re.compile(
    r"dir|path|filename|password|secret|^api_|_key$|_token$|url|auth", re.IGNORECASE
)
_PRIVATE_VALUE = re.compile(r"(/|~|[A-Za-z]:[\\/]|\\\\)")
"""Options with such names or values say something of the machine rather than of pictures."""


def shown_options(options: dict[str, Any]) -> dict[str, Any]:
    """A host's options, as far as they concern anybody but the host. Forge's modules are shown by
    their names; an app that shows its own settings there has no options."""
    if CHECKPOINT not in options and "model" in options:
        return {CHECKPOINT: options["model"]}
    modules = options.get(MODULES)
    if isinstance(modules, list):
        options = {**options, MODULES: [base_name(str(path)) for path in modules]}
    return {name: value for name, value in options.items() if not is_private(name, value)}


def is_private(name: str, value: object) -> bool:
    """Whether an option is none of a tenant's business."""
    if _PRIVATE_NAME.search(name):
        return True
    values = value if isinstance(value, list) else [value]
    return any(isinstance(one, str) and _PRIVATE_VALUE.match(one) is not None for one in values)


def harmless(flags: dict[str, Any]) -> dict[str, Any]:
    """Command-line flags without those that tell of the machine."""
    return {name: value for name, value in flags.items() if name in HARMLESS_FLAGS}


def is_public(remote: str) -> bool:
    """Whether the address that an extension was got from is anybody's."""
    return _PUBLIC_REMOTE.fullmatch(remote) is not None


def shareable(path: str, answer: Any) -> Any:
    """A host's answer at a path as it may leave its machine; what is no such answer stays so."""
    if path == "sdapi/v1/options" and isinstance(answer, dict):
        return shown_options(answer)
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
