"""What must agree does agree, and each check notices when it does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from dev.checks import contract, deployed, layering, openapi, privileges, words

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_the_repository_agrees_with_itself(check: Callable[[Path], list[str]]) -> None:
    assert check(ROOT) == []


def test_the_document_is_valid_openapi_and_names_each_operation_once() -> None:
    document = json.loads((ROOT / openapi.COMMITTED).read_text("utf-8"))
    validate(document)
    ids = [
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
    ]
    assert len(ids) == len(set(ids))


def test_the_document_is_where_people_look_for_it() -> None:
    assert (ROOT / "docs/openapi.json").read_text("utf-8") == (ROOT / openapi.COMMITTED).read_text(
        "utf-8"
    )


# --- Each check, on a small repository with one fault -------------------------------------------

TEMPLATE = """\
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Parameters:
  Mode: {Type: String, Default: RESPONSE_STREAM}
  Table: {Type: String, MaxLength: 1024}
  Level: {Type: String, Default: INFO, AllowedValues: [DEBUG, INFO, WARN, ERROR]}
Globals:
  Function:
    Runtime: python3.12
    Handler: app.handler
    Timeout: 28
    Environment:
      Variables:
        TABLE_NAME: !Ref Table
        POWERTOOLS_SERVICE_NAME: !Ref AWS::StackName
        POWERTOOLS_LOG_LEVEL: !Ref Level
    LoggingConfig: {LogFormat: JSON, ApplicationLogLevel: !Ref Level}
Resources:
  Api:
    Type: AWS::Serverless::Api
    Properties:
      StageName: local
      Cors: {AllowOrigin: "'*'", AllowHeaders: "'authorization, *'"}
      Auth:
        DefaultAuthorizer: Keys
        AddDefaultAuthorizerToCorsPreflight: false
        Authorizers:
          Keys:
            FunctionArn: !GetAtt GetJob.Arn
            FunctionPayloadType: REQUEST
            Identity: {ReauthorizeEvery: 0}
  GetJob:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/jobs/get_job/
      Events:
        Http: {Type: Api, Properties: {Path: "/v1/jobs/{job_id}", Method: GET, RestApiId: !Ref Api}}
  JobEvents:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/jobs/job_events/
      Timeout: 900
      Environment: {Variables: {AWS_LAMBDA_EXEC_WRAPPER: /opt/bin/stream}}
      Events:
        Http:
          Type: Api
          Properties:
            Path: "/v1/jobs/{job_id}/events"
            Method: GET
            RestApiId: !Ref Api
            ResponseTransferMode: RESPONSE_STREAM
            TimeoutInMillis: 900000
"""

GET_JOB = '''\
"""GET /v1/jobs/{job_id}: a job."""

from robotchat.aws.api import Endpoint

handler = Endpoint(scope="jobs:read")


@handler.get("/v1/jobs/<job_id>")
def get_job(job_id: str) -> dict[str, str]:
    return {"id": job_id}
'''

JOB_EVENTS = '''\
"""GET /v1/jobs/{job_id}/events: what happens to a job.

A snapshot first, then every change.
"""

from robotchat.aws.api import Endpoint, EventStream

handler = Endpoint()


@handler.get("/v1/jobs/<job_id>/events")
def job_events(job_id: str) -> EventStream:
    return EventStream([("done", {"id": job_id})])
'''


PROJECT = """\
[project]
version = "1"
description = "Small."
license = "MIT"
dependencies = ["httpx>=0.28,<1"]

[project.optional-dependencies]
aws = ["standardwebhooks>=1,<2"]
"""


SETTINGS = """\
class Settings:
    @classmethod
    def from_env(cls, env):
        def number(name):
            return float(env.get(name, "5"))

        return number("PATIENCE"), env.get("TABLE_NAME")
"""


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")


def package(root: Path, module: str, text: str) -> None:
    write(root, f"layers/robotchat/src/robotchat/{module}.py", text)


def change(root: Path, path: str, old: str, new: str) -> None:
    text = (root / path).read_text("utf-8")
    assert old in text
    (root / path).write_text(text.replace(old, new), "utf-8")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two endpoints, in which everything agrees."""
    write(tmp_path, "template.yaml", TEMPLATE)
    write(tmp_path, "functions/jobs/get_job/app.py", GET_JOB)
    write(tmp_path, "functions/jobs/job_events/app.py", JOB_EVENTS)
    for name, path in (
        ("get_job", "/v1/jobs/{job_id}"),
        ("job_events", "/v1/jobs/{job_id}/events"),
    ):
        event = json.dumps({"httpMethod": "GET", "resource": path})
        write(tmp_path, f"events/jobs/{name}.json", event)
    write(tmp_path, "layers/robotchat/pyproject.toml", PROJECT)
    httpx = f"httpx==0.28.1 \\\n    --hash=sha256:{'0' * 64}\n"
    webhooks = f"standardwebhooks==1.1.0 \\\n    --hash=sha256:{'1' * 64}\n"
    pytests = f"pytest==9.2.0 ; os_name == 'posix' \\\n    --hash=sha256:{'2' * 64}\n"
    write(tmp_path, "layers/robotchat/constraints.txt", httpx + webhooks)
    write(tmp_path, "dev/requirements.txt", httpx + pytests)
    write(tmp_path, "dev/requirements.in", "# Tests\npytest\n")
    write(tmp_path, "dev/requirements-sam.txt", "")
    write(tmp_path, "dev/requirements-sam.in", "")
    write(tmp_path, "dev/requirements-policies.txt", "")
    write(tmp_path, "dev/requirements-policies.in", "")
    package(tmp_path, "__init__", "")
    package(tmp_path, "errors", "class Failed(Exception): ...\n")
    package(tmp_path, "clock", "")
    package(tmp_path, "records", "from robotchat.errors import Failed\n\nFAILED = Failed\n")
    package(tmp_path, "jobs/job", "import robotchat.errors\n")
    package(
        tmp_path, "jobs/store", "from robotchat.jobs import job\nfrom robotchat import records\n"
    )
    package(tmp_path, "settings", SETTINGS)
    package(tmp_path, "robot", "from robotchat.jobs.store import job\n")
    package(tmp_path, "drivers/webui", "import httpx\n\nimport robotchat.errors\n")
    package(tmp_path, "aws/stores", "import boto3\n\nimport robotchat.records\n")
    package(tmp_path, "aws/wiring", "import os\n\nENVIRONMENT = os.environ\n")
    write(tmp_path, "docs/operations.md", "| `PATIENCE` | 5 | seconds |\n")
    write(tmp_path, "docs/architecture.md", "A job (`jobs/job.py`) is stored (`store.py`).\n")
    write(tmp_path, str(openapi.COMMITTED), openapi.written(tmp_path))
    return tmp_path


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_a_small_repository_agrees_with_itself(
    check: Callable[[Path], list[str]], repository: Path
) -> None:
    assert check(repository) == []


def a_folder_that_is_not_deployed(root: Path) -> None:
    write(root, "functions/jobs/cancel_job/app.py", GET_JOB)


def a_function_without_a_folder(root: Path) -> None:
    shutil.rmtree(root / "functions/jobs/get_job")


def a_function_with_anothers_code(root: Path) -> None:
    change(root, "template.yaml", "functions/jobs/get_job/", "functions/jobs/job_events/")


def a_function_under_another_name(root: Path) -> None:
    change(root, "template.yaml", "  GetJob:", "  ReadJob:")


def an_unknown_family(root: Path) -> None:
    (root / "functions/jobs").rename(root / "functions/misc")
    change(root, "template.yaml", "functions/jobs/", "functions/misc/")


def two_folders_of_one_name(root: Path) -> None:
    write(root, "functions/admin/get_job/app.py", GET_JOB)


def a_folder_in_another_spelling(root: Path) -> None:
    write(root, "functions/jobs/GetJob/app.py", GET_JOB)


def a_second_file(root: Path) -> None:
    write(root, "functions/jobs/get_job/helpers.py", "")


def another_route_in_the_docstring(root: Path) -> None:
    change(
        root, "functions/jobs/get_job/app.py", '"""GET /v1/jobs/{job_id}', '"""GET /v1/jobs/{id}'
    )


def a_further_route_without_its_line(root: Path) -> None:
    first = '{Path: "/v1/jobs/{job_id}", Method: GET, RestApiId: !Ref Api}}'
    more = "{Type: Api, Properties: {Path: /v1/more, Method: GET, RestApiId: !Ref Api}}"
    change(root, "template.yaml", first, f"{first}\n        More: {more}")


def an_endpoint_without_an_event(root: Path) -> None:
    (root / "events/jobs/get_job.json").unlink()


def an_event_without_an_endpoint(root: Path) -> None:
    write(root, "events/jobs/cancel_job.json", "{}")


def an_event_for_another_route(root: Path) -> None:
    change(root, "events/jobs/get_job.json", '"GET"', '"POST"')


def aws_in_the_core(root: Path) -> None:
    package(root, "jobs/job", "def f():\n    from boto3 import client\n")


def powertools_in_a_driver(root: Path) -> None:
    package(root, "drivers/webui", "import aws_lambda_powertools.logging\n")


def the_core_upon_aws(root: Path) -> None:
    package(root, "jobs/job", "from robotchat import aws\n")


def the_package_upon_what_does_not_ship(root: Path) -> None:
    package(root, "aws/stores", "import dev.template\n")


def a_driver_upon_the_robot(root: Path) -> None:
    package(root, "drivers/webui", "import robotchat.robot\n")


def a_driver_upon_jobs(root: Path) -> None:
    package(root, "drivers/webui", "import robotchat.jobs.job\n")


def a_lower_room_upon_an_upper_one(root: Path) -> None:
    package(root, "records", "import robotchat.jobs.job\n")


def a_lower_room_upon_an_upper_one_inside_a_function(root: Path) -> None:
    package(root, "records", "def f():\n    from robotchat.jobs import job\n")


def a_lower_room_upon_an_upper_one_for_types(root: Path) -> None:
    types = "if TYPE_CHECKING:\n    from robotchat.jobs import job\n"
    package(root, "records", f"from typing import TYPE_CHECKING\n\n{types}")


def a_room_upon_one_beside_it(root: Path) -> None:
    package(root, "records", "import robotchat.ids\n")
    package(root, "ids", "")


def a_room_upon_the_public_names(root: Path) -> None:
    package(root, "robot", "from robotchat import Robot\n")


def a_relative_import(root: Path) -> None:
    package(root, "records", "from .jobs import job\n")


def a_room_that_nobody_knows(root: Path) -> None:
    package(root, "helpers", "")


def a_circle_within_a_room(root: Path) -> None:
    package(root, "jobs/job", "import robotchat.jobs.store\n")


def a_circle_inside_a_function(root: Path) -> None:
    package(root, "jobs/job", "def f():\n    from robotchat.jobs.states import TABLE\n")
    package(root, "jobs/states", "from robotchat.jobs.store import job\n\nTABLE = {}\n")


def a_module_that_needs_another_to_be_loaded_before_it(root: Path) -> None:
    package(root, "jobs/job", "import robotchat\n\nFAILED = robotchat.errors.Failed\n")


def a_module_without_a_library(root: Path) -> None:
    package(root, "clock", "import robotchat.nothing\n")


def the_environment_in_the_core(root: Path) -> None:
    package(root, "jobs/job", "import os\n\nURL = os.environ['URL']\n")


def one_variable_in_the_core(root: Path) -> None:
    package(root, "jobs/job", "from os import getenv\n\nURL = getenv('URL')\n")


def a_setting_that_nobody_can_find(root: Path) -> None:
    change(root, "layers/robotchat/src/robotchat/settings.py", '"PATIENCE"', '"PATIENCE_SECONDS"')


def a_documented_setting_that_is_gone(root: Path) -> None:
    write(root, "docs/operations.md", "| `PATIENCE` | 5 | |\n| `HURRY` | 0 | |\n")


def a_deployed_setting_that_is_gone(root: Path) -> None:
    change(
        root, "template.yaml", "        TABLE_NAME:", "        BUCKET: bucket\n        TABLE_NAME:"
    )


def aws_in_a_handler(root: Path) -> None:
    change(root, "functions/jobs/get_job/app.py", "handler =", "import boto3\n\nhandler =")


def a_stream_that_is_not_a_literal(root: Path) -> None:
    change(root, "template.yaml", "Mode: RESPONSE_STREAM", "Mode: !Ref Mode")


def a_stream_without_the_wrapper(root: Path) -> None:
    change(root, "template.yaml", "/opt/bin/stream", "/opt/bin/other")


def a_wrapper_without_a_stream(root: Path) -> None:
    change(root, "template.yaml", "            ResponseTransferMode: RESPONSE_STREAM\n", "")


def a_stream_that_is_cut_after_29_seconds(root: Path) -> None:
    change(root, "template.yaml", "            TimeoutInMillis: 900000\n", "")


def a_stream_that_is_cut_before_its_function_ends(root: Path) -> None:
    change(root, "template.yaml", "TimeoutInMillis: 900000", "TimeoutInMillis: 600000")


def a_buffered_function_that_outlasts_the_gateway(root: Path) -> None:
    change(root, "template.yaml", "    Timeout: 28\n", "    Timeout: 29\n")


def an_api_that_no_page_may_call(root: Path) -> None:
    change(root, "template.yaml", "      Cors:", "      Description:")
    change(
        root, "template.yaml", "{AllowOrigin: \"'*'\", AllowHeaders: \"'authorization, *'\"}", "x"
    )


def a_preflight_that_wants_a_key(root: Path) -> None:
    change(root, "template.yaml", "CorsPreflight: false", "CorsPreflight: true")


def a_preflight_that_forbids_a_method(root: Path) -> None:
    change(root, "template.yaml", "Cors: {", "Cors: {AllowMethods: \"'POST'\", ")


def more_resources_than_fit_a_stack(root: Path) -> None:
    queues = "".join(f"  Queue{n}: {{Type: AWS::SQS::Queue}}\n" for n in range(400))
    change(root, "template.yaml", "Resources:\n", f"Resources:\n{queues}")


def a_template_that_is_too_long(root: Path) -> None:
    text = "x" * deployed.MAX_TEMPLATE_BYTES
    change(root, "template.yaml", "Resources:\n", f"Metadata: {{Note: {text}}}\nResources:\n")


def a_path_of_too_many_parts(root: Path) -> None:
    path = "/a" * 240
    event = f"{{Type: Api, Properties: {{Path: {path}, Method: GET, RestApiId: !Ref Api}}}}"
    change(
        root,
        "template.yaml",
        "      Events:\n        Http: ",
        f"      Events:\n        More: {event}\n        Http: ",
    )


def variables_that_may_be_too_long(root: Path) -> None:
    change(root, "template.yaml", "MaxLength: 1024", "MaxLength: 4096")


def a_variable_that_may_be_of_any_length(root: Path) -> None:
    change(root, "template.yaml", ", MaxLength: 1024", "")


def a_log_level_that_lambda_does_not_know_of(root: Path) -> None:
    change(root, "template.yaml", ", ApplicationLogLevel: !Ref Level", "")


def queue(root: Path, hidden: int, concurrency: str) -> None:
    """A queue whose messages the function JobEvents gets."""
    change(
        root,
        "template.yaml",
        "      Events:\n        Http:\n          Type: Api\n",
        "      Events:\n        Message:\n          Type: SQS\n          Properties:\n"
        "            Queue: !GetAtt Messages.Arn\n"
        f"            ScalingConfig: {{MaximumConcurrency: {concurrency}}}\n"
        "        Http:\n          Type: Api\n",
    )
    change(
        root,
        "template.yaml",
        "  JobEvents:\n",
        f"  Messages: {{Type: AWS::SQS::Queue, Properties: {{VisibilityTimeout: {hidden}}}}}\n"
        "  JobEvents:\n",
    )
    change(
        root, "template.yaml", "Parameters:\n", "Parameters:\n  Many: {Type: Number, MinValue: 1}\n"
    )


def a_queue_whose_messages_show_too_soon(root: Path) -> None:
    queue(root, 899, "2")


def a_queue_with_one_execution(root: Path) -> None:
    queue(root, 900, "1")


def a_queue_with_perhaps_one_execution(root: Path) -> None:
    queue(root, 900, "!Ref Many")


def a_role_that_may_more_than_the_code_does(root: Path) -> None:
    grant = (
        "Statement: {Effect: Allow, Action: dynamodb:Scan, Resource: !GetAtt Api.RootResourceId}"
    )
    properties = "      CodeUri: functions/jobs/get_job/\n"
    change(root, "template.yaml", properties, f"{properties}      Policies: [{{{grant}}}]\n")


def a_route_that_the_code_does_not_have(root: Path) -> None:
    change(root, "template.yaml", 'Path: "/v1/jobs/{job_id}",', 'Path: "/v1/jobs/{id}",')


def a_method_that_the_code_does_not_have(root: Path) -> None:
    change(root, "functions/jobs/get_job/app.py", "@handler.get", "@handler.delete")


def a_handler_that_is_no_endpoint(root: Path) -> None:
    with (root / "functions/jobs/get_job/app.py").open("a") as file:
        file.write("\n\nhandler = print\n")


def a_document_of_yesterday(root: Path) -> None:
    change(root, "functions/jobs/get_job/app.py", "a job.", "a job as it is now.")


def two_models_of_one_name(root: Path) -> None:
    for name, kind in (("get_job", "int"), ("job_events", "str")):
        path = f"functions/jobs/{name}/app.py"
        model = f"from pydantic import BaseModel\n\n\nclass Model(BaseModel):\n    a: {kind}\n\n\n"
        change(root, path, "handler = ", f"{model}handler = ")
        text = (root / path).read_text("utf-8")
        head, _, _ = text.partition(") -> ")
        (root / path).write_text(f"{head}) -> Model:\n    raise NotImplementedError\n", "utf-8")


def a_version_that_was_not_tested(root: Path) -> None:
    change(root, "dev/requirements.txt", "httpx==0.28.1", "httpx==0.28.2")


def a_version_that_is_left_open(root: Path) -> None:
    change(root, "layers/robotchat/constraints.txt", "standardwebhooks==", "webhooks==")


def a_pin_without_a_hash(root: Path) -> None:
    path = "layers/robotchat/constraints.txt"
    change(root, path, f"httpx==0.28.1 \\\n    --hash=sha256:{'0' * 64}\n", "httpx==0.28.1\n")


def a_tool_that_is_not_pinned(root: Path) -> None:
    write(root, "dev/requirements.in", "pytest\nruff[all]  # new\n")


def a_map_of_yesterday(root: Path) -> None:
    write(root, "docs/architecture.md", "A job (`jobs.py`) is stored (`jobs/store.py`).\n")


def a_parameter_in_the_other_word(root: Path) -> None:
    package(root, "records", "def keep(picture): ...\n")


def a_module_in_the_other_word(root: Path) -> None:
    package(root, "jobs/pictures", "")


def a_field_of_the_same_name_elsewhere(root: Path) -> None:
    package(root, "robot", "class Robot:\n    picture: bytes\n")


def a_kept_name_for_something_else(root: Path) -> None:
    package(root, "robot", "class Robot:\n    def __init__(self):\n        self.picture = b''\n")


FAULTS: list[tuple[Callable[[Path], list[str]], Callable[[Path], None]]] = [
    (contract.folders_are_functions, a_folder_that_is_not_deployed),
    (contract.folders_are_functions, a_function_without_a_folder),
    (contract.folders_are_functions, a_function_with_anothers_code),
    (contract.folders_are_functions, a_function_under_another_name),
    (contract.folders_are_functions, an_unknown_family),
    (contract.folders_are_functions, two_folders_of_one_name),
    (contract.folders_are_functions, a_folder_in_another_spelling),
    (contract.folders_hold_one_file, a_second_file),
    (contract.folders_hold_one_file, another_route_in_the_docstring),
    (contract.folders_hold_one_file, a_further_route_without_its_line),
    (contract.events_are_functions, an_endpoint_without_an_event),
    (contract.events_are_functions, an_event_without_an_endpoint),
    (contract.events_are_functions, an_event_for_another_route),
    (contract.functions_import_only_the_package, aws_in_a_handler),
    (layering.imports_point_down, aws_in_the_core),
    (layering.imports_point_down, powertools_in_a_driver),
    (layering.imports_point_down, the_core_upon_aws),
    (layering.imports_point_down, the_package_upon_what_does_not_ship),
    (layering.imports_point_down, a_driver_upon_the_robot),
    (layering.imports_point_down, a_driver_upon_jobs),
    (layering.imports_point_down, a_lower_room_upon_an_upper_one),
    (layering.imports_point_down, a_lower_room_upon_an_upper_one_inside_a_function),
    (layering.imports_point_down, a_lower_room_upon_an_upper_one_for_types),
    (layering.imports_point_down, a_room_upon_one_beside_it),
    (layering.imports_point_down, a_room_upon_the_public_names),
    (layering.imports_point_down, a_relative_import),
    (layering.imports_point_down, a_room_that_nobody_knows),
    (layering.imports_go_in_no_circle, a_circle_within_a_room),
    (layering.imports_go_in_no_circle, a_circle_inside_a_function),
    (layering.modules_import_alone, a_module_that_needs_another_to_be_loaded_before_it),
    (layering.modules_import_alone, a_module_without_a_library),
    (layering.environment_is_read_in_few_places, the_environment_in_the_core),
    (layering.environment_is_read_in_few_places, one_variable_in_the_core),
    (contract.settings_can_be_found, a_setting_that_nobody_can_find),
    (contract.settings_can_be_found, a_documented_setting_that_is_gone),
    (contract.settings_can_be_found, a_deployed_setting_that_is_gone),
    (deployed.streaming_functions_stream, a_stream_that_is_not_a_literal),
    (deployed.streaming_functions_stream, a_stream_without_the_wrapper),
    (deployed.streaming_functions_stream, a_wrapper_without_a_stream),
    (deployed.integrations_outlast_functions, a_stream_that_is_cut_after_29_seconds),
    (deployed.integrations_outlast_functions, a_stream_that_is_cut_before_its_function_ends),
    (deployed.integrations_outlast_functions, a_buffered_function_that_outlasts_the_gateway),
    (deployed.preflights_are_answered, an_api_that_no_page_may_call),
    (deployed.preflights_are_answered, a_preflight_that_wants_a_key),
    (deployed.preflights_are_answered, a_preflight_that_forbids_a_method),
    (deployed.quotas_leave_room, more_resources_than_fit_a_stack),
    (deployed.quotas_leave_room, a_template_that_is_too_long),
    (deployed.quotas_leave_room, a_path_of_too_many_parts),
    (deployed.environments_fit, variables_that_may_be_too_long),
    (deployed.environments_fit, a_variable_that_may_be_of_any_length),
    (deployed.log_levels_are_lambdas, a_log_level_that_lambda_does_not_know_of),
    (deployed.queues_outlast_functions, a_queue_whose_messages_show_too_soon),
    (deployed.queues_outlast_functions, a_queue_with_one_execution),
    (deployed.queues_outlast_functions, a_queue_with_perhaps_one_execution),
    (privileges.grants_are_used_by_code, a_role_that_may_more_than_the_code_does),
    (contract.document_is_current, a_route_that_the_code_does_not_have),
    (contract.document_is_current, a_method_that_the_code_does_not_have),
    (contract.document_is_current, a_handler_that_is_no_endpoint),
    (contract.document_is_current, a_document_of_yesterday),
    (contract.document_is_current, two_models_of_one_name),
    (contract.layer_is_pinned, a_version_that_was_not_tested),
    (contract.layer_is_pinned, a_version_that_is_left_open),
    (contract.locks_are_whole, a_pin_without_a_hash),
    (contract.locks_are_whole, a_tool_that_is_not_pinned),
    (contract.the_map_is_current, a_map_of_yesterday),
    (words.names_say_image, a_parameter_in_the_other_word),
    (words.names_say_image, a_module_in_the_other_word),
    (words.names_say_image, a_field_of_the_same_name_elsewhere),
    (words.names_say_image, a_kept_name_for_something_else),
]


@pytest.mark.parametrize(("check", "fault"), FAULTS, ids=[fault.__name__ for _, fault in FAULTS])
def test_a_planted_fault_is_found(
    check: Callable[[Path], list[str]], fault: Callable[[Path], None], repository: Path
) -> None:
    fault(repository)
    assert len(check(repository)) >= 1


def test_the_document_says_what_endpoints_have_in_common(repository: Path) -> None:
    document = openapi.build(repository)
    validate(document)
    job = document["paths"]["/v1/jobs/{job_id}"]["get"]
    assert job["summary"] == "A job"
    assert job["operationId"] == "get_job"
    assert "`jobs:read`" in job["description"]
    assert list(job["responses"]) == ["200", "304", "401", "403", "404", "422", "429", "4XX", "5XX"]
    assert "x-request-id" in job["responses"]["200"]["headers"]
    missing = document["components"]["responses"]["Problem404"]
    assert list(missing["content"]) == ["application/problem+json"]
    assert "`not_found`" in missing["description"]
    assert document["security"] == [{"bearer": []}, {"apiKey": []}, {"basic": []}]


def test_the_document_knows_a_stream(repository: Path) -> None:
    events = openapi.build(repository)["paths"]["/v1/jobs/{job_id}/events"]["get"]
    assert list(events["responses"]["200"]["content"]) == ["text/event-stream"]
    assert events["description"] == "A snapshot first, then every change."
