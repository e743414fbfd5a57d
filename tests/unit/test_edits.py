import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.documents import Document, Encoding, Position
from lsp_server.edits import make_edit, num_typed, with_line_breaks
from tests.fakes import snapshot_at


@pytest.mark.parametrize(
    ("marked", "text", "encoding", "insert", "start", "end"),
    [
        ("a = █\n", "1", "utf-16", "1", (0, 4), (0, 4)),
        ("f(█)\n", "x, y", "utf-16", "x, y", (0, 2), (0, 2)),
        # a line break takes the rest of the line along
        ("f(█)  # hm\ng\n", "\n    x\n", "utf-16", "\n    x\n)  # hm", (0, 2), (0, 9)),
        ("f(█)\r\ng\r\n", "a,\r\n  b", "utf-16", "a,\r\n  b)", (0, 2), (0, 3)),
        ("x\n'😀' + █é", "1\n2", "utf-16", "1\n2é", (1, 7), (1, 8)),
        ("x\n'😀' + █é", "1\n2", "utf-8", "1\n2é", (1, 9), (1, 11)),
        ("x\n'😀' + █é", "1\n2", "utf-32", "1\n2é", (1, 6), (1, 7)),
        ("a\u2028b = █", "1", "utf-16", "1", (0, 6), (0, 6)),
    ],
)
def test_edit_of_a_prediction(
    marked: str,
    text: str,
    encoding: Encoding,
    insert: str,
    start: tuple[int, int],
    end: tuple[int, int],
) -> None:
    edit = make_edit(snapshot_at(marked), text, encoding)
    assert (edit.text, edit.start, edit.end) == (insert, Position(*start), Position(*end))


code = st.text(st.sampled_from("ab( )\n\r😀é"), max_size=12)


@given(before=code, after=code, text=code, encoding=st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_applying_the_edit_yields_prefix_text_suffix(
    before: str, after: str, text: str, encoding: Encoding
) -> None:
    if before.endswith("\r") and after.startswith("\n"):
        after = after.lstrip("\n")  # inside a line break is not a position
    snapshot = snapshot_at(f"{before}█{after}")
    document = Document("file:///a", "python", 1, snapshot.text, encoding)
    edit = make_edit(snapshot, text, encoding)
    start, end = document.offset_at(edit.start), document.offset_at(edit.end)
    assert edit.start.line == edit.end.line
    assert document.text[:start] + edit.text + document.text[end:] == before + text + after


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("f()", 0),
        ("f(a)", 1),
        ("f(a, b)", 4),
        ("f(a, bc)", None),  # past the prediction
        ("f(x)", None),
        ("f(", None),
        ("g(a)", None),  # elsewhere in the document
        ("f(a]", None),
    ],
)
def test_num_typed(text: str, count: int | None) -> None:
    assert num_typed(snapshot_at("f(█)"), "a, b", text) == count


@given(
    raw=st.text(st.sampled_from("a\r\n"), max_size=12),
    data=st.data(),
    line_break=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_line_breaks_are_the_documents_and_growing_text_only_grows(
    raw: str, data: st.DataObject, line_break: str
) -> None:
    shorter = with_line_breaks(raw[: data.draw(st.integers(0, len(raw)))], line_break)
    longer = with_line_breaks(raw, line_break)
    assert longer.startswith(shorter)
    assert longer.replace(line_break, "").strip("a") == ""
