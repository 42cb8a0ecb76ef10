"""Random histories of jobs: the same machine over memory and over DynamoDB."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from robotchat.errors import UpstreamGarbage, UpstreamRejected, UpstreamUnavailable
from robotchat.jobs.job import Job
from robotchat.records import Records
from tests.cases.job_world import Act, World

ACTS = (
    "die before",
    "die after",
    "deliver",
    "duplicate",
    "cancel",
    "retry",
    "delete",
    "delete conversation",
    "submit",
    "beat",
    "let time pass",
    "let a minute pass",
    "sweep",
)
TROUBLE: tuple[Callable[[], Exception], ...] = (
    lambda: UpstreamUnavailable("away"),
    lambda: UpstreamGarbage("rubbish"),
    lambda: UpstreamRejected("no"),
)
SCRIPTS = st.dictionaries(
    st.integers(1, 30), st.tuples(st.sampled_from(ACTS), st.integers(0, 5)), max_size=3
)
SOME = st.integers(0, 20)
DEEPEST = 2


class JobMachine(RuleBasedStateMachine):
    """Rules are what callers, producers, Lambda, hosts, time and the sweeper do."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.new_records())
        self.conversations: list[str] = []
        self.said = 0
        self.depth = 0

    def new_records(self) -> Records:
        """An empty store."""
        raise NotImplementedError

    def teardown(self) -> None:
        try:
            for art in self.world.arts:
                art._scripts.clear()
            self.world.check_end()
        finally:
            self.world.close()

    # --- rules ------------------------------------------------------------------------------------

    @rule(script=SCRIPTS, which=SOME, key=st.sampled_from([None, None, "k1", "k2"]))
    def submit(self, script: Any, which: int, key: str | None) -> None:
        conversation = self._some(self.conversations, which)
        message = key or self._words()
        if key is not None:
            conversation = None
        self._accepted(self.world.submit(message, conversation, key=key, script=self._acts(script)))

    @precondition(lambda self: self.conversations)
    @rule(script=SCRIPTS, which=SOME)
    def edit(self, script: Any, which: int) -> None:
        conversation = self.conversations[which % len(self.conversations)]
        self._accepted(self.world.edit(self._words(), conversation, script=self._acts(script)))

    @rule(which=SOME)
    def produce(self, which: int) -> None:
        self.world.produce(self._words(), self._some(self.conversations, which))

    @rule(script=SCRIPTS, key=st.sampled_from(["now1", "now2"]))
    def draw_now(self, script: Any, key: str) -> None:
        self.world.draw_now(key, self._acts(script))

    @precondition(lambda self: self.world.sqs.visible())
    @rule(script=SCRIPTS, which=SOME, acknowledged=st.sampled_from([True, True, True, False]))
    def deliver(self, script: Any, which: int, acknowledged: bool) -> None:
        message = self._some(self.world.sqs.visible(), which)
        assert message is not None
        self.world.deliver(message, self._acts(script), acknowledge=acknowledged)

    @precondition(lambda self: self.world.jobs_seen)
    @rule(
        what=st.sampled_from(["cancel", "retry", "delete", "delete conversation", "duplicate"]),
        script=SCRIPTS,
        which=SOME,
    )
    def interfere(self, what: str, script: Any, which: int) -> None:
        self._interfere(what, which, self._acts(script))

    @rule(script=SCRIPTS)
    def sweep(self, script: Any) -> None:
        self.world.sweep(self._acts(script))

    @rule(seconds=st.sampled_from([1, 5, 31, 61, 200, 1000]))
    def let_time_pass(self, seconds: int) -> None:
        self.world.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-30, -3600, 7200]))
    def turn_the_clock(self, seconds: int) -> None:
        """Not of time itself: the clocks of the service alone are wrong."""
        self.world.clock.advance(seconds)

    @rule(host=SOME, kind=st.sampled_from(range(len(TROUBLE))), times=st.integers(1, 3))
    def break_a_host(self, host: int, kind: int, times: int) -> None:
        art = self.world.arts[host % len(self.world.arts)]
        art.enqueue([TROUBLE[kind]() for _ in range(times)])

    @invariant()
    def nothing_is_wrong(self) -> None:
        self.world.check()

    # --- what others do in the middle of something ------------------------------------------------

    def _acts(self, script: dict[int, tuple[str, int]]) -> dict[int, Act]:
        return {step: self._act(*act) for step, act in script.items()}

    def _act(self, name: str, which: int) -> Act:
        if name == "die before":
            return "die before"
        if name == "die after":
            return "die after"

        def act() -> None:
            if self.depth >= DEEPEST:
                return
            self.depth += 1
            try:
                self._meanwhile(name, which)
            finally:
                self.depth -= 1

        return act

    def _meanwhile(self, name: str, which: int) -> None:
        if name == "let time pass":
            self.world.clock.advance(10)
        elif name == "let a minute pass":
            self.world.clock.advance(61)
        elif name == "beat":
            heart = self.world.processes[-1].heart
            if heart is not None:
                heart.beat()
        elif name == "sweep":
            self.world.sweep({})
        elif name == "submit":
            conversation = self._some(self.conversations, which)
            self._accepted(self.world.submit(self._words(), conversation, key=None, script={}))
        elif name == "deliver":
            message = self._some(self.world.sqs.visible(), which)
            if message is not None:
                self.world.deliver(message, {})
        else:
            self._interfere(name, which, {})

    def _interfere(self, what: str, which: int, script: dict[int, Act]) -> None:
        job_id = self._some(list(self.world.jobs_seen), which)
        if what == "duplicate" and job_id is not None:
            self.world.sqs.put(f'{{"job_id": "{job_id}"}}')
        elif what == "cancel" and job_id is not None:
            self.world.cancel(job_id, script)
        elif what == "retry" and job_id is not None:
            self.world.retry(job_id, script)
        elif what == "delete" and job_id is not None:
            self.world.delete(job_id, script)
        elif what == "delete conversation" and self.conversations:
            conversation = self._some(self.conversations, which)
            assert conversation is not None
            self.world.delete_conversation(conversation, script)

    def _some(self, things: list[Any], which: int) -> Any:
        """One of the things, or none of them."""
        which %= len(things) + 1
        return things[which] if which < len(things) else None if not things else things[-1]

    def _words(self) -> str:
        self.said += 1
        return f"word{self.said}"

    def _accepted(self, answer: object) -> None:
        if isinstance(answer, Job) and answer.conversation_id not in (None, *self.conversations):
            self.conversations.append(str(answer.conversation_id))
