"""What each function may do on AWS, beside what its code does and what it was seen to do.

``python -m dev.checks.privileges FOLDER`` compares the recording of a whole run of the suites (see
``dev/stack/recorder``) with the roles of the translated template. It fails where a role lacks what
its function was seen to do, where it allows what its function was not seen to do and `EXPLAINED`
does not explain, and where what is explained there is not so any more. With ``--policies FOLDER``
it writes each role's policy to a file of its own, for linters.
"""

from __future__ import annotations

import ast
import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dev.checks.deployed import translated
from dev.template import FUNCTION, PULL_WORKER, Template

ROOT = Path(__file__).parents[2]

CALLS: Mapping[str, frozenset[str]] = {
    "get_item": frozenset({"dynamodb:GetItem"}),
    "batch_get_item": frozenset({"dynamodb:BatchGetItem"}),
    "query": frozenset({"dynamodb:Query"}),
    "put_item": frozenset({"dynamodb:PutItem"}),
    "delete_item": frozenset({"dynamodb:DeleteItem"}),
    "transact_write_items": frozenset(
        {"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}
    ),
    # Without leave to list, S3 says of what is not there that it is forbidden.
    "get_object": frozenset({"s3:GetObject", "s3:ListBucket"}),
    "put_object": frozenset({"s3:PutObject"}),
    "delete_objects": frozenset({"s3:DeleteObject"}),
    "list_objects_v2": frozenset({"s3:ListBucket"}),
    "receive_message": frozenset({"sqs:ReceiveMessage"}),
    "delete_message": frozenset({"sqs:DeleteMessage"}),
    "describe_stacks": frozenset({"cloudformation:DescribeStacks"}),
    "get_function_configuration": frozenset({"lambda:GetFunctionConfiguration"}),
    "send_message": frozenset({"sqs:SendMessage"}),
    "change_message_visibility": frozenset({"sqs:ChangeMessageVisibility"}),
    "get_queue_attributes": frozenset({"sqs:GetQueueAttributes"}),
    "get_secret_value": frozenset({"secretsmanager:GetSecretValue"}),
    "put_secret_value": frozenset({"secretsmanager:PutSecretValue"}),
    "put_events": frozenset({"events:PutEvents"}),
}
"""What boto3's methods, by their names in the code, need to be allowed."""


def _subjects(root: Path) -> list[str]:
    """The functions, and who else there is for whom the template has a policy."""
    found = list(dict(Template(root / "template.yaml").resources(FUNCTION)))
    return [*found, PULL_WORKER] if f"{PULL_WORKER}Policy" in _resources(root) else found


def grants_are_used_by_code(root: Path) -> list[str]:
    """No role allows an action that no call in the code needs."""
    needed: set[str] = set()
    for path in (root / "layers/robotchat/src/robotchat/aws").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = node.attr if isinstance(node, ast.Attribute) else None
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                name = node.value  # a paginator's, or a link's
            needed |= CALLS.get(name or "", frozenset())
    return [
        f"template.yaml: {function} may {action}, which no code does."
        for function in _subjects(root)
        for action in sorted({action for action, _ in grants(root, function)} - needed)
    ]


def grants(root: Path, function: str) -> set[tuple[str, str]]:
    """The actions that a function's role allows, each with the logical ID of what it is for."""
    role = _resources(root).get(f"{function}Role", {}).get("Properties", {})
    own = _resources(root).get(f"{function}Policy", {}).get("Properties")
    found: set[tuple[str, str]] = set()
    for policy in _chosen([*role.get("Policies", ()), *([own] if own else [])]):
        statements = policy.get("PolicyDocument", {}).get("Statement", ())
        for statement in _chosen([statements] if isinstance(statements, dict) else statements):
            if "Action" not in statement:
                continue
            for action in _listed(statement["Action"]):
                found |= {(action, name) for name in _named(statement["Resource"])}
    return found


def _chosen(listed: Sequence[Any]) -> Iterator[Any]:
    """What is listed, and of conditional things both sides."""
    for one in listed:
        if "Fn::If" in one:
            yield from _chosen([side for side in one["Fn::If"][1:] if isinstance(side, dict)])
        else:
            yield one


ARNS: Mapping[str, str] = {
    "AWS::DynamoDB::Table": "arn:aws:dynamodb:us-east-1:123456789012:table/{}",
    "AWS::S3::Bucket": "arn:aws:s3:::{}",
    "AWS::SQS::Queue": "arn:aws:sqs:us-east-1:123456789012:{}",
    "AWS::Lambda::Function": "arn:aws:lambda:us-east-1:123456789012:function:robotchat-{}",
    "AWS::Events::EventBus": "arn:aws:events:us-east-1:123456789012:event-bus/{}",
    "AWS::SecretsManager::Secret": "arn:aws:secretsmanager:us-east-1:123456789012:secret:{}-AbCdEf",
}
"""How the ARNs of an account's resources look."""


POOLS = "${AWS::StackName}-pool-*"

OUTSIDE: Mapping[str, str] = {
    "AWS::StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/robotchat/*",
    POOLS: "arn:aws:sqs:us-east-1:123456789012:robotchat-pool-*",
}
"""The same for what is no resource of the template: the stack, and queues that operators add."""


def policies(root: Path) -> dict[str, dict[str, Any]]:
    """Each function's policy, as IAM would hold it in some account."""
    found = {}
    for function in _subjects(root):
        statements = [
            {"Effect": "Allow", "Action": action, "Resource": resource}
            for action, place in sorted(grants(root, function))
            for resource in _arns(root, action, place)
        ]
        if statements:
            found[function] = {"Version": "2012-10-17", "Statement": statements}
    return found


def _arns(root: Path, action: str, place: str) -> list[str]:
    if place in OUTSIDE:
        return [OUTSIDE[place]]
    kind = _resources(root).get(place, {}).get("Type", "AWS::SecretsManager::Secret")
    arn = ARNS[kind].format(place.lower() if kind == "AWS::S3::Bucket" else place)
    if action == "dynamodb:Query":
        return [arn, f"{arn}/index/*"]
    return [f"{arn}/*" if kind == "AWS::S3::Bucket" and action != "s3:ListBucket" else arn]


@dataclass(frozen=True)
class Explained:
    """Why there are grants that no test uses: the actions, the places (logical IDs) and the
    functions are patterns."""

    actions: str
    places: str
    functions: str
    why: str

    def of(self, function: str, action: str, place: str) -> bool:
        """Whether it is about this grant."""
        return all(
            re.fullmatch(pattern, text)
            for pattern, text in (
                (self.functions, function),
                (self.actions, action),
                (self.places, place),
            )
        )


EXPLAINED: Sequence[Explained] = (
    Explained(
        "s3:ListBucket",
        "Bucket",
        ".*",
        "Where a file has gone, S3 says 404 only to who may list, and else 403. Tests have some "
        "functions meet that, not each that reads files.",
    ),
    Explained(
        "s3:(Get|Put)Object",
        "Bucket",
        "Progress|Chat.*2Image|DeleteConversation|RetryJob|DeleteJob|Intake|Sweeper"
        "|(Get|Delete|Cancel)Response|Respond|PullWorker",
        "What a job or a response has no room for in its record is in a file. Tests have others "
        "read and write such, by the same code.",
    ),
    Explained(
        "s3:DeleteObject",
        "Bucket",
        "Text2Image|Image2Image|CreateImage.*|Worker|PullWorker",
        "What was stored of a job after it had been deleted, while it was drawn.",
    ),
    Explained(
        "s3:DeleteObject",
        "Bucket",
        "Responses|(Get|Cancel)Response|Respond",
        "The file of a long response whose writer lost a race, or died.",
    ),
    Explained(
        "dynamodb:(Put|Delete)Item",
        "Table",
        "Image2Image|CreateImage.*|Chat.*2Image|GetOptions|SetOptions|Intake|Worker|Respond",
        "What hosts have is written down by whoever sees it first, and a list that no host has any "
        "more is deleted.",
    ),
    Explained(
        "dynamodb:DeleteItem",
        "Table",
        "Responses",
        "An idempotency key whose request came to nothing, and may come again.",
    ),
    Explained(
        "dynamodb:Query",
        "Table",
        "ChatImage2Image|Intake|Respond|CountInputTokens",
        "Earlier turns: of pictures as ChatText2Image finds them, of words as Responses does.",
    ),
    Explained(
        "dynamodb:UpdateItem",
        "Table",
        "Sweeper|DeleteResponse|CancelJob",
        "Ends jobs that are still counted: past their time, or a deleted response's picture.",
    ),
    Explained(
        "sqs:SendMessage",
        "Jobs|.*-pool-.*",
        "Image2Image|CreateImage.*|ChatImage2Image|CancelJob|RetryJob|Intake|Worker|Sweeper"
        "|PullWorker",
        "Who ends a job may have another go on, in the queue of whoever can draw it. Tests do it "
        "by the same code with other functions, and other queues.",
    ),
    Explained(
        "sqs:SendMessage",
        "DeadLetters|EventDeadLetters",
        "Worker|PullWorker|Publish",
        "Messages and records that nobody can read; Lambda itself sends those of the table's "
        "stream that it gives up.",
    ),
    Explained(
        "sqs:SendMessage",
        "Webhooks",
        "Sweeper",
        "Deliveries whose message was lost.",
    ),
    Explained(
        "sqs:ChangeMessageVisibility",
        "Requests",
        "Intake",
        "A producer's message that waits while its tenant is at its limits.",
    ),
    Explained(
        "secretsmanager:GetSecretValue|sqs:(ChangeMessageVisibility|DeleteMessage)",
        "ConfigSecret|OpenaiSecretArn|.*-pool-.*",
        "PullWorker",
        "What the worker does as a function with secrets, and here with the queue of all jobs.",
    ),
)
"""What the suites do not bring about, by kind. A row goes when all that it is about is used."""


def found(root: Path, recording: Path, explained: Sequence[Explained] = EXPLAINED) -> list[str]:
    """What is not as it should be, by the recording of a whole run; of a part of the suites,
    nothing can be said of what is not used."""
    wrong = [*missing(root, recording), *partial(root, recording)]
    unused = [*unexplained(root, recording, explained), *outdated(root, recording, explained)]
    return wrong or unused


def partial(root: Path, recording: Path) -> list[str]:
    """Who has grants and was not seen at all: not all suites were run, or nothing tests it."""
    seen = recorded(recording)
    return [
        f"{function}: nothing is recorded of it. Is this the recording of a whole run?"
        for function in _subjects(root)
        if grants(root, function) and function not in seen
    ]


def missing(root: Path, recording: Path) -> list[str]:
    """What functions were seen to do that their roles do not allow."""
    wrong = []
    for function, done in _done(root, recording).items():
        allowed = grants(root, function)
        for action, place in sorted(done):
            named = place != "-"  # the stack and its functions are named by no variable
            if (action, place) not in allowed and (named or action not in dict(allowed)):
                wrong.append(f"{function}: does {action} to {place}, which its role forbids.")
    return wrong


def unexplained(root: Path, recording: Path, explained: Sequence[Explained]) -> list[str]:
    """What functions may do, were not seen to do, and need not have a right to by `EXPLAINED`."""
    return [
        f"{function}: may {action} on {place}, which no test makes it do."
        for function, action, place in _unused(root, recording)
        if not any(one.of(function, action, place) for one in explained)
    ]


def outdated(root: Path, recording: Path, explained: Sequence[Explained]) -> list[str]:
    """Explanations of what tests do, or of what no role allows."""
    unused = _unused(root, recording)
    return [
        f"EXPLAINED: {one.functions} and {one.actions} on {one.places}: all of it is used, or gone."
        for one in explained
        if not any(one.of(*grant) for grant in unused)
    ]


def _unused(root: Path, recording: Path) -> list[tuple[str, str, str]]:
    """Functions, actions and places: what the roles allow and was not done."""
    done = _done(root, recording)
    return [
        (function, action, place)
        for function in _subjects(root)
        for action, place in sorted(grants(root, function))
        if not {(action, place), (action, "-")} & done.get(function, set())
    ]


def _done(root: Path, recording: Path) -> dict[str, set[tuple[str, str]]]:
    """What was recorded, with the logical IDs of what it was done to."""
    variables = _variables(root)
    return {
        function: {
            (action, variables.get((function, name), _pooled(name))) for action, name in done
        }
        for function, done in recorded(recording).items()
    }


def _pooled(queue: str) -> str:
    """How the template names the queues of pools, if this is one."""
    return POOLS if "-pool-" in queue else queue


def recorded(folder: Path) -> dict[str, set[tuple[str, str]]]:
    """What was noted, by function: IAM actions, and the variables that name the resources."""
    found: dict[str, set[tuple[str, str]]] = {}
    for file in folder.rglob("*.txt"):
        for line in file.read_text("utf-8").splitlines():
            action, _, variable = line.partition(" ")
            found.setdefault(file.stem, set()).add((action, variable))
    return found


@cache
def _resources(root: Path) -> dict[str, Any]:
    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    found: dict[str, Any] = translated(root)["Resources"]
    return found


def _variables(root: Path) -> dict[tuple[str, str], str]:
    """What each variable of a function refers to."""
    found = {}
    for function, properties in Template(root / "template.yaml").resources(FUNCTION):
        variables = (properties.get("Environment") or {}).get("Variables") or {}
        for name, value in variables.items():
            if isinstance(value, Mapping) and "Ref" in value:
                found[function, name] = str(value["Ref"])
                if function == "Worker":
                    found[PULL_WORKER, name] = str(value["Ref"])
    return found


def _named(resource: Any) -> Iterator[str]:
    """The logical IDs in a statement's resources."""
    for one in _listed(resource):
        if isinstance(one, Mapping):
            for value in one.values():
                if isinstance(value, str) and value.startswith("arn:"):
                    yield value.rpartition(":${AWS::AccountId}:")[2]
                elif isinstance(value, str):
                    yield value.removeprefix("${").partition("}")[0].partition(".")[0]
                elif isinstance(value, list):
                    yield from _in_list(value)


def _in_list(value: list[Any]) -> Iterator[str]:
    """The logical IDs in ``Fn::GetAtt``, or in ``Fn::Sub`` with its own names."""
    if len(value) == 2 and isinstance(value[1], Mapping):
        for one in value[1].values():
            yield from _named(one)
    elif value and isinstance(value[0], str):
        yield value[0]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def main() -> int:
    """Print what is not as it should be; or write the policies."""
    if sys.argv[1] == "--policies":
        folder = Path(sys.argv[2])
        folder.mkdir(parents=True, exist_ok=True)
        for function, policy in policies(ROOT).items():
            (folder / f"{function}.json").write_text(json.dumps(policy, indent=1))
        return 0
    wrong = found(ROOT, Path(sys.argv[1]))
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
