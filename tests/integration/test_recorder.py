"""What a function asks of AWS is noted, links included."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dev.checks import privileges
from tests.emulator import emulated_table

RECORDER = Path(__file__).parents[2] / "dev" / "stack" / "recorder"

FUNCTION = """
import boto3, os
table, bucket = os.environ["TABLE_NAME"], os.environ["BUCKET_NAME"]
dynamodb, s3 = boto3.client("dynamodb"), boto3.client("s3")
dynamodb.get_item(TableName=table, Key={"pk": {"S": "a"}, "sk": {"S": "b"}})
key = {"pk": {"S": "a"}, "sk": {"S": "b"}}
put = {"Put": {"TableName": table, "Item": key}}
other = {**key, "sk": {"S": "c"}}
dynamodb.transact_write_items(
    TransactItems=[put, {"Delete": {"TableName": table, "Key": other}}]
)
dynamodb.batch_get_item(RequestItems={table: {"Keys": [key]}})
s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a"})
"""


def test_each_operation_is_noted_with_what_it_was_done_to(tmp_path: Path) -> None:
    with emulated_table(tmp_path / "aws") as (client, table):
        recording = tmp_path / "operations"
        recording.mkdir()
        subprocess.run(
            [sys.executable, "-c", FUNCTION],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join([str(RECORDER), *sys.path]),
                "AWS_ENDPOINT_URL": client.meta.endpoint_url,
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "TABLE_NAME": table,
                "BUCKET_NAME": "pics",
                "ROBOTCHAT_RECORD": str(recording),
                "ROBOTCHAT_RECORD_AS": "Sample",
            },
            check=True,
        )
    actions = ("GetItem", "PutItem", "DeleteItem", "BatchGetItem")
    assert privileges.recorded(recording) == {
        "Sample": {(f"dynamodb:{action}", "TABLE_NAME") for action in actions}
        | {("s3:GetObject", "BUCKET_NAME")}
    }
