"""The lines that were edited last, as they were before, so that it can be told what was changed.

Knows lines and changes, nothing of names.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lsp_server.documents import LINE_BREAK, Change, Document, Position

MOST_LINES = 40
"""Edits that take in more lines are nothing that somebody would want to see carried on."""


@dataclass(frozen=True)
class EditedLines:
    """Lines of a document before its latest edits, which are all in them."""

    uri: str
    line: int
    num_lines: int
    """As many as they are now."""
    before: str
    """Verbatim, without the last line break."""

    @property
    def last_line(self) -> int:
        """Index of the last one, as it is now."""
        return self.line + self.num_lines - 1


class LastEdit:
    """Remembers a run of lines; a change that touches none of them replaces it."""

    def __init__(self) -> None:
        self._edited: EditedLines | None = None

    def watch(self, document: Document, changes: Sequence[Change]) -> None:
        """A document is about to change."""
        for change in changes:
            if change.range is None or (len(changes) > 1 and _moves_lines(change)):
                # Of several changes only the first is told in lines that are still to be seen.
                self._edited = None
                return
            start, end = sorted(change.range)
            self._watch_one(document, start.line, end.line, change.text)

    def of(self, document: Document) -> EditedLines | None:
        """The lines, if they are of this document."""
        edited = self._edited
        return edited if edited is not None and edited.uri == document.uri else None

    def _watch_one(self, document: Document, first: int, last: int, text: str) -> None:
        num_new = len(LINE_BREAK.findall(text)) - (last - first)
        before = document.run(first, last)
        edited = self.of(document)
        if edited is not None and first <= edited.last_line and last >= edited.line:
            known = document.run(edited.line, edited.last_line)
            first, last = min(first, edited.line), max(last, edited.last_line)
            whole = document.run(first, last)
            num_above = len(whole) - len(document.run(edited.line, last))
            before = whole[:num_above] + edited.before + whole[num_above + len(known) :]
        num_lines = last - first + 1 + num_new
        is_short = max(num_lines, len(LINE_BREAK.findall(before)) + 1) <= MOST_LINES
        self._edited = EditedLines(document.uri, first, num_lines, before) if is_short else None


def ends_of(document: Document, first: int, last: int) -> tuple[int, int]:
    """Where a run of lines begins and ends, in characters, without the last line's break."""
    far = 1 << 30
    return document.offset_at(Position(first, 0)), document.offset_at(Position(last, far))


def _moves_lines(change: Change) -> bool:
    start, end = sorted(change.range or (Position(0, 0), Position(0, 0)))
    return start.line != end.line or LINE_BREAK.search(change.text) is not None
