"""What writers and readers do when many of them want the same: they give up in the end."""

from __future__ import annotations

from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from robotchat.art.requests import Text2ImageRequest
from robotchat.aws.stores import DynamoRecords
from robotchat.drivers.fake import FakeArt
from robotchat.errors import Contended
from robotchat.hosts.options import TenantOptions
from robotchat.jobs.job import Estimate
from robotchat.records import MemoryRecords, Operation, Put, Record, Retries, Stale
from robotchat.robot import Robot
from tests.cases.limits import HeldQueue


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    return waited


def test_retries_end_with_a_clear_error(pauses: list[float]) -> None:
    retries = Retries(most=5)
    for _ in range(4):
        retries.spend()
    with pytest.raises(Contended) as given_up:
        retries.spend()
    assert (given_up.value.status, given_up.value.retryable) == (503, True)
    assert given_up.value.retry_after
    assert len(pauses) == 4


class Contested(MemoryRecords):
    """A store in which another writer is always faster."""

    def __init__(self) -> None:
        super().__init__()
        self.tries = 0

    def commit(self, *operations: Operation) -> None:
        self.tries += 1
        raise Stale("another")


def test_a_change_that_always_loses_is_not_tried_for_ever() -> None:
    records = Contested()
    with pytest.raises(Contended):
        TenantOptions(records).change("acme", {"sd_vae": "x"})
    assert 5 <= records.tries <= 50


class BusyTable:
    """As much of a DynamoDB client as reading a batch uses: it puts off all but ``each`` keys."""

    def __init__(self, each: int) -> None:
        self.each = each
        self.asked: list[int] = []

    def batch_get_item(self, *, RequestItems: Any) -> Any:
        ((table, request),) = RequestItems.items()
        keys = request["Keys"]
        self.asked.append(len(keys))
        items = [{**key, "version": {"N": "1"}, "data": {"S": "{}"}} for key in keys[: self.each]]
        left = keys[self.each :]
        return {
            "Responses": {table: items},
            "UnprocessedKeys": {table: {**request, "Keys": left}} if left else {},
        }


def test_what_a_batch_read_puts_off_is_asked_for_again() -> None:
    table: Any = BusyTable(each=4)
    found = DynamoRecords(table, "t").get_all([(f"r{n}", "x") for n in range(10)])
    assert [record.pk for record in found if record] == [f"r{n}" for n in range(10)]
    assert table.asked == [10, 6, 2]


def test_a_table_that_puts_off_everything_is_asked_ever_more_rarely_and_not_for_ever(
    pauses: list[float],
) -> None:
    table: Any = BusyTable(each=0)
    with pytest.raises(Contended):
        DynamoRecords(table, "t").get_all([("a", "b")])
    assert 5 <= len(table.asked) <= 20
    assert sum(pauses[-3:]) > 5 * sum(pauses[:3])


class OtherClasses:
    """A client of DynamoDB that raises classes of its own, as one of several threads that make
    botocore's classes at the same time gets them."""

    def __init__(self, code: str, **response: Any) -> None:
        answer: Any = {"Error": {"Code": code}, **response}
        self.raised = ClientError(answer, "TransactWriteItems")

    def transact_write_items(self, **_: Any) -> None:
        raise self.raised

    put_item = get_item = transact_write_items


def test_a_refused_write_is_known_by_its_code_and_not_by_its_class() -> None:
    reasons = [{"Code": "ConditionalCheckFailed"}, {"Code": "None"}]
    many = OtherClasses("TransactionCanceledException", CancellationReasons=reasons)
    one = OtherClasses("ConditionalCheckFailedException")
    write = Put(Record("job#a", "job", {}))
    with pytest.raises(Stale):
        DynamoRecords(cast("Any", many), "table").commit(write, write)
    with pytest.raises(Stale):
        DynamoRecords(cast("Any", one), "table").commit(write)
    other = OtherClasses("ValidationException")
    with pytest.raises(ClientError):
        DynamoRecords(cast("Any", other), "table").commit(write)


class HotIndex:
    """As much of a DynamoDB client as counting uses: the partition has too many readers."""

    def query(self, **_: Any) -> Any:
        code = "ProvisionedThroughputExceededException"
        raise ClientError({"Error": {"Code": code, "Message": "slow down"}}, "Query")


def test_a_place_that_cannot_be_counted_is_not_told_and_the_job_is_read_all_the_same() -> None:
    table = DynamoRecords(cast(Any, HotIndex()), "table")
    with pytest.raises(Contended) as refused:
        table.count("owner", "acme#jobs", up_to="z", labels={"status": "queued"}, limit=200)
    assert refused.value.retry_after

    class Hot(MemoryRecords):
        def count(self, *args: Any, **options: Any) -> int:
            return table.count(*args, **options)

    robot = Robot(art=FakeArt(), records=Hot(), queue=HeldQueue())
    job = robot.submit_image(Text2ImageRequest(prompt="a beach"))
    assert robot.estimate(robot.jobs.get(job.id, job.tenant)) == Estimate(None, None)
