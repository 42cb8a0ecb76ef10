"""Making sure that no request's options stay on a host when it is done.

The web UI puts an overridden option back only if the option had been set before; on a new
installation the first override of it stays for everybody, and the host shows the same value in
either case. So the options are set, to the values they have, before the first override; they are
looked at after every drawing that overrode some; and what stayed is put back, which also makes a
host that was restarted meanwhile safe again. Drawings without options cost nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from robotchat.art.answers import read
from robotchat.art.driver import ArtDriver, webui_of
from robotchat.art.modules import same
from robotchat.art.options import plain, sound
from robotchat.art.requests import CHECKPOINT
from robotchat.errors import (
    NotSupported,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)

logger = logging.getLogger(__name__)

_PATH = "sdapi/v1/options"
_UNWRITTEN = ("OSError", "PermissionError", "FileNotFoundError")


class Baseline:
    """The options of one host as they are when no request overrides them.

    Only whoever has the host for itself may call its methods. ``on_change`` is told of the values
    before anything is overridden, so that whoever finds the host later can put them back.
    """

    def __init__(self, driver: ArtDriver, overridable: Callable[[], Collection[str]]) -> None:
        self._driver = driver
        self._overridable = overridable
        self._lock = threading.Lock()
        self._safe = False
        self._was_broken = False
        self.values: dict[str, Any] = {}
        """What holds when nothing is overridden, by name; empty until somebody has looked."""
        self.doubtful = False
        """Whether a request's options may still be set, because the host could not be asked."""
        self.on_change: Callable[[dict[str, Any]], None] = lambda values: None

    def forget_safety(self) -> None:
        """The host may have been restarted: it must be made safe again."""
        self._safe = False

    @contextmanager
    def kept(self, overrides: Mapping[str, Any]) -> Iterator[None]:
        """Draw with these options overridden, and have everything as it was afterwards.

        Raises NotSupported, before anything is drawn, when the host's options cannot be set.
        """
        with self._lock:
            if self.doubtful:
                self.restore()
            if not self._safe or not overrides.keys() <= self.values.keys():
                self._make_safe()
            if not overrides.keys() <= self.values.keys():
                raise NotSupported(
                    "The SD host does not have the option.", param="override_settings"
                )
            self.doubtful, self._was_broken = True, False
            try:
                yield
            except (UpstreamTimeout, UpstreamUnavailable) as error:
                if "upstream_status" not in error.details:
                    # It may draw on, or be away: whoever has it next must look.
                    self._safe = False
                else:
                    self._look_after(overrides)
                raise
            except BaseException:
                self._look_after(overrides)
                raise
            self._look_after(overrides)

    def restore(self) -> bool:
        """Put the host's options back to what they were when last seen. Whether it was needed.

        Raises NotSupported when they do not stay so, and other UpstreamErrors.
        """
        if not self.values:
            self.doubtful = False
            return False
        try:
            now = self._shown()
        except UpstreamUnavailable as error:
            if "reason" not in error.details:
                raise
            now = {}  # it has a value that it cannot even show
        wrong = sorted(n for n, v in self.values.items() if not now or not same(now.get(n, v), v))
        self._put_back(wrong)
        return bool(wrong)

    def mend(self) -> bool:
        """Put back what nobody can have meant: values that no request could set, and any if the
        host cannot even show them. Whether there were such, since the last drawing began."""
        if self._was_broken:
            self._was_broken = False
            return True
        try:
            now = self._shown()
        except UpstreamUnavailable as error:
            if "reason" not in error.details:
                raise
            return self.restore()
        shown = {name: plain(now[name]) for name in self.values if name in now}
        meant = sound(shown)
        wrong = sorted(name for name, value in shown.items() if not same(value, meant[name]))
        self._put_back(wrong)
        return bool(wrong)

    def _look_after(self, overrides: Mapping[str, Any]) -> None:
        """After a drawing: put back what stayed of it, and learn what somebody else has changed."""
        try:
            try:
                now = self._shown()
            except UpstreamUnavailable as error:
                if "reason" not in error.details:
                    raise
                self._put_back(sorted(overrides))
                self._was_broken = True
                return
            known = {n: v for n, v in now.items() if n in self.values}
            changed = {n: v for n, v in known.items() if not same(v, self.values[n])}
            stayed = sorted(n for n, v in changed.items() if same(overrides.get(n, _NOTHING), v))
            others = {name: v for name, v in changed.items() if name not in stayed}
            if others:
                self._learn({**self.values, **others})
            self._put_back(stayed)
        except UpstreamError as error:
            logger.warning("a host's options could not be put in order: %s", error.message)

    def _put_back(self, wrong: list[str]) -> None:
        if wrong:
            logger.warning("a host was left with others' options: %s", ", ".join(wrong))
            self._safe = False
            self._set(self.values)
            now = self._shown()
            left = sorted(name for name in wrong if not same(now.get(name), self.values[name]))
            if left:
                raise NotSupported(f"The SD host does not put {left[0]!r} back.")
            self._safe = True
        self.doubtful = False

    def _make_safe(self) -> None:
        self._learn(self._shown())
        # Null for an option that was never set leaves it so: only a value makes it one.
        unset = {name: "None" for name, value in self.values.items() if value is None}
        if unset:
            self._set(unset)
        self._set(self.values)
        self._safe = True

    def _learn(self, shown: Mapping[str, Any]) -> None:
        """Take what a host shows for what is to hold. A value that no request could set is none
        that anybody meant: its default is taken."""
        names = set(self._overridable()) - {CHECKPOINT}
        values = sound({name: plain(value) for name, value in shown.items() if name in names})
        if values != self.values:
            self.on_change(values)
            self.values = values

    def _set(self, options: Mapping[str, Any]) -> None:
        try:
            webui_of(self._driver).post(_PATH, dict(options))
        except UpstreamUnavailable as error:
            if error.details.get("upstream_error") in _UNWRITTEN:
                return  # they are set; only the file that keeps them could not be written
            if "reason" in error.details:
                raise NotSupported("The SD host's options cannot be set.") from error
            raise

    def _shown(self) -> dict[str, Any]:
        return read(dict[str, Any], webui_of(self._driver).get(_PATH))


_NOTHING = object()
