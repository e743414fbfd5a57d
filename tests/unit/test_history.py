"""Where documents were edited: hunks follow their lines through later edits."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lsp_server.documents import Change, Document, Position
from lsp_server.history import MAX_HUNK_LINES, MAX_HUNKS_PER_DOCUMENT, History, Hunk


def change(first: int, last: int, text: str) -> Change:
    return Change(text, (Position(first, 0), Position(last, 0)))


def test_typing_is_one_hunk_and_newest_comes_first() -> None:
    history = History()
    history.change("a", [change(3, 3, "x")])
    history.change("a", [change(3, 3, "y\n")])
    history.change("b", [change(0, 0, "z")])
    assert history.hunks == (Hunk("b", 0, 0), Hunk("a", 3, 4))


def test_hunks_move_with_edits_above_them() -> None:
    history = History()
    history.change("a", [change(50, 50, "x")])
    history.change("a", [change(10, 10, "1\n2\n3\n")])
    assert history.hunks == (Hunk("a", 10, 13), Hunk("a", 53, 53))
    history.change("a", [change(10, 13, "")])
    assert history.hunks == (Hunk("a", 10, 10), Hunk("a", 50, 50))


def test_a_whole_new_text_and_a_closed_document_have_no_places() -> None:
    history = History()
    history.change("a", [change(5, 5, "x")])
    history.change("a", [Change("all new")])
    assert history.hunks == ()
    history.change("a", [change(5, 5, "x")])
    history.close("a")
    assert history.hunks == ()


def test_a_paste_counts_with_its_end() -> None:
    history = History()
    history.change("a", [change(0, 0, "line\n" * 100)])
    assert history.hunks == (Hunk("a", 100 - MAX_HUNK_LINES + 1, 100),)


EDITS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 5), st.integers(0, 20)), min_size=1, max_size=30
)


@given(EDITS)
def test_hunks_stay_within_bounds_and_the_last_edit_is_in_the_first(
    edits: list[tuple[int, int, int]],
) -> None:
    history = History()
    document = Document("a", "python", 1, "\n" * 60, "utf-16")
    for version, (line, num_deleted, num_new) in enumerate(edits, start=2):
        num_lines = document.text.count("\n")
        first = min(line, num_lines)
        last = min(first + num_deleted, num_lines)
        edit = change(first, last, "\n" * num_new)
        document.apply([edit], version)
        history.change("a", [edit])
        newest = history.hunks[0]
        assert newest.first <= first + num_new <= newest.last
        assert len(history.hunks) <= MAX_HUNKS_PER_DOCUMENT
        spans = sorted((hunk.first, hunk.last) for hunk in history.hunks)
        assert all(0 <= a <= b <= document.text.count("\n") for a, b in spans)
        assert all(b - a < MAX_HUNK_LINES for a, b in spans)
        assert all(one[1] < other[0] for one, other in pairwise(spans))
