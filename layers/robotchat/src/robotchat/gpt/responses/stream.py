"""The stream of a response's events, which its reader can end, and that of its upstream."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Generator, Iterator

from robotchat.gpt.driver import AnswerStream, Body, Interrupt


class Opening:
    """An upstream's stream that is opened in a thread beside, since that may take long.

    ``close`` may be called from any thread at any time: it ends the wait, or the stream.
    """

    def __init__(self, open_stream: Callable[[], AnswerStream]) -> None:
        self._open = open_stream
        self._interrupt = Interrupt()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._closed = False
        self._stream: AnswerStream | None = None
        self._error: BaseException | None = None
        run = contextvars.copy_context().run
        threading.Thread(target=run, args=(self._run,), name="opening", daemon=True).start()

    def ended(self, seconds: float) -> bool:
        """Whether the stream is open, or could not be opened, after so many seconds at most."""
        return self._ended.wait(seconds)

    def stream(self) -> AnswerStream:
        """The open stream, however long it takes. Raises what kept it from being opened."""
        self._ended.wait()
        if self._stream is None:
            assert self._error is not None  # noqa: S101 - one of the two is there at the end
            raise self._error
        return self._stream

    def close(self) -> None:
        with self._lock:
            self._closed = True
            stream = self._stream
        self._interrupt.set()
        if stream is not None:
            stream.close()

    def _run(self) -> None:
        try:
            with self._interrupt.armed():
                stream = self._open()
            with self._lock:
                self._stream = stream
                closed = self._closed
            if closed:
                stream.close()
        except BaseException as error:  # noqa: BLE001 - whoever takes the stream raises it
            self._error = error
        finally:
            self._ended.set()


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
