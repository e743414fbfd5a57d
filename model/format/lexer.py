"""Brackets, strings and comments of a text, from left to right.

Knows how these look in each language and nothing else of its grammar: it also reads code that is
broken, half written or begins in the middle of a string, which is what stands around a cursor.
What it says about a text stays true when the text grows, up to `Scan.end`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

LINE_BREAK = re.compile(r"\r\n|\r|\n")
CLOSERS: Mapping[str, str] = {"(": ")", "[": "]", "{": "}"}
"""Closer by opener."""


@dataclass(frozen=True)
class Frame:
    """Something that has begun and not yet ended: a bracket, a string or a comment."""

    kind: Literal["bracket", "string", "comment"]
    opener: str
    """A bracket is `(`, `[` or `{`, also where a string has an interpolation (`${`)."""
    closer: str
    """Empty for what only the end of the line ends."""
    is_multiline: bool = True
    has_escapes: bool = False
    nested: "tuple[tuple[str, Frame], ...]" = ()
    """What may begin inside a string, by spelling: an interpolation, a class in a regex."""


@dataclass(frozen=True)
class Event:
    """A frame begins or ends at `start:end`; without a frame, a closer stands there unmatched."""

    start: int
    end: int
    is_open: bool
    frame: Frame | None
    character: str
    """The bracket, or the delimiter; empty where the end of a line ends a frame."""


@dataclass(frozen=True)
class Scan:
    """All events of a text, and what is open at its end."""

    events: tuple[Event, ...]
    frames: tuple[Frame, ...]
    """Open at `end`, outermost first."""
    end: int
    """From here on the text may mean something else once more of it is known: `/`, `""`."""


BRACKETS: Mapping[str, Frame] = {
    opener: Frame("bracket", opener, closer) for opener, closer in CLOSERS.items()
}
LINE_COMMENT = Frame("comment", "", "", is_multiline=False)
_BLOCK_COMMENT = Frame("comment", "/*", "*/")
_TEMPLATE = Frame("string", "`", "`", True, True, (("${", BRACKETS["{"]),))
_REGEX = Frame(
    "string", "/", "/", False, True, (("[", Frame("string", "[", "]", False, has_escapes=True)),)
)
_RAW_GO = Frame("string", "`", "`")


def _quote(delimiter: str, *, is_multiline: bool = False) -> Frame:
    return Frame("string", delimiter, delimiter, is_multiline, has_escapes=True)


@dataclass(frozen=True)
class _Rules:
    """How frames begin in one language, the longest spelling first."""

    openers: Mapping[str, Frame]
    line_comment: str = "//"
    has_regexes: bool = False
    is_rust: bool = False
    """Lifetimes (`'a` begins no string) and raw strings (`r#"…"#`)."""


_SINGLE, _DOUBLE = _quote("'"), _quote('"')
_SCRIPT = _Rules(
    {"/*": _BLOCK_COMMENT, '"': _DOUBLE, "'": _SINGLE, "`": _TEMPLATE}, has_regexes=True
)
_RULES: Mapping[str, _Rules] = {
    "python": _Rules(
        {
            '"""': _quote('"""', is_multiline=True),
            "'''": _quote("'''", is_multiline=True),
            '"': _DOUBLE,
            "'": _SINGLE,
        },
        line_comment="#",
    ),
    "javascript": _SCRIPT,
    "typescript": _SCRIPT,
    "tsx": _SCRIPT,
    "go": _Rules({"/*": _BLOCK_COMMENT, '"': _DOUBLE, "'": _SINGLE, "`": _RAW_GO}),
    "rust": _Rules({"/*": _BLOCK_COMMENT, '"': _quote('"', is_multiline=True)}, is_rust=True),
    "java": _Rules(
        {
            "/*": _BLOCK_COMMENT,
            '"""': _quote('"""', is_multiline=True),
            '"': _DOUBLE,
            "'": _SINGLE,
        }
    ),
}
_TEXT = _Rules({}, line_comment="")
"""An unknown language: apostrophes and hashes may mean anything, so only brackets are followed."""

_BEFORE_REGEX = frozenset("(,=:[!&|?{;+-*%~^")
_WORDS_BEFORE_REGEX = frozenset(
    {"return", "typeof", "case", "in", "of", "do", "else", "void", "delete", "await", "yield"}
)
_LAST_WORD = re.compile(r"\w+\Z")
_RAW_RUST = re.compile(r'(?<!\w)(?:br|cr|r)(#*)"')


def quote_frame(language: str, closer: str) -> Frame | None:
    """The string or comment of a language that ends with `closer`."""
    for frame in _RULES.get(language, _TEXT).openers.values():
        if frame.closer == closer:
            return frame
    if language == "rust" and closer.startswith('"'):
        return Frame("string", "r" + closer[1:] + '"', closer)
    return None


def scan(
    text: str,
    language: str,
    frames: tuple[Frame, ...] = (),
    *,
    is_final: bool = True,
    before: str = "",
) -> Scan:
    """Follow a text.

    Args:
        text: what to read.
        language: a name of ours; any other is read as `text`.
        frames: what is open at its beginning, outermost first.
        is_final: nothing follows, so that every character means what it means by itself.
        before: text on the same line before it, which decides whether `/` begins a regex.
    """
    return _Scanner(text, _RULES.get(language, _TEXT), list(frames), is_final, before).run()


class _Scanner:
    def __init__(
        self, text: str, rules: _Rules, frames: list[Frame], is_final: bool, before: str
    ) -> None:
        self.text = text
        self.rules = rules
        self.frames = frames
        self.is_final = is_final
        self.before = before
        self.events: list[Event] = []
        self.uncertain = 0
        self.pattern = _code_pattern(*_spellings(rules))

    def run(self) -> Scan:
        position, end = 0, len(self.text)
        while position < end:
            is_code = not self.frames or self.frames[-1].kind == "bracket"
            following = self._code(position) if is_code else self._quoted(position)
            if following is None:
                end = self.uncertain
                break
            position = following
        return Scan(tuple(self.events), tuple(self.frames), end)

    def _code(self, position: int) -> int | None:
        """Handle the next thing in code; returns where to go on, None if that is uncertain."""
        found = self.pattern.search(self.text, position)
        if found is None:
            return len(self.text)
        start, spelled = found.start(), found[0]
        if spelled in BRACKETS:
            return self._open(start, start + 1, BRACKETS[spelled])
        if spelled in ")]}":
            top = self.frames[-1] if self.frames else None
            if top is not None and top.closer == spelled:
                return self._close(start, start + 1)
            self.events.append(Event(start, start + 1, False, None, spelled))
            return start + 1
        if not self.is_final and self._may_grow(start):
            self.uncertain = start
            return None
        if self.rules.line_comment and spelled == self.rules.line_comment:
            return self._open(start, found.end(), LINE_COMMENT)
        if spelled in self.rules.openers:
            return self._open(start, found.end(), self.rules.openers[spelled])
        if spelled == "/":
            return self._open(start, start + 1, _REGEX) if self._is_regex(start) else start + 1
        if spelled == "'":
            rest = self.text[start + 1 : start + 3]
            is_character = rest[:1] == "\\" or rest[1:] == "'"
            return self._open(start, start + 1, _SINGLE) if is_character else start + 1
        raw = _RAW_RUST.match(self.text, start)
        assert raw is not None
        return self._open(start, raw.end(), Frame("string", raw[0], '"' + raw[1]))

    def _may_grow(self, start: int) -> bool:
        """Whether more text could turn the last characters into another opener."""
        rest = self.text[start : start + 3]
        if self.rules.is_rust and rest[0] == "'":
            return len(rest) < 3 and rest[1:] != "\\"
        longer = (*self.rules.openers, self.rules.line_comment)
        return any(opener.startswith(rest) and opener != rest for opener in longer)

    def _quoted(self, position: int) -> int | None:
        """Handle the next thing in a string or comment, like `_code`."""
        frame = self.frames[-1]
        found = _quoted_pattern(frame).search(self.text, position)
        if found is None:
            return self._held_tail(frame, position)
        start, spelled = found.start(), found[0]
        if spelled[0] == "\\":
            is_cut = found.end() == len(self.text) and spelled in ("\\", "\\\r")
            if is_cut and not self.is_final:
                self.uncertain = start
                return None
            return found.end()
        for opener, nested in frame.nested:
            if spelled == opener:
                return self._open(start, found.end(), nested)
        if spelled != frame.closer:  # the line ends, and the string with it
            return self._close(start, start)
        return self._close(start, found.end())

    def _held_tail(self, frame: Frame, position: int) -> int | None:
        """A tail that may become the closer or an interpolation is uncertain."""
        tokens = (frame.closer, *(opener for opener, _ in frame.nested))
        for token in () if self.is_final else tokens:
            for length in range(min(len(token) - 1, len(self.text) - position), 0, -1):
                if self.text.endswith(token[:length]):
                    self.uncertain = len(self.text) - length
                    return None
        return len(self.text)

    def _open(self, start: int, end: int, frame: Frame) -> int:
        self.frames.append(frame)
        self.events.append(Event(start, end, True, frame, frame.opener))
        return end

    def _close(self, start: int, end: int) -> int:
        frame = self.frames.pop()
        self.events.append(Event(start, end, False, frame, self.text[start:end]))
        return end

    def _is_regex(self, start: int) -> bool:
        if not self.rules.has_regexes:
            return False
        line_start = max(self.text.rfind("\n", 0, start), self.text.rfind("\r", 0, start)) + 1
        before = self.text[line_start:start].rstrip()
        if line_start == 0:
            before = (self.before + before).rstrip()
        word = _LAST_WORD.search(before)
        if word is not None:
            return word[0] in _WORDS_BEFORE_REGEX
        return not before or before[-1] in _BEFORE_REGEX


def _alternatives(spellings: Iterable[str]) -> str:
    return "|".join(re.escape(spelling) for spelling in sorted(spellings, key=len, reverse=True))


def _spellings(rules: _Rules) -> tuple[tuple[str, ...], bool]:
    spellings = [*rules.openers, *filter(None, [rules.line_comment]), *"()[]{}"]
    if rules.line_comment == "//":
        spellings.append("/")  # a regex, or at the end what may become a comment
    if rules.is_rust:
        spellings.append("'")
    return tuple(spellings), rules.is_rust


@cache
def _code_pattern(spellings: tuple[str, ...], is_rust: bool) -> re.Pattern[str]:
    raw = _RAW_RUST.pattern + "|" if is_rust else ""
    return re.compile(raw + _alternatives(spellings))


@cache
def _quoted_pattern(frame: Frame) -> re.Pattern[str]:
    spellings = [opener for opener, _ in frame.nested] + ([frame.closer] if frame.closer else [])
    parts = [r"\\(?:\r\n|[\s\S]|\Z)"] if frame.has_escapes else []
    parts += [_alternatives(spellings)] if spellings else []
    parts += [] if frame.is_multiline else [r"[\r\n]"]
    return re.compile("|".join(parts))
