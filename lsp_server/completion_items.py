"""An offer as an item of the popup menu, for clients that have no inline completion. An opt-in.

One item of several lines, plain text: nothing in it is a snippet, and the client is told to leave
its indentation alone. It comes last, so that it never takes the place of what the editor knows.
"""

import re
from typing import TYPE_CHECKING

from lsprotocol import types

from lsp_server import commands, wire
from lsp_server.documents import LINE_BREAK, Encoding, num_units
from lsp_server.session import Offer

if TYPE_CHECKING:
    from lsp_server.server import SeedServer

TRIGGER_CHARACTERS = (".", "(", "=", " ")
SORT_LAST = "\U0010ffff"
MOST_LABEL_CHARS = 60
_WORD = re.compile(r"\w*\Z")
_FENCE = re.compile(r"`{3,}")


def is_wanted(is_set: bool, capabilities: types.ClientCapabilities) -> bool:
    """Whether items are offered: the client asks for them, or has nothing better to switch on."""
    text_document = capabilities.text_document
    has_inline = text_document is not None and text_document.inline_completion is not None
    return wire.asks_for_items(capabilities.experimental) or (is_set and not has_inline)


def register(server: "SeedServer", capabilities: types.ClientCapabilities) -> None:
    """Add the feature while the server's capabilities are still being put together."""
    if not is_wanted(server.settings.completion_items, capabilities):
        return
    options = types.CompletionOptions(trigger_characters=list(TRIGGER_CHARACTERS))

    @server.feature(types.TEXT_DOCUMENT_COMPLETION, options)
    async def completion(params: types.CompletionParams) -> types.CompletionList:
        offer = await server.complete(params.text_document.uri, params.position)
        items = [] if offer is None else [make_item(offer, server.documents.encoding)]
        # Incomplete: the client is to ask again as the person types, not to filter this one.
        return types.CompletionList(is_incomplete=True, items=items)


def make_item(offer: Offer, encoding: Encoding) -> types.CompletionItem:
    """The item that puts the offered text at its cursor.

    Its range and its filter begin with the word at the cursor: clients match what was typed.
    """
    snapshot, lines = offer.snapshot, LINE_BREAK.split(offer.text)
    match = _WORD.search(snapshot.line_prefix)
    word = match.group() if match else ""
    column = num_units(snapshot.line_prefix, encoding)
    start = types.Position(snapshot.line, column - num_units(word, encoding))
    label = (word + next((line for line in lines if line.strip()), "")).strip()
    num_lines = len(lines)
    return types.CompletionItem(
        label=label[: MOST_LABEL_CHARS - 1] + "…" if len(label) > MOST_LABEL_CHARS else label,
        kind=types.CompletionItemKind.Text,
        detail="seed-lsp" if num_lines == 1 else f"seed-lsp, {num_lines} lines",
        documentation=_preview(snapshot.language, word + offer.text),
        sort_text=SORT_LAST,
        filter_text=word or label,
        insert_text_format=types.InsertTextFormat.PlainText,
        insert_text_mode=types.InsertTextMode.AsIs,
        text_edit=types.TextEdit(
            types.Range(start, types.Position(snapshot.line, column)), word + offer.text
        ),
        command=commands.accept_command(offer),
    )


def _preview(language: str, text: str) -> types.MarkupContent:
    """The text as a code block; its fence is longer than any in the text."""
    longest = max((len(fence) for fence in _FENCE.findall(text)), default=2)
    fence = "`" * (longest + 1)
    plain = LINE_BREAK.sub("\n", text)
    return types.MarkupContent(types.MarkupKind.Markdown, f"{fence}{language}\n{plain}\n{fence}")
