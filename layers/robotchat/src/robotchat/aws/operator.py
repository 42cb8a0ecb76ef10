"""Reaching a deployment's table from an operator's machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robotchat.aws.stores import DynamoRecords

if TYPE_CHECKING:
    import boto3


class Unreachable(Exception):
    """The deployment, or what is asked of it, is out of reach; says why, in a sentence."""


def local_table(state: Path) -> DynamoRecords:
    """The table of the local stack that runs on a state folder. Raises Unreachable."""
    import boto3

    try:
        stack = json.loads((state / "stack.json").read_text("utf-8"))
        endpoint, region, table = (stack[name] for name in ("aws_endpoint_url", "region", "table"))
    except FileNotFoundError:
        raise Unreachable(f"No local stack is running on {state}: start it with make run.") from (
            None
        )
    except (ValueError, KeyError):
        raise Unreachable(f"{state / 'stack.json'} is not what make run writes.") from None
    session = boto3.Session("test", "test", region_name=region)
    return DynamoRecords(session.client("dynamodb", endpoint_url=endpoint), table)


def deployed_table(
    *, table: str | None, stack: str, region: str | None, profile: str | None
) -> DynamoRecords:
    """The table of this name, or else the one that a CloudFormation stack says is its own.

    Raises Unreachable.
    """
    with explained():
        session = _session(region, profile)
        if table is None:
            table = _table_of(session, stack)
        return DynamoRecords(session.client("dynamodb"), table)


@contextmanager
def explained() -> Iterator[None]:
    """Turns what AWS and its library have to say into one sentence. Raises Unreachable."""
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


def _table_of(session: Any, stack: str) -> str:
    stacks = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    for output in stacks[0].get("Outputs", ()):
        if output["OutputKey"] == "TableName":
            return str(output["OutputValue"])
    raise Unreachable(f"The stack {stack} has no output TableName: is it robotchat's?")
