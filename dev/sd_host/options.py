"""How a stand-in host is set up."""

from __future__ import annotations

from dataclasses import dataclass

from dev.sd_host.catalog import DEFAULT_CHECKPOINTS, DEFAULT_LORAS


@dataclass(frozen=True)
class Options:
    """One host's set-up. Times in seconds, ``speed`` in pixel-steps per second.

    A request takes ``fixed_seconds`` if that is set, else its work at ``speed`` but at least
    ``min_seconds``; a model switch takes ``load_seconds`` more.
    """

    name: str = "stand-in"
    personality: str = "a1111"
    """One of `dev.sd_host.serving.PERSONALITIES`."""
    checkpoints: tuple[str, ...] = DEFAULT_CHECKPOINTS
    loras: tuple[str, ...] = DEFAULT_LORAS
    hashed: bool = True
    """False: checkpoints have no hash before their first load, as on a fresh installation."""
    speed: float = 5_250_000.0
    min_seconds: float = 0.0
    fixed_seconds: float | None = None
    load_seconds: float = 0.5
    api_auth: str = ""
    """``user:password[,user2:password2]``: ask for HTTP Basic."""
    api_only: bool = False
    """As ``--nowebui``: no ``/internal/*`` routes."""
    config: bool = False
    """Whether it has a full ``config.json``; without one, as a new installation, it does not put
    back what a request overrides."""
    encoder_layers: int = 12
    """Layers of the checkpoints' text encoder: a deeper clip skip is an error."""
    controlnet: bool = True
    """Whether the ControlNet extension is installed."""
    interrogator: bool = True
    """Whether the models for interrogate are there."""
    threads: int = 40
    """How many requests are handled at a time; more wait, whatever they ask."""
    sdcpp_info: str = "json"
    """What ``info`` holds with the sdcpp personality: ``json`` or ``empty``."""
    sdcpp_hires: bool = False
    """Whether it is one since April 2026, which enlarges and draws over, and says so."""
    rate_limit: int = 300
    """Points a minute that SD.Next grants a client for each path: a drawing costs 5. 0: no end."""
    size_step: int = 8
    """KoboldCpp cuts sides down to a multiple of this, which goes by the checkpoint."""
    queue: int = 6
    """How many may wait for KoboldCpp."""

    step_execution: bool = True
    """Whether vLLM-Omni looks after each step if its client is still there."""

    @property
    def gzips(self) -> bool:
        """Whether long answers are compressed for clients that take that."""
        return self.personality in ("a1111", "forge", "forge-neo", "sdnext")

    @property
    def has_page(self) -> bool:
        """Whether ``/`` is free for the stand-in's own page."""
        return self.personality != "drawthings"

    def duration(self, pixel_steps: float) -> float:
        """How long work of that size takes."""
        if self.fixed_seconds is not None:
            return self.fixed_seconds
        return max(self.min_seconds, pixel_steps / self.speed)
