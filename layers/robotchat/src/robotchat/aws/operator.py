"""Reaching a deployment's table and queues from an operator's machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robotchat.aws.dead_letters import DeadLetters
from robotchat.aws.queues import SqsQueue
from robotchat.aws.stores import DynamoRecords

if TYPE_CHECKING:
    import boto3


class Unreachable(Exception):
    """The deployment, or what was asked of it, cannot be reached; the message says why."""


def local_table(state: Path) -> DynamoRecords:
    """The table of the local stack that runs on a state folder. Raises Unreachable."""
    session, stack = _local(state)
    client = session.client("dynamodb", endpoint_url=stack["aws_endpoint_url"])
    return DynamoRecords(client, stack["table"])


def local_dead_letters(state: Path) -> DeadLetters:
    """The dead letters of the local stack that runs on a state folder. Raises Unreachable."""
    session, stack = _local(state)
    sqs = session.client("sqs", endpoint_url=stack["aws_endpoint_url"])
    return DeadLetters(
        SqsQueue(sqs, stack["dead_letter_queue_url"]), SqsQueue(sqs, stack["queue_url"])
    )


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
        sqs = session.client("sqs")
        return DeadLetters(
            SqsQueue(sqs, urls["DeadLetterQueueUrl"]), SqsQueue(sqs, urls["QueueUrl"])
        )


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
