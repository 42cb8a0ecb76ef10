"""Whatever dies, is repeated, comes late or is turned back: no job is lost, none is drawn twice to
its caller's eye, ends are ends, and the turns of a conversation run in order."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from robotchat.records import MemoryRecords, Records
from tests.cases.job_machine import JobMachine


class InMemory(JobMachine):
    def new_records(self) -> Records:
        return MemoryRecords()


TestJobsInMemory = InMemory.TestCase
TestJobsInMemory.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
