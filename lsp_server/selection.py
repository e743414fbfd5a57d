"""Completions that continue the item selected in an editor's popup menu.

The request is made for the document as if the item had been accepted; the answer replaces what the
item would replace and begins with its text. Knows neither LSP nor the engine.
"""

from dataclasses import dataclass, fields

from lsp_server.documents import LINE_BREAK, Document, Encoding, Position
from lsp_server.edits import Edit, make_edit
from lsp_server.snapshot import Snapshot, take_snapshot


@dataclass(frozen=True)
class SelectedSnapshot(Snapshot):
    """The view of a document in which an item stands that is only selected yet."""

    item: str
    start: Position
    """Of the text that the item replaces."""
    end: Position

    def after_typing(self, typed: str, text: str, version: int) -> Snapshot:
        """The view after more was typed; a new version of the document really has the item."""
        plain = _plain(self).after_typing(typed, text, version)
        is_same = not typed and version == self.version and text == self.text
        return self if is_same else plain

    def before_typing(self, typed: str) -> Snapshot:
        """The view before something went in: one without the item."""
        return self if not typed else _plain(self).before_typing(typed)


def take_selected(
    document: Document, cursor: Position, item: str, start: Position, end: Position
) -> Snapshot | None:
    """The view with `item` in place of `start` to `end`, and the cursor behind it.

    None if nothing can be offered that continues it: the place is not on the cursor's line and
    around the cursor, or the item has several lines.
    """
    first, last, offset = (document.offset_at(place) for place in (start, end, cursor))
    is_on_line = document.line_at(start) == document.line_at(end) == document.line_at(cursor)
    if not is_on_line or not first <= offset <= last or LINE_BREAK.search(item) or not item:
        return None
    snapshot = take_snapshot(document, cursor)
    return SelectedSnapshot(
        uri=snapshot.uri,
        version=snapshot.version,
        language=snapshot.language,
        text=snapshot.text[:first] + item + snapshot.text[last:],
        offset=first + len(item),
        line=snapshot.line,
        item=item,
        start=document.position_at(first),
        end=document.position_at(last),
    )


def edit_of(snapshot: Snapshot, text: str, encoding: Encoding) -> Edit:
    """`make_edit`, and for a selected item the edit that begins with the item."""
    edit = make_edit(snapshot, text, encoding)
    if not isinstance(snapshot, SelectedSnapshot):
        return edit
    num_replaced = edit.end.character - edit.start.character
    end = Position(snapshot.end.line, snapshot.end.character + num_replaced)
    return Edit(snapshot.item + edit.text, snapshot.start, end)


def _plain(snapshot: Snapshot) -> Snapshot:
    return Snapshot(*(getattr(snapshot, item.name) for item in fields(Snapshot)))
