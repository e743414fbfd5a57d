import dataclasses

import pytest

from lsp_server.documents import Change, Document, Position
from lsp_server.snapshot import take_snapshot


def test_snapshot_stays_while_the_document_moves_on() -> None:
    document = Document("file:///a.py", "python", 3, "def f():\r\n    return 1\r\n", "utf-16")
    snapshot = take_snapshot(document, Position(1, 10))
    document.apply([Change("", None)], version=4)
    assert snapshot.version == 3
    assert snapshot.prefix == "def f():\r\n    return"
    assert snapshot.suffix == " 1\r\n"
    assert (snapshot.line, snapshot.line_prefix, snapshot.line_suffix) == (1, "    return", " 1")
    assert snapshot.line_break == "\r\n"
    with pytest.raises(dataclasses.FrozenInstanceError):
        snapshot.version = 9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "line_break"), [("", "\n"), ("one line", "\n"), ("a\rb", "\r"), ("a\nb\r\n", "\n")]
)
def test_line_break_of_a_document(text: str, line_break: str) -> None:
    document = Document("file:///a", "text", 1, text, "utf-16")
    assert take_snapshot(document, Position(0, 0)).line_break == line_break


def test_a_position_outside_the_text_is_clamped() -> None:
    document = Document("file:///a", "text", 1, "a\nb", "utf-8")
    snapshot = take_snapshot(document, Position(99, 99))
    assert (snapshot.offset, snapshot.line) == (3, 1)


def test_after_typing_moves_the_cursor_over_lines() -> None:
    document = Document("file:///a", "text", 1, "ab", "utf-8")
    moved = take_snapshot(document, Position(0, 1)).after_typing("x\r\ny", "ax\r\nyb", 2)
    assert (moved.prefix, moved.suffix, moved.line, moved.version) == ("ax\r\ny", "b", 1, 2)
