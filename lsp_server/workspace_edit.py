"""From changes of a document to LSP's workspace edit, as far as the client knows them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lsprotocol import types

from lsp_server.documents import Document
from model.format.selection import Hunk

_ANNOTATION = "seed"


@dataclass(frozen=True)
class Abilities:
    """What a client can do with edits."""

    can_resolve: bool = False
    """It asks for a code action's edit once that is chosen."""
    has_versions: bool = False
    """It takes edits for a version of a document."""
    has_annotations: bool = False
    """It shows edits that need confirmation."""
    has_tags: bool = False
    """It knows what the model has written."""
    has_progress: bool = False
    can_ask: bool = False
    """It asks for an instruction: `experimental.seed.instructions`."""


def abilities_of(capabilities: types.ClientCapabilities) -> Abilities:
    """What a client has announced."""
    document, workspace = capabilities.text_document, capabilities.workspace
    action = document.code_action if document else None
    edit = workspace.workspace_edit if workspace else None
    resolve = action.resolve_support if action else None
    window, experimental = capabilities.window, capabilities.experimental
    seed = experimental.get("seed") if isinstance(experimental, Mapping) else None
    return Abilities(
        can_resolve=bool(
            action and action.data_support and resolve and "edit" in resolve.properties
        ),
        has_versions=bool(edit and edit.document_changes),
        has_annotations=bool(
            edit and edit.document_changes and edit.change_annotation_support is not None
        ),
        has_tags=bool(action and action.tag_support),
        has_progress=bool(window and window.work_done_progress),
        can_ask=isinstance(seed, Mapping) and seed.get("instructions") is True,
    )


def workspace_edit(
    document: Document,
    changes: Sequence[Hunk],
    *,
    label: str,
    description: str,
    abilities: Abilities,
) -> types.WorkspaceEdit:
    """The edit that makes some changes of a document, at once.

    Args:
        document: as it is now.
        changes: in the order of the text.
        label: what was done.
        description: what a person should know before confirming it.
        abilities: of the client.
    """
    edits = [types.TextEdit(_range(document, hunk.start, hunk.end), hunk.text) for hunk in changes]
    if not abilities.has_versions:
        return types.WorkspaceEdit(changes={document.uri: edits})
    identifier = types.OptionalVersionedTextDocumentIdentifier(document.uri, document.version)
    if not abilities.has_annotations:
        change = types.TextDocumentEdit(identifier, edits)
        return types.WorkspaceEdit(document_changes=[change])
    annotated = [types.AnnotatedTextEdit(_ANNOTATION, it.range, it.new_text) for it in edits]
    return types.WorkspaceEdit(
        document_changes=[types.TextDocumentEdit(identifier, annotated)],
        change_annotations={
            _ANNOTATION: types.ChangeAnnotation(
                label, needs_confirmation=True, description=description
            )
        },
    )


def _range(document: Document, start: int, end: int) -> types.Range:
    first, last = document.position_at(start), document.position_at(end)
    return types.Range(types.Position(*first), types.Position(*last))
