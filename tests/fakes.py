"""Fakes shared by tests: small, scripted, and real enough to be wrong in the ways that matter."""

from lsp_server.documents import Document, Position
from lsp_server.snapshot import Snapshot, take_snapshot

CURSOR = "█"


def document_at(
    marked: str, *, version: int = 1, language: str = "python", uri: str = "file:///fake.py"
) -> tuple[Document, Position]:
    """A document and the position of its cursor mark."""
    before, after = marked.split(CURSOR)
    document = Document(uri, language, version, before + after, "utf-16")
    return document, document.position_at(len(before))


def snapshot_at(marked: str, **fields: object) -> Snapshot:
    """The snapshot at the cursor mark of a text."""
    return take_snapshot(*document_at(marked, **fields))  # type: ignore[arg-type]
