"""What is open in an editor at one moment, frozen: documents, edited places, a notebook's cells.

Taken on the event loop before the first await; of texts it holds references, not copies. Knows
neither LSP nor what anything is used for.
"""

from dataclasses import dataclass

from lsp_server.documents import DocumentStore
from lsp_server.history import History, Hunk
from lsp_server.notebooks import Cell, Notebooks

MAX_DOCUMENTS = 24
"""The ones used last; cells of the own notebook come on top."""


@dataclass(frozen=True)
class OpenDocument:
    """A view of an open document; its text ends lines as the editor has them."""

    uri: str
    language: str
    text: str


@dataclass(frozen=True)
class View:
    """What is open while a request is made; `documents` begin with the one used last."""

    documents: tuple[OpenDocument, ...] = ()
    hunks: tuple[Hunk, ...] = ()
    cells_before: tuple[Cell, ...] = ()
    cells_after: tuple[Cell, ...] = ()
    notebook: str | None = None
    """The notebook's uri if the completed document is a cell."""
    closed: tuple[str, ...] = ()
    """Documents that were edited and then closed, the last one first."""


def take_view(
    uri: str,
    documents: DocumentStore,
    history: History,
    notebooks: Notebooks,
    closed: tuple[str, ...],
) -> View:
    """The view for a request about the document `uri`."""
    before, after = notebooks.around(uri)
    needed = {uri, *(cell.uri for cell in (*before, *after))}
    chosen: list[OpenDocument] = []
    for document in documents.recent():
        if document.uri in needed or len(chosen) < MAX_DOCUMENTS:
            chosen.append(OpenDocument(document.uri, document.language, document.text))
    return View(
        documents=tuple(chosen),
        hunks=history.hunks,
        cells_before=tuple(before),
        cells_after=tuple(after),
        notebook=notebooks.notebook_of(uri),
        closed=closed,
    )
