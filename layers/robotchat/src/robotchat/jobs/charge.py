"""What a job counts for.

Work is measured in pixels times steps, over all pictures of a request. One cost unit is the work
of one picture of 512x512 pixels in 20 steps.
"""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

COST_UNIT = 512 * 512 * 20
"""Pixel-steps that cost 1."""


class Charge(BaseModel):
    """What a job counts for, from its acceptance on; corrected when it is known what was drawn."""

    model_config = ConfigDict(frozen=True)

    images: int = Field(description="Pictures.")
    cost: float = Field(description="Cost units.")
    day: str = Field(description="The day (UTC) on which it counts.", examples=["2026-01-31"])

    def on(self, moment: datetime) -> Charge:
        """The same on another day."""
        return self.model_copy(update={"day": day_of(moment)})


def cost(work: float) -> float:
    """The cost units of so many pixel-steps."""
    return round(work / COST_UNIT, 3)


def day_of(moment: datetime) -> str:
    """The day (UTC) of a moment, by which usage is counted."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d")
