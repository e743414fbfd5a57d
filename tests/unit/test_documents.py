import time

import pytest

from lsp_server.documents import Change, Document, DocumentStore, Encoding, Position


def document(text: str, encoding: Encoding = "utf-16") -> Document:
    return Document("file:///a.py", "python", 1, text, encoding)


@pytest.mark.parametrize(
    ("text", "encoding", "position", "offset"),
    [
        ("ab\ncd", "utf-16", (0, 1), 1),
        ("ab\ncd", "utf-16", (0, 99), 2),  # past the end of a line: before its line break
        ("ab\r\ncd", "utf-16", (0, 3), 2),
        ("ab\r\ncd", "utf-16", (1, 0), 4),
        ("ab\rcd", "utf-16", (1, 1), 4),
        ("ab\ncd", "utf-16", (1, 99), 5),  # last line without line break
        ("ab\ncd", "utf-16", (7, 0), 5),  # past the last line: end of the text
        ("ab\n", "utf-16", (1, 0), 3),
        ("", "utf-16", (0, 0), 0),
        ("a😀b", "utf-16", (0, 2), 1),  # inside the surrogate pair
        ("a😀b", "utf-16", (0, 3), 2),
        ("a😀b", "utf-8", (0, 4), 1),  # inside the four bytes
        ("a😀b", "utf-8", (0, 5), 2),
        ("a😀b", "utf-32", (0, 2), 2),
        ("é=1", "utf-8", (0, 1), 0),
        ("a\u2028b\x0cc\nd", "utf-16", (0, 5), 5),  # not line breaks
        ("a\u2028b\nd", "utf-16", (1, 1), 5),
    ],
)
def test_position_is_clamped_as_lsp_says(
    text: str, encoding: Encoding, position: tuple[int, int], offset: int
) -> None:
    assert document(text, encoding).offset_at(Position(*position)) == offset


@pytest.mark.parametrize(
    ("before", "start", "end", "text", "after"),
    [
        ("ab\ncd\n", (0, 1), (1, 1), "X", "aXd\n"),
        ("ab\ncd", (1, 0), (1, 0), "x\ny\n", "ab\nx\ny\ncd"),
        ("a\r", (1, 0), (1, 0), "\nb", "a\r\nb"),  # completes the line break above
        ("a\r\nb", (0, 1), (1, 0), "", "ab"),
        ("a\nb", (0, 0), (9, 0), "", ""),
        ("ab", (0, 2), (0, 1), "X", "aX"),  # a reversed range is taken as meant
    ],
)
def test_incremental_change(
    before: str, start: tuple[int, int], end: tuple[int, int], text: str, after: str
) -> None:
    changed = document(before)
    changed.apply([Change(text, (Position(*start), Position(*end)))], version=2)
    assert changed.text == after
    assert changed.version == 2


def test_changes_apply_in_order_and_a_full_one_replaces_all() -> None:
    changed = document("one\n")
    insert = Change("X", (Position(0, 0), Position(0, 0)))
    changed.apply([insert, Change("two"), insert], version=5)
    assert changed.text == "Xtwo"


def test_lone_surrogates_become_replacement_characters_of_the_same_width() -> None:
    """One edit brings each half: the editor counts two units, and so do we."""
    changed = document("ab")
    changed.apply([Change("\ud83d", (Position(0, 1), Position(0, 1)))], version=2)
    changed.apply([Change("\ude00", (Position(0, 2), Position(0, 2)))], version=3)
    assert changed.text == "a\ufffd\ufffdb"
    assert changed.offset_at(Position(0, 3)) == 3


def test_store_ignores_what_is_not_open() -> None:
    store = DocumentStore()
    assert store.change("file:///nowhere", 2, [Change("x")]) is None
    store.close("file:///nowhere")
    store.open("file:///a", "python", 1, "x")
    store.open("file:///a", "python", 7, "y")
    assert store.get("file:///a").text == "y"  # type: ignore[union-attr]
    store.close("file:///a")
    assert store.get("file:///a") is None


def test_an_edit_in_five_megabytes_does_not_copy_them() -> None:
    """A hundred edits take less than the time of splitting the text anew a few times."""
    changed = document("x = 'é' + 1  # some ordinary line of code\n" * 125_000)
    start = time.perf_counter()
    fresh = document(changed.text)
    split_s = time.perf_counter() - start
    assert fresh.num_bytes > 5_000_000
    start = time.perf_counter()
    for version in range(100):
        changed.apply([Change("y", (Position(60_000, 3), Position(60_000, 3)))], version)
    assert time.perf_counter() - start < 5 * split_s
