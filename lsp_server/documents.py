"""The server's own document store: texts as lists of lines, edited in place.

Lines end at `\\n`, `\\r\\n` and `\\r` and nowhere else, as LSP says; U+2028, form feed and their
like are ordinary characters. Knows neither pygls nor what a document is used for.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

Encoding = Literal["utf-8", "utf-16", "utf-32"]
"""The unit in which an editor counts columns."""

LINE_BREAK = re.compile(r"\r\n|\r|\n")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Position(NamedTuple):
    """Zero-based line, and column in units of the negotiated encoding."""

    line: int
    character: int


@dataclass(frozen=True)
class Change:
    """New text for a range, or for the whole document if there is no range."""

    text: str
    range: tuple[Position, Position] | None = None


def split_lines(text: str) -> list[str]:
    """The lines of `text` with their line breaks; the last one, perhaps empty, has none."""
    lines = []
    start = 0
    for line_break in LINE_BREAK.finditer(text):
        end = line_break.end()
        lines.append(text[start:end])
        start = end
    lines.append(text[start:])
    return lines


def num_units(text: str, encoding: Encoding) -> int:
    """Length of `text` in units of `encoding`."""
    if encoding == "utf-32" or text.isascii():
        return len(text)
    if encoding == "utf-8":
        return len(text.encode())
    return len(text.encode("utf-16-le")) // 2


def index_of_unit(line: str, unit: int, encoding: Encoding) -> int:
    """Index of the character at `unit`: inside one it rounds down, past the end it clamps."""
    if encoding == "utf-32" or line.isascii():
        return min(unit, len(line))
    if encoding == "utf-8":
        return len(line.encode()[:unit].decode(errors="ignore"))
    return len(line.encode("utf-16-le")[: 2 * unit].decode("utf-16-le", errors="ignore"))


def _without_break(line: str) -> str:
    return line.rstrip("\r\n")


def _scalar(text: str) -> str:
    """`text` with lone surrogates replaced by U+FFFD, which is as long in UTF-8, UTF-16 and UTF-32.

    JSON can carry half a surrogate pair; no encoder, tokenizer or parser takes one.
    """
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


class Document:
    """One open document: `uri`, `language` and `version` as the editor gave them, and its lines."""

    def __init__(self, uri: str, language: str, version: int, text: str, encoding: Encoding):
        self.uri = uri
        self.language = language
        self.version = version
        self.encoding = encoding
        self._lines: list[str] = []
        self._text: str | None = None
        self._num_bytes = 0
        self._replace_all(text)

    @property
    def text(self) -> str:
        """The whole text; joined on first use after a change."""
        if self._text is None:
            self._text = "".join(self._lines)
        return self._text

    @property
    def num_bytes(self) -> int:
        """Length of the text in UTF-8, kept up to date without joining it."""
        return self._num_bytes

    def apply(self, changes: Iterable[Change], version: int) -> None:
        """Make `changes` in order, each in the coordinates that the one before it left."""
        for change in changes:
            if change.range is None:
                self._replace_all(change.text)
            else:
                start, end = sorted(change.range)
                self._replace(start, end, change.text)
        self.version = version

    def offset_at(self, position: Position) -> int:
        """Characters before `position`, clamped to its line without line break and to the text."""
        line, index = self._locate(position)
        return sum(map(len, self._lines[:line])) + index

    def position_at(self, offset: int) -> Position:
        """Position of the character at `offset`; inside `\\r\\n` it is the end of the line."""
        for line_index, line in enumerate(self._lines):
            if offset < len(line) or line_index == len(self._lines) - 1:
                return Position(
                    line_index, num_units(_without_break(line)[: max(offset, 0)], self.encoding)
                )
            offset -= len(line)
        raise AssertionError("a document has at least one line")

    def run(self, first: int, last: int) -> str:
        """The lines from one index to another, verbatim, without the break of the last one."""
        lines = self._lines[max(first, 0) : last + 1]
        return "".join((*lines[:-1], *map(_without_break, lines[-1:])))

    def line_at(self, position: Position) -> int:
        """Index of the line that `position` is clamped to."""
        return self._locate(position)[0]

    def _locate(self, position: Position) -> tuple[int, int]:
        """Line index, and index of the character in that line."""
        last = len(self._lines) - 1
        if position.line > last:
            return last, len(self._lines[last])
        line_index = max(position.line, 0)
        line = _without_break(self._lines[line_index])
        return line_index, index_of_unit(line, max(position.character, 0), self.encoding)

    def _replace_all(self, text: str) -> None:
        text = _scalar(text)
        self._lines = split_lines(text)
        self._num_bytes = num_units(text, "utf-8")
        self._text = text

    def _replace(self, start: Position, end: Position, text: str) -> None:
        first, start_index = self._locate(start)
        last, end_index = self._locate(end)
        chunk = self._lines[first][:start_index] + _scalar(text) + self._lines[last][end_index:]
        if first > 0 and chunk.startswith("\n") and self._lines[first - 1].endswith("\r"):
            first -= 1  # the new line feed completes a line break of the line above
            chunk = self._lines[first] + chunk
        is_at_end = last == len(self._lines) - 1
        new_lines = split_lines(chunk)
        if not is_at_end:
            new_lines.pop()  # the chunk ends with a line break, which is never cut in two
        old_lines = self._lines[first : last + 1]
        self._num_bytes += num_units(chunk, "utf-8") - num_units("".join(old_lines), "utf-8")
        self._lines[first : last + 1] = new_lines
        self._text = None


class DocumentStore:
    """The open documents by uri."""

    def __init__(self) -> None:
        self.encoding: Encoding = "utf-16"
        self._documents: dict[str, Document] = {}

    def open(self, uri: str, language: str, version: int, text: str) -> None:
        """Hold a document, in place of an older one of that uri."""
        self._documents[uri] = Document(uri, language, version, text, self.encoding)

    def change(self, uri: str, version: int, changes: Iterable[Change]) -> Document | None:
        """The document after its changes, or None if it is not open."""
        document = self._documents.pop(uri, None)
        if document is not None:
            document.apply(changes, version)
            self._documents[uri] = document  # behind those that were changed before
        return document

    def close(self, uri: str) -> None:
        """Forget a document; one that is not open is ignored."""
        self._documents.pop(uri, None)

    def get(self, uri: str) -> Document | None:
        """The open document of that uri."""
        return self._documents.get(uri)

    def recent(self) -> Iterator[Document]:
        """The open documents, the one opened or changed last first."""
        return reversed(self._documents.values())
