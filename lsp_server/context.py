"""From a snapshot to the engine's request: the text around the cursor and the hole's plan.

Pure. The context is the hole's own document; the engine cuts it to its window. Knows neither LSP
nor tokens.
"""

from lsp_server.documents import LINE_BREAK, Document
from lsp_server.settings import Settings
from lsp_server.snapshot import Snapshot
from model.format.syntax import plan_hole
from sampler.messages import Complete


def refusal(document: Document | None, settings: Settings) -> str | None:
    """Why there are no completions for a document, or None if there are."""
    if document is None:
        return "the document is not open"
    if document.num_bytes > settings.max_file_bytes:
        return f"its {document.num_bytes} bytes are over max_file_bytes = {settings.max_file_bytes}"
    if "\0" in document.text:
        return "it is not text: it holds a NUL byte"
    return None


def build_request(snapshot: Snapshot, settings: Settings, request_id: str) -> Complete:
    """The request for a completion at the cursor of `snapshot`.

    The engine sees `\\n` for every line break, as the model did in training; the session writes the
    answer with the document's own.
    """
    prefix = LINE_BREAK.sub("\n", snapshot.prefix)
    suffix = LINE_BREAK.sub("\n", snapshot.suffix)
    return Complete(
        request_id=request_id,
        document=snapshot.uri,
        prefix=prefix,
        suffix=suffix,
        plan=plan_hole(snapshot.language, prefix, suffix, max_lines=settings.max_lines),
        mode=settings.mode,
        layout=settings.layout,
        max_new_tokens=settings.max_new_tokens,
        budget_ms=settings.budget_ms,
    )
