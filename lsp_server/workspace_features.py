"""What the editor tells about its workspace, and what it may ask: notebooks, folders, reasons.

`seed/inspect` tells what was used for a suggestion, `seed/explain` why a file gets none. Handlers
translate and delegate. Knows the server's parts, not how they work.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from pygls.uris import to_fs_path

from lsp_server import wire
from lsp_server.explanation import explain
from lsp_server.inspection import Inspection
from lsp_server.notebooks import Cell
from lsp_server.translate import to_change

if TYPE_CHECKING:
    from lsp_server.server import SeedServer

NOTEBOOKS = types.NotebookDocumentSyncOptions(
    notebook_selector=[
        types.NotebookDocumentFilterWithNotebook(
            notebook="*", cells=[types.NotebookCellLanguage(language="*")]
        )
    ]
)
"""Cells of every notebook, whatever language they are in."""


def register(server: "SeedServer") -> None:
    """Add the handlers."""

    def open_cells(documents: Iterable[types.TextDocumentItem]) -> None:
        for item in documents:
            server.open_document(item)

    def close_cells(documents: Iterable[types.TextDocumentIdentifier]) -> None:
        for item in documents:
            server.close_document(item.uri)

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_OPEN)
    def notebook_did_open(params: types.DidOpenNotebookDocumentParams) -> None:
        open_cells(params.cell_text_documents)
        notebook = params.notebook_document
        server.informed.notebooks.open(notebook.uri, _cells(notebook.cells))

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_CHANGE)
    def notebook_did_change(params: types.DidChangeNotebookDocumentParams) -> None:
        cells = params.change.cells
        if cells is None:
            return
        if cells.structure is not None:
            open_cells(cells.structure.did_open or [])
            array = cells.structure.array
            server.informed.notebooks.splice(
                params.notebook_document.uri,
                array.start,
                array.delete_count,
                _cells(array.cells or []),
            )
            close_cells(cells.structure.did_close or [])
        for content in cells.text_content or []:
            changes = [to_change(change) for change in content.changes]
            server.change_document(content.document.uri, content.document.version, changes)

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_CLOSE)
    def notebook_did_close(params: types.DidCloseNotebookDocumentParams) -> None:
        server.informed.notebooks.close(params.notebook_document.uri)
        close_cells(params.cell_text_documents)

    @server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
    def did_change_folders(_: types.DidChangeWorkspaceFoldersParams) -> None:
        server.informed.use_folders(workspace_folders(server))

    @server.feature(wire.INSPECT)
    def inspect(params: Any) -> dict[str, Any] | None:
        uri, session = _asked(params, wire.INSPECT, "uri", "session")
        return inspect_latest(server, uri, session)

    @server.feature(wire.EXPLAIN)
    async def why(params: Any) -> dict[str, Any]:
        (uri,) = _asked(params, wire.EXPLAIN, "uri")
        if uri is None:
            raise JsonRpcInvalidParams(f"{wire.EXPLAIN} takes the uri of a document.")
        document, settings = server.documents.get(uri), server.settings
        explanation = explain(document, settings, await server.informed.exclusion(uri))
        state = [server.switch.quiet.message] if server.switch.quiet else []
        return {
            "uri": uri,
            "against": [*explanation.against, *state],
            "notes": list(explanation.notes),
            "latest": server.completions.quiet_reason(uri),
        }


def inspect_latest(
    server: "SeedServer", uri: str | None, session: str | None = None
) -> dict[str, Any] | None:
    """What `seed/inspect` answers; without a session it is about what was offered last."""
    if uri is not None and session is None:
        offer = server.completions.last_suggestion(uri)
        session = offer.session if offer is not None else None
    found = server.informed.inspection(uri, session) or server.informed.inspection(uri)
    return None if found is None else _described(found)


def workspace_folders(server: "SeedServer") -> list[Path]:
    """The folders that the editor has open on this machine's disk."""
    uris = list(server.workspace.folders) or [server.workspace.root_uri or ""]
    paths = (to_fs_path(uri) for uri in uris)
    return [Path(path) for path in paths if path]


def _cells(cells: Iterable[types.NotebookCell]) -> list[Cell]:
    return [
        Cell(cell.document, "code" if cell.kind is types.NotebookCellKind.Code else "markup")
        for cell in cells
    ]


def _asked(params: Any, method: str, *names: str) -> list[str | None]:
    """The named texts of a request's parameters.

    Raises:
        JsonRpcInvalidParams: if one of them is something else.
    """
    values = [getattr(params, name, None) for name in names]
    if not all(value is None or isinstance(value, str) for value in values):
        raise JsonRpcInvalidParams(f"{method} takes texts for {' and '.join(names)}.")
    return values


def _described(inspection: Inspection) -> dict[str, Any]:
    """An inspection as docs/protocol.md tells it."""
    stats = inspection.stats
    return {
        "session": inspection.request_id,
        "uri": inspection.uri,
        "model": inspection.model,
        "mode": inspection.mode,
        "layout": inspection.layout,
        "refusal": inspection.refusal,
        "masked_chars": inspection.num_masked_chars,
        "parts": [
            {
                "source": part.source,
                "path": part.path,
                "text": part.text,
                "chars": len(part.text),
                "tokens": inspection.num_tokens(index),
            }
            for index, part in enumerate(inspection.parts)
        ],
        "excluded": [{"path": left.path, "reason": left.reason} for left in inspection.left],
        "cost": None
        if stats is None
        else {
            "tokens": stats.tokens,
            "forwards": stats.forwards,
            "prefill_tokens": stats.prefill_tokens,
            "cached_tokens": stats.cached_tokens,
            "first_block_ms": stats.first_block_ms,
            "total_ms": stats.total_ms,
        },
    }
