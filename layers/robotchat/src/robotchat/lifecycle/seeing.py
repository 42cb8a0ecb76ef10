"""Finding out what a picture shows that came with a message, so that a change of it keeps the rest.

In a picture that the web UI drew it is written. For others a language model that takes pictures is
asked, where one is set; or else an SD host, if one is free and answers in time. Whatever fails,
something is drawn all the same: then the message alone says what.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from robotchat.art.infotext import parse
from robotchat.clock import Clock
from robotchat.errors import RobotchatError
from robotchat.hosts.pool import HostPool
from robotchat.images import encode_base64, inspect, png_text
from robotchat.prompt.models import MAX_PROMPT
from robotchat.prompt.seeing import as_caption
from robotchat.prompt.writer import PromptWriter
from robotchat.settings import Settings

logger = logging.getLogger(__name__)

_BLIND_FOR = timedelta(hours=1)
"""For how long a host is not asked again that had no words for a picture."""


class Seeing:
    """Says what pictures show."""

    def __init__(
        self, writer: PromptWriter, hosts: HostPool, settings: Settings, clock: Clock
    ) -> None:
        self._writer = writer
        self._hosts = hosts
        self._settings = settings
        self._clock = clock
        self._blind: dict[str, datetime] = {}

    def describe(self, data: bytes) -> str | None:
        """What a picture file shows, as an English prompt; None if nobody can tell."""
        if not self._settings.describe_uploads:
            return None
        own = png_text(data).get("parameters")
        if own and (prompt := str(parse(own).get("Prompt") or "").strip()):
            return prompt[:MAX_PROMPT]
        limits = self._settings
        kind = inspect(
            data, max_bytes=limits.max_image_bytes, max_pixels=limits.max_image_pixels
        ).content_type
        seen = self._writer.describe(f"data:{kind};base64,{encode_base64(data)}")
        return seen or self._by_a_host(data)

    def _by_a_host(self, data: bytes) -> str | None:
        now = self._clock.now()
        able = {
            host.name: None for host in self._hosts.hosts if self._blind.get(host.name, now) <= now
        }
        if not able:
            return None
        timeout = self._settings.describe_timeout
        try:
            with self._hosts.lease(among=able, patience=timeout) as lease, lease.kept():
                try:
                    return as_caption(
                        lease.host.bot.interrogate(encode_base64(data), timeout=timeout)
                    )
                except RobotchatError as error:
                    # It may draw all the same: nothing of this is held against the host.
                    self._blind[lease.host.name] = now + _BLIND_FOR
                    logger.info("a host has no words for a picture", extra={"code": error.code})
        except RobotchatError as error:
            logger.info("no host had time for a picture's words", extra={"code": error.code})
        return None
