"""The stream of a response's events, as its reader holds it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator

from robotchat.gpt.driver import Body


class ResponseStream:
    """The events of a response. ``close`` may be called from another thread at any time.

    When it returns, the upstream's work is ended and what was said is stored. ``play`` makes the
    events; its first one is swallowed here, so that the generator has begun and closing it always
    runs its ``finally``. It learns by an event whether it was closed.
    """

    def __init__(
        self,
        play: Callable[[threading.Event], Generator[Body, None, None]],
        unblock: Callable[[], None] = lambda: None,
    ) -> None:
        self._cut = threading.Event()
        self._unblock = unblock
        self._events = play(self._cut)
        self._turn = threading.Lock()
        next(self._events)

    def __iter__(self) -> Iterator[Body]:
        return self

    def __next__(self) -> Body:
        with self._turn:
            return next(self._events)

    def close(self) -> None:
        """Stop, and store what was said so far."""
        self._cut.set()
        self._unblock()
        with self._turn:
            self._events.close()
