"""Many producers, conversations and hosts, while hosts fail, workers are killed, messages come
twice, one producer sends poison and a webhook receiver is hostile: what became of every job.
``python -m benchmarks.soak`` ends with status 1 unless no job was lost, none was doubled, every
conversation was in order, every poisoned message is a failed job or a dead letter and not both,
no other message is a dead letter, and every delivery has its attempt written down.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import os
import random
import secrets
import socketserver
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3
import httpx

from dev import sd_host
from dev.sd_host import RunningHost
from dev.template import PULL_WORKER
from robotchat.aws.queues import FIRST_ID
from tests.cases import hostile
from tests.local_stack import RunningStack

SETTINGS = {"steps": 2, "width": 64, "height": 64}
FINAL = ("succeeded", "failed", "canceled", "expired")
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "error"},
    {"kind": "disconnect"},
    {"kind": "garbage", "what": "truncated_png"},
    {"kind": "refuse"},
    {"kind": "stall", "seconds": 60},
    {"kind": "wrong_model"},
    {"kind": "restart", "seconds": 1},
)
MOST_WORKERS = 12
"""Processes that draw, however many hosts there are: this is one machine."""
COUNTED_WORKERS = 2 * (os.cpu_count() or 2)
"""The same where requests are counted: a job that has to wait for the processor for seconds shows
life in each of them, as no job with instant hosts does on AWS."""
FAULT_EVERY = 25
"""Pictures between two faults of a host."""
AFTERWARDS = 60.0
"""Seconds that poison and deliveries have at least, once all jobs have ended."""
KILL_EVERY = 15.0
"""Seconds between two deaths of all busy workers, and of what takes messages in."""
MOST_REQUESTS = 14.0
"""Requests to DynamoDB per first turn of a conversation by the queue, intake and worker together,
when nothing fails and as many jobs were run before, however many hosts there are. A job makes 12 of
its own (tests/unit/test_cost_of_many_hosts.py); the others go by time (configuration, limits,
pulled hosts, signs of life), so that a slow machine has more of them: `Outcome.breakdown` tells.
Give it as many conversations as jobs."""
COUNTED = ("Intake", "Worker", PULL_WORKER)
HASTY = "ALIVE_SECONDS=5 LEASE_TTL_SECONDS=5 RUN_TIMEOUT_SECONDS=5 MAX_ATTEMPTS=10"
"""Settings with which what has died is noticed soon."""
STILLBORN = 2
"""Of each, so many then die right after they have received a message, before they can say that
they have it: SQS hides it for as long as the queue says."""


@dataclass(frozen=True)
class Plan:
    """How much of everything; ``seconds`` is the longest that all may take."""

    jobs: int = 500
    conversations: int = 50
    producers: int = 10
    hosts: int = 4
    seconds: float = 240.0
    seed: int = 1
    faults: int = 1
    """0: nothing fails, nobody dies, all messages are sound, and pictures take no time: what a job
    then costs in requests must stay within its bound."""


@dataclass
class Outcome:
    """What became of it."""

    accepted: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    attempts: int = 0
    drawn: int = 0
    kills: int = 0
    stillborn: int = 0
    poisoned: int = 0
    refused: int = 0
    dead: int = 0
    both: int = 0
    """Poisoned messages that are a failed job and a dead letter as well."""
    strangers: int = 0
    """Dead letters that were no poison."""
    letters_again: int = 0
    """Dead letters of a message that is one already: who put it there died before the queue knew,
    so that it came again. No fault: operators are shown one."""
    requests: float = 0.0
    """To DynamoDB, per job; counted only when nothing fails."""
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Those requests, and beside them those of all other functions, by function and by operation
    with the kinds of records that it was for."""
    told: int = 0
    untold: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def right(self) -> bool:
        return not (self.lost or self.duplicated or self.out_of_order or self.untold) and (
            self.refused + self.dead == self.poisoned
            and not (self.both or self.strangers)
            and self.requests <= MOST_REQUESTS
        )

    def __str__(self) -> str:
        counts = {
            "accepted": self.accepted,
            **{status: self.ends.get(status, 0) for status in FINAL},
            "lost": len(self.lost),
            "duplicated": len(self.duplicated),
            "out of order": len(self.out_of_order),
            "attempts": self.attempts,
            "pictures begun": self.drawn,
            "workers killed": self.kills,
            "dead on receipt": self.stillborn,
            "poison sent": self.poisoned,
            "poison refused": self.refused,
            "poison dead": self.dead,
            "poison both": self.both,
            "other dead": self.strangers,
            "dead again": self.letters_again,
            "deliveries": self.told,
            "without attempt": len(self.untold),
            "requests a job": round(self.requests, 1),
            "seconds": round(self.seconds),
        }
        return "\n".join(f"{name:16}{number:>6}" for name, number in counts.items())

    def breakdown(self, jobs: int) -> str:
        """Who asked DynamoDB for what, per job, the most first."""
        lines = []
        totals = Counter[str]()
        for (function, _), number in self.asked.items():
            totals[function] += number
        for function, total in totals.most_common():
            counted = "" if function in COUNTED else "  (not counted)"
            lines.append(f"{total / jobs:8.2f}  {function}{counted}")
            of_it = Counter({what: n for (f, what), n in self.asked.items() if f == function})
            lines += [f"{number / jobs:12.2f}  {what}" for what, number in of_it.most_common()]
        return "\n".join(lines)


def soak(plan: Plan) -> Outcome:
    """Start everything, put all jobs on the queue, and see how they end."""
    dice = random.Random(plan.seed)  # noqa: S311
    workers = min(plan.hosts + 2, MOST_WORKERS if plan.faults else COUNTED_WORKERS)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        hosts = [
            running.enter_context(sd_host.running(fixed_seconds=0.05 if plan.faults else 0.0))
            for _ in range(plan.hosts)
        ]
        for host in hosts if plan.faults else ():
            spoil(host, dice, plan.jobs)
        urls = ",".join(host.url for host in hosts)
        stack = RunningStack(
            Path(folder),
            {
                "SD_HOSTS": hosts[0].url,
                "ROBOTCHAT_PARAMETERS": f"RetryBaseSeconds=0.2 WorkerConcurrency={workers}",
                # More than the template's parameter takes.
                "ROBOTCHAT_FUNCTION_ENV": f"SD_HOSTS={urls} {HASTY if plan.faults else ''}",
            },
        )
        stack.start()
        running.callback(stack.stop)
        outcome = Outcome()
        started = time.monotonic()
        with httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=60) as api:
            before = Counter() if plan.faults else warmed_up(stack, api, plan, dice)
            conversations = begun(api, plan)
            sent = messages(stack.tenant, conversations, plan.jobs)
            poisoned = {}
            if plan.faults:
                receiver = running.enter_context(hostile_receiver())
                api.put("/v1/webhook", json={"url": receiver}).raise_for_status()
                poisoned = poison(stack.tenant, dice, max(plan.jobs // 10, 10))
            produce(stack, sent, poisoned, dice, plan.producers)
            found = watch(api, conversations, plan, outcome, started + plan.seconds)
            outcome.poisoned = len(poisoned)
            until = max(started + plan.seconds, time.monotonic() + AFTERWARDS)
            if plan.faults:
                judge_poison(stack, api, poisoned, outcome, until)
                judge_deliveries(api, outcome, until)
            else:
                outcome.asked = requests_of(stack) - before
                made = sum(n for (function, _), n in outcome.asked.items() if function in COUNTED)
                outcome.requests = made / max(len(found), 1)
        outcome.seconds = time.monotonic() - started
        outcome.drawn = sum(int(host.stats()["generations_started"]) for host in hosts)
        judge(sent, found, outcome)
        return outcome


def spoil(host: RunningHost, dice: random.Random, jobs: int) -> None:
    """Let the host go wrong every now and then."""
    faults = list(FAULTS)
    dice.shuffle(faults)
    for number in range(max(jobs // (4 * FAULT_EVERY), 1)):
        after = FAULT_EVERY * number + dice.randrange(FAULT_EVERY)
        host.set_faults({**faults[number % len(faults)], "after": after})


def messages(tenant: str, conversations: Sequence[str], jobs: int) -> dict[str, dict[str, Any]]:
    """The messages by the ids of their jobs, over the conversations in turn."""
    made = {}
    for number in range(jobs):
        job_id = "job_" + base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()
        made[job_id] = {
            "kind": "chat_text2image",
            "tenant": tenant,
            "job_id": job_id,
            "conversation_id": conversations[number % len(conversations)],
            "message": f"with house number {number}",
            "settings": SETTINGS,
        }
    return made


def poison(tenant: str, dice: random.Random, count: int) -> dict[str, str]:
    """Messages that nobody meant well, by the ids of the jobs that they would be."""
    made = {}
    for number in range(count):
        job_id = f"job_poison{secrets.token_hex(10)}"
        base = {"kind": "chat_text2image", "tenant": tenant, "job_id": job_id, "message": "a barn"}
        kinds = [
            hostile.with_value(dice.choice(list(hostile.VALUES.values())), **base),
            json.dumps({**base, "conversation_id": "c" * 3000}),
            json.dumps({**base, "metadata": {"x": "y" * 200_000}}),
            json.dumps({**base, "message": "\ud800"}),
            json.dumps({**base, "kind": "nope"}),
            json.dumps({**base, "tenant": "../" + tenant}),
            json.dumps(base)[:-1],
            hostile.nested(20_000),
        ]
        made[job_id] = kinds[number % len(kinds)]
    return made


def produce(
    stack: RunningStack,
    sent: dict[str, dict[str, Any]],
    poisoned: dict[str, str],
    dice: random.Random,
    producers: int,
) -> None:
    """Send everything at once from so many producers, and a tenth of it twice."""
    twice = dice.sample(list(sent.values()), len(sent) // 10) if poisoned else []
    bodies = [*map(json.dumps, [*sent.values(), *twice]), *poisoned.values()]
    dice.shuffle(bodies)
    shares = [bodies[number::producers] for number in range(producers)]
    failures: list[str] = []

    def send(share: Sequence[str]) -> None:
        sqs = client_of(stack)
        # Few at a time: together they have the size of one message at most.
        for start in range(0, len(share), 4):
            entries: Any = [
                {"Id": str(n), "MessageBody": body, "MessageGroupId": stack.tenant}
                for n, body in enumerate(share[start : start + 4])
            ]
            answer = sqs.send_message_batch(QueueUrl=stack.queue_url, Entries=entries)
            failures.extend(str(failure) for failure in answer.get("Failed", []))

    threads = [threading.Thread(target=send, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(f"not sent: {failures}")


def begun(api: httpx.Client, plan: Plan) -> list[str]:
    """New conversations."""
    return [
        api.post("/v1/conversations", json={}).raise_for_status().json()["id"]
        for _ in range(plan.conversations)
    ]


def warmed_up(
    stack: RunningStack, api: httpx.Client, plan: Plan, dice: random.Random
) -> Counter[tuple[str, str]]:
    """As many jobs as will be counted, so that processes have begun and hosts been used. Gives
    the requests that were made by then."""
    conversations = begun(api, plan)
    produce(stack, messages(stack.tenant, conversations, plan.jobs), {}, dice, plan.producers)
    watch(api, conversations, plan, Outcome(), time.monotonic() + plan.seconds)
    return requests_of(stack)


def requests_of(stack: RunningStack) -> Counter[tuple[str, str]]:
    """How often each function has asked DynamoDB for what."""
    return Counter(
        (file.stem, line)
        for file in stack.recording.glob("*.dynamodb")
        for line in file.read_text().splitlines()
    )


def client_of(stack: RunningStack) -> Any:
    session = boto3.Session("test", "test", region_name=stack.region)
    return session.client("sqs", endpoint_url=stack.aws_endpoint_url)


ANSWERS: tuple[bytes, ...] = (
    b"HTTP/1.1 503 x\r\nRetry-After: Fri, 31 Dec 2027 23:59:59 +99999999999999999999\r\n"
    b"Content-Length: 0\r\n\r\n",
    b"HTTP/1.1 429 x\r\nRetry-After: 999999999999\r\nContent-Length: 0\r\n\r\n",
    b"\x00\xff not http\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    b"",
)
"""What the hostile receiver answers, in turn."""


@contextmanager
def hostile_receiver() -> Iterator[str]:
    """A webhook receiver that answers whatever comes to its mind; gives its URL."""
    turn = itertools.cycle(ANSWERS)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.settimeout(5)
                self.request.recv(65536)
                self.request.sendall(next(turn))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/hook"
        finally:
            server.shutdown()
            thread.join()


def judge_poison(
    stack: RunningStack,
    api: httpx.Client,
    poisoned: dict[str, str],
    outcome: Outcome,
    until: float,
) -> None:
    """Count the poisoned messages that are failed jobs, and those that are dead letters."""
    sqs = client_of(stack)
    letters: dict[str, dict[str, Any]] = {}
    while time.monotonic() < until:
        answers = {job_id: api.get(f"/v1/jobs/{job_id}") for job_id in poisoned}
        refused = {
            job_id
            for job_id, answer in answers.items()
            if answer.status_code == 200 and answer.json()["status"] == "failed"
        }
        received = sqs.receive_message(
            QueueUrl=stack.dead_letter_queue_url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=600,
            MessageAttributeNames=["All"],
        ).get("Messages", ())
        letters |= {letter["MessageId"]: letter for letter in received}
        judge_letters(poisoned, refused, letters.values(), outcome)
        if not received and outcome.refused + outcome.dead >= outcome.poisoned:
            return
        time.sleep(0.5)


def judge_letters(
    poisoned: Mapping[str, str],
    refused: Set[str],
    letters: Collection[Mapping[str, Any]],
    outcome: Outcome,
) -> None:
    """Match the dead letters, as SQS gives them, with the poisoned messages by their bodies."""
    messages: dict[str, set[str]] = {}
    for letter in letters:
        attribute = letter.get("MessageAttributes", {}).get(FIRST_ID, {})
        first = attribute.get("StringValue", letter["MessageId"])
        messages.setdefault(letter["Body"], set()).add(first)
    bodies = Counter(poisoned.values())
    outcome.refused = len(refused)
    outcome.dead = sum(min(count, len(messages.get(body, ()))) for body, count in bodies.items())
    outcome.both = sum(poisoned[job_id] in messages for job_id in refused)
    outcome.strangers = sum(len(messages[body]) for body in messages.keys() - bodies.keys())
    outcome.letters_again = len(letters) - outcome.dead - outcome.strangers


def judge_deliveries(api: httpx.Client, outcome: Outcome, until: float) -> None:
    """Wait until every delivery has an attempt written down, and count those that have none."""
    while time.monotonic() < until:
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            query = {"limit": 100} | ({"cursor": cursor} if cursor else {})
            page = api.get("/v1/webhook-deliveries", params=query).raise_for_status().json()
            found += page["data"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        outcome.told = len(found)
        outcome.untold = [one["id"] for one in found if not one["attempt_count"]]
        if found and not outcome.untold:
            return
        time.sleep(1)


def watch(
    api: httpx.Client, conversations: Sequence[str], plan: Plan, outcome: Outcome, until: float
) -> list[dict[str, Any]]:
    """Kill workers now and then until all jobs are final, or until the time is up."""
    found: list[dict[str, Any]] = []
    ended = 0
    next_kill = time.monotonic() + KILL_EVERY / 2
    while time.monotonic() < until:
        if plan.faults and time.monotonic() >= next_kill:
            # At the end there would be nobody else for a message of these to be lost among.
            stillborn = STILLBORN if ended < plan.jobs // 2 else 0
            for function in ("Worker", "Intake"):
                query = {"function": function, "next": stillborn}
                answer = api.post("/_dev/kill", params=query).raise_for_status().json()
                outcome.kills += len(answer["killed"])
                outcome.stillborn += stillborn
            next_kill = time.monotonic() + KILL_EVERY
        time.sleep(2)
        found = [job for one in conversations for job in jobs_of(api, one)]
        ended = sum(job["status"] in FINAL for job in found)
        print(f"{ended} of {plan.jobs} have ended", file=sys.stderr, flush=True)
        if ended >= plan.jobs:
            break
    return found


def jobs_of(api: httpx.Client, conversation_id: str) -> list[dict[str, Any]]:
    query: dict[str, str | int] = {"conversation_id": conversation_id, "limit": 100}
    listed: list[dict[str, Any]] = (
        api.get("/v1/jobs", params=query).raise_for_status().json()["data"]
    )
    return listed


def judge(
    sent: dict[str, dict[str, Any]], found: Sequence[dict[str, Any]], outcome: Outcome
) -> None:
    """Compare what was sent with what there is."""
    by_conversation: dict[str, list[dict[str, Any]]] = {}
    seen: dict[str, dict[str, Any]] = {}
    for job in found:
        if job["id"] in seen or job["id"] not in sent:
            outcome.duplicated.append(job["id"])
        seen[job["id"]] = job
        by_conversation.setdefault(job["conversation_id"], []).append(job)
        outcome.attempts += job["attempt"]
        if job["status"] in FINAL:
            outcome.ends[job["status"]] = outcome.ends.get(job["status"], 0) + 1
    outcome.accepted = len(seen)
    outcome.lost = [
        job_id for job_id in sent if seen.get(job_id, {"status": None})["status"] not in FINAL
    ]
    for jobs in by_conversation.values():
        turns = sorted(jobs, key=lambda job: int(job["turn"]))
        numbers = [job["turn"] for job in turns]
        if numbers != list(range(1, len(turns) + 1)):
            outcome.duplicated.append(f"turns {numbers}")
        outcome.out_of_order += [
            later["id"]
            for earlier, later in pairwise(turns)
            if later["started_at"] is not None
            and (earlier["finished_at"] is None or earlier["finished_at"] > later["started_at"])
        ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    for name, value in Plan().__dict__.items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help="%(default)s")
    plan = Plan(**vars(parser.parse_args()))
    outcome = soak(plan)
    print(outcome)
    if not plan.faults:
        print("\nrequests to DynamoDB, per job:")
        print(outcome.breakdown(plan.jobs))
    return 0 if outcome.right else 1


if __name__ == "__main__":
    sys.exit(main())
