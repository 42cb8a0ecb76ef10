"""What the documents say that the service costs is what its prices and its template say."""

from __future__ import annotations

from pathlib import Path

from benchmarks import prices

ROOT = Path(__file__).parents[2]


def test_the_table_of_costs_is_the_computed_one() -> None:
    table = prices.table(ROOT)
    assert table.count("\n") >= 10
    text = (ROOT / "docs/operations.md").read_text("utf-8")
    assert table in text, "put the output of `python -m benchmarks.prices` into docs/operations.md"
