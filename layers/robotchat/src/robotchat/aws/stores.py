"""The library's stores on AWS: records in DynamoDB, images in S3, secrets in Secrets Manager."""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from robotchat.errors import Contended, NotFound
from robotchat.records import (
    PAGE_BYTES,
    Add,
    Entry,
    Index,
    LimitReached,
    Operation,
    Page,
    Record,
    Remove,
    Stale,
    can_match,
    check_key,
    decode_cursor,
    encode_cursor,
    encoded,
    fitting,
    is_key,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient

_COUNTER = "n_"
_KEYS_PER_BATCH = 100
_KEYS_PER_LOOK = 25
"""How many records a page is made up of at a time: anything read beyond that is wasted."""
_TRIES_PER_BATCH = 12
_TOO_MANY = ("ProvisionedThroughputExceededException", "ThrottlingException")
"""What DynamoDB calls it, when a partition or a table is asked more than it answers."""


class DynamoRecords:
    """Records in one DynamoDB table (``template.yaml`` has its keys and indexes).

    An item holds the document as JSON text in ``data``, the ``version``, the keys of the indexes
    it is in, ``labels`` as a map, ``ttl``, and the ``mark`` of the commit that wrote it. Counters
    (see ``Add``) are numbers of their own, so that DynamoDB can add to them and compare them in
    one step.
    """

    def __init__(self, client: DynamoDBClient, table_name: str) -> None:
        self._client = client
        self._table = table_name

    def get(self, pk: str, sk: str) -> Record | None:
        if not is_key(pk, sk):
            return None
        answer = self._client.get_item(
            TableName=self._table, Key={"pk": {"S": pk}, "sk": {"S": sk}}, ConsistentRead=True
        )
        item = answer.get("Item")
        return record_of(item) if item else None

    def commit(self, *operations: Operation) -> None:
        # The client repeats a call whose answer was lost. A transaction has a token by which
        # DynamoDB knows it again; a single write is known by the mark that it left.
        mark = secrets.token_hex(8)
        requests: list[Any] = [self._request(operation, mark) for operation in operations]
        for attempt in range(12):
            try:
                if len(requests) > 1 or isinstance(operations[0], Add):
                    self._client.transact_write_items(TransactItems=requests)
                else:
                    self._single(requests[0])
                return
            except ClientError as error:
                # By its code: botocore makes the classes of a client's exceptions when they are
                # first asked for, and threads that ask at once may get different ones.
                code = error.response["Error"]["Code"]
                details: Any = error.response
                if code == "ConditionalCheckFailedException":
                    if details.get("Item", {}).get("mark", {}).get("S") == mark:
                        return
                    raise self._refusal(operations, [True]) from error
                reasons = [reason.get("Code") for reason in details.get("CancellationReasons", [])]
                failed = [reason == "ConditionalCheckFailed" for reason in reasons]
                if any(failed):
                    raise self._refusal(operations, failed) from error
                # Another transaction holds an item for a moment: try again, below.
                if "TransactionConflict" not in reasons and code != "TransactionConflictException":
                    raise
            time.sleep(random.uniform(0.005, 0.02) * 2 ** min(attempt, 6))  # noqa: S311
        raise Stale("too many transactions on the same records")

    def _single(self, request: dict[str, Any]) -> None:
        ((kind, parameters),) = request.items()
        if kind == "Put":
            self._client.put_item(**parameters, ReturnValuesOnConditionCheckFailure="ALL_OLD")
        else:
            self._client.delete_item(**parameters)

    def _request(self, operation: Operation, mark: str) -> dict[str, Any]:
        target = operation if isinstance(operation, Add) else operation.record
        check_key(target.pk, target.sk)
        if isinstance(operation, Add):
            return {"Update": self._addition(operation)}
        record = operation.record
        condition: dict[str, Any]
        if record.version:
            condition = {
                "ConditionExpression": "version = :version",
                "ExpressionAttributeValues": {":version": {"N": str(record.version)}},
            }
        else:
            condition = {"ConditionExpression": "attribute_not_exists(pk)"}
        if isinstance(operation, Remove):
            key = {"pk": {"S": record.pk}, "sk": {"S": record.sk}}
            condition = (
                condition
                if record.version
                else {
                    "ConditionExpression": "attribute_exists(pk) AND attribute_not_exists(version)"
                }
            )
            return {"Delete": {"TableName": self._table, "Key": key, **condition}}
        item = {**_item(record), "mark": {"S": mark}}
        return {"Put": {"TableName": self._table, "Item": item, **condition}}

    def _addition(self, operation: Add) -> dict[str, Any]:
        names: dict[str, str] = {"#version": "version"}
        values: dict[str, Any] = {":one": {"N": "1"}}
        adds = ["#version :one"]
        conditions = []
        for number, (name, amount) in enumerate(operation.amounts.items()):
            names[f"#c{number}"] = _COUNTER + name
            values[f":a{number}"] = {"N": str(amount)}
            adds.append(f"#c{number} :a{number}")
            limit = operation.at_most.get(name)
            if limit is not None:
                values[f":m{number}"] = {"N": str(limit - amount)}
                fits = f"#c{number} <= :m{number}"
                if amount <= limit:
                    fits = f"(attribute_not_exists(#c{number}) OR {fits})"
                conditions.append(fits)
        update = "ADD " + ", ".join(adds)
        for number, name in enumerate(operation.forget):
            names[f"#f{number}"] = _COUNTER + name
            update += f"{', ' if number else ' REMOVE '}#f{number}"
        if operation.expires_at is not None:
            names["#ttl"] = "ttl"
            values[":ttl"] = {"N": str(int(operation.expires_at))}
            update += " SET #ttl = :ttl"
        parameters = {
            "TableName": self._table,
            "Key": {"pk": {"S": operation.pk}, "sk": {"S": operation.sk}},
            "UpdateExpression": update,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
        }
        if conditions:
            parameters["ConditionExpression"] = " AND ".join(conditions)
        return parameters

    def _refusal(self, operations: Sequence[Operation], failed: Sequence[bool]) -> Exception:
        """What the failed conditions mean; that somebody else wrote first goes before a limit."""
        for operation, refused in zip(operations, failed, strict=False):
            if refused and not isinstance(operation, Add):
                return Stale(f"{operation.record.pk} {operation.record.sk}")
        for operation, refused in zip(operations, failed, strict=False):
            if refused and isinstance(operation, Add):
                return self._reached(operation)
        return Stale("unknown")

    def _reached(self, operation: Add) -> LimitReached:
        """Which of several limits it was, which DynamoDB does not tell: as it looks now."""
        present = self.get(operation.pk, operation.sk)
        counters = present.data if present else {}
        for name, limit in operation.at_most.items():
            used = counters.get(name, 0)
            if used + operation.amounts.get(name, 0) > limit:
                return LimitReached(name, limit, used)
        name, limit = next(iter(operation.at_most.items()))
        return LimitReached(name, limit)

    def query(
        self,
        index: Index,
        partition: str,
        *,
        after: str | None = None,
        up_to: str | None = None,
        labels: Mapping[str, str] | None = None,
        descending: bool = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        names = {"#p": f"{index}_pk"}
        values: dict[str, Any] = {":p": {"S": partition}}
        condition = "#p = :p"
        if after is not None or up_to is not None:
            names["#s"] = f"{index}_sk"
            # Both bounds are given as one range, since a key condition takes only one.
            values[":after"] = {"S": after or "\x00"}
            values[":up_to"] = {"S": up_to or "\U0010ffff"}
            condition += " AND #s BETWEEN :after AND :up_to"
        parameters: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": index,
            "KeyConditionExpression": condition,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
            "ScanIndexForward": not descending,
        }
        if labels:
            parameters["FilterExpression"] = _with_labels(labels, names, values)
        if cursor is not None:
            parameters["ExclusiveStartKey"] = _start(index, decode_cursor(cursor, partition))
        if not can_match(partition, labels):
            return Page([], None)
        keys: list[dict[str, Any]] = []
        more = True
        while more and len(keys) <= limit:
            answer = self._client.query(**parameters)
            keys += [i for i in answer["Items"] if after is None or i[f"{index}_sk"]["S"] != after]
            more = "LastEvaluatedKey" in answer
            if more:
                parameters["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        records, seen = self._page(keys[:limit])
        last = keys[seen - 1] if len(keys) > seen else None
        return Page(
            records,
            encode_cursor(
                {
                    "p": partition,
                    "s": last[f"{index}_sk"]["S"],
                    "pk": last["pk"]["S"],
                    "sk": last["sk"]["S"],
                }
            )
            if last
            else None,
        )

    def count(
        self, index: Index, partition: str, *, up_to: str, labels: Mapping[str, str], limit: int
    ) -> int:
        names = {"#p": f"{index}_pk", "#s": f"{index}_sk"}
        values: dict[str, Any] = {":p": {"S": partition}, ":s": {"S": up_to}}
        try:
            answer = self._client.query(
                TableName=self._table,
                IndexName=index,
                Select="COUNT",
                Limit=limit,
                ScanIndexForward=False,
                KeyConditionExpression="#p = :p AND #s <= :s",
                FilterExpression=_with_labels(labels, names, values),
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] not in _TOO_MANY:
                raise
            raise Contended("The index has more to do than it can.", retry_after=2) from error
        return answer["Count"]

    def entries(
        self, index: Index, partition: str, *, after: str | None = None, limit: int
    ) -> list[Entry]:
        if not can_match(partition):
            return []
        condition, names = "#p = :p", {"#p": f"{index}_pk"}
        values: dict[str, Any] = {":p": {"S": partition}}
        if after is not None:
            condition += " AND #s > :after"
            names["#s"], values[":after"] = f"{index}_sk", {"S": after}
        answer = self._client.query(
            TableName=self._table,
            IndexName=index,
            Limit=limit,
            KeyConditionExpression=condition,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values,
        )
        return [
            Entry(item["pk"]["S"], item["sk"]["S"], item[f"{index}_sk"]["S"])
            for item in answer["Items"]
        ]

    def get_all(self, keys: Sequence[tuple[str, str]]) -> list[Record | None]:
        found: dict[tuple[str, str], Record] = {}
        wanted = [key for key in dict.fromkeys(keys) if is_key(*key)]
        for start in range(0, len(wanted), _KEYS_PER_BATCH):
            for item in self._batch(wanted[start : start + _KEYS_PER_BATCH]):
                record = record_of(item)
                found[(record.pk, record.sk)] = record
        return [found.get(key) for key in keys]

    def _page(self, keys: Sequence[Mapping[str, Any]]) -> tuple[list[Record], int]:
        """The records under the first of these keys, up to a page's bytes, and how many of the
        keys that makes. Indexes hold no data."""
        wanted = [(key["pk"]["S"], key["sk"]["S"]) for key in keys]
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        size = seen = 0
        while seen < len(wanted) and size < PAGE_BYTES:
            some = wanted[seen : seen + _KEYS_PER_LOOK]
            for item in self._batch(some):
                found[item["pk"]["S"], item["sk"]["S"]] = item
                size += _size(item)
            seen += len(some)
        seen = fitting(_size(found[key]) if key in found else 0 for key in wanted[:seen])
        return [record_of(found[key]) for key in wanted[:seen] if key in found], seen

    def _batch(self, keys: Sequence[tuple[str, str]]) -> Iterator[Mapping[str, Any]]:
        """The items that there are under at most a hundred keys.

        DynamoDB may leave some to be asked for again: because the answer has become too large, or
        because it has too much to do, so that asking at once would make it worse.
        """
        places = [{"pk": {"S": pk}, "sk": {"S": sk}} for pk, sk in keys]
        asked: Any = {self._table: {"Keys": places, "ConsistentRead": True}}
        pause = 0.05
        for _ in range(_TRIES_PER_BATCH):
            answer = self._client.batch_get_item(RequestItems=asked)
            given = answer["Responses"].get(self._table, [])
            yield from given
            asked = answer.get("UnprocessedKeys")
            if not asked:
                return
            if given:
                pause = 0.05
            else:
                time.sleep(random.uniform(pause / 2, pause))  # noqa: S311
                pause = min(2 * pause, 1.0)
        raise Contended("The table has more to do than it can.", retry_after=2)


def _with_labels(labels: Mapping[str, str], names: dict[str, str], values: dict[str, Any]) -> str:
    """A filter by labels; what it refers to is added to the names and values of the request."""
    names["#labels"] = "labels"
    filters = []
    for number, (name, value) in enumerate(labels.items()):
        names[f"#l{number}"] = name
        values[f":l{number}"] = {"S": value}
        filters.append(f"#labels.#l{number} = :l{number}")
    return " AND ".join(filters)


def _item(record: Record) -> dict[str, Any]:
    item: dict[str, Any] = {
        "pk": {"S": record.pk},
        "sk": {"S": record.sk},
        "version": {"N": str(record.version + 1)},
        "data": {"S": encoded(record)},
    }
    for name, position in (
        ("owner", record.owner),
        ("group", record.group),
        ("due", record.due),
    ):
        if position is not None:
            item[f"{name}_pk"] = {"S": position[0]}
            item[f"{name}_sk"] = {"S": position[1]}
    if record.labels:
        item["labels"] = {"M": {name: {"S": value} for name, value in record.labels.items()}}
    if record.expires_at is not None:
        item["ttl"] = {"N": str(int(record.expires_at))}
    return item


def _size(item: Mapping[str, Any]) -> int:
    return len(item["data"]["S"].encode()) if "data" in item else 0


def record_of(item: Mapping[str, Any]) -> Record:
    """The record in an item, as the table or its stream gives it."""

    def position(name: str) -> tuple[str, str] | None:
        if f"{name}_pk" not in item:
            return None
        return item[f"{name}_pk"]["S"], item[f"{name}_sk"]["S"]

    counters = {
        name.removeprefix(_COUNTER): int(value["N"])
        for name, value in item.items()
        if name.startswith(_COUNTER)
    }
    return Record(
        pk=item["pk"]["S"],
        sk=item["sk"]["S"],
        data=json.loads(item["data"]["S"]) if "data" in item else counters,
        version=int(item["version"]["N"]) if "version" in item else 0,
        owner=position("owner"),
        group=position("group"),
        due=position("due"),
        labels={name: value["S"] for name, value in item.get("labels", {"M": {}})["M"].items()},
        expires_at=float(item["ttl"]["N"]) if "ttl" in item else None,
    )


def _start(index: Index, position: Mapping[str, str]) -> dict[str, Any]:
    return {
        f"{index}_pk": {"S": position["p"]},
        f"{index}_sk": {"S": position["s"]},
        "pk": {"S": position["pk"]},
        "sk": {"S": position["sk"]},
    }


class S3Images:
    """Images in a bucket; links are presigned.

    ``link_term`` says for how many of the wanted seconds a link that is signed now works.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        *,
        link_term: Callable[[float], float] = lambda wanted: wanted,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self.link_term = link_term

    def put(self, key: str, data: bytes, content_type: str) -> None:
        self._client.put_object(Bucket=self._bucket, Key=key, Body=data, ContentType=content_type)

    def get(self, key: str) -> bytes:
        try:
            return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            raise NotFound("The file is not stored, or not any more.") from error

    def url(self, key: str, *, expires_in: float) -> str:
        return self._client.generate_presigned_url(
            "get_object",
            Params={"Bucket": self._bucket, "Key": key},
            ExpiresIn=int(self.link_term(expires_in)),
        )

    def delete(self, prefix: str) -> None:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix
        )
        for page in pages:
            keys = [{"Key": found["Key"]} for found in page.get("Contents", [])]
            if keys:
                self._client.delete_objects(
                    Bucket=self._bucket,
                    Delete={"Objects": keys, "Quiet": True},  # type: ignore[typeddict-item]
                )

    def upload_url(self, key: str, *, content_type: str, size: int, expires_in: float) -> str:
        """A URL to PUT one file of exactly this type and size (bytes) to."""
        return self._client.generate_presigned_url(
            "put_object",
            Params={
                "Bucket": self._bucket,
                "Key": key,
                "ContentType": content_type,
                "ContentLength": size,
            },
            ExpiresIn=int(self.link_term(expires_in)),
        )


class ManagedSecrets:
    """Secrets in one secret of Secrets Manager; the reference to them is its version."""

    def __init__(self, client: SecretsManagerClient, arn: str) -> None:
        self._client = client
        self._arn = arn

    def put(self, values: Mapping[str, str]) -> str:
        text = json.dumps(dict(values))
        return self._client.put_secret_value(SecretId=self._arn, SecretString=text)["VersionId"]

    def get(self, reference: str) -> dict[str, str]:
        answer = self._client.get_secret_value(SecretId=self._arn, VersionId=reference)
        values: dict[str, str] = json.loads(answer["SecretString"])
        return values
