"""Fixtures for every suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from robotchat import correlation
from tests.local_stack import RunningStack

LONGEST = (
    "test_soak.py",
    "test_clients.py",
    "test_crashes.py",
    "test_page.py",
    "test_generated_clients.py",
    "test_gpt.py",
)
"""The files that take longest are begun first, so that none is left to run alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: (*LONGEST, item.path.name).index(item.path.name))


@pytest.fixture(autouse=True)
def _no_request() -> None:
    """No test does its work for the request of the one before."""
    correlation.correlate(None)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """The whole service, started once as ``make run`` does, with quick retries.

    Attributes are the fields of stack.json (``stack.api_url``, ``stack.queue_url`` ...).
    """
    running = RunningStack(
        tmp_path_factory.mktemp("stack"), {"ROBOTCHAT_PARAMETERS": "RetryBaseSeconds=0.1"}
    )
    running.start()
    yield running
    running.stop()


@pytest.fixture
def start_stack(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Mapping[str, str]], RunningStack]]:
    """Start further stacks with options of one's own (see dev/run.py); stopped after the test."""
    started: list[RunningStack] = []

    def start(env: Mapping[str, str]) -> RunningStack:
        running = RunningStack(tmp_path_factory.mktemp("stack"), env)
        started.append(running)
        return running.start()

    yield start
    for running in started:
        running.stop()
