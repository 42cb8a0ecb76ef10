"""The embedded AWS refuses what DynamoDB refuses, whoever asks it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.emulator import emulated_table

KEY = {"pk": {"S": "a"}, "sk": {"S": "b"}}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    with emulated_table(tmp_path_factory.mktemp("aws")) as made:
        yield made


@pytest.mark.parametrize(
    ("name", "most"), [("pk", 2048), ("sk", 1024), ("owner_pk", 2048), ("owner_sk", 1024)]
)
def test_keys_of_the_table_and_its_indexes_have_their_size(
    table: tuple[Any, str], name: str, most: int
) -> None:
    client, called = table
    item = {**KEY, "owner_pk": {"S": "o"}, "owner_sk": {"S": "s"}}
    client.put_item(TableName=called, Item={**item, name: {"S": "é" * (most // 2)}})
    for wrong in ("é" * (most // 2) + "e", ""):
        with pytest.raises(ClientError, match="ValidationException"):
            client.put_item(TableName=called, Item={**item, name: {"S": wrong}})
        put = {"Put": {"TableName": called, "Item": {**item, name: {"S": wrong}}}}
        with pytest.raises(ClientError, match="Validation"):
            client.transact_write_items(TransactItems=[put])


def test_nothing_is_asked_of_a_partition_that_cannot_be(table: tuple[Any, str]) -> None:
    client, called = table
    asked = {"TableName": called, "KeyConditionExpression": "pk = :p"}
    found = client.query(**asked, ExpressionAttributeValues={":p": {"S": "p" * 2048}})
    assert found["Items"] == []
    for wrong in ("p" * 2049, ""):
        with pytest.raises(ClientError, match="ValidationException"):
            client.query(**asked, ExpressionAttributeValues={":p": {"S": wrong}})
