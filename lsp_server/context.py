"""From a snapshot to the engine's request: the text around the cursor and the hole's plan.

Pure, and as quick in a long document as in a short one: only what the engine can show the model is
looked at. What other documents add is the business of `informant`. Knows neither LSP nor tokens.
"""

from lsp_server.documents import LINE_BREAK, Document
from lsp_server.settings import Settings
from lsp_server.snapshot import Snapshot
from model.format.prompt import MAX_PREFIX_CHARS, MAX_SUFFIX_CHARS, window
from model.format.syntax import plan_hole
from sampler.messages import Complete

_PLANNED_CHARS = 24_000
"""Around the cursor; more than the planner reads, even where line breaks take two characters."""


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
    prefix = snapshot.prefix
    suffix = snapshot.text[snapshot.offset : snapshot.offset + _PLANNED_CHARS]
    cut = window(
        prefix,
        suffix,
        max_prefix_chars=MAX_PREFIX_CHARS,
        max_suffix_chars=MAX_SUFFIX_CHARS,
    )
    before = _line_feeds(prefix[-_PLANNED_CHARS:])
    after = _line_feeds(suffix)
    return Complete(
        request_id=request_id,
        document=snapshot.uri,
        prefix=_line_feeds(cut.prefix),
        suffix=_line_feeds(cut.suffix),
        plan=plan_hole(snapshot.language, before, after, max_lines=settings.max_lines),
        mode=settings.mode,
        layout=settings.layout,
        max_new_tokens=settings.max_new_tokens,
        budget_ms=settings.budget_ms,
    )


def _line_feeds(text: str) -> str:
    return LINE_BREAK.sub("\n", text) if "\r" in text else text
