"""Server-sent events, heartbeats, and what happens to a stream that nobody reads to its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from openai._streaming import SSEDecoder

from robotchat.aws.streams import HEARTBEAT, EventStream, cut, event, with_heartbeat


def test_an_event_has_its_name_and_its_data_as_json() -> None:
    assert event("status", {"text": "海边"}) == 'event: status\ndata: {"text":"海边"}\n\n'.encode()


def test_an_event_without_a_name_and_with_text_is_sent_as_it_is() -> None:
    assert event(None, "[DONE]") == b"data: [DONE]\n\n"


def test_an_event_can_carry_an_id() -> None:
    assert event("x", "", id=7) == b"event: x\ndata: \nid: 7\n\n"


def test_each_line_of_text_gets_its_own_field_and_other_separators_do_not_split() -> None:
    assert event(None, "a\nb\r\nc\u2028d") == "data: a\ndata: b\ndata: c\u2028d\n\n".encode()


def test_a_line_separator_inside_json_stays_inside_the_json() -> None:
    assert event(None, {"t": "a\u2028b\nc"}).count(b"data:") == 1


def test_an_event_stream_says_that_it_is_one_and_that_nobody_may_hold_it_back() -> None:
    stream = EventStream([("a", 1), b": raw\n\n"])
    assert b"".join(stream.chunks) == b"event: a\ndata: 1\n\n: raw\n\n"
    assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert stream.headers["Cache-Control"] == "no-cache"


def test_closing_an_event_stream_closes_what_it_is_made_of() -> None:
    closed = []

    def events() -> Iterator[tuple[str, int]]:
        try:
            yield "a", 1
            yield "b", 2
        finally:
            closed.append(True)

    chunks = EventStream(events()).chunks
    assert next(iter(chunks)) == b"event: a\ndata: 1\n\n"
    chunks.close()  # type: ignore[attr-defined]
    assert closed == [True]


def test_a_heartbeat_is_sent_while_nothing_comes_and_everything_that_comes_is_kept() -> None:
    go_on = threading.Event()

    def slow() -> Iterator[bytes]:
        yield b"first"
        go_on.wait(10)
        yield b"second"

    chunks = with_heartbeat(slow(), 0.01)
    assert next(chunks) == b"first"
    assert next(chunks) == HEARTBEAT
    go_on.set()
    rest = [chunk for chunk in chunks if chunk != HEARTBEAT]
    assert rest == [b"second"]


def test_an_error_behind_a_heartbeat_reaches_the_consumer() -> None:
    def broken() -> Iterator[bytes]:
        yield b"first"
        raise ValueError("upstream broke")

    chunks = with_heartbeat(broken(), 10)
    assert next(chunks) == b"first"
    with pytest.raises(ValueError, match="upstream broke"):
        next(chunks)


def test_a_stream_is_closed_where_it_was_read_when_its_consumer_goes() -> None:
    closed = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield b"more"
        finally:
            closed.set()

    chunks = with_heartbeat(endless(), 10)
    assert next(chunks) == b"more"
    chunks.close()
    assert closed.wait(10)


def test_cancel_ends_a_read_that_is_blocked_so_that_nothing_stays_open() -> None:
    upstream, closed = threading.Event(), threading.Event()

    def blocked() -> Iterator[bytes]:
        try:
            yield b"first"
            upstream.wait(30)
            yield b"never"
        finally:
            closed.set()

    chunks = with_heartbeat(blocked(), 0.01, cancel=upstream.set)
    assert next(chunks) == b"first"
    assert next(chunks) == HEARTBEAT
    chunks.close()
    assert closed.is_set()


def test_a_stream_that_ends_by_itself_is_not_cancelled() -> None:
    canceled = []
    chunks = with_heartbeat(iter([b"a"]), 10, cancel=lambda: canceled.append(True))
    assert list(chunks) == [b"a"]
    assert canceled == []


def test_a_stream_ends_by_itself_when_its_time_is_over_and_says_when_to_come_back() -> None:
    upstream, closed, now = threading.Event(), threading.Event(), [0.0]

    def followed() -> Iterator[bytes]:
        try:
            yield b"first"
            upstream.wait(30)
        finally:
            closed.set()

    chunks = with_heartbeat(
        followed(), 0.01, cancel=upstream.set, bound=150, monotonic=lambda: now[0]
    )
    assert next(chunks) == b"first"
    now[0] = 149.995
    assert next(chunks) == HEARTBEAT
    now[0] = 150
    assert list(chunks) == [b"retry: 1000\n"]
    assert closed.is_set()


def test_a_body_is_cut_into_pieces_that_make_it_up_again() -> None:
    pieces = list(cut(b"abcdefgh", 3))
    assert pieces == [b"abc", b"def", b"gh"]
    assert list(cut(b"", 3)) == []


def test_openais_sdk_reads_neither_a_heartbeat_nor_a_retry_as_an_event() -> None:
    [retry] = with_heartbeat(iter(()), 1, bound=0)
    sent = event("one", {"n": 1}, id=1) + HEARTBEAT * 2 + retry + event("two", {"n": 2}, id=2)
    found = list(SSEDecoder().iter_bytes(iter([sent, HEARTBEAT, retry])))
    assert [one.json() for one in found] == [{"n": 1}, {"n": 2}]
