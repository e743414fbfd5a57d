"""What became of an offer, told by the edits alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.acceptance import Acceptance, Accepted, Dismissed, Outcome, Shown, num_kept
from lsp_server.prediction import Offer
from tests.fakes import snapshot_at

URI = "file:///fake.py"
BEFORE, AFTER = "def f():\n    return ", "\n\nf()\n"


class Editor:
    """A document with an offer at its cursor, and what was made of it so far."""

    def __init__(self, offered: str, session: str = "1") -> None:
        self.acceptance = Acceptance()
        self.typed = ""
        self.outcomes: list[Outcome] = []
        self.offer(offered, session)

    def offer(self, offered: str, session: str = "1") -> None:
        snapshot = snapshot_at(f"{BEFORE}{self.typed}█{AFTER}", uri=URI)
        self.outcomes += self.acceptance.show(Offer(session, snapshot, offered, True))

    def insert(self, text: str) -> None:
        """One edit at the cursor."""
        self.typed += text
        self.outcomes += self.acceptance.change(URI, BEFORE + self.typed + AFTER)


def kinds(editor: Editor) -> list[str]:
    return [type(outcome).__name__ for outcome in editor.outcomes]


def test_all_of_it_in_one_edit_is_accepted() -> None:
    editor = Editor("first + second")
    editor.insert("first + second")
    accepted = Accepted("1", "first + second", len(BEFORE), is_first=True)
    assert editor.outcomes == [Shown("1"), accepted]


def test_what_is_typed_is_neither_accepted_nor_dismissed() -> None:
    editor = Editor("a + b")
    for character in "a + b":
        editor.insert(character)
    editor.insert("!")
    assert kinds(editor) == ["Shown"]


def test_the_rest_after_some_typing_is_accepted() -> None:
    editor = Editor("first + second")
    editor.insert("f")
    editor.insert("irst + second")
    assert editor.outcomes[1:] == [Accepted("1", "irst + second", len(BEFORE) + 1, True)]


def test_word_by_word_counts_the_prediction_once() -> None:
    editor = Editor("first + second")
    editor.insert("first")
    editor.offer(" + second")
    editor.insert(" + second")
    assert [o.is_first for o in editor.outcomes if isinstance(o, Accepted)] == [True, False]
    assert kinds(editor).count("Shown") == 1


def test_part_of_a_word_was_typed_quickly() -> None:
    editor = Editor("first + second")
    editor.insert("fir")
    assert kinds(editor) == ["Shown"]


def test_an_alternative_is_accepted_like_the_first_text() -> None:
    editor = Editor("first")
    snapshot = snapshot_at(f"{BEFORE}█{AFTER}", uri=URI)
    editor.acceptance.show(Offer("1", snapshot, "first", True, alternatives=("other", "third")))
    editor.insert("third")
    assert editor.outcomes[1:] == [Accepted("1", "third", len(BEFORE), True)]


def test_something_else_dismisses() -> None:
    editor = Editor("first")
    editor.insert("x")
    assert editor.outcomes == [Shown("1"), Dismissed("1")]


def test_a_newer_prediction_dismisses_and_more_of_the_same_does_not() -> None:
    editor = Editor("first")
    editor.offer("first\nsecond")
    editor.offer("other", session="2")
    assert editor.outcomes == [Shown("1"), Dismissed("1"), Shown("2")]


def test_accepting_then_going_on_is_no_dismissal() -> None:
    editor = Editor("first")
    editor.insert("first")
    editor.insert("x")
    assert kinds(editor) == ["Shown", "Accepted"]


@pytest.mark.parametrize("is_edit_first", [True, False])
def test_the_editors_own_word_and_the_edit_count_once(is_edit_first: bool) -> None:
    editor = Editor("first")
    if is_edit_first:
        editor.insert("first")
    editor.outcomes += editor.acceptance.accept(URI, "1")
    if not is_edit_first:
        editor.insert("first")
    assert editor.outcomes == [Shown("1"), Accepted("1", "first", len(BEFORE), True)]


def test_the_editors_word_counts_a_single_character_too() -> None:
    editor = Editor(")")
    editor.outcomes += editor.acceptance.accept(URI, "1")
    editor.insert(")")
    assert kinds(editor) == ["Shown", "Accepted"]


def test_words_about_unknown_predictions_are_ignored() -> None:
    editor = Editor("first")
    assert editor.acceptance.accept(URI, "7") == []
    assert editor.acceptance.accept("file:///other", "1") == []
    assert Acceptance().change(URI, "x") == []


@given(st.lists(st.sampled_from(["a", "b", " ", "ab", "b a", "\n", "x"]), max_size=12))
def test_no_more_is_accepted_than_was_put_in(edits: list[str]) -> None:
    editor = Editor("ab ab\nab a b")
    for text in edits:
        editor.insert(text)
    accepted = [outcome for outcome in editor.outcomes if isinstance(outcome, Accepted)]
    assert sum(len(outcome.text) for outcome in accepted) <= len(editor.typed)
    assert sum(outcome.is_first for outcome in accepted) <= 1
    document = BEFORE + editor.typed + AFTER
    for outcome in accepted:
        assert document[outcome.offset :].startswith(outcome.text)
        assert num_kept(outcome, document) == len(outcome.text)


TEXT = st.text("ab c\n(", min_size=1, max_size=40)


@given(TEXT, TEXT, TEXT)
def test_kept_is_all_where_it_stands_and_never_more(before: str, text: str, after: str) -> None:
    accepted = Accepted("1", text, len(before), True)
    assert num_kept(accepted, before + text + after) == len(text)
    assert 0 <= num_kept(accepted, before + after) <= len(text)


def test_kept_counts_words_that_stayed() -> None:
    accepted = Accepted("1", "return first + second", 0, True)
    assert num_kept(accepted, "return first - second") == len("return first  second")
    assert num_kept(accepted, "pass") == 0
    assert num_kept(accepted, "x\n" * 2000 + "return first + second") == 0
