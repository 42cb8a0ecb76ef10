"""The document of the errors, the exception tree and its own description agree."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from dev.checks import errors
from robotchat import errors as tree

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"([A-Z]\w+) +(\d{3}) +([a-z_]+)( +\(retryable\))?$")


def test_the_document_of_the_errors_is_current() -> None:
    assert (ROOT / errors.DOCUMENT).read_text("utf-8") == errors.document()


def test_every_error_has_a_code_of_its_own() -> None:
    codes = Counter(kind.code for kind in errors.tree())
    assert [code for code, number in codes.items() if number > 1] == []
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


def test_the_tree_in_the_module_is_the_tree_of_the_classes() -> None:
    said = {}
    for line in (tree.__doc__ or "").splitlines():
        match = LINE.search(line)
        if match:
            said[match[1]] = (int(match[2]), match[3], bool(match[4]), line.index(match[1]) // 4)
    depths = {kind.__name__: len(kind.__mro__) - 4 for kind in errors.tree()}
    there = {
        kind.__name__: (kind.status, kind.code, kind.retryable, depths[kind.__name__])
        for kind in errors.tree()
        if kind is not tree.RobotchatError
    }
    assert said == there


def test_a_code_becomes_its_exception_again() -> None:
    for kind in errors.tree():
        assert type(tree.RobotchatError.of_code(kind.code, "why")) is kind


def test_a_code_without_advice_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(errors.ADVICE, "conflict")
    with pytest.raises(errors.NoAdvice, match="conflict"):
        errors.document()


def test_advice_for_a_code_that_is_gone_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(errors.ADVICE, "long_gone", "Nothing.")
    with pytest.raises(errors.NoAdvice, match="long_gone"):
        errors.document()
