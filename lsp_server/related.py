"""What of other files is worth showing a model at a cursor: ranked pieces within a budget.

Pure: texts in, pieces out. Three kinds: signatures of what the document imports or mentions,
places that were edited lately, and windows of text that share rare identifiers with the text
around the cursor. Nothing related yields nothing. Knows neither files nor tokens.
"""

import functools
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from lsp_server.symbols import Definition

Source = Literal["symbols", "edits", "related"]

WINDOW_LINES = 12
_STRIDE = 6
_MAX_WINDOWS = 400
"""Of one file."""
_LINES_BEFORE, _LINES_AFTER = 24, 8
_MIN_SHARED = 3
"""Identifiers that a window has to share with the text around the cursor."""
MIN_SIMILARITY = 0.15
"""The best of five programs about something else reaches it in 7 of 200 places, of five modules of
the same package in 99."""
_MENTIONED_NEARBY = 3.0
_IDENTIFIER = re.compile(r"[^\W\d]\w{2,}")
_PROSE = re.compile(
    "(?:"
    r'"""[\s\S]*?(?:"""|\Z)'
    r"|'''[\s\S]*?(?:'''|\Z)"
    r"|/\*[\s\S]*?(?:\*/|\Z)"
    r"|(?:#|//)[^\n]*"
    ")"
)
"""Comments and long strings: their words are those of a language that all files share."""
_UNFINISHED = re.compile(
    r"\S[ \t]+$|(?:^|[^\w.])(?:return|import|from|and|or|not|in|is|=)$|[\w)\]]\.$"
)
"""A line that ends in a blank, or in a word that must go on."""
_OPENING = re.compile(r"[:({\[,\\]\s*$|^\s*(?:@|else\b|try\b)")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """and args assert async await bool break case catch class const continue def default del
        dict elif else enum except export extends false False final finally float fmt for from
        func get function impl import int interface isinstance kwargs lambda len let list match
        mod mut new nil None not null object print private protected pub public raise range
        return self set static str string struct super switch test this throw throws true True
        try type typeof undefined use var void where while with yield""",
    )
)


@dataclass(frozen=True)
class Piece:
    """A piece of a file: where it is from, why, and its text."""

    source: Source
    path: str
    text: str


@dataclass(frozen=True)
class Query:
    """The document around the cursor."""

    prefix: str
    suffix: str

    @functools.cached_property
    def nearby(self) -> frozenset[str]:
        """Identifiers of the lines around the cursor."""
        return identifiers(_nearby(self.prefix, self.suffix))

    @functools.cached_property
    def code(self) -> frozenset[str]:
        """The same without comments and long strings."""
        return identifiers(_nearby(_without_prose(self.prefix), _without_prose(self.suffix)))

    @functools.cached_property
    def lately(self) -> frozenset[str]:
        """Identifiers of the cursor's line and of the two before it."""
        return identifiers("\n".join(self.prefix.split("\n")[-3:]))

    def has(self, text: str) -> bool:
        """Whether the prompt shows a text anyway."""
        return text in self.prefix or text in self.suffix


@dataclass(frozen=True)
class Module:
    """A file with definitions; `imported` names those that the document takes from it."""

    path: str
    definitions: tuple[Definition, ...]
    imported: frozenset[str] | None = None
    """None if the document does not import it; `*` stands for all."""


@functools.lru_cache(maxsize=2048)
def identifiers(text: str) -> frozenset[str]:
    """The names in a text that say something: three characters or more, no keywords."""
    return frozenset(_IDENTIFIER.findall(text)) - _COMMON


def without_loose_ends(text: str) -> str:
    """`text` without lines that somebody is in the middle of, and without an end that opens more.

    A passage that breaks off teaches the model to break off at the cursor, too.
    """
    lines = [line for line in text.split("\n") if not _UNFINISHED.search(line)]
    while lines and (not lines[-1].strip() or _OPENING.search(lines[-1])):
        lines.pop()
    return "\n".join(lines)


def symbol_pieces(query: Query, modules: Sequence[Module], max_chars: int) -> list[Piece]:
    """Signatures, one piece a module: what is imported by name, and what is mentioned nearby.

    A module that is not imported counts only for names that few others define. The order within a
    piece is the file's, so that a piece stays the same while its names come and go nearby.
    """
    num_defining = Counter(
        name for module in modules for name in {d.name for d in module.definitions}
    )
    ranked = []
    for module in modules:
        chosen: list[tuple[float, Definition]] = []
        for definition in module.definitions:
            name = definition.name
            is_common = len(name) < 4 or name in _COMMON or num_defining[name] > 2
            score = _MENTIONED_NEARBY * ((name in query.nearby) + (name in query.lately))
            if module.imported is None:
                score = 0.0 if is_common else score
            elif name in module.imported:
                score += 1.0
            elif "*" not in module.imported:
                score = 0.0
            if name.startswith("_") and name not in query.nearby:
                score = 0.0
            if score > 0:
                chosen.append((score, definition))
        text = _within(module.definitions, chosen, max_chars)
        if text and not query.has(text):
            best = max(score for score, _ in chosen)
            bonus = 0.5 * (module.imported is not None)
            ranked.append((best + bonus, Piece("symbols", module.path, text)))
    ranked.sort(key=lambda pair: -pair[0])
    return [piece for _, piece in ranked]


def window_pieces(query: Query, texts: Sequence[tuple[str, str]]) -> list[Piece]:
    """Windows of files (path, text), the most similar first, at most one a file.

    Similarity is the Jaccard index of identifiers, each weighted by how few windows have it.
    """
    windows = [(path, *window) for path, text in texts for window in _windows(text)]
    frequency = Counter(name for _, _, names in windows for name in names)

    def weight(names: Iterable[str]) -> float:
        return sum(
            math.log(1 + len(windows) / frequency[name]) for name in names if name in frequency
        )

    weight_of_query = weight(query.code)
    best: dict[str, tuple[float, str]] = {}
    for path, window, names in windows:
        shared = query.code & names
        if len(shared) < _MIN_SHARED:
            continue
        weight_shared = weight(shared)
        similarity = weight_shared / (weight_of_query + weight(names) - weight_shared)
        is_new = similarity >= MIN_SIMILARITY and not query.has(window)
        if is_new and similarity > best.get(path, (0.0, ""))[0]:
            best[path] = (similarity, window)
    ranked = sorted(best.items(), key=lambda item: -item[1][0])
    return [Piece("related", path, window) for path, (_, window) in ranked]


def choose(
    symbols: Sequence[Piece], edits: Sequence[Piece], windows: Sequence[Piece], max_chars: int
) -> list[Piece]:
    """Pieces within a budget of characters: by turns the best of each kind, none shown twice."""
    chosen: list[Piece] = []
    num_left = max_chars
    for rank in range(max(len(symbols), len(edits), len(windows), 0)):
        for pieces in (symbols, edits, windows):
            if rank >= len(pieces):
                continue
            piece = pieces[rank]
            is_shown = any(
                piece.path == other.path and (piece.text in other.text or other.text in piece.text)
                for other in chosen
            )
            cost = len(piece.path) + len(piece.text) + 2
            if not is_shown and cost <= num_left:
                chosen.append(piece)
                num_left -= cost
    return chosen


def keep_order(chosen: Sequence[Piece], before: Sequence[Piece]) -> tuple[Piece, ...]:
    """`chosen` with what was there before in its old order in front: that much stays cached."""
    kept = [piece for piece in before if piece in chosen]
    return (*kept, *(piece for piece in chosen if piece not in kept))


def _within(
    definitions: Sequence[Definition], chosen: Sequence[tuple[float, Definition]], max_chars: int
) -> str:
    """The best of the chosen definitions that fit, in the order of the file."""
    kept: set[int] = set()
    num_left = max_chars
    for _, definition in sorted(chosen, key=lambda pair: -pair[0]):
        if len(definition.text) < num_left:
            kept.add(id(definition))
            num_left -= len(definition.text) + 1
    return "\n".join(definition.text for definition in definitions if id(definition) in kept)


@functools.lru_cache(maxsize=32)
def _windows(text: str) -> tuple[tuple[str, frozenset[str]], ...]:
    """Overlapping passages of a text with the identifiers of their code."""
    lines, code = text.split("\n"), _without_prose(text).split("\n")
    starts = range(0, max(len(lines) - WINDOW_LINES + _STRIDE, 1), _STRIDE)
    windows = []
    for start in starts[:_MAX_WINDOWS]:
        window = "\n".join(lines[start : start + WINDOW_LINES])
        window = without_loose_ends(window).strip("\n")
        if window:
            windows.append((window, identifiers("\n".join(code[start : start + WINDOW_LINES]))))
    return tuple(windows)


def _nearby(prefix: str, suffix: str) -> str:
    before = prefix.split("\n")[-_LINES_BEFORE - 1 :]
    after = suffix.split("\n", _LINES_AFTER + 1)[: _LINES_AFTER + 1]
    return "\n".join(before) + "\n".join(after)


def _without_prose(text: str) -> str:
    """`text` without comments and long strings, on as many lines."""
    return _PROSE.sub(lambda match: "\n" * match[0].count("\n"), text)
