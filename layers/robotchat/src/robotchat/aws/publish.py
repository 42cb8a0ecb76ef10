"""From the table's stream to the outside: the handler of the ``Publish`` function.

The stream has every write that left a job in a final state (the event source's filter sees to
that). Those by which it *became* final are events: each goes to the event bus, and to the webhook
that is to be told, if any. What could not be done is reported as a partial failure, and is
delivered again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from robotchat.aws.log import logger
from robotchat.aws.metrics import record_end
from robotchat.aws.stores import record_of
from robotchat.aws.wiring import deployment, webhooks
from robotchat.errors import Contended, Misconfigured, RobotchatError
from robotchat.events.event import Event
from robotchat.jobs.job import Job, JobStatus
from robotchat.jobs.store import Jobs

SOURCE = "robotchat"

_ENTRIES_PER_CALL = 10
_BYTES_PER_CALL = 200_000  # of 256 KB, which count more than the text


@dataclass(frozen=True)
class _Ended:
    """A write by which a job became final."""

    sequence_number: str
    job: Job
    event: Event

    def entry(self) -> dict[str, Any]:
        """The event as EventBridge takes it."""
        detail = {**self.event.model_dump(mode="json"), "tenant": self.job.tenant}
        return {
            "EventBusName": deployment().environment.event_bus_name,
            "Source": SOURCE,
            "DetailType": f"{SOURCE}.{self.event.type}",
            "Time": self.event.timestamp,
            "Detail": json.dumps(detail, separators=(",", ":"), ensure_ascii=False),
        }


class Publisher:
    """Publishes the events in a batch of the stream."""

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Handle a DynamoDB stream event. Answers with the partial failures."""
        if deployment().environment.event_bus_name is None:
            raise Misconfigured("EVENT_BUS_NAME is not set.")
        ended: list[_Ended] = []
        failed: set[str] = set()
        for record in event["Records"]:
            try:
                found = _ended(record)
            except Exception as error:  # noqa: BLE001 - told to the operator
                # It will never be readable, and must not hold up the rest of the stream.
                if not _set_aside(record, error):
                    failed.add(record["dynamodb"]["SequenceNumber"])
                continue
            if found is not None:
                ended.append(found)
        for some in _batches(ended):
            failed |= _put_events(some)
        for one in ended:
            if one.sequence_number not in failed and not _tell(one):
                failed.add(one.sequence_number)
        order = [record["dynamodb"]["SequenceNumber"] for record in event["Records"]]
        return {"batchItemFailures": [{"itemIdentifier": n} for n in order if n in failed]}


def _ended(record: Mapping[str, Any]) -> _Ended | None:
    """The job that a stream record ended; None for a job that was final before, or is not."""
    change = record["dynamodb"]
    if "NewImage" not in change:
        return None
    job = Jobs.read(record_of(change["NewImage"]))
    before = change.get("OldImage", {}).get("labels", {"M": {}})["M"].get("status", {}).get("S")
    if not job.status.final or (before is not None and JobStatus(before).final):
        return None
    return _Ended(change["SequenceNumber"], job, Event.of(job))


def _batches(ended: Sequence[_Ended]) -> Iterator[list[_Ended]]:
    """As many at a time as EventBridge takes."""
    some: list[_Ended] = []
    size = 0
    for one in ended:
        bytes_ = len(one.entry()["Detail"].encode())
        if some and (len(some) == _ENTRIES_PER_CALL or size + bytes_ > _BYTES_PER_CALL):
            yield some
            some, size = [], 0
        some.append(one)
        size += bytes_
    if some:
        yield some


def _put_events(some: Sequence[_Ended]) -> set[str]:
    """Put events on the bus. Gives the sequence numbers of those that it did not take."""
    try:
        answer = deployment().client("events").put_events(Entries=[one.entry() for one in some])
    except (BotoCoreError, ClientError) as error:
        logger().warning("the event bus failed", exc_info=error)
        return {one.sequence_number for one in some}
    refused = {}
    for one, result in zip(some, answer["Entries"], strict=True):
        if result.get("ErrorCode"):
            refused[one.sequence_number] = result["ErrorCode"]
            logger().warning("event refused", event_id=one.event.id, code=result["ErrorCode"])
        else:
            logger().info(
                "published",
                event_id=one.event.id,
                event_type=one.event.type,
                job_id=one.job.id,
                request_id=one.job.request_id,
            )
            record_end(one.job)
    return set(refused)


def _tell(one: _Ended) -> bool:
    """Have the event delivered to the webhook that is to be told. Says whether that is settled."""
    try:
        webhooks().publish(one.event, one.job.tenant, one.job.webhook)
    except (BotoCoreError, ClientError, Contended) as error:
        logger().warning("no delivery could be queued", event_id=one.event.id, exc_info=error)
        return False
    except RobotchatError as error:
        # Nor will it ever be; the event is on the bus, and the job can be read.
        logger().error("no delivery can be made", event_id=one.event.id, exc_info=error)
    return True


def _set_aside(record: Mapping[str, Any], error: Exception) -> bool:
    """Put what identifies an unreadable record on the dead letter queue. Says whether it is there.

    The record itself is not copied: it holds what users wrote.
    """
    change = record["dynamodb"]
    keys = {name: value.get("S") for name, value in change.get("Keys", {}).items()}
    logger().error("unreadable job record", keys=keys, error=type(error).__name__)
    try:
        identified = {
            "keys": keys,
            "sequence_number": change["SequenceNumber"],
            "error": type(error).__name__,
        }
        deployment().event_dead_letters.put(json.dumps(identified))
    except (BotoCoreError, ClientError) as failure:
        logger().error("the dead letter queue failed", exc_info=failure)
        return False
    return True
