"""A scriptable OpenAI-compatible API without a model, for development and tests.

It answers chat completions, completions, models and responses, whole or streamed, and always the
same way: it says what it was told, with usage, log probabilities, several choices, structured
output and tool calls where asked for. ``python -m dev.llm --port 8000`` serves until stopped. In
a test::

    with llm.running() as upstream:
        upstream.script(match="hello", pieces=["Hel", "lo"], stall_at=2)

``python -m dev.llm.local`` is something else: a real small model, on this machine's processor.

The control API (JSON in, JSON out):

``POST /_control/script`` ``{...}`` or ``[{...}, ...]``
    how to answer the next request that a script matches. Every field is optional:

    ===============  ========================================================================
    match            text that the request's JSON must contain
    path             end of the request's path, for instance ``/chat/completions``
    times            how many requests it is for (default 1; null: all)
    text             what to say instead of the echo
    pieces           the same, as the pieces that are streamed
    tool_calls       ``[{"name": ..., "arguments": {...}}]`` to call
    reasoning        what to think before speaking
    finish_reason    instead of ``stop``
    usage            instead of the counted one; null for none
    body             the whole answer (not streamed)
    events           the whole stream, as objects, or as strings that are sent as they are
    status           answer with this error status, with ``error`` as the error object and
                     ``headers``
    delay            seconds to wait before each event, or before the answer
    stall_at         wait before this event (counted from 0) until released
    cut_at           drop the connection before this event
    fail_at          send ``error`` as an event in place of this one, and end
    done             false: leave out the ``[DONE]`` mark
    ===============  ========================================================================

    An answer that is not streamed counts as one event.
``POST /_control/release``
    lets everything that is stalled go on: ``{"released": n}``.
``GET /_control/requests``
    every request: ``id``, ``path``, ``body``, ``authorization``, ``sent`` (events so far), and
    ``state``: ``running``, ``stalled``, ``finished``, ``cut``, ``failed``, or ``closed`` when the
    client closed the connection before the end.
``GET /_control/wait?state=S&match=TEXT&timeout=10``
    answers when a request containing TEXT is in state S (several: separated by commas): 200 with
    the request, 408 when it takes longer.
``POST /_control/reset``
    forgets scripts, requests and prompts, and drops what is running.
"""

from __future__ import annotations

from dev.llm.control import Control
from dev.llm.serving import RunningModel, running

__all__ = ["Control", "RunningModel", "running"]
