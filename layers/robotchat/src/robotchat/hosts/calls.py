"""Asking the worker beside an SD host to do something on it: questions and answers as records.

A worker without an open port looks for its calls about once a second, and writes the answer where
whoever asked is looking for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from robotchat.art.driver import ArtDriver, webui_of
from robotchat.clock import Clock, rfc3339
from robotchat.errors import NotSupported, RobotchatError, UpstreamTimeout
from robotchat.hosts import parcels
from robotchat.ids import new_id
from robotchat.records import Put, Record, Records, Remove, Stale

logger = logging.getLogger(__name__)

LOOKED_FOR_EVERY = 1.0
"""Seconds between two looks of a worker for its calls."""

_ANSWER_LOOKED_FOR_EVERY = 0.25
_CHECKED_EVERY = timedelta(seconds=5)
_KEPT = timedelta(hours=1)
_LONGEST_ERROR = 2000


@dataclass(frozen=True)
class Call:
    """What a worker is asked to do on one of its hosts."""

    id: str
    worker: str
    host: str
    method: str
    path: str
    query: Mapping[str, str]
    parts: int
    """Parts of the parcel with the body; 0 for none."""
    until: datetime
    """When nobody waits for it any more."""


class Calls:
    """The calls to all workers, in a document store."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock

    def ask(
        self,
        worker: str,
        host: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout: float,
        check: Callable[[], object] = lambda: None,
    ) -> Any:
        """Have a worker do this on a host, and wait for the answer; ``check`` is called now and
        then while it waits, and ends that by what it raises.

        Raises what went wrong there, and UpstreamTimeout when there is no answer in time.
        """
        now = self._clock.now()
        until, kept = now + timedelta(seconds=timeout), (now + _KEPT).timestamp()
        call_id = new_id("call")
        parts = 0 if body is None else parcels.send(self._records, call_id, body, until=kept)
        call = Record(
            f"call#{call_id}",
            "call",
            {
                "host": host,
                "method": method,
                "path": path,
                "query": dict(query or {}),
                "parts": parts,
                "until": rfc3339(until),
            },
            owner=(f"calls#{worker}", rfc3339(now)),
            expires_at=kept,
        )
        self._records.commit(Put(call))
        checked = now
        while (now := self._clock.now()) < until:
            if now - checked >= _CHECKED_EVERY:
                check()
                checked = now
            self._clock.sleep(_ANSWER_LOOKED_FOR_EVERY)
            answer = self._records.get(f"call#{call_id}", "answer")
            if answer is not None:
                return self._read(call_id, answer.data)
        raise UpstreamTimeout("The SD host's worker did not answer in time.")

    def _read(self, call_id: str, answer: Mapping[str, Any]) -> Any:
        error = answer.get("error")
        if error is None:
            return parcels.receive(self._records, f"{call_id}-answer", answer["parts"], remove=True)
        facts = {"param": error["param"], "details": error["details"]}
        raise RobotchatError.of_code(error["code"], error["message"], **facts)

    def waiting(self, worker: str) -> list[Call]:
        """What a worker is asked to do, the oldest first."""
        page = self._records.query("owner", f"calls#{worker}", limit=20)
        calls = []
        for record in page.records:
            data = {**record.data, "until": datetime.fromisoformat(record.data["until"])}
            calls.append(Call(id=record.pk.removeprefix("call#"), worker=worker, **data))
        return calls

    def serve(
        self, call: Call, driver: ArtDriver, *, after: Callable[[], None] | None = None
    ) -> None:
        """Do what is asked, then ``after``, and write down what came of it."""
        taken = self._records.get(f"call#{call.id}", "call")
        if taken is None:
            return  # an index may lag behind
        kept = (self._clock.now() + _KEPT).timestamp()
        if self._clock.now() >= call.until:
            self._records.commit(Remove(taken))
            return
        # Out of the index first: it must not be done twice, whatever it is.
        done = Record(taken.pk, taken.sk, taken.data, taken.version, expires_at=kept)
        try:
            self._records.commit(Put(done))
        except Stale:
            return  # another thread has it
        try:
            value = self._done(call, driver)
            if after is not None:
                after()
            name = f"{call.id}-answer"
            answer: dict[str, Any] = {"parts": parcels.send(self._records, name, value, until=kept)}
        except RobotchatError as error:
            answer = {"error": _told(error)}
        except Exception:
            failed = RobotchatError("The SD host's worker failed.")
            answer = {"error": _told(failed)}
            logger.exception("a call could not be answered", extra={"path": call.path})
        self._records.commit(Put(Record(taken.pk, "answer", answer, expires_at=kept)))

    def _done(self, call: Call, driver: ArtDriver) -> Any:
        if not call.path.startswith(("sdapi/v1/", "controlnet/")):
            raise NotSupported("An SD host has no such path.")
        if call.method == "GET":
            return webui_of(driver).get(call.path, **call.query)
        body = None
        if call.parts:
            body = parcels.receive(self._records, call.id, call.parts, remove=True)
        left = (call.until - self._clock.now()).total_seconds()
        return webui_of(driver).post(call.path, body, timeout=max(left, 1.0))


def _told(error: RobotchatError) -> dict[str, Any]:
    """An error as it is written down: what it says, and what whoever asked decides by."""
    facts = {
        name: value
        for name, value in error.details.items()
        if isinstance(value, str | int | float | bool) and len(str(value)) < _LONGEST_ERROR
    }
    message = error.message[:_LONGEST_ERROR]
    return {"code": error.code, "message": message, "param": error.param, "details": facts}
