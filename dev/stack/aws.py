"""The embedded AWS: MiniStack as a child process, and the template deployed into it.

MiniStack serves the data services (DynamoDB, S3, SQS, EventBridge, Secrets Manager) and
CloudFormation, on loopback only (for `dev.sam_local`: where containers reach it). Its Lambda and
API Gateway hold the deployed configuration, but run nothing: that is the Lambda host's and the
gateway's part.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.stack.lambda_host import Function
from dev.stack.ports import LOOPBACK, Address, remembered_port
from dev.stack.processes import Child, Children
from dev.template import Template

REGION = "us-east-1"
ROOT = Path(__file__).parents[2]
STACK = "robotchat"
CODE_BUCKET = "robotchat-local-code"
STUB_KEY = "stub.zip"
TEMPLATE_KEY = "template.json"
OPENAI_SECRET = "robotchat/openai"  # noqa: S105 -- the secret's name
DEPLOY_TIMEOUT = 300.0
STOP_GRACE = 10.0


class EmulatorError(Exception):
    """The template could not be deployed; says why."""


@dataclass(frozen=True)
class Deployment:
    """What the deployed stack consists of, by logical ID."""

    functions: list[Function]
    physical: Mapping[str, str]
    outputs: Mapping[str, str]


class Emulator:
    """MiniStack on a port of this machine; its state lives in a folder and survives a restart.

    The port is kept too where possible, because queue URLs and presigned links contain it.
    """

    def __init__(
        self,
        state: Path,
        log: Path,
        address: Address = LOOPBACK,
        *,
        credentials: tuple[str, str] = ("test", "test"),
    ) -> None:
        self._state = state
        self._log = log
        self._address = address
        self._credentials = credentials
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://{self._address.name}:{self.port}"

    async def start(self, children: Children) -> Child:
        """Start it and wait until it serves. Raises ChildError."""
        self._state.mkdir(parents=True, exist_ok=True)
        self.port = remembered_port(self._state / "port", self._address.listen)
        scratch = self._state / "tmp"  # MiniStack leaves temporary folders behind
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        child = await children.start(
            "the embedded AWS (MiniStack)",
            [sys.executable, "-m", "dev.stack.strict_aws"],
            env={
                "PYTHONPATH": str(ROOT),
                "PATH": os.environ.get("PATH", os.defpath),
                "LANG": os.environ.get("LANG", "C.UTF-8"),
                "HOME": str(scratch),
                "TMPDIR": str(scratch),
                "GATEWAY_PORT": str(self.port),
                # What links to objects must be signed with.
                "AWS_ACCESS_KEY_ID": self._credentials[0],
                "AWS_SECRET_ACCESS_KEY": self._credentials[1],
                "BIND_HOST": self._address.listen,
                "MINISTACK_HOST": self._address.name,
                "SFTP_ENABLED": "0",
                "IOT_MTLS_ENABLED": "0",
                "DOCKER_HOST": f"unix://{scratch}/no-docker",
                "PERSIST_STATE": "1",
                "STATE_DIR": str(self._state / "services"),
                "S3_PERSIST": "1",
                "S3_DATA_DIR": str(self._state / "s3"),
                "LOG_LEVEL": "WARNING",
            },
            log=self._log,
            grace=STOP_GRACE,
        )
        await child.wait_until_listening(self.port, self._address.listen)
        return child

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to take this for AWS."""
        key, secret = self._credentials
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": REGION,
        }

    def client(self, service: Any) -> Any:
        """A boto3 client of a service of the embedded AWS; it fails at once when that is gone."""
        import boto3
        from botocore.config import Config

        return boto3.Session(*self._credentials, region_name=REGION).client(
            service, endpoint_url=self.url, config=Config(retries={"total_max_attempts": 1})
        )


def store_openai_key(emulator: Emulator, key: str) -> str:
    """Put the LLM's API key where the functions look for it; returns the secret's ARN."""
    secrets = emulator.client("secretsmanager")
    with suppress(secrets.exceptions.ResourceExistsException):
        return str(secrets.create_secret(Name=OPENAI_SECRET, SecretString=key)["ARN"])
    return str(secrets.put_secret_value(SecretId=OPENAI_SECRET, SecretString=key)["ARN"])


def deploy(emulator: Emulator, template: Template) -> Deployment:
    """Create the stack, or update it in place, and read back what it resolved to.

    Raises EmulatorError with CloudFormation's reason.
    """
    _put_stub(emulator)
    cloudformation = emulator.client("cloudformation")
    status = _stack_status(cloudformation)
    if status in ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"):
        cloudformation.delete_stack(StackName=STACK)  # it never was complete: it holds no data
        _wait_for_stack(cloudformation)
        status = None
    _put_stack(emulator, cloudformation, template, exists=status is not None)
    return _read_back(emulator, cloudformation, template)


def _put_stub(emulator: Emulator) -> None:
    stub = io.BytesIO()
    with zipfile.ZipFile(stub, "w") as archive:
        archive.writestr(zipfile.ZipInfo("app.py"), "# The Lambda host runs the real code.\n")
    s3 = emulator.client("s3")
    s3.create_bucket(Bucket=CODE_BUCKET)
    s3.put_object(Bucket=CODE_BUCKET, Key=STUB_KEY, Body=stub.getvalue())


def _put_stack(
    emulator: Emulator, cloudformation: Any, template: Template, *, exists: bool
) -> None:
    from botocore.exceptions import ClientError

    put = cloudformation.update_stack if exists else cloudformation.create_stack
    # A template in the call itself may have 50 KB only.
    body = json.dumps(template.deployable(CODE_BUCKET, STUB_KEY), default=str)
    s3 = emulator.client("s3")
    s3.put_object(Bucket=CODE_BUCKET, Key=TEMPLATE_KEY, Body=body.encode())
    parameters = [
        {"ParameterKey": name, "ParameterValue": value} for name, value in template.given.items()
    ]
    try:
        put(
            StackName=STACK,
            TemplateURL=f"{emulator.url}/{CODE_BUCKET}/{TEMPLATE_KEY}",
            Parameters=parameters,
            Capabilities=["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
    except ClientError as error:
        message = error.response["Error"].get("Message", "")
        if "No updates" in message:
            return
        raise EmulatorError(f"CloudFormation refused the template: {message}") from error
    status = _wait_for_stack(cloudformation)
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        events = cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
        reasons = [
            f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"
            for event in reversed(events)
            if "FAILED" in event["ResourceStatus"] and event.get("ResourceStatusReason")
        ]
        raise EmulatorError(
            f"The template could not be deployed ({status}): {'; '.join(reasons[:3])} "
            "(`make reset` starts from nothing)"
        )


def _stack_status(cloudformation: Any) -> str | None:
    from botocore.exceptions import ClientError

    try:
        stacks = cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    status = str(stacks[0]["StackStatus"]) if stacks else None
    return None if status == "DELETE_COMPLETE" else status


def _wait_for_stack(cloudformation: Any) -> str | None:
    deadline = time.monotonic() + DEPLOY_TIMEOUT
    while time.monotonic() < deadline:
        status = _stack_status(cloudformation)
        if status is None or not status.endswith("IN_PROGRESS"):
            return status
        time.sleep(0.1)
    raise EmulatorError(f"CloudFormation was not done after {DEPLOY_TIMEOUT:.0f} s.")


def _read_back(emulator: Emulator, cloudformation: Any, template: Template) -> Deployment:
    physical = {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=STACK)
        for resource in page["StackResourceSummaries"]
    }
    stack = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", ())}
    _apply_what_is_dropped(emulator, template, physical)
    configurations = {
        configuration["FunctionName"]: configuration
        for page in emulator.client("lambda").get_paginator("list_functions").paginate()
        for configuration in page["Functions"]
    }
    functions = [
        _function(name, folder, configurations[physical[name]])
        for name, folder in template.folders().items()
    ]
    return Deployment(functions, physical, outputs)


def _function(name: str, folder: Path, configuration: Mapping[str, Any]) -> Function:
    logging = configuration.get("LoggingConfig") or {}
    json_lines = logging.get("LogFormat") == "JSON"
    return Function(
        name=name,
        folder=folder,
        handler=configuration["Handler"],
        timeout=float(configuration["Timeout"]),
        memory=int(configuration["MemorySize"]),
        environment=(configuration.get("Environment") or {}).get("Variables") or {},
        deployed_name=configuration["FunctionName"],
        log_format=logging.get("LogFormat") or "Text",
        # Lambda's own, which counts with JSON only, where it is INFO unless it is set.
        log_level=(logging.get("ApplicationLogLevel") or "INFO") if json_lines else "",
        region=REGION,
    )


def _apply_what_is_dropped(
    emulator: Emulator, template: Template, physical: Mapping[str, str]
) -> None:
    """Set what MiniStack's CloudFormation leaves out: expiry of items and of objects."""
    dynamodb = emulator.client("dynamodb")
    for name, properties in template.resources("AWS::DynamoDB::Table"):
        wanted = properties.get("TimeToLiveSpecification")
        if wanted:
            found = dynamodb.describe_time_to_live(TableName=physical[name])
            if found["TimeToLiveDescription"]["TimeToLiveStatus"] == "DISABLED":
                dynamodb.update_time_to_live(
                    TableName=physical[name], TimeToLiveSpecification=wanted
                )
    s3 = emulator.client("s3")
    for name, properties in template.resources("AWS::S3::Bucket"):
        rules = (properties.get("LifecycleConfiguration") or {}).get("Rules")
        if rules:
            s3.put_bucket_lifecycle_configuration(
                Bucket=physical[name],
                LifecycleConfiguration={"Rules": [_rule(rule, template) for rule in rules]},
            )


def _rule(rule: Mapping[str, Any], template: Template) -> dict[str, Any]:
    """A lifecycle rule in S3's own form, which is not CloudFormation's."""
    plain: dict[str, Any] = {
        "Status": rule["Status"],
        "Filter": {"Prefix": template.value(rule.get("Prefix", ""))},
    }
    if "Id" in rule:
        plain["ID"] = template.value(rule["Id"])
    if "ExpirationInDays" in rule:
        plain["Expiration"] = {"Days": int(template.value(rule["ExpirationInDays"]))}
    if "AbortIncompleteMultipartUpload" in rule:
        plain["AbortIncompleteMultipartUpload"] = rule["AbortIncompleteMultipartUpload"]
    return plain
