"""The line that was edited last, as it was before, so that a rename by hand can be told.

Knows lines and changes, nothing of names.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lsp_server.documents import LINE_BREAK, Change, Document, Position


@dataclass(frozen=True)
class EditedLine:
    """A line of a document before its latest edits, which are all in that line."""

    uri: str
    line: int
    before: str


class LastEdit:
    """Remembers one line; any change elsewhere replaces it, one of line breaks forgets it."""

    def __init__(self) -> None:
        self._edited: EditedLine | None = None

    def watch(self, document: Document, changes: Sequence[Change]) -> None:
        """A document is about to change."""
        for change in changes:
            if change.range is None or LINE_BREAK.search(change.text):
                self._edited = None
                return
            start, end = sorted(change.range)
            if start.line != end.line:
                self._edited = None
                return
            edited = self._edited
            if edited is None or (edited.uri, edited.line) != (document.uri, start.line):
                self._edited = EditedLine(document.uri, start.line, line_of(document, start.line))

    def of(self, document: Document) -> EditedLine | None:
        """The line, if it is one of this document."""
        edited = self._edited
        return edited if edited is not None and edited.uri == document.uri else None


def line_of(document: Document, line: int) -> str:
    """The text of a line, without its break."""
    start, end = line_ends(document, line)
    return document.text[start:end]


def line_ends(document: Document, line: int) -> tuple[int, int]:
    """Where a line begins and ends, in characters."""
    far = 1 << 30
    return document.offset_at(Position(line, 0)), document.offset_at(Position(line, far))
