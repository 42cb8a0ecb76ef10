"""Score a backend on the evaluation conversations: `python -m tests.evaluation.score`.

The backend is the deterministic fold (`--backend fallback`, the default) or an LLM behind any
OpenAI-compatible API (`--backend llm --base-url ... --model ...`).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from robotchat.prompt.models import Fold, PromptState
from robotchat.prompt.rules import fold
from robotchat.prompt.writer import PromptWriter, Source

CONVERSATIONS = Path(__file__).with_name("conversations.toml")
CJK = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")

Backend = Callable[[PromptState | None, str, bool, list[PromptState]], tuple[Fold, Source]]
"""From what was drawn so far, the message, whether it edits, and what the pictures so far showed:
what is drawn next, and who wrote it."""


@dataclass(frozen=True)
class Case:
    """One conversation and what must be true after its last turn."""

    name: str
    language: str
    category: str
    turns: list[str]
    editing: bool = False
    held_out: bool = False
    modes: list[str] = field(default_factory=list)
    required: list[str] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)
    negative: list[str] = field(default_factory=list)
    not_negative: list[str] = field(default_factory=list)
    size: str | list[int] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a backend made of a case; `failures` is empty when it passed."""

    case: Case
    folds: list[Fold]
    failures: list[str]
    sources: list[Source]
    """Of each fold: the rules take over what a language model could not do."""

    @property
    def by_rules(self) -> int:
        return self.sources.count("fallback")


class Evaluation:
    """The conversations with their concepts, read from one file."""

    def __init__(self, path: Path = CONVERSATIONS) -> None:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        self.concepts: dict[str, re.Pattern[str]] = {
            name: re.compile(rf"(?<!\w)(?:{'|'.join(patterns)})(?!\w)", re.IGNORECASE)
            for name, patterns in data["concepts"].items()
        }
        self.cases = [Case(**case) for case in data["case"]]

    def run(self, case: Case, backend: Backend) -> Outcome:
        """Play the conversation through the backend and judge its end."""
        state: PromptState | None = None
        folds: list[Fold] = []
        sources: list[Source] = []
        images: list[PromptState] = []
        for message in case.turns:
            answer, source = backend(state, message, case.editing, list(images))
            folds.append(answer)
            sources.append(source)
            state = PromptState(prompt=answer.prompt, negative_prompt=answer.negative_prompt)
            if answer.mode != "reply":
                images.append(state)
        return self.judged(case, folds, sources)

    def judged(self, case: Case, folds: list[Fold], sources: list[Source]) -> Outcome:
        return Outcome(case, folds, list(self._failures(case, folds)), sources)

    def _failures(self, case: Case, folds: list[Fold]) -> Iterable[str]:
        for number, (expected, answer) in enumerate(zip(case.modes, folds, strict=False), start=1):
            if answer.mode != expected:
                yield f"turn {number} is {answer.mode}, not {expected}"
        last = folds[-1]
        for name, text, wanted in (
            *((concept, last.prompt, True) for concept in case.required),
            *((concept, last.prompt, False) for concept in case.forbidden),
            *((concept, last.negative_prompt, True) for concept in case.negative),
            *((concept, last.negative_prompt, False) for concept in case.not_negative),
        ):
            if bool(self.concepts[name].search(text)) is not wanted:
                where = "the prompt" if text is last.prompt else "the negative prompt"
                yield f"{name} {'missing in' if wanted else 'still in'} {where}"
        if CJK.search(last.prompt):
            yield "Chinese left in the prompt"
        if case.size is not None and not _has_size(last, case.size):
            yield f"size {last.width}x{last.height}, not {case.size}"


def _has_size(answer: Fold, size: str | list[int]) -> bool:
    if answer.width is None or answer.height is None:
        return False
    if isinstance(size, list):
        return [answer.width, answer.height] == size
    order = (answer.width > answer.height) - (answer.width < answer.height)
    return order == {"portrait": -1, "square": 0, "landscape": 1}[size]


def fallback(
    state: PromptState | None, message: str, editing: bool, images: list[PromptState]
) -> tuple[Fold, Source]:
    """Fold deterministically, as a backend."""
    return fold(state, message, editing=editing, earlier=lambda: images), "fallback"


def llm(base_url: str, model: str, timeout: float) -> Backend:
    """Have an LLM write the prompts, as the service does: the rules take over what it cannot do."""
    from robotchat.drivers.openai import OpenAIChat

    chat = OpenAIChat(base_url, os.environ.get("OPENAI_API_KEY"))
    writer = PromptWriter(chat, model=model, timeout=timeout)

    def write(
        state: PromptState | None, message: str, editing: bool, images: list[PromptState]
    ) -> tuple[Fold, Source]:
        return writer.write(state, message, editing=editing, earlier=lambda: images)

    return write


def played(
    evaluation: Evaluation, cases: Sequence[Case], backend: Backend, answers: Path | None
) -> list[Outcome]:
    """Every case's outcome; with `answers`, each is kept there as soon as there is one, and what
    is there already is not asked for again: a small model takes an hour for all."""
    kept = {}
    if answers is not None and answers.exists():
        kept = {one["name"]: one for one in map(json.loads, answers.read_text().splitlines())}
    outcomes = []
    for number, case in enumerate(cases, start=1):
        found = kept.get(case.name)
        if found is not None and found["turns"] == case.turns:
            folds = [Fold.model_validate(one) for one in found["folds"]]
            outcomes.append(evaluation.judged(case, folds, found["sources"]))
            continue
        outcome = evaluation.run(case, backend)
        outcomes.append(outcome)
        if answers is not None:
            line = {
                "name": case.name,
                "turns": case.turns,
                "folds": [one.model_dump(mode="json") for one in outcome.folds],
                "sources": outcome.sources,
            }
            with answers.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            mark = "FAIL" if outcome.failures else "ok  "
            print(f"{number:3}/{len(cases)} {mark} {case.name}", file=sys.stderr, flush=True)
    return outcomes


def report(outcomes: list[Outcome], *, verbose: bool) -> str:
    """Totals per part, language and category, then the failing cases."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for outcome in outcomes:
        passed = not outcome.failures
        part = "held out" if outcome.case.held_out else "development"
        for key in ("total", part, outcome.case.language, outcome.case.category):
            groups[key].append(passed)
    first = ("total", "development", "held out", "en", "zh")
    order = [key for key in first if key in groups] + sorted(set(groups) - set(first))
    lines = [
        f"{key:16} {sum(groups[key]):3}/{len(groups[key]):<3} "
        f"{100 * sum(groups[key]) / len(groups[key]):5.1f} %"
        for key in order
    ]
    if any("llm" in outcome.sources for outcome in outcomes):
        alone = sum(not (outcome.failures or outcome.by_rules) for outcome in outcomes)
        turns = sum(len(outcome.sources) for outcome in outcomes)
        rules = sum(outcome.by_rules for outcome in outcomes)
        lines += [
            f"{'model alone':16} {alone:3}/{len(outcomes):<3} {100 * alone / len(outcomes):5.1f} %",
            f"{'turns by rules':16} {rules:3}/{turns:<3} {100 * rules / turns:5.1f} %",
        ]
    for outcome in outcomes:
        if outcome.failures or verbose:
            mark = "FAIL" if outcome.failures else "ok  "
            lines.append(f"\n{mark} {outcome.case.name}")
            for message, answer, source in zip(
                outcome.case.turns, outcome.folds, outcome.sources, strict=True
            ):
                lines.append(f"     {message!r}\n       {source}, {answer.mode}: {answer.prompt!r}")
                if answer.negative_prompt:
                    lines.append(f"       without {answer.negative_prompt!r}")
            lines += [f"     ! {failure}" for failure in outcome.failures]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Print the score; exit 1 when it is below `--at-least` per cent."""
    parser = argparse.ArgumentParser(prog="tests.evaluation.score", description=__doc__)
    parser.add_argument("--backend", choices=("fallback", "llm"), default="fallback")
    parser.add_argument("--base-url", default=os.environ.get("OPENAI_BASE_URL"))
    parser.add_argument("--model", default=os.environ.get("OPENAI_MODEL", "gpt-4o-mini"))
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds per turn")
    parser.add_argument("--part", choices=("all", "development", "held-out"), default="all")
    parser.add_argument("--at-least", type=float, default=0.0, help="per cent that must pass")
    parser.add_argument("--answers", type=Path, help="a file that keeps them, to go on from")
    parser.add_argument("--verbose", action="store_true", help="show the passing cases too")
    options = parser.parse_args(arguments)

    if options.backend == "llm":
        if not options.base_url:
            parser.error("--backend llm needs --base-url or OPENAI_BASE_URL")
        backend = llm(options.base_url, options.model, options.timeout)
    else:
        backend = fallback
    evaluation = Evaluation()
    cases = [
        case
        for case in evaluation.cases
        if options.part == "all" or case.held_out is (options.part == "held-out")
    ]
    outcomes = played(evaluation, cases, backend, options.answers)
    print(report(outcomes, verbose=options.verbose))
    score = 100 * sum(not outcome.failures for outcome in outcomes) / len(outcomes)
    return 0 if score >= options.at_least else 1


if __name__ == "__main__":
    sys.exit(main())
