"""What other editors' plugins ask over HTTP, as our requests, and our answers in their words.

Two dialects: `/infill` of llama.cpp's server (llama.vim, llama.vscode) and `/v1/completions` as
OpenAI had it (minuet, Continue, Zed). Pure. Knows neither HTTP nor the engine.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lsp_server.context import build_request
from lsp_server.documents import Document
from lsp_server.redaction import redact_around, without_secrets
from lsp_server.settings import Settings
from lsp_server.snapshot import take_snapshot
from model.format.surroundings import Excerpt, Surroundings
from model.format.syntax import language_of
from sampler.messages import Complete, Finished, Stats

MAX_EXTRAS = 32
_FIM = re.compile(
    r"<\|fim_prefix\|>(?P<prefix>.*)<\|fim_suffix\|>(?P<suffix>.*)<\|fim_middle\|>\Z", re.DOTALL
)
_LANGUAGE_COMMENT = re.compile(r"\W{1,4} *language: *(\w+)")
_LENGTH_STOPS = ("limit", "budget")


class BadRequestError(ValueError):
    """A body that is no request; one sentence for whoever wrote the client."""


@dataclass(frozen=True)
class Ask:
    """One hole to fill. Sampling parameters of the client are ignored: the text is the greedy one.

    `language` is a name of ours or `text`; `stop` are texts at which the answer is cut.
    """

    prefix: str
    suffix: str
    language: str = "text"
    excerpts: tuple[Excerpt, ...] = ()
    max_new_tokens: int | None = None
    """None for the setting; 0 asks for nothing, as clients do to fill a cache."""
    budget_ms: float | None = None
    stop: tuple[str, ...] = ()
    is_streamed: bool = False


def read_infill(body: object) -> Ask:
    """A body of `/infill`.

    Raises:
        BadRequestError: for a field of the wrong type.
    """
    fields = _Fields(body)
    excerpts = fields.excerpts("input_extra")
    named = fields.text("filename") or (excerpts[-1].path if excerpts else "")
    return Ask(
        prefix=fields.text("input_prefix") + fields.text("prompt"),
        suffix=fields.text("input_suffix"),
        language=language_of(named),
        excerpts=excerpts,
        max_new_tokens=fields.count("n_predict"),
        budget_ms=fields.count("t_max_predict_ms") or None,
        stop=fields.texts("stop"),
        is_streamed=fields.flag("stream"),
    )


def read_completion(body: object) -> Ask:
    """A body of `/v1/completions`: prompt and suffix, or a prompt in Qwen's own markers.

    Raises:
        BadRequestError: for a field of the wrong type.
    """
    fields = _Fields(body)
    prefix, suffix = fields.text("prompt"), fields.text("suffix")
    if marked := _FIM.search(prefix):
        prefix, suffix = marked["prefix"], marked["suffix"]
    comment = _LANGUAGE_COMMENT.match(prefix)
    return Ask(
        prefix=prefix,
        suffix=suffix,
        language=language_of(comment[1] if comment else ""),
        max_new_tokens=fields.count("max_tokens"),
        stop=fields.texts("stop"),
        is_streamed=fields.flag("stream"),
    )


class _Fields:
    """The fields of a body, each absent, null or of its type."""

    def __init__(self, body: object):
        if not isinstance(body, Mapping):
            raise BadRequestError("the body must be a JSON object")
        self._body = body

    def text(self, name: str) -> str:
        return str(self._get(name, str, "a text", ""))

    def flag(self, name: str) -> bool:
        return bool(self._get(name, bool, "true or false", False))

    def count(self, name: str) -> int | None:
        """A number; negative ones mean that there is no limit."""
        value = self._get(name, int | float, "a number", -1)
        return None if isinstance(value, bool) or value < 0 else int(value)

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._get(name, str | list, "a text or a list of texts", [])
        items = [value] if isinstance(value, str) else value
        if not all(isinstance(item, str) for item in items):
            raise BadRequestError(f"{name!r} must be a text or a list of texts")
        return tuple(item for item in items if item)

    def excerpts(self, name: str) -> tuple[Excerpt, ...]:
        items = self._get(name, list, "a list", [])
        found = [_Fields(item) for item in items[-MAX_EXTRAS:]]
        return tuple(Excerpt(item.text("filename"), item.text("text")) for item in found)

    def _get(self, name: str, kind: Any, description: str, default: Any) -> Any:
        value = self._body.get(name)
        if value is None:
            return default
        if not isinstance(value, kind):
            raise BadRequestError(f"{name!r} must be {description}")
        return value


def to_request(ask: Ask, settings: Settings, request_id: str) -> tuple[Complete, str]:
    """The engine's request, and the line break that its answer is to have."""
    if settings.secret_scan:
        prefix, suffix = redact_around(ask.prefix, ask.suffix)
        excerpts = tuple(replace(item, text=without_secrets(item.text)) for item in ask.excerpts)
        ask = replace(ask, prefix=prefix, suffix=suffix, excerpts=excerpts)
    uri = f"http:{request_id}"
    document = Document(uri, ask.language, 1, ask.prefix + ask.suffix, "utf-32")
    snapshot = take_snapshot(document, document.position_at(len(ask.prefix)))
    request = build_request(snapshot, settings, request_id)
    limits = [limit for limit in (ask.max_new_tokens, settings.max_new_tokens) if limit is not None]
    budgets = [budget for budget in (ask.budget_ms, settings.budget_ms) if budget is not None]
    surroundings = None
    if ask.excerpts and settings.context_tokens:
        surroundings = Surroundings("", "", ask.excerpts, settings.context_tokens)
    # Who asks for no text has the cache filled, as long as nobody else wants anything.
    is_read = ask.max_new_tokens == 0
    request = replace(
        request,
        max_new_tokens=min(limits),
        budget_ms=None if is_read else min(budgets, default=None),
        is_ahead=is_read,
        surroundings=surroundings,
    )
    return request, snapshot.line_break


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """`text` up to the first of the texts in `stop`, and whether one was there."""
    ends = [index for word in stop if (index := text.find(word)) >= 0]
    return (text[: min(ends)], True) if ends else (text, False)


def num_safe(text: str, stop: Sequence[str]) -> int:
    """Characters of `text` that can be sent on: the rest may be the beginning of a stop text."""
    for start in range(max(0, len(text) - max(map(len, stop), default=0) + 1), len(text)):
        if any(word.startswith(text[start:]) for word in stop):
            return start
    return len(text)


def infill_piece(text: str) -> dict[str, Any]:
    """A piece of a streamed answer of `/infill`."""
    return {"index": 0, "content": text, "stop": False}


def infill_answer(text: str, finished: Finished, model: str, *, is_cut: bool) -> dict[str, Any]:
    """The answer of `/infill`, or the last piece of a streamed one."""
    stats = finished.stats
    predicted_ms = max(stats.total_ms - stats.prefill_ms, 0.0)
    stop_type = "limit" if finished.stop in _LENGTH_STOPS else "eos"
    return {
        "index": 0,
        "content": text,
        "stop": True,
        "stop_type": "word" if is_cut else stop_type,
        "model": model,
        "tokens_predicted": stats.tokens,
        "tokens_evaluated": _num_prompt_tokens(stats),
        "tokens_cached": stats.cached_tokens,
        "truncated": False,
        "timings": {
            **_timing("prompt", stats.prefill_tokens, stats.prefill_ms),
            **_timing("predicted", stats.tokens, predicted_ms),
        },
    }


def completion_answer(
    text: str, model: str, created: int, finished: Finished | None = None, *, is_cut: bool = False
) -> dict[str, Any]:
    """The answer of `/v1/completions`, or without `finished` a piece of a streamed one."""
    reason = None
    if finished is not None:
        is_short = finished.stop in _LENGTH_STOPS and not is_cut
        reason = "length" if is_short else "stop"
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
    answer: dict[str, Any] = {
        "id": f"cmpl-{created}",
        "object": "text_completion",
        "created": created,
        "model": model,
        "choices": [choice],
    }
    if finished is not None:
        num_prompt, num_new = _num_prompt_tokens(finished.stats), finished.stats.tokens
        answer["usage"] = {
            "prompt_tokens": num_prompt,
            "completion_tokens": num_new,
            "total_tokens": num_prompt + num_new,
        }
    return answer


def server_sent(record: Mapping[str, Any]) -> bytes:
    """One event of a stream."""
    return b"data: " + json.dumps(record).encode() + b"\n\n"


def _num_prompt_tokens(stats: Stats) -> int:
    return stats.prefill_tokens + stats.cached_tokens


def _timing(name: str, count: int, elapsed_ms: float) -> dict[str, float]:
    return {
        f"{name}_n": count,
        f"{name}_ms": elapsed_ms,
        f"{name}_per_token_ms": elapsed_ms / count if count else 0.0,
        f"{name}_per_second": 1000 * count / elapsed_ms if elapsed_ms else 0.0,
    }
