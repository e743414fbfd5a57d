"""An offer as an item of the popup menu."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from lsp_server.completion_items import MOST_LABEL_CHARS, is_wanted, make_item
from lsp_server.documents import Change, Encoding, Position
from lsp_server.prediction import Offer
from lsp_server.snapshot import take_snapshot
from tests.fakes import CURSOR, document_at


def item_at(marked: str, text: str, encoding: Encoding = "utf-16") -> types.CompletionItem:
    document, position = document_at(marked)
    return make_item(Offer("7", take_snapshot(document, position), text, True), encoding)


def applied(marked: str, item: types.CompletionItem) -> str:
    """The document after the item was chosen."""
    document, _ = document_at(marked)
    assert isinstance(item.text_edit, types.TextEdit)
    place = item.text_edit.range
    start = Position(place.start.line, place.start.character)
    end = Position(place.end.line, place.end.character)
    document.apply([Change(item.text_edit.new_text, (start, end))], 2)
    return document.text


def test_an_item_completes_the_word_at_the_cursor() -> None:
    item = item_at("x = enu█\n", "merate(values):\n    print(x)")
    assert item.label == "enumerate(values):"
    assert item.filter_text == "enu"
    assert item.detail == "seed-lsp, 2 lines"
    assert isinstance(item.documentation, types.MarkupContent)
    assert item.documentation.value == ("```python\nenumerate(values):\n    print(x)\n```")
    assert item.command is not None
    assert item.command.arguments == ["file:///fake.py", "7"]


def test_nothing_in_it_is_a_snippet_or_indented_again() -> None:
    item = item_at("echo █", "$1 ${2:x} \\$ }")
    assert item.insert_text_format == types.InsertTextFormat.PlainText
    assert item.insert_text_mode == types.InsertTextMode.AsIs
    assert applied("echo █", item) == "echo $1 ${2:x} \\$ }"


def test_a_fence_in_the_text_does_not_end_the_preview() -> None:
    item = item_at("█", "a\n```\nb\n````\n")
    assert isinstance(item.documentation, types.MarkupContent)
    assert item.documentation.value.startswith("`````python\n")


def test_it_comes_last_and_its_label_is_short() -> None:
    item = item_at("█", "x" * 200)
    assert len(item.label) == MOST_LABEL_CHARS
    assert item.sort_text is not None
    assert item.sort_text > "zzz"


line = st.text("aé😀_ (\t\u2028", max_size=12)


@given(line, line, st.text("aé😀\n $(", min_size=1), st.sampled_from(["a\n", ""]))
def test_choosing_it_inserts_the_text_at_the_cursor(
    before: str, after: str, text: str, above: str
) -> None:
    marked = f"{above}{before}{CURSOR}{after}\n"
    assert applied(marked, item_at(marked, text)) == f"{above}{before}{text}{after}\n"


INLINE = types.ClientCapabilities(
    text_document=types.TextDocumentClientCapabilities(
        inline_completion=types.InlineCompletionClientCapabilities()
    )
)
ASKS = types.ClientCapabilities(experimental={"seed": {"completionItems": True}})


@pytest.mark.parametrize(
    ("is_set", "capabilities", "expected"),
    [
        (False, types.ClientCapabilities(), False),
        (True, types.ClientCapabilities(), True),
        (True, INLINE, False),
        (False, ASKS, True),
    ],
)
def test_items_are_for_clients_without_inline_completion(
    is_set: bool, capabilities: types.ClientCapabilities, expected: bool
) -> None:
    assert is_wanted(is_set, capabilities) is expected
