"""The embedded AWS alone, with the table of the real template, for tests of the stores."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dev.stack.aws import Emulator
from dev.stack.ports import LOOPBACK, Address
from dev.stack.processes import Children
from dev.template import Template

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def running_emulator(folder: Path, address: Address = LOOPBACK) -> Iterator[Emulator]:
    """The embedded AWS as a process of its own, empty."""
    emulator = Emulator(folder, folder / "aws.log", address)
    ready: Future[None] = Future()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with Children() as children:
            await emulator.start(children)
            ready.set_result(None)
            await stop.wait()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
            raise
        finally:
            loop.close()

    thread = threading.Thread(target=run, name="emulator")
    thread.start()
    try:
        ready.result(60)
        yield emulator
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def create_table(emulator: Emulator, name: str) -> Any:
    """Make a table with the keys and indexes that the template says; gives its client."""
    client = emulator.client("dynamodb")
    ((_, properties),) = Template(ROOT / "template.yaml").resources("AWS::DynamoDB::Table")
    keys = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    client.create_table(TableName=name, **{key: properties[key] for key in keys})
    return client


@contextmanager
def emulated_table(folder: Path) -> Iterator[tuple[Any, str]]:
    """A DynamoDB client, and the name of an empty table."""
    with running_emulator(folder) as emulator:
        yield create_table(emulator, "robotchat"), "robotchat"
