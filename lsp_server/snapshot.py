"""A frozen view of one document at one position, taken before the first await of a request.

Documents are live: their version can change under an await, a snapshot's cannot. Knows neither LSP
nor the engine; offsets count characters, never an editor's units.
"""

from dataclasses import dataclass, replace

from lsp_server.documents import LINE_BREAK, Document, Position


@dataclass(frozen=True)
class Snapshot:
    """What was true of a document when a request came in."""

    uri: str
    version: int
    language: str
    text: str
    offset: int
    """Characters before the cursor."""
    line: int
    """Zero-based line of the cursor."""

    @property
    def prefix(self) -> str:
        """The text before the cursor."""
        return self.text[: self.offset]

    @property
    def suffix(self) -> str:
        """The text after the cursor."""
        return self.text[self.offset :]

    @property
    def line_prefix(self) -> str:
        """The cursor's line before the cursor."""
        start = max(self.text.rfind("\n", 0, self.offset), self.text.rfind("\r", 0, self.offset))
        return self.text[start + 1 : self.offset]

    @property
    def line_suffix(self) -> str:
        """The cursor's line after the cursor, without its line break."""
        line_break = LINE_BREAK.search(self.text, self.offset)
        return self.text[self.offset : line_break.start() if line_break else len(self.text)]

    @property
    def line_break(self) -> str:
        """How this document ends its lines: as its first line does, `\\n` if it has only one."""
        line_break = LINE_BREAK.search(self.text)
        return line_break.group() if line_break else "\n"

    def after_change(self, text: str, version: int) -> "Snapshot | None":
        """The place once something was typed or deleted before the cursor; None if elsewhere."""
        offset = len(text) - len(self.suffix)
        kept = min(offset, self.offset)
        if offset < 0 or not text.endswith(self.suffix) or text[:kept] != self.text[:kept]:
            return None
        added = len(LINE_BREAK.findall(text[kept:offset]))
        line = self.line + added - len(LINE_BREAK.findall(self.text[kept : self.offset]))
        return replace(self, text=text, version=version, offset=offset, line=line)

    def after_typing(self, typed: str, text: str, version: int) -> "Snapshot":
        """The view after `typed` went in at the cursor, which made the document `text`."""
        return replace(
            self,
            text=text,
            version=version,
            offset=self.offset + len(typed),
            line=self.line + len(LINE_BREAK.findall(typed)),
        )

    def before_typing(self, typed: str) -> "Snapshot":
        """The view before `typed`, which ends at the cursor, went in there."""
        start = self.offset - len(typed)
        return replace(
            self,
            text=self.text[:start] + self.text[self.offset :],
            offset=start,
            line=self.line - len(LINE_BREAK.findall(typed)),
        )


def take_snapshot(document: Document, position: Position) -> Snapshot:
    """The view at `position`, clamped as LSP says."""
    return Snapshot(
        uri=document.uri,
        version=document.version,
        language=document.language,
        text=document.text,
        offset=document.offset_at(position),
        line=document.line_at(position),
    )


def take_without(document: Document, start: Position, end: Position) -> Snapshot:
    """The view as it will be at `start` once what is selected up to `end` has been deleted.

    Whatever is typed over a selection, this is around it. The version is that before.
    """
    snapshot = take_snapshot(document, start)
    first, last = snapshot.offset, max(document.offset_at(end), snapshot.offset)
    if first == last:
        return snapshot
    return replace(snapshot, text=document.text[:first] + document.text[last:])
