"""The instruments of the replays: what they must notice, and what they must let pass."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.bench.traces import Trace, find_traces, read_trace
from lsp_server.documents import Change, Document, Position
from tests.e2e.buffer import Buffer, Encoding
from tests.e2e.gestures import Edit
from tests.e2e.keys import key_of, progress
from tests.e2e.offers import find_repetition, is_subsequence, judge
from tests.e2e.sessions import END, START

ENCODINGS: tuple[Encoding, ...] = ("utf-8", "utf-16")
texts = st.text(st.sampled_from("ab \t\r\n😀é\u2028\x0c"), max_size=30)


@given(texts, st.integers(0, 30), st.sampled_from(ENCODINGS))
def test_a_buffer_counts_as_the_server_does(text: str, offset: int, encoding: Encoding) -> None:
    """Two implementations written apart from each other."""
    buffer = Buffer(text, encoding)
    document = Document("file:///a", "python", 1, text, encoding)
    offset = min(offset, len(text))
    if text[:offset].endswith("\r") and text[offset:].startswith("\n"):
        return  # no cursor stands within a line break
    position = buffer.position(offset)
    assert document.offset_at(Position(position["line"], position["character"])) == offset
    assert buffer.offset(position) == offset


@given(texts, st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), texts), max_size=6))
def test_undo_takes_back_what_was_told(text: str, edits: list[tuple[int, int, str]]) -> None:
    """Applied by the server's store, the changes of edits and undos lead back to the start."""
    buffer, document = Buffer(text, "utf-16"), Document("file:///a", "python", 1, text, "utf-16")

    def tell(change: dict[str, Any]) -> None:
        start, end = (Position(**change["range"][name]) for name in ("start", "end"))
        document.apply([Change(change["text"], (start, end))], buffer.version)
        assert document.text == buffer.text

    num_edits = 0
    for start, end, new in edits:
        start, end = sorted((min(start, len(buffer.text)), min(end, len(buffer.text))))
        is_cut = any(buffer.text[max(at - 1, 0) : at + 1] == "\r\n" for at in (start, end))
        if not is_cut:
            tell(buffer.replace(start, end, new))
            num_edits += 1
    for _ in range(num_edits):
        change = buffer.undo()
        assert change is not None
        tell(change)
    assert buffer.text == text
    assert buffer.undo() is None


@pytest.mark.parametrize(
    ("line_prefix", "inserted", "suffix", "says"),
    [
        ("    return", "return value", "", "the word"),
        ("    ret", "urn value", "", None),
        ("value", "value_of(x)", "", None),
        ("total = sum(", "total = sum(x)", "\n", "the line that was typed"),
        ("print(", "name)  # end", "  # end\n", "the rest of the line"),
        ("print(", "len(name)", ")\n", None),
        ("    ", "first()\n    second()", "\n    second()\n", "the line that follows"),
        ("    ", "second()", "\n\n    second()\n", "the line that follows"),
        ("    x = ", "second()", "\n    second()\n", None),
        ("    ", "pass", "\n\n\ndef f():\n", None),
    ],
)
def test_repetitions(line_prefix: str, inserted: str, suffix: str, says: str | None) -> None:
    found = find_repetition(line_prefix, inserted, suffix)
    assert (found is None) == (says is None), found
    assert says is None or says in str(found)


def item(text: str, start: int, end: int, line: int = 0) -> dict[str, Any]:
    places = ({"line": line, "character": column} for column in (start, end))
    return {"insertText": text, "range": dict(zip(("start", "end"), places, strict=True))}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"insertText": "x"}, "without text or range"),
        ({"insertText": {"value": "x"}, "range": {}}, "without text or range"),
        (item("x", 3, 3), "not between the cursor"),
        (item("x", 4, 99), "outside the text"),
        (item("x", 4, 4, line=9), "outside the text"),
        (item("a\nb", 4, 4), "ends within the line"),
        (item("x", 4, 5), "invisible in VS Code"),
        (item("a\r\nb)", 4, 5), "line breaks that the document does not have"),
    ],
)
def test_items_that_are_no_good(bad: dict[str, Any], says: str) -> None:
    problems = judge(bad, 1, "f(a,)\n", 4, "utf-16")[1]
    assert any(says in problem for problem in problems), problems


def test_an_item_that_is_good() -> None:
    ghost, problems = judge(item("b\nc)", 4, 5), 1, "f(a,)\n", 4, "utf-16")
    assert problems == []
    assert ghost is not None
    assert (ghost.start, ghost.end, ghost.text) == (4, 5, "b\nc")


@pytest.mark.parametrize(
    ("middle", "closers", "expected"),
    [
        ("", "", (0, "")),
        ("f(a", "", (3, "")),
        ("f(a)", ")", (3, ")")),
        ("f(a) + 1", ")", (8, "")),
        ("f(a) + 1)", ")", None),
        ("g", "", None),
    ],
)
def test_progress(middle: str, closers: str, expected: tuple[int, str] | None) -> None:
    assert progress(f"<{middle}>", "<", "f(a) + 1", ">", closers) == expected


def test_a_key_is_a_character_or_a_line_break_with_its_indentation() -> None:
    rest, keys = "a\r\n\tb\n\n  c", []
    while rest:
        keys.append(key_of(rest))
        rest = rest[len(keys[-1]) :]
    assert keys == ["a", "\r\n\t", "b", "\n", "\n  ", "c"]


def test_subsequences() -> None:
    assert is_subsequence("ac", "abc")
    assert not is_subsequence("ca", "abc")


def test_the_session_is_python() -> None:
    for text in (START, END):
        compile(text, "session", "exec")
    assert 75 <= END.count("\n") <= 120


def test_a_trace_is_read(tmp_path: Path) -> None:
    trace = {
        "startContent": "",
        "txns": [
            {"time": "2020-01-01T00:00:00.000Z", "patches": [[0, 0, "abc"]]},
            {"time": "2020-01-01T00:00:03.000Z", "patches": [[1, 1, "B"], [3, 0, "d"]]},
            {"time": "2020-01-01T01:00:00.000Z", "patches": [[4, 0, "!"]]},
        ],
    }
    path = tmp_path / "deep" / "sveltecomponent.json.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(json.dumps(trace).encode()))
    assert find_traces(tmp_path) == [path]
    read = read_trace(path)
    assert (read.name, read.language) == ("sveltecomponent", "svelte")
    assert [edit.pause_s for edit in read.edits] == [0.0, 1.5, 1.5]
    part = read.part(2, 1)
    assert part == Trace("sveltecomponent", "aBcd", (Edit(((4, 0, "!"),), 1.5),))


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    for name, data in [("a.json", b"[]"), ("b.json", b"{"), ("c.json.gz", b"no gzip")]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match="no typing trace"):
            read_trace(tmp_path / name)
