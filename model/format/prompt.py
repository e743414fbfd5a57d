"""Prompts: which text around the cursor the model sees, and in which order.

A layout is never edited once a checkpoint was trained on it: another order gets another name.
Knows no tokenizer; `window` cuts characters, `render` orders ids.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.format.surroundings import Surroundings

if TYPE_CHECKING:  # it reads files of weights, for which a language server has no time at its start
    from model.format.vocabulary import ChatTokens, FimTokens, RepositoryTokens

MAX_PREFIX_CHARS = 8000
MAX_SUFFIX_CHARS = 2400
"""Of the document, around the cursor; behind a long prefix less of the suffix, see `window`."""
_LEAST_NEAR_CHARS = 512
_ANCHOR_STEP = 512
"""The text before the cursor that layout `spm` leaves behind the suffix has so many characters at
least, and so many more at most, but for its first line."""

Ids = Sequence[int]


def _psm(fim: "FimTokens", far_ids: Ids, near_ids: Ids, suffix_ids: Ids) -> list[int]:
    return [fim.prefix, *far_ids, *near_ids, fim.suffix, *suffix_ids, fim.middle]


def _spm(fim: "FimTokens", far_ids: Ids, near_ids: Ids, suffix_ids: Ids) -> list[int]:
    return [fim.prefix, *far_ids, fim.suffix, *suffix_ids, fim.middle, *near_ids]


LAYOUTS: Mapping[str, Callable[["FimTokens", Ids, Ids, Ids], list[int]]] = {
    "psm": _psm,
    "spm": _spm,
}
"""`psm`: prefix, suffix, middle, which most models are trained on · `spm`: suffix, prefix, middle;
there what a user types comes last, so that the cached suffix outlives it. Of a long prefix only
what is near the cursor comes last, and what is far first: that outlives a jump to another place.
Models know the order: it is `psm` with a hole of which the beginning is filled."""


def split_far(prefix: str) -> tuple[str, str]:
    """Text before the cursor as `spm` takes it: what is far from the cursor, and what is near.

    They part at the start of a line that depends neither on what is typed nor, as long as the text
    before it stays, on where the cursor is; it jumps once per `_ANCHOR_STEP` characters.
    """
    anchor = (len(prefix) - _LEAST_NEAR_CHARS) // _ANCHOR_STEP * _ANCHOR_STEP
    if anchor <= 0:
        return "", prefix
    line_break = prefix.rfind("\n", anchor - _ANCHOR_STEP, anchor)
    if line_break >= 0:
        anchor = line_break + 1
    return prefix[:anchor], prefix[anchor:]


def render(
    layout: str, fim: "FimTokens", prefix_ids: Ids, suffix_ids: Ids, far_ids: Ids = ()
) -> list[int]:
    """The prompt of a hole, as ids.

    Args:
        layout: one of `LAYOUTS`.
        fim: the vocabulary's tokens for holes.
        prefix_ids: text before the hole, without what is in `far_ids`.
        suffix_ids: text behind it.
        far_ids: text before `prefix_ids`, see `split_far`.

    Raises:
        ValueError: for an unknown layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"Unknown prompt layout {layout!r}; known are {', '.join(LAYOUTS)}.")
    return LAYOUTS[layout](fim, far_ids, prefix_ids, suffix_ids)


@dataclass(frozen=True)
class Front:
    """What stands in a prompt before the document's own part; empty if nothing is known."""

    ids: list[int]
    excerpt_tokens: tuple[int, ...]
    """Of each excerpt; 0 for one that did not fit."""


def render_surroundings(
    repository: "RepositoryTokens", encode: Callable[[str], list[int]], surroundings: Surroundings
) -> Front:
    """The repository's name and the excerpts as its other files, up to the document's own path.

    What stands before the first excerpt and behind the last one counts to the budget, too. If no
    excerpt fits there is no front at all: then the prompt is that of a single file.

    Source: the repository-level prompt of Qwen2.5-Coder; StarCoder2 writes it alike.
    """
    ids = [repository.name, *encode(f"{surroundings.repository}\n")]
    end = [repository.file, *encode(f"{surroundings.path}\n")]
    num_left = surroundings.max_tokens - len(ids) - len(end)
    sizes = []
    for excerpt in surroundings.excerpts:
        text = excerpt.text.rstrip("\n")
        piece = [repository.file, *encode(f"{excerpt.path}\n{text}\n")]
        fits = len(piece) <= num_left
        if fits:
            ids += piece
            num_left -= len(piece)
        sizes.append(len(piece) if fits else 0)
    return Front([*ids, *end] if any(sizes) else [], tuple(sizes))


FENCE = "```"
"""What ends the code in an answer to `render_chat`."""


def render_chat(
    chat: "ChatTokens", encode: Callable[[str], list[int]], question: str, *, language: str
) -> list[int]:
    """The prompt of a question whose answer is code: ChatML, with the answer's code block opened.

    Source: the chat template of Qwen2.5-Coder-Instruct, its default system message included.
    """
    turns = [
        ("system", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
        ("user", question),
    ]
    ids: list[int] = []
    for role, text in turns:
        ids += [chat.start, *encode(f"{role}\n{text}"), chat.end, *encode("\n")]
    return [*ids, chat.start, *encode(f"assistant\n{FENCE}{language}\n")]


@dataclass(frozen=True)
class Window:
    """The end of the text before the cursor and the beginning of the text after it."""

    prefix: str
    suffix: str


def window(prefix: str, suffix: str, *, max_prefix_chars: int, max_suffix_chars: int) -> Window:
    """Cut the text around the cursor to a budget of characters.

    The left edge is found from the start of the file, so that typing at the cursor does not move
    it and the cached prefix stays valid; it jumps once per quarter of the budget. So does the right
    edge, which comes nearer as the prefix grows, to half of the budget: a jump of the cursor makes
    all of the suffix be read again.
    """
    assert max_prefix_chars >= 0
    assert max_suffix_chars >= 0
    step = max(max_suffix_chars // 4, 1)
    taken = len(prefix) // step * step
    room = max(max_suffix_chars - taken, max_suffix_chars // 2)
    return Window(_tail(prefix, max_prefix_chars), _head(suffix, room))


def _tail(text: str, max_chars: int) -> str:
    """At most `max_chars` from the end, and about half of that at least."""
    if len(text) <= max_chars:
        return text
    step = max(max_chars // 4, 1)
    start = -(-(len(text) - max_chars) // step) * step
    # The line start is sought only within one step, which ends before the cursor whatever the
    # length: text that is still being typed must not decide where the window starts.
    line_break = text.find("\n", start - 1, start + step - 1)
    return text[start if line_break < 0 else line_break + 1 :]


def _head(text: str, max_chars: int) -> str:
    """At most `max_chars` from the beginning, up to a line end if one is in the last quarter."""
    if len(text) <= max_chars:
        return text
    line_break = text.rfind("\n", max_chars - max_chars // 4, max_chars)
    return text[: max_chars if line_break < 0 else line_break + 1]
