"""Offers that continue the item selected in a popup menu."""

import pytest

from lsp_server.documents import Document, Position
from lsp_server.edits import Edit
from lsp_server.selection import edit_of, take_selected
from lsp_server.snapshot import Snapshot

URI = "file:///a.py"


def select(text: str, cursor: int, item: str, start: int, end: int) -> Snapshot | None:
    document = Document(URI, "python", 3, text, "utf-16")
    return take_selected(document, Position(1, cursor), item, Position(1, start), Position(1, end))


def test_the_item_stands_in_the_text_and_the_offer_begins_with_it() -> None:
    snapshot = select("é = 1\n😀 = ma + 1\n", 7, "make_invoice", 5, 7)
    assert snapshot is not None
    assert snapshot.text == "é = 1\n😀 = make_invoice + 1\n"
    assert snapshot.prefix.endswith("make_invoice")
    edit = edit_of(snapshot, "(customer)", "utf-16")
    assert edit == Edit("make_invoice(customer)", Position(1, 5), Position(1, 7))


def test_several_lines_take_the_rest_of_the_line_along() -> None:
    snapshot = select("\n[ma]\n", 3, "make(", 1, 3)
    assert snapshot is not None
    edit = edit_of(snapshot, "\n    1)", "utf-16")
    assert edit == Edit("make(\n    1)]", Position(1, 1), Position(1, 4))


def test_what_the_item_replaces_behind_the_cursor_goes() -> None:
    snapshot = select("\nmakeOld()\n", 4, "make_invoice", 0, 7)
    assert snapshot is not None
    assert snapshot.text == "\nmake_invoice()\n"
    assert edit_of(snapshot, "x", "utf-8").end == Position(1, 7)


@pytest.mark.parametrize(
    ("cursor", "item", "start", "end"),
    [(1, "m", 2, 3), (4, "m", 0, 3), (2, "a\nb", 0, 2), (2, "", 0, 2)],
)
def test_items_that_cannot_be_continued(cursor: int, item: str, start: int, end: int) -> None:
    assert select("\nmake\n", cursor, item, start, end) is None


def test_an_accepted_item_is_ordinary_text() -> None:
    snapshot = select("\nma\n", 2, "make", 0, 2)
    assert snapshot is not None
    again = snapshot.after_typing("", snapshot.text, 3)
    assert edit_of(again, "()", "utf-16").start == Position(1, 0)
    accepted = snapshot.after_typing("", snapshot.text, 4)
    assert edit_of(accepted, "()", "utf-16") == Edit("()", Position(1, 4), Position(1, 4))
    typed = snapshot.after_typing("(", "\nmake(\n", 5)
    assert edit_of(typed, ")", "utf-16") == Edit(")", Position(1, 5), Position(1, 5))
