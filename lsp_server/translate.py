"""LSP's types of documents in ours. Knows nothing of what is done with them."""

from lsprotocol import types

from lsp_server.documents import Change, Position


def to_position(position: types.Position) -> Position:
    """A place in a document, in the negotiated units."""
    return Position(position.line, position.character)


def to_change(change: types.TextDocumentContentChangeEvent) -> Change:
    """A change of a document."""
    if isinstance(change, types.TextDocumentContentChangeWholeDocument):
        return Change(change.text)
    return Change(change.text, (to_position(change.range.start), to_position(change.range.end)))
