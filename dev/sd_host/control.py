"""A client of the control API: what a test says to a stand-in, wherever it runs."""

from __future__ import annotations

from typing import Any, Self

import httpx


class Control:
    """Switch a stand-in's faults, and wait for and read what it does. ``url`` is its base URL."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._client.request(method, f"/_control/{path}", json=body)
        if answer.status_code == 400:
            raise ValueError(answer.text)
        answer.raise_for_status()
        return answer.json()

    def set_faults(self, *faults: dict[str, Any]) -> None:
        """Add faults, e.g. ``{"kind": "error", "times": 2}``; raises `ValueError` for a bad one."""
        self._call("POST", "faults", list(faults))

    def faults(self) -> list[dict[str, Any]]:
        """The faults that still wait for their requests."""
        waiting: list[dict[str, Any]] = self._call("GET", "faults")["faults"]
        return waiting

    def clear_faults(self) -> None:
        """Take back all faults that have not happened."""
        self._call("DELETE", "faults")

    def hold(self, at_step: int = 1, times: int | None = 1, path: str = "*2img") -> None:
        """Make the next matching request pause at that sampling step until `release`."""
        self.set_faults({"kind": "hold", "at_step": at_step, "times": times, "path": path})

    def release(self) -> int:
        """Resume everything that is paused now; how much that was."""
        return int(self._call("POST", "release")["released"])

    def restart(
        self, seconds: float = 0, *, controlnet: bool | None = None, new_disk: bool = False
    ) -> None:
        """Die and come back after ``seconds``, with or without ControlNet if that is said.

        ``new_disk``: without its ``config.json``, as a container does.
        """
        change = {} if controlnet is None else {"controlnet": controlnet}
        self._call("POST", "restart", {"seconds": seconds, "new_disk": new_disk, **change})

    def reset(self) -> None:
        """Back to the first day."""
        self._call("POST", "reset")

    def add_lora(self, name: str) -> None:
        """Put a LoRA file on the host's disk; it is listed after a refresh."""
        self._call("POST", "loras", {"name": name})

    def remove_lora(self, name: str) -> None:
        """Take a LoRA file off the host's disk."""
        self._call("DELETE", "loras", {"name": name})

    def add_checkpoint(self, name: str) -> None:
        """Put a checkpoint on the host's disk; it is listed after a refresh."""
        self._call("POST", "checkpoints", {"name": name})

    def remove_checkpoint(self, name: str) -> None:
        """Take a checkpoint off the host's disk."""
        self._call("DELETE", "checkpoints", {"name": name})

    def stats(self) -> dict[str, Any]:
        """Counters, times, ``requests_seen`` and ``interrupts_received``."""
        report: dict[str, Any] = self._call("GET", "stats")
        return report

    def requests(self, path: str | None = None) -> list[dict[str, Any]]:
        """The requests seen, oldest first; those whose path ends with ``path``."""
        seen: list[dict[str, Any]] = self.stats()["requests_seen"]
        return [entry for entry in seen if path is None or entry["path"].endswith(path)]

    def wait_for(self, timeout: float = 10, **counters: int) -> dict[str, int]:
        """Return the counters once all named ones have reached their values.

        ``wait_for(paused=1)``, ``wait_for(generations_finished=3, waiting=2)``. Raises
        `TimeoutError` after ``timeout`` seconds.
        """
        answer = self._client.get(
            "/_control/wait", params={**counters, "timeout": timeout}, timeout=timeout + 5
        )
        if answer.status_code == 408:
            raise TimeoutError(f"waited {timeout} s for {counters}, the host is at {answer.json()}")
        if answer.status_code == 400:
            raise ValueError(answer.text)
        reached: dict[str, int] = answer.json()
        return reached
