"""The frames between a front end and the engine process: frozen records of text and numbers.

The only module of `sampler` that `lsp_server` shares. Never loads torch; knows neither LSP nor
sockets: `encode` and `FrameDecoder` turn records into bytes and back, whoever carries the bytes.

A frame is a 4-byte big-endian length followed by that many bytes of UTF-8 JSON,
`{"type": NAME, ...fields}`. A client opens with `Hello`; the engine answers `Ready` (at once, or
after a series of `Loading`), or `Failed` without a request id if it cannot serve.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import cattrs

from model.format.plan import HolePlan
from model.format.surroundings import Surroundings
from sampler.profile import Choice, Profile

PROTOCOL_VERSION = 5
MAX_FRAME_BYTES = 64 * 1024 * 1024

Mode = Literal["ar", "exact", "balanced", "fast", "diffusion"]
"""How drafts are accepted. `ar` drafts nothing; `exact` yields the greedy AR text token for token;
`balanced` accepts what the AR model finds nine tenths as likely as its own choice, `fast` four
fifths; `diffusion` accepts whatever blocks are denoised to."""

Stop = Literal["end_of_hole", "line", "limit", "budget"]
"""Why generation ended: the model or the syntax closed the hole · the one line is full · the token
or context limit · the time budget."""


@dataclass(frozen=True)
class Hello:
    """First frame of a client."""

    client: str
    protocol: int = PROTOCOL_VERSION


@dataclass(frozen=True)
class Complete:
    """Fill one hole. Texts are verbatim; the engine cuts them to its context window."""

    request_id: str
    document: str
    """A newer request for a document supersedes an older one of the same client."""
    prefix: str
    suffix: str
    plan: HolePlan
    mode: Mode = "exact"
    layout: str = "spm"
    """`spm` or `psm` for a hole; `chat`: `prefix` is a question in words, the answer is code in the
    plan's language."""
    max_new_tokens: int = 128
    """0: the prompt is only read, so that the next request for the place finds it read."""
    old_code: str = ""
    """What the answer resembles, for layout `chat`: unchanged stretches of it are copied. All modes
    but `ar` are `exact` then."""
    must_change: bool = False
    """Whether `old_code` itself, empty or not, is no answer: then the least sure token of it is
    replaced by the next best one, and what follows is written anew (`sampler.refusal`). All modes
    but `ar` are `exact` then too."""
    budget_ms: float | None = None
    """Time from arrival after which the best text so far is returned; None means no limit."""
    is_ahead: bool = False
    """Nobody waits for it: it replaces no request, and the next one without this mark replaces it,
    whoever sends that."""
    temperature: float = 0.0
    """Above 0 each token is drawn from the model's distribution at that temperature."""
    seed: int = 0
    """Of the draws: the same request with the same seed gives the same text."""
    first_rank: int = 0
    """Of a drawn text: above 0 it begins with the token of this rank, 0 being the best, so that
    texts of different ranks differ from their first token on."""
    surroundings: Surroundings | None = None
    """Excerpts of other files, for layouts of a hole."""

    def supersedes(self, older: "Complete") -> bool:
        """Whether this takes the place of an earlier request that is not done."""
        if older.is_ahead:
            return not self.is_ahead
        return older.document == self.document


@dataclass(frozen=True)
class Cancel:
    """Stop a request: no further forward starts for it, no event follows. Unknown ids pass."""

    request_id: str


@dataclass(frozen=True)
class Ping:
    """Ask for a `Pong`, which comes at once whatever the device is doing."""


@dataclass(frozen=True)
class Tune:
    """Measure this machine, whatever is known of it: `Tuning` again and again, at last `Tuned`."""

    request_id: str
    is_question: bool = False
    """Nothing is measured, only told."""


@dataclass(frozen=True)
class Shutdown:
    """End the engine process."""

    only_if_alone: bool = False
    """Not if another client is connected."""


@dataclass(frozen=True)
class Loading:
    """Progress before `Ready`, e.g. fetching or reading weights. `fraction` in [0, 1] or None."""

    message: str
    fraction: float | None = None


@dataclass(frozen=True)
class Ready:
    """The engine can serve."""

    model: str
    device: str
    has_adapter: bool
    pid: int
    kernels: str = ""
    """What computes, e.g. `native avx512` or `torch`."""
    protocol: int = PROTOCOL_VERSION


@dataclass(frozen=True)
class Pong:
    """The engine process lives."""

    step_s: float | None = None
    """Seconds that the device has been at its present step; None if it is idle."""
    context_tokens: int = 0
    """Tokens of prompts that were computed for requests that somebody waited for, cancelled ones
    too, since the engine started."""


@dataclass(frozen=True)
class Tuning:
    """How far the measurement is: `fraction` in [0, 1], or None while it has to wait."""

    request_id: str
    fraction: float | None = None


@dataclass(frozen=True)
class Tuned:
    """What is known of this machine and how it is used; all None if nothing was measured yet."""

    request_id: str
    profile: Profile | None = None
    choice: Choice | None = None
    path: str | None = None
    """The file that keeps the profile; None also where nothing can be written."""


@dataclass(frozen=True)
class Stats:
    """What one request cost. Token counts, forwards of the network, milliseconds since arrival."""

    tokens: int = 0
    forwards: int = 0
    """Forwards that verified or denoised a block; prefill is not among them."""
    denoising_steps: int = 0
    accepted: tuple[int, ...] = ()
    """Drafts accepted by each forward that verified some."""
    prefill_tokens: int = 0
    cached_tokens: int = 0
    first_block_ms: float | None = None
    prefill_ms: float = 0.0
    total_ms: float = 0.0
    excerpt_tokens: tuple[int, ...] = ()
    """Prompt tokens of each excerpt of the request's surroundings; 0 for one that did not fit."""


@dataclass(frozen=True)
class BlockCommitted:
    """More text is final: `text` is to be appended. It ends at a character boundary."""

    request_id: str
    text: str
    confidence: float = 1.0
    """Lowest probability that the model gave a token of the first line so far."""


@dataclass(frozen=True)
class Finished:
    """The request is complete. `text` is all of it: the concatenation of its blocks."""

    request_id: str
    text: str
    stop: Stop
    stats: Stats = field(default_factory=Stats)


@dataclass(frozen=True)
class Failed:
    """A request (without an id: the engine) failed; `message` is one sentence for a person."""

    message: str
    request_id: str | None = None


Command = Hello | Complete | Cancel | Ping | Tune | Shutdown
Event = Loading | Ready | Pong | Tuning | Tuned | BlockCommitted | Finished | Failed
Message = Command | Event

_TYPES: dict[str, type[Message]] = {
    cls.__name__: cls
    for cls in (
        Hello, Complete, Cancel, Ping, Tune, Shutdown,
        Loading, Ready, Pong, Tuning, Tuned, BlockCommitted, Finished, Failed,
    )
}  # fmt: skip
_LENGTH = struct.Struct(">I")
_converter = cattrs.Converter(forbid_extra_keys=False)


class FrameError(ValueError):
    """Bytes that are no frame of this protocol."""


def encode(message: Message) -> bytes:
    """One frame: length, then JSON."""
    record: dict[str, Any] = {"type": type(message).__name__, **_converter.unstructure(message)}
    body = json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode()
    return _LENGTH.pack(len(body)) + body


def decode(body: bytes) -> Message:
    """The record in one frame's body.

    Raises:
        FrameError: if it is not a known record with the right fields.
    """
    try:
        record = json.loads(body)
        cls = _TYPES[record.pop("type")]
        return _converter.structure(record, cls)
    except Exception as error:  # cattrs raises exception groups of many kinds
        raise FrameError(f"not a frame of protocol {PROTOCOL_VERSION}: {error!r}") from error


class FrameDecoder:
    """Cuts a byte stream into records; feed it whatever a socket returned."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """All records completed by `data`.

        Raises:
            FrameError: on a frame that is too long or does not decode.
        """
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_FRAME_BYTES:
                raise FrameError(f"a frame of {length} bytes is over the limit")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield decode(body)
