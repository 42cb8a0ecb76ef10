"""`sam deploy` of the built template into the embedded AWS: created, updated in place, deleted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dev.stack.aws import REGION, Emulator
from dev.stack.ports import Address
from tests.emulator import running_emulator
from tests.sam_project import Project
from tests.translated import translated

STACK = "robotchat"


class Account:
    """An empty account, and a stack in it."""

    def __init__(self, emulator: Emulator, project: Project) -> None:
        self.emulator = emulator
        self._project = project
        self._env: dict[str, Any] = {
            "AWS_ENDPOINT_URL": emulator.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
        }

    def deploy(self, *parameters: str) -> None:
        overrides = ["--parameter-overrides", *parameters] if parameters else []
        self._project.sam("deploy", "--no-confirm-changeset", *overrides, **self._env)

    def delete(self) -> None:
        self._project.sam("delete", "--no-prompts", **self._env)

    def client(self, service: str) -> Any:
        return self.emulator.client(service)

    def status(self) -> str:
        return str(self._described()["StackStatus"])

    def outputs(self) -> dict[str, str]:
        return {out["OutputKey"]: out["OutputValue"] for out in self._described()["Outputs"]}

    def _described(self) -> dict[str, Any]:
        described = self.client("cloudformation").describe_stacks(StackName=STACK)
        stack: dict[str, Any] = described["Stacks"][0]
        return stack

    def resources(self) -> dict[str, tuple[str, str]]:
        """Type and physical id by logical id."""
        pages = self.client("cloudformation").get_paginator("list_stack_resources")
        return {
            one["LogicalResourceId"]: (one["ResourceType"], one["PhysicalResourceId"])
            for page in pages.paginate(StackName=STACK)
            for one in page["StackResourceSummaries"]
        }

    def left_over(self) -> dict[str, list[str]]:
        """What is in the account besides what SAM keeps for itself and what AWS always has."""
        lists = {
            "dynamodb": ("list_tables", "TableNames", None),
            "s3": ("list_buckets", "Buckets", "Name"),
            "sqs": ("list_queues", "QueueUrls", None),
            "lambda": ("list_functions", "Functions", "FunctionName"),
            "logs": ("describe_log_groups", "logGroups", "logGroupName"),
            "secretsmanager": ("list_secrets", "SecretList", "Name"),
            "apigateway": ("get_rest_apis", "items", "name"),
            "iam": ("list_roles", "Roles", "RoleName"),
            "cloudwatch": ("describe_alarms", "MetricAlarms", "AlarmName"),
            "sns": ("list_topics", "Topics", "TopicArn"),
            "events": ("list_rules", "Rules", "Name"),
        }
        found: dict[str, list[str]] = {}
        for service, (call, key, name) in lists.items():
            answer = getattr(self.client(service), call)()
            names = [one if name is None else one[name] for one in answer.get(key, ())]
            found[service] = [one for one in names if not one.startswith("aws-sam-cli-managed")]
        layers = self.client("lambda").list_layers()["Layers"]
        found["layers"] = [layer["LayerName"] for layer in layers]
        return {service: names for service, names in found.items() if names}


def _plain(resources: dict[str, str]) -> dict[str, str]:
    """Without the hash of its content that SAM makes a part of some names."""
    hashed = {"AWS::Lambda::LayerVersion": 10, "AWS::ApiGateway::Deployment": 10}
    return {name[: -hashed.get(kind, 0) or None]: kind for name, kind in resources.items()}


@pytest.fixture(scope="module")
def account(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    # SAM makes a bucket's host name from the endpoint's, and an address cannot have one.
    address = Address(listen="127.0.0.1", name="localhost")
    with running_emulator(tmp_path_factory.mktemp("account"), address) as emulator:
        account = Account(emulator, built)
        account.deploy()
        yield account


def test_everything_in_the_template_is_created(account: Account) -> None:
    assert account.status() == "CREATE_COMPLETE"
    wanted = {name: one["Type"] for name, one in translated()["Resources"].items()}
    created = {name: kind for name, (kind, _) in account.resources().items()}
    assert _plain(created) == _plain(wanted)


def test_the_outputs_name_what_was_made(account: Account) -> None:
    outputs, resources = account.outputs(), account.resources()
    assert outputs["TableName"] == resources["Table"][1]
    assert outputs["BucketName"] == resources["Bucket"][1]
    assert outputs["QueueUrl"] == resources["Requests"][1]
    assert outputs["JobsQueueUrl"] == resources["Jobs"][1]
    assert outputs["DeadLetterQueueUrl"] == resources["DeadLetters"][1]
    assert resources["Api"][1] in outputs["ApiUrl"]
    assert set(outputs) == set(translated()["Outputs"])


def test_functions_run_with_the_layer_and_the_environment_of_the_template(account: Account) -> None:
    resources = account.resources()
    worker = account.client("lambda").get_function_configuration(
        FunctionName=resources["Worker"][1]
    )
    assert worker["Runtime"] == "python3.12"
    assert worker["Environment"]["Variables"]["TABLE_NAME"] == resources["Table"][1]
    layers = [arn for kind, arn in resources.values() if kind == "AWS::Lambda::LayerVersion"]
    assert sorted(layer["Arn"] for layer in worker["Layers"]) == sorted(layers)


def test_an_update_in_place_keeps_the_data(account: Account) -> None:
    before = account.resources()
    table, bucket = before["Table"][1], before["Bucket"][1]
    item = {"pk": {"S": "job#one"}, "sk": {"S": "job"}}
    account.client("dynamodb").put_item(TableName=table, Item=item)
    account.client("s3").put_object(Bucket=bucket, Key="picture", Body=b"png")
    account.client("sqs").send_message(QueueUrl=before["Jobs"][1], MessageBody="{}")

    account.deploy("RetentionDays=9", "LogLevel=WARN")

    assert account.status() == "UPDATE_COMPLETE"
    after = account.resources()
    for name in ("Table", "Bucket", "Jobs", "Api", "Worker"):
        assert after[name] == before[name]
    assert account.client("dynamodb").get_item(TableName=table, Key=item)["Item"] == item
    stored = account.client("s3").get_object(Bucket=bucket, Key="picture")["Body"].read()
    assert stored == b"png"
    queued = account.client("sqs").get_queue_attributes(
        QueueUrl=after["Jobs"][1], AttributeNames=["ApproximateNumberOfMessages"]
    )
    assert queued["Attributes"]["ApproximateNumberOfMessages"] == "1"
    worker = account.client("lambda").get_function_configuration(FunctionName=after["Worker"][1])
    assert worker["Environment"]["Variables"]["RETENTION_DAYS"] == "9"


def test_a_delete_leaves_the_table_and_the_bucket_and_nothing_else(account: Account) -> None:
    resources = account.resources()
    table, bucket = resources["Table"][1], resources["Bucket"][1]

    account.delete()

    assert account.left_over() == {"dynamodb": [table], "s3": [bucket]}
    account.client("dynamodb").delete_table(TableName=table)
    account.client("s3").delete_object(Bucket=bucket, Key="picture")
    account.client("s3").delete_bucket(Bucket=bucket)
    assert account.left_over() == {}
