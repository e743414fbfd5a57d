"""Where the documents of a workspace were edited last: places, newest first, never texts.

Pure bookkeeping of line numbers: what stands at a place now is read from the document when it is
wanted. Knows neither LSP nor what the places are used for.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lsp_server.documents import LINE_BREAK, Change

MAX_HUNKS = 24
MAX_HUNKS_PER_DOCUMENT = 6
_NEARBY_LINES = 3
"""Edits no further apart are one hunk."""
MAX_HUNK_LINES = 12
"""A longer edit is a paste or a reformatting: what was worked on is its end."""


@dataclass(frozen=True)
class Hunk:
    """Lines of a document that were edited, both ends included, counted from zero."""

    uri: str
    first: int
    last: int


class History:
    """The latest hunks of all documents."""

    def __init__(self) -> None:
        self._hunks: list[Hunk] = []

    @property
    def hunks(self) -> tuple[Hunk, ...]:
        """Newest first."""
        return tuple(self._hunks)

    def change(self, uri: str, changes: Iterable[Change]) -> None:
        """A document was edited. Of a change without a range nobody knows where it was."""
        for change in changes:
            if change.range is None:
                self.close(uri)
                continue
            start, end = sorted(change.range)
            num_new = len(LINE_BREAK.findall(change.text))
            self._edit(uri, start.line, end.line, start.line + num_new)

    def close(self, uri: str) -> None:
        """Forget a document."""
        self._hunks = [hunk for hunk in self._hunks if hunk.uri != uri]

    def _edit(self, uri: str, first: int, last: int, new_last: int) -> None:
        """The lines from `first` to `last` have become those from `first` to `new_last`."""
        delta = new_last - last
        hunk_first, hunk_last = max(first, new_last - MAX_HUNK_LINES + 1), new_last
        kept = []
        for hunk in self._hunks:
            if hunk.uri != uri or hunk.last + _NEARBY_LINES < first:
                kept.append(hunk)
            elif hunk.first > last + _NEARBY_LINES:
                kept.append(Hunk(uri, hunk.first + delta, hunk.last + delta))
            else:  # the new hunk takes it in
                moved_first = min(hunk.first, first) if hunk.first <= last else hunk.first + delta
                moved_last = hunk.last if hunk.last < first else max(hunk.last, last) + delta
                hunk_first, hunk_last = min(hunk_first, moved_first), max(hunk_last, moved_last)
        if hunk_last - hunk_first >= MAX_HUNK_LINES:
            # Around the edit itself, whose end is where the user was.
            hunk_first = max(hunk_first, new_last - MAX_HUNK_LINES + 1)
            hunk_last = min(hunk_last, hunk_first + MAX_HUNK_LINES - 1)
        others = [hunk for hunk in kept if hunk.uri != uri]
        own = [hunk for hunk in kept if hunk.uri == uri][: MAX_HUNKS_PER_DOCUMENT - 1]
        ordered = [hunk for hunk in kept if hunk in others or hunk in own]
        self._hunks = [Hunk(uri, hunk_first, hunk_last), *ordered][:MAX_HUNKS]
