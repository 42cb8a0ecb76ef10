"""An SD host as whoever cannot reach it sees it: by what its worker announced, and by asking it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from robotchat.art.answers import Progress
from robotchat.art.capabilities import WEBUI_KINDS, Capabilities
from robotchat.art.driver import WebuiLists, WebuiRoutes
from robotchat.art.results import Drawing
from robotchat.errors import NotSupported, RobotchatError, UpstreamUnavailable
from robotchat.hosts.calls import Calls
from robotchat.hosts.pulled import PulledHosts, capabilities_in

ANSWER_TIMEOUT = 20.0
"""Longest wait, in seconds, for an answer that takes a host no time; less than what a function
has that only asks."""


class RemoteHost(WebuiLists):
    """An ``ArtDriver`` that draws nothing: its jobs go to the worker beside it, by a queue.

    Lists are answered from what the worker announced, whatever kind of host it is. All else, such
    as a refresh or a tool that needs the GPU, the worker is asked to do, which takes it about a
    second to see.
    """

    def __init__(self, name: str, hosts: PulledHosts, calls: Calls) -> None:
        self._name = name
        self._hosts = hosts
        self._calls = calls

    def draw(self, *args: Any, **options: Any) -> Drawing:
        raise UpstreamUnavailable("Only the worker beside the SD host draws on it.")

    def progress(self, attempt_id: str | None = None, *, preview: bool = False) -> Progress | None:
        return None

    def cancel(self, attempt_id: str | None = None) -> None:
        raise NotSupported("Only the worker beside the SD host stops it.")

    @property
    def webui(self) -> WebuiRoutes | None:
        return self if self.capabilities().kind in WEBUI_KINDS else None

    def checkpoint(self) -> str | None:
        told: str | None = self._hosts.lists(self._name)["checkpoint"]
        return told

    def get(self, path: str, **query: str) -> Any:
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        answers = self._hosts.lists(self._name)["answers"]
        full = f"{path}?{asked}" if asked else path
        if full not in answers:
            return self._ask("GET", path, query=query, timeout=ANSWER_TIMEOUT)
        answer = answers[full]
        if answer is None:
            raise NotSupported("The SD host does not have the function.")
        if isinstance(answer, dict) and set(answer) == {"error"}:
            raise RobotchatError.of_code(answer["error"]["code"], answer["error"]["message"])
        return copy.deepcopy(answer)

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        answer = self._ask("POST", path, body=body, timeout=timeout or ANSWER_TIMEOUT)
        self._hosts.look()  # it may have other lists now
        return answer

    def _ask(self, method: str, path: str, **what: Any) -> Any:
        host = self._hosts.host(self._name)
        # A worker that was stopped meanwhile does not answer any more.
        check = lambda: self._hosts.host(self._name)  # noqa: E731
        return self._calls.ask(host.worker, self._name, method, path, **what, check=check)

    def capabilities(self, checkpoint: str | None = None) -> Capabilities:
        return capabilities_in(self._hosts.lists(self._name), checkpoint)

    def forget(self) -> None:
        """Nothing is kept that is older than a second."""
