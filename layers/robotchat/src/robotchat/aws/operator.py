"""Reaching a deployment's table and queues from an operator's machine."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robotchat.aws.stores import DynamoRecords
from robotchat.ids import is_tenant
from robotchat.text import readable, salvage_json

if TYPE_CHECKING:
    import boto3


class Unreachable(Exception):
    """The deployment, or what was asked of it, cannot be reached; the message says why."""


@dataclass(frozen=True)
class DeadLetter:
    """A message that no worker could read or finish. What its user wrote is not shown."""

    id: str
    sent_at: datetime
    receives: int
    reason: str
    tenant: str | None
    job_id: str | None


class DeadLetters:
    """The dead letters of requests and jobs, and the queue of requests, which takes them back: what
    was on the queue of jobs is passed on from there."""

    def __init__(self, sqs: Any, dead_letters_url: str, requests_url: str) -> None:
        self._sqs = sqs
        self._dead = dead_letters_url
        self._requests = requests_url

    def look(self, most: int | None = None) -> list[DeadLetter]:
        """What is there now, or so many of it."""
        with closing(self._held()) as held:
            return [_dead_letter(message) for message in islice(held, most)]

    def redrive(self, most: int | None = None) -> tuple[list[DeadLetter], int]:
        """Put the messages that are there now, or so many of them, back on the queue of requests.

        Gives what they were, and how many AWS would not take and are still here. A message is
        deleted here once it is there: if this is cut short, one may be in both, which does no harm,
        since a job is run once however often its message comes.
        """
        with closing(self._held()) as held:
            return self._put_back(islice(held, most))

    def _put_back(self, messages: Iterable[dict[str, Any]]) -> tuple[list[DeadLetter], int]:
        moved, stayed = [], 0
        for message in messages:
            letter = _dead_letter(message)
            parameters: dict[str, Any] = {"MessageBody": message["Body"]}
            group = message["Attributes"].get("MessageGroupId") or letter.tenant
            if is_tenant(group):
                parameters["MessageGroupId"] = group
            try:
                self._sqs.send_message(QueueUrl=self._requests, **parameters)
            except self._sqs.exceptions.ClientError:
                stayed += 1
                continue
            self._sqs.delete_message(QueueUrl=self._dead, ReceiptHandle=message["ReceiptHandle"])
            moved.append(letter)
        return moved, stayed

    def _held(self) -> Generator[dict[str, Any], None, None]:
        """What was there at the beginning; what is still there at the end is let go."""
        began = datetime.now(UTC)
        handles = []
        seen: set[str] = set()
        try:
            while True:
                answer = self._sqs.receive_message(
                    QueueUrl=self._dead,
                    MaxNumberOfMessages=10,
                    VisibilityTimeout=_HOLD,
                    WaitTimeSeconds=1,
                    AttributeNames=["All"],
                    MessageAttributeNames=["All"],
                )
                messages = answer.get("Messages", [])
                handles += [message["ReceiptHandle"] for message in messages]
                fresh = [m for m in messages if m["MessageId"] not in seen and _sent(m) < began]
                if not fresh:
                    return
                seen.update(message["MessageId"] for message in fresh)
                yield from fresh
        finally:
            for handle in handles:
                with suppress(self._sqs.exceptions.ClientError):  # it was deleted meanwhile
                    self._sqs.change_message_visibility(
                        QueueUrl=self._dead, ReceiptHandle=handle, VisibilityTimeout=0
                    )


_HOLD = 120
"""Seconds for which a message that is looked at is hidden from others who look."""
_LONGEST_SHOWN = 200
"""Characters of what a producer wrote."""


def _sent(message: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC)


def _said(message: dict[str, Any], name: str) -> str | None:
    """A field of the message's body, if that can be read, and its beginning if it is long."""
    try:
        body, _ = salvage_json(message["Body"])
    except ValueError:
        return None
    value = body.get(name) if isinstance(body, dict) else None
    return readable(value[:_LONGEST_SHOWN]) if isinstance(value, str) else None


def _dead_letter(message: dict[str, Any]) -> DeadLetter:
    reason = message.get("MessageAttributes", {}).get("reason", {}).get("StringValue", "")
    return DeadLetter(
        id=message["MessageId"],
        sent_at=_sent(message),
        receives=int(message["Attributes"]["ApproximateReceiveCount"]),
        reason=reason[:_LONGEST_SHOWN] or "received too often: its worker died each time",
        tenant=_said(message, "tenant"),
        job_id=_said(message, "job_id"),
    )


def local_table(state: Path) -> DynamoRecords:
    """The table of the local stack that runs on a state folder. Raises Unreachable."""
    session, stack = _local(state)
    client = session.client("dynamodb", endpoint_url=stack["aws_endpoint_url"])
    return DynamoRecords(client, stack["table"])


def local_dead_letters(state: Path) -> DeadLetters:
    """The dead letters of the local stack that runs on a state folder. Raises Unreachable."""
    session, stack = _local(state)
    sqs = session.client("sqs", endpoint_url=stack["aws_endpoint_url"])
    return DeadLetters(sqs, stack["dead_letter_queue_url"], stack["queue_url"])


def local_environment(state: Path) -> dict[str, str]:
    """What a process needs in its environment to be part of the local stack that runs on a state
    folder. Raises Unreachable."""
    _, stack = _local(state)
    return {
        "AWS_ENDPOINT_URL": stack["aws_endpoint_url"],
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": stack["region"],
        "ROBOTCHAT_LOCAL": "1",
        "ROBOTCHAT_STACK": LOCAL_STACK,
    }


def _local(state: Path) -> tuple[boto3.Session, dict[str, str]]:
    import boto3

    try:
        stack = json.loads((state / "stack.json").read_text("utf-8"))
        found = {name: stack[name] for name in _STACK}
    except FileNotFoundError:
        raise Unreachable(f"No local stack is running on {state}: start it with make run.") from (
            None
        )
    except (ValueError, KeyError):
        raise Unreachable(f"{state / 'stack.json'} is not what make run writes.") from None
    return boto3.Session("test", "test", region_name=found["region"]), found


LOCAL_STACK = "robotchat"
"""The name of the local stack's CloudFormation stack."""

_STACK = ("aws_endpoint_url", "region", "table", "queue_url", "dead_letter_queue_url")


def deployed_table(
    *, table: str | None, stack: str, region: str | None, profile: str | None
) -> DynamoRecords:
    """The table of this name, or else the one that a CloudFormation stack says is its own.

    Raises Unreachable.
    """
    with explained():
        session = _session(region, profile)
        if table is None:
            table = outputs(session.client("cloudformation"), stack, "TableName")["TableName"]
        return DynamoRecords(session.client("dynamodb"), table)


def deployed_dead_letters(*, stack: str, region: str | None, profile: str | None) -> DeadLetters:
    """The dead letters of a CloudFormation stack. Raises Unreachable."""
    with explained():
        session = _session(region, profile)
        cloudformation = session.client("cloudformation")
        urls = outputs(cloudformation, stack, "DeadLetterQueueUrl", "QueueUrl")
        return DeadLetters(session.client("sqs"), urls["DeadLetterQueueUrl"], urls["QueueUrl"])


@contextmanager
def explained() -> Iterator[None]:
    """Turns the errors of AWS and of its library into one sentence, as Unreachable."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        EndpointConnectionError,
        NoCredentialsError,
        NoRegionError,
        ProfileNotFound,
    )

    try:
        yield
    except NoCredentialsError:
        raise Unreachable(
            "There are no AWS credentials: sign in, or name a profile with --profile."
        ) from None
    except NoRegionError:
        raise Unreachable("No AWS region is set: name one with --region.") from None
    except ProfileNotFound as error:
        raise Unreachable(f"{error}.") from None
    except EndpointConnectionError:
        raise Unreachable("AWS cannot be reached; is the local stack, or the network, up?") from (
            None
        )
    except ClientError as error:
        said = error.response.get("Error", {})
        raise Unreachable(
            f"AWS refused: {said.get('Message') or said.get('Code') or 'no reason given'}"
        ) from None
    except BotoCoreError as error:
        raise Unreachable(f"AWS could not be asked: {error}") from None


def _session(region: str | None, profile: str | None) -> boto3.Session:
    import boto3

    return boto3.Session(region_name=region, profile_name=profile)


def outputs(cloudformation: Any, stack: str, *names: str) -> dict[str, str]:
    """What a stack says of itself, with these names at least. Raises Unreachable."""
    stacks = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    found = {o["OutputKey"]: str(o["OutputValue"]) for o in stacks[0].get("Outputs", ())}
    for name in names:
        if name not in found:
            raise Unreachable(f"The stack {stack} has no output {name}: is it robotchat's?")
    return found
