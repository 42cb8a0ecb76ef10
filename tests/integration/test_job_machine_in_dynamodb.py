"""Random histories of jobs, over DynamoDB as the embedded AWS has it."""

from __future__ import annotations

import itertools
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from robotchat.aws.stores import DynamoRecords
from robotchat.records import Records
from tests.cases.job_machine import JobMachine
from tests.emulator import create_table, running_emulator


def test_no_history_loses_a_job_or_draws_it_twice(tmp_path: Path) -> None:
    names = (f"table-{number}" for number in itertools.count())
    with running_emulator(tmp_path) as emulator:

        class InDynamoDB(JobMachine):
            def new_records(self) -> Records:
                name = next(names)
                return DynamoRecords(create_table(emulator, name), name)

        run_state_machine_as_test(
            InDynamoDB,
            settings=settings(
                max_examples=6,
                stateful_step_count=20,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
