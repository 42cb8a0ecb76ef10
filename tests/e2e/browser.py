"""A real browser on the page, as a person and as axe sees it.

Chromium is the machine's own (Debian's package). Playwright, which drives it, and axe, which judges
the page for people with disabilities, are installed once beside this repository's own environment.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent / "page"
ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv-page"
SHOTS = ROOT / "out" / "page"
"""Where pictures of the page are left, as artefacts of the run."""

_IDS = re.compile(r"-(job|conv|dlv|key|tenant)_.*")
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@dataclass
class Seen:
    """The buttons that were there, and those that were pressed, by what they do."""

    there: set[str] = field(default_factory=set)
    pressed: set[str] = field(default_factory=set)


@dataclass
class Look:
    """A tab of the browser. ``urls`` are all that it asked for, ``complaints`` what it had to say
    against the page: blocked by the policy, thrown, or not found."""

    page: Any
    seen: Seen
    urls: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def there(self) -> None:
        """Take note of the buttons that can be seen."""
        actions = self.page.locator("[data-action]:visible").evaluate_all(
            "all => all.map(one => one.dataset.action)"
        )
        self.seen.there |= {_IDS.sub("", action) for action in actions}

    def press(self, action: str, nth: int = -1, within: str = "") -> None:
        """Press the button that does this; the last one, unless another is named."""
        self.there()
        found = self.page.locator(f'{within} [data-action^="{action}"]:visible')
        self.seen.pressed.add(action.rstrip("-"))
        (found.last if nth == -1 else found.nth(nth)).click()

    def wait(self, selector: str, nth: int = 0, *, timeout: float = 60) -> Any:
        """What a selector finds, once it can be seen."""
        found = self.page.locator(selector).nth(nth)
        found.wait_for(timeout=timeout * 1000)
        return found

    def gone(self, selector: str) -> None:
        """Wait until there is no such thing."""
        self.page.locator(selector).first.wait_for(state="detached", timeout=60000)

    def below(self, selector: str) -> float:
        """How much of what it holds is below what can be seen, once its pictures are loaded."""
        found = self.page.locator(selector).evaluate(
            """async (log) => {
              const frame = () => new Promise(requestAnimationFrame);
              const images = () => [...log.querySelectorAll("img")];
              while (!images().every((image) => image.complete)) await frame();
              await frame();
              await frame();
              return log.scrollHeight - log.scrollTop - log.clientHeight;
            }"""
        )
        return float(found)

    def say(self, message: str, mode: str = "draw") -> None:
        """Write a message and send it by the Enter key."""
        self.seen.pressed.add(f"mode-{mode}")
        self.page.locator(f'[data-action="mode-{mode}"]').check(force=True)
        self.page.fill("#message", message)
        self.page.press("#message", "Enter")

    def shot(self, name: str) -> None:
        """Keep a picture of what is to be seen."""
        self.there()
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png", animations="disabled")

    def accessible(self, name: str) -> None:
        """Axe finds nothing, and nothing is wider than the window."""
        self.shot(name)
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate((HERE / "node_modules/axe-core/axe.min.js").read_text("utf-8"))
        found = self.page.evaluate(
            "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", _RULES
        )["violations"]
        wrong = [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]
        assert not wrong, f"{name}: {wrong}"
        too_wide = self.page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        assert too_wide <= 0, f"{name}: {too_wide} pixels too wide"


def installed() -> None:
    """Install Playwright and axe unless it was done before for the same pins; skip without npm."""
    pins = (HERE / "requirements.txt", HERE / "package-lock.json")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in pins)).hexdigest()
    stamp = ENVIRONMENT / ".made-for"
    npm = shutil.which("npm")
    if not (stamp.exists() and stamp.read_text("utf-8") == digest):
        if npm is None:
            pytest.skip("npm is not installed")
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        packages = ["--no-deps", "--target", str(ENVIRONMENT), "-r", str(pins[0])]
        subprocess.run([*pip, *packages], check=True, timeout=300)
        subprocess.run([npm, "ci", "--silent"], cwd=HERE, check=True, timeout=300)
        stamp.write_text(digest, "utf-8")
    if str(ENVIRONMENT) not in sys.path:
        sys.path.append(str(ENVIRONMENT))


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium; the test is skipped where there is none."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: the page is not tested")
    installed()
    from playwright.sync_api import sync_playwright

    # As root, which CI is, Chromium has no sandbox of its own.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=arguments)
        try:
            yield running
        finally:
            running.close()


@contextmanager
def tab(
    running: Any, seen: Seen, *, width: int = 1280, height: int = 800, **options: Any
) -> Iterator[Look]:
    """A tab with nothing of any other; the browser must have nothing to complain of at its end."""
    size = {"width": width, "height": height}
    context = running.new_context(viewport=size, reduced_motion="reduce", **options)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    look = Look(context.new_page(), seen)
    look.page.on("request", lambda request: look.urls.append(request.url))
    look.page.on("pageerror", lambda error: look.complaints.append(str(error)))
    look.page.on(
        "console",
        lambda message: (
            look.complaints.append(message.text) if message.type in ("error", "warning") else None
        ),
    )
    try:
        yield look
        # A status of an answer is told as an error by the browser; the tests look at those.
        wrong = [said for said in look.complaints if "Failed to load resource" not in said]
        assert wrong == []
    finally:
        context.close()
