"""Each function may do what it does and nothing else; what is stored is encrypted and private."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dev.checks import privileges
from dev.checks.deployed import translated
from dev.template import FUNCTION, PULL_WORKER, Template

ROOT = Path(__file__).parents[2]
TEMPLATE = Template(ROOT / "template.yaml")

READERS_THAT_WRITE = {
    "Progress": "notes that somebody looks, so that previews are made",
    "JobEvents": "notes that somebody looks, so that previews are made",
    "GetOptions": "notes a host's home checkpoint when it is first asked for",
    "GetResponse": "ends a background response whose worker died",
    "GetWebhook": "makes the tenant's secret when it is first asked for",
    "GetMemory": "asks the workers beside hosts that no function reaches",
    "GetControlnetModelList": "asks the same workers to have their hosts look again",
    "GetWebhookSecret": "makes the tenant's secret when it is first asked for",
}
"""Functions behind GET that write nevertheless, and what."""

WITHOUT_TABLE = {
    "Openapi": "serves a file",
    "Page": "serves files",
    "ListDeadLetters": "looks into a queue",
    "RedriveDeadLetters": "moves messages between queues",
    "UnloadCheckpoint": "does nothing, on purpose",
    "ReloadCheckpoint": "does nothing, on purpose",
}
"""Functions that need no table."""

WRITES = re.compile(r"dynamodb:(Put|Update|Delete|BatchWrite)|s3:(Put|Delete)|sqs:Send|events:Put")


@cache
def resources() -> dict[str, Any]:
    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    found: dict[str, Any] = translated(ROOT)["Resources"]
    return found


def functions() -> dict[str, dict[str, Any]]:
    return dict(TEMPLATE.resources(FUNCTION))


def statements(function: str) -> Iterator[dict[str, Any]]:
    """What a function's role allows, conditional parts included."""
    role = resources()[f"{function}Role"]["Properties"]
    todo = list(role.get("Policies", ()))
    while todo:
        policy = todo.pop()
        if "Fn::If" in policy:
            todo += [one for one in policy["Fn::If"][1:] if isinstance(one, dict)]
        elif "PolicyDocument" in policy:
            listed = policy["PolicyDocument"]["Statement"]
            yield from [listed] if isinstance(listed, dict) else listed


def actions(function: str) -> set[str]:
    found: set[str] = set()
    for statement in statements(function):
        listed = statement["Action"]
        found |= {listed} if isinstance(listed, str) else set(listed)
    return found


def test_what_a_function_was_seen_to_do_is_compared_with_its_role(tmp_path: Path) -> None:
    seen = "dynamodb:GetItem TABLE_NAME\ns3:GetObject BUCKET_NAME\n"
    (tmp_path / "GetJob.txt").write_text(seen)
    assert privileges.missing(ROOT, tmp_path) == []
    more = "dynamodb:PutItem TABLE_NAME\nsqs:SendMessage JOBS_QUEUE_URL\n"
    (tmp_path / "GetJob.txt").write_text(seen + more)
    assert privileges.missing(ROOT, tmp_path) == [
        "GetJob: does dynamodb:PutItem to Table, which its role forbids.",
        "GetJob: does sqs:SendMessage to Jobs, which its role forbids.",
    ]


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """The recording of a run in which everything was done that roles allow."""
    names = {
        (function, place): variable
        for function, properties in [*functions().items(), (PULL_WORKER, functions()["Worker"])]
        for variable, value in properties.get("Environment", {}).get("Variables", {}).items()
        for place in [value.get("Ref") if isinstance(value, dict) else None]
    } | {(PULL_WORKER, privileges.POOLS): "robotchat-pool-large"}
    for function in [*functions(), PULL_WORKER]:
        done = [
            f"{action} {names.get((function, place), names.get((PULL_WORKER, place), '-'))}\n"
            for action, place in sorted(privileges.grants(ROOT, function))
        ]
        if done:
            (tmp_path / f"{function}.txt").write_text("".join(done))
    return tmp_path


def test_a_run_in_which_all_is_done_needs_no_explanation(whole: Path) -> None:
    assert privileges.found(ROOT, whole, explained=()) == []


def test_what_is_granted_and_not_done_is_found_unless_it_is_explained(whole: Path) -> None:
    file = whole / "GetJob.txt"
    file.write_text(file.read_text().replace("dynamodb:Query TABLE_NAME\n", ""))
    said = "GetJob: may dynamodb:Query on Table, which no test makes it do."
    assert privileges.found(ROOT, whole, explained=()) == [said]
    why = privileges.Explained("dynamodb:Query", "Table", "GetJob|ListJobs", "planted")
    assert privileges.found(ROOT, whole, explained=[why]) == []
    other = privileges.Explained("dynamodb:Query", "Table", "List.*", "planted")
    assert privileges.found(ROOT, whole, explained=[other])[0] == said


@pytest.mark.parametrize("action", ["dynamodb:Query", "dynamodb:Scan"])
def test_an_explanation_of_what_is_done_or_not_allowed_is_found(whole: Path, action: str) -> None:
    stale = privileges.Explained(action, "Table", "GetJob", "planted")
    (said,) = privileges.found(ROOT, whole, explained=[stale])
    assert said.startswith("EXPLAINED: GetJob"), said


def test_a_part_of_the_suites_is_not_taken_for_a_whole_run(whole: Path) -> None:
    (whole / "GetJob.txt").unlink()
    (said,) = privileges.found(ROOT, whole, explained=())
    assert said.startswith("GetJob: nothing is recorded of it"), said


def test_what_a_role_lacks_is_found_in_a_whole_run(whole: Path) -> None:
    with (whole / "GetJob.txt").open("a") as file:
        file.write("sqs:SendMessage robotchat-pool-large\n")
    (said,) = privileges.found(ROOT, whole, explained=())
    assert said == (
        "GetJob: does sqs:SendMessage to ${AWS::StackName}-pool-*, which its role forbids."
    )


@pytest.mark.parametrize("one", privileges.EXPLAINED, ids=lambda one: one.why[:40])
def test_each_explanation_is_of_grants_that_there_are(one: privileges.Explained) -> None:
    assert any(
        one.of(function, *grant)
        for function in [*functions(), PULL_WORKER]
        for grant in privileges.grants(ROOT, function)
    )


def test_a_permission_that_is_taken_away_is_missed(tmp_path: Path) -> None:
    template = (ROOT / "template.yaml").read_text("utf-8")
    head, found, rest = template.partition("      CodeUri: functions/jobs/get_job/\n")
    assert found
    rest = rest.replace("[dynamodb:GetItem, ", "[", 1)
    (tmp_path / "template.yaml").write_text(head + found + rest, "utf-8")
    recording = tmp_path / "operations"
    recording.mkdir()
    (recording / "GetJob.txt").write_text("dynamodb:GetItem TABLE_NAME\n")
    assert privileges.missing(tmp_path, recording) == [
        "GetJob: does dynamodb:GetItem to Table, which its role forbids."
    ]


def test_a_pull_worker_may_do_what_the_worker_may_and_take_messages_itself() -> None:
    more = privileges.grants(ROOT, PULL_WORKER) - privileges.grants(ROOT, "Worker")
    taken = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
    pools = "${AWS::StackName}-pool-*"
    assert more == {
        ("cloudformation:DescribeStacks", "AWS::StackId"),
        ("lambda:GetFunctionConfiguration", "Worker"),
        *((action, place) for action in taken for place in ("Jobs", pools)),
        ("sqs:ChangeMessageVisibility", pools),
    }
    assert privileges.grants(ROOT, "Worker") <= privileges.grants(ROOT, PULL_WORKER)


def test_what_a_pull_worker_was_seen_to_do_is_compared_with_its_policy(tmp_path: Path) -> None:
    seen = "sqs:ReceiveMessage JOBS_QUEUE_URL\ncloudformation:DescribeStacks -\n"
    (tmp_path / "PullWorker.txt").write_text(seen + "sqs:PurgeQueue JOBS_QUEUE_URL\n")
    assert privileges.missing(ROOT, tmp_path) == [
        "PullWorker: does sqs:PurgeQueue to Jobs, which its role forbids."
    ]


METHODS = {route.function: route.method for route in TEMPLATE.api().routes}


@pytest.mark.parametrize("function", functions())
def test_no_function_may_do_everything_or_to_everything(function: str) -> None:
    for statement in statements(function):
        assert statement["Effect"] == "Allow"
        where = statement["Resource"]
        for one in where if isinstance(where, list) else [where]:
            assert one != "*", f"{function}: {statement['Action']} on everything"
            name = json.dumps(one)
            assert "Ref" in name or "GetAtt" in name or "Sub" in name, f"{function}: {name}"
    assert not {action for action in actions(function) if "*" in action}


@pytest.mark.parametrize("function", [name for name, method in METHODS.items() if method == "GET"])
def test_what_only_reads_may_not_write(function: str) -> None:
    writes = {action for action in actions(function) if WRITES.match(action)}
    assert bool(writes) == (function in READERS_THAT_WRITE), f"{function}: {sorted(writes)}"


def test_the_authorizer_can_read_keys_and_nothing_more() -> None:
    assert all(
        re.match(r"dynamodb:(Get|Scan|Query|BatchGet|ConditionCheck|DescribeTable)", action)
        for action in actions("Authorizer")
    )


@pytest.mark.parametrize("function", functions())
def test_every_function_but_a_few_may_use_the_table(function: str) -> None:
    used = {action for action in actions(function) if action.startswith("dynamodb:")}
    assert bool(used) != (function in WITHOUT_TABLE)


OF_JOBS = {"Progress", "Interrupt", "Skip"}
"""Functions of the web UI's API that ask no host: jobs tell, and their workers look there."""


@pytest.mark.parametrize("function", functions())
def test_only_those_read_a_secret_that_ask_a_model_server(function: str) -> None:
    """Hosts may have passwords and language models keys; everything else needs neither."""
    reads = "secretsmanager:GetSecretValue" in actions(function)
    family = TEMPLATE.folders()[function].parent.name
    if reads:
        assert family not in ("jobs",), function
        assert function not in ("Authorizer", "Publish", "Deliver", "Openapi", "Health"), function
    if family in ("sd", "controlnet") and function not in OF_JOBS | {*WITHOUT_TABLE}:
        assert reads, function


def test_only_setting_the_configuration_writes_secrets() -> None:
    writers = {
        function
        for function in functions()
        if any(re.match(r"secretsmanager:(Put|Update|Create)", one) for one in actions(function))
    }
    assert writers == {"SetConfig"}


def test_roles_have_no_managed_policy_but_for_logs_and_traces() -> None:
    allowed = re.compile(
        r"AWSLambdaBasicExecutionRole|AWSXrayWriteOnlyAccess|AWSXRayDaemonWrite"
        r"|AWSLambdaSQSQueueExecutionRole|AWSLambdaDynamoDBExecutionRole"
        # SAM adds it wherever VpcConfig is said, though it is said by parameter (SubnetIds).
        r"|AWSLambdaVPCAccessExecutionRole"
    )
    for name, resource in resources().items():
        if resource["Type"] == "AWS::IAM::Role":
            for arn in resource["Properties"].get("ManagedPolicyArns", ()):
                assert allowed.search(json.dumps(arn)), f"{name}: {arn}"


def of_type(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, resource in resources().items():
        if resource["Type"] == kind:
            yield name, resource["Properties"]


def test_everything_at_rest_is_encrypted() -> None:
    for name, table in of_type("AWS::DynamoDB::Table"):
        assert table["SSESpecification"]["SSEEnabled"], name
        assert table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], name
    for name, queue in of_type("AWS::SQS::Queue"):
        assert queue["SqsManagedSseEnabled"], name
    for name, bucket in of_type("AWS::S3::Bucket"):
        assert bucket["BucketEncryption"], name
    assert list(of_type("AWS::DynamoDB::Table"))
    assert list(of_type("AWS::SQS::Queue"))
    assert list(of_type("AWS::S3::Bucket"))


def test_buckets_are_private_and_answer_over_tls_only() -> None:
    policies = {policy["Bucket"]["Ref"]: policy for _, policy in of_type("AWS::S3::BucketPolicy")}
    for name, bucket in of_type("AWS::S3::Bucket"):
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        (deny,) = policies[name]["PolicyDocument"]["Statement"]
        assert (deny["Effect"], deny["Principal"], deny["Action"]) == ("Deny", "*", "s3:*")
        assert deny["Condition"] == {"Bool": {"aws:SecureTransport": False}}
        assert len(deny["Resource"]) == 2, "the bucket, and what is in it"


def test_pages_may_read_and_put_files_by_links_from_where_they_may_call_the_api() -> None:
    for name, bucket in of_type("AWS::S3::Bucket"):
        (rule,) = bucket["CorsConfiguration"]["CorsRules"]
        assert {"GET", "PUT"} <= set(rule["AllowedMethods"]), name
        assert rule["AllowedOrigins"] == [{"Ref": "AllowOrigin"}], name
        assert rule["AllowedHeaders"] == ["*"], name


def test_what_the_gateway_answers_by_itself_can_be_read_by_pages() -> None:
    ((_, api),) = of_type("AWS::ApiGateway::RestApi")
    answers = api["Body"]["x-amazon-apigateway-gateway-responses"]
    for name, answer in answers.items():
        headers = answer["responseParameters"]
        origin = headers["gatewayresponse.header.Access-Control-Allow-Origin"]
        assert origin == {"Fn::Sub": "'${AllowOrigin}'"}, name
        exposed = headers["gatewayresponse.header.Access-Control-Expose-Headers"]
        assert {"retry-after", "x-request-id", "x-should-retry"} <= set(
            exposed.strip("'").split(", ")
        ), name


def test_no_secret_stands_in_the_template() -> None:
    text = (ROOT / "template.yaml").read_text("utf-8")
    assert not re.search(r"(?i)(sk-[a-z0-9]{8}|rk_[a-z0-9]{8}|AKIA[A-Z0-9]{8}|password: *\S)", text)
    for name, properties in functions().items():
        for variable in (properties.get("Environment") or {}).get("Variables") or {}:
            hidden = re.search(r"(KEY|TOKEN|PASSWORD|SECRET)$", variable)
            assert not hidden, f"{name}: {variable} would be readable in the console"


def test_every_endpoint_but_those_for_everyone_needs_a_key() -> None:
    public = {route.path for route in TEMPLATE.api().routes if route.authorizer is None}
    assert public <= {"/", "/docs", "/health", "/openapi.json"} | {
        path for path in public if path.startswith("/playground")
    }
