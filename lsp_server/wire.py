"""Our extensions of LSP: names, types, and how pygls learns of them. See docs/protocol.md.

The server announces them as `capabilities.experimental.seed`; a client that knows none of them
misses nothing but the text that comes after the first answer.
"""

from collections.abc import Mapping
from typing import Any, Literal

import attrs
from lsprotocol import types

UPDATE: Literal["seed/inlineCompletion/update"] = "seed/inlineCompletion/update"
STATUS: Literal["seed/status"] = "seed/status"
REST: Literal["seed/cursorRest"] = "seed/cursorRest"
INSPECT = "seed/inspect"
EXPLAIN = "seed/explain"

CAPABILITY: dict[str, Any] = {
    "seed": {
        "version": 1,
        "notifications": [UPDATE, STATUS],
        "accepts": [REST],
        "requests": [INSPECT, EXPLAIN],
    }
}
"""Goes into the server's `capabilities.experimental`."""

CLIENT_CAPABILITY: dict[str, Any] = {"seed": {"updates": True}}
"""What a client that shows `seed/inlineCompletion/update` puts into its `experimental`."""


def follows_updates(experimental: object) -> bool:
    """Whether a client's experimental capabilities say that it shows updates."""
    seed = experimental.get("seed") if isinstance(experimental, Mapping) else None
    return isinstance(seed, Mapping) and seed.get("updates") is True


def asks_for_items(experimental: object) -> bool:
    """Whether a client's experimental capabilities ask for items of `textDocument/completion`."""
    seed = experimental.get("seed") if isinstance(experimental, Mapping) else None
    return isinstance(seed, Mapping) and seed.get("completionItems") is True


@attrs.frozen
class Cost:
    """What a prediction cost: counts and milliseconds as in `sampler.messages.Stats`."""

    tier: str
    """Where it came from: `live`, `typed`, `recent` or `speculative`."""
    tokens: int
    forwards: int
    prefill_tokens: int
    cached_tokens: int
    first_block_ms: float | None
    total_ms: float


@attrs.frozen
class InlineCompletionUpdateParams:
    """A prediction has grown, or has ended; the end is told even if the answer held all of it.

    A client shows it only if `uri` and `version` are those of its document now and `item.range`
    starts at its cursor. For one `session` and `version`, `text` only grows.
    """

    session: str
    """Names the prediction; typing through a prediction keeps its session."""
    uri: str
    version: int
    text: str
    """All predicted text behind the cursor."""
    done: bool
    """No further update follows for this session."""
    item: types.InlineCompletionItem
    """What `textDocument/inlineCompletion` would answer now."""
    cost: Cost | None = None
    """Of the whole prediction, once it is done."""


@attrs.frozen
class StatusParams:
    """What the engine is doing, for a status line."""

    state: Literal["starting", "loading", "ready", "busy", "disabled", "restarting", "failed"]
    message: str
    """For a person; in the state `failed`, what to do about it."""
    progress: float | None = None
    """Of the state `loading`, in [0, 1]; absent if unknown."""
    reason: str | None = None
    """Of the state `disabled`, one of the names of `status.Reason`."""


@attrs.frozen
class CursorRestParams:
    """Sent by a client: the cursor, or one selection, has stood still for a moment."""

    uri: str
    version: int
    """Of the document; the message is for nothing if it is another by now."""
    range: types.Range
    """What is selected; empty, at the cursor, if nothing is."""


@attrs.define
class InlineCompletionUpdateNotification:
    """The JSON-RPC message around `InlineCompletionUpdateParams`."""

    # No defaults: lsprotocol's converter leaves out what equals its default.
    params: InlineCompletionUpdateParams
    method: Literal["seed/inlineCompletion/update"]
    jsonrpc: str


@attrs.define
class StatusNotification:
    """The JSON-RPC message around `StatusParams`."""

    params: StatusParams
    method: Literal["seed/status"]
    jsonrpc: str


@attrs.define
class CursorRestNotification:
    """The JSON-RPC message around `CursorRestParams`."""

    params: CursorRestParams
    method: Literal["seed/cursorRest"]
    jsonrpc: str


MESSAGE_TYPES: dict[str, type[Any]] = {
    UPDATE: InlineCompletionUpdateNotification,
    STATUS: StatusNotification,
    REST: CursorRestNotification,
}
"""For a pygls protocol's `get_message_type`, on either side of the wire."""
