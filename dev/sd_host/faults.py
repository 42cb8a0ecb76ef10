"""Faults that a test switches on: what goes wrong, for which requests, how often."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS = (
    "refuse",
    "error",
    "hold",
    "stall",
    "disconnect",
    "garbage",
    "wrong_model",
    "wrong_sampler",
    "wrong_count",
    "wrong_size",
    "slow_load",
    "load_error",
    "restart",
)
GARBAGE = (
    "html",
    "broken_json",
    "not_object",
    "no_images",
    "not_base64",
    "not_image",
    "truncated_png",
    "info_not_json",
    "empty",
)
OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate 2.25 GiB. GPU 0 has a total capacity of 7.78 GiB "
    "of which 512.00 MiB is free."
)


@dataclass
class Fault:
    """One fault; ``extra`` holds the fields of its kind."""

    kind: str
    path: str = "*2img"
    times: int | None = 1
    after: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: Any) -> Fault:
        """The fault a control call describes; raises `ValueError` with what is wrong."""
        if not isinstance(value, dict) or value.get("kind") not in KINDS:
            raise ValueError(f"a fault needs a kind, one of {', '.join(KINDS)}: {value!r}")
        rest = dict(value)
        kind, path = rest.pop("kind"), rest.pop("path", "*2img")
        times, after = rest.pop("times", 1), rest.pop("after", 0)
        if kind == "garbage" and rest.setdefault("what", "html") not in GARBAGE:
            raise ValueError(f"garbage is one of {', '.join(GARBAGE)}: {rest['what']!r}")
        return cls(kind, path, times, after, rest)

    @property
    def at_step(self) -> int:
        """The sampling step at which the fault happens in a run."""
        return int(self.extra.get("at_step", 1))

    def described(self) -> dict[str, Any]:
        shown = {"kind": self.kind, "path": self.path, "times": self.times, "after": self.after}
        return {**shown, **self.extra}


class FaultList:
    """The faults that wait for their requests."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, values: Iterable[Any]) -> None:
        self._faults += [Fault.parse(value) for value in values]

    def clear(self) -> None:
        self._faults = []

    def take(self, path: str) -> list[Fault]:
        """The faults that hit a request for ``path``, counted as used."""
        hits = []
        for fault in self._faults:
            if not fnmatch.fnmatchcase(path, fault.path):
                continue
            if fault.after > 0:
                fault.after -= 1
            elif fault.times is None:
                hits.append(fault)
            elif fault.times > 0:
                fault.times -= 1
                hits.append(fault)
        self._faults = [f for f in self._faults if f.times is None or f.times > 0]
        return hits

    def described(self) -> list[dict[str, Any]]:
        return [fault.described() for fault in self._faults]


def of_kind(faults: Iterable[Fault], kind: str) -> Fault | None:
    """The first of ``faults`` of that kind."""
    return next((fault for fault in faults if fault.kind == kind), None)
