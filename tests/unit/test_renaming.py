"""A rename begun by hand, and the places that it leaves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.documents import Change, Document, Position
from lsp_server.last_edit import LastEdit, ends_of
from model.format.renaming import Rename, places_left, rename_between

SOURCE = """\
class Cart:
    def total(self, tax):
        rate = tax + 1
        self.rate = rate
        return self.rate * rate

def report(cart, rate):
    print("rate", cart.total(rate), rate)  # rate
"""


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("    a = b + a", "    c = b + c", Rename("a", "c")),
        ("def f(a, b):", "def g(a, b):", Rename("f", "g")),
        ("a = b", "a = b", None),
        ("a = b", "c = d", None),
        ("a = b", "a = b + 1", None),
        ("a = 1", "a = 2", None),
        ("a + b", "a - b", None),
    ],
)
def test_a_rename_is_told_from_other_edits(
    before: str, after: str, expected: Rename | None
) -> None:
    assert rename_between(before, after) == expected


def finished(text: str, line: str, changed: str) -> str:
    """The text once a rename in one of its lines is finished."""
    rename = rename_between(line, changed)
    assert rename is not None
    start = text.index(line)
    text = text.replace(line, changed, 1)
    for place in reversed(places_left("python", text, rename, start, start + len(changed))):
        text = text[: place.start] + rename.new + text[place.end :]
    return text


def test_a_local_name_stays_in_its_function() -> None:
    renamed = finished(SOURCE, "        rate = tax + 1", "        share = tax + 1")
    assert renamed == SOURCE.replace("        rate =", "        share =").replace(
        "self.rate = rate", "self.rate = share"
    ).replace("self.rate * rate", "self.rate * share")
    parameter = finished(SOURCE, "report(cart, rate):", "report(cart, share):")
    assert parameter.endswith('    print("rate", cart.total(share), share)  # rate\n')
    assert parameter.startswith(SOURCE[:100])


def test_members_and_definitions_are_renamed_everywhere() -> None:
    member = finished(SOURCE, "        self.rate = rate", "        self.share = rate")
    assert member == SOURCE.replace("self.rate", "self.share")
    name = finished(f"{SOURCE}report(1, 2)\n", "def report(", "def tell(")
    assert name == f"{SOURCE}report(1, 2)\n".replace("report", "tell")
    assert places_left("text", "a b", Rename("a", "b"), 0, 3) == []


def test_keywords_of_other_functions_are_no_variables() -> None:
    text = "def f(size):\n    return g(size=size, limit=size)\n"
    renamed = finished(text, "def f(size):", "def f(width):")
    assert renamed == "def f(width):\n    return g(size=width, limit=width)\n"


class Desk:
    """A document, and what is known of its last edit."""

    def __init__(self, text: str) -> None:
        self.document = Document("file:///a.py", "python", 1, text, "utf-16")
        self.last = LastEdit()

    def change(self, start: tuple[int, int], end: tuple[int, int], text: str) -> None:
        change = Change(text, (Position(*start), Position(*end)))
        self.last.watch(self.document, [change])
        self.document.apply([change], 2)

    def edited(self) -> tuple[int, str, str] | None:
        """First line, what was there, and what is there now."""
        edited = self.last.of(self.document)
        if edited is None:
            return None
        start, end = ends_of(self.document, edited.line, edited.last_line)
        return edited.line, edited.before, self.document.text[start:end]


def test_the_line_is_remembered_as_it_was_before_the_keys() -> None:
    desk = Desk("a = 1\nb = a\n")
    assert desk.edited() is None
    for start, end, text in ((0, 1, ""), (0, 0, "n"), (1, 1, "u"), (2, 2, "m")):
        desk.change((0, start), (0, end), text)
    assert desk.edited() == (0, "a = 1", "num = 1")
    other = Document("file:///b.py", "python", 1, "", "utf-16")
    assert desk.last.of(other) is None
    desk.change((1, 0), (1, 1), "c")
    assert desk.edited() == (1, "b = a", "c = a")


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_lines_that_an_edit_opens_or_joins_are_one_edit(line_break: str) -> None:
    desk = Desk(line_break.join(["zero", "one", "two", "three", ""]))
    desk.change((1, 3), (1, 3), f",{line_break}half")
    assert desk.edited() == (1, "one", f"one,{line_break}half")
    desk.change((2, 4), (2, 4), "!")
    assert desk.edited() == (1, "one", f"one,{line_break}half!")
    desk.change((2, 0), (3, 1), "")
    assert desk.edited() == (1, f"one{line_break}two", f"one,{line_break}wo")
    desk.change((0, 4), (1, 0), "")
    assert desk.edited() == (0, line_break.join(["zero", "one", "two"]), f"zeroone,{line_break}wo")
    desk.change((2, 0), (2, 1), "")
    assert desk.edited() == (2, "three", "hree")
    desk.change((0, 0), (0, 0), line_break * 50)
    assert desk.edited() is None


@given(st.data())
def test_before_and_rest_of_the_text_are_the_old_text(data: st.DataObject) -> None:
    """Whatever is typed: put back what is remembered, and the text before the last run is there."""
    desk = Desk("ab\ncd\nef\ngh\nij")
    origin = desk.document.text
    for _ in range(data.draw(st.integers(1, 6))):
        text = desk.document.text
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(start + 4, len(text))))
        known = desk.last.of(desk.document)
        places = [desk.document.position_at(it) for it in (start, end)]
        touches = known is not None and not (
            places[1].line < known.line or places[0].line > known.last_line
        )
        if not touches:
            origin = text
        (first, last), new = places, data.draw(st.text("x\n", max_size=3))
        desk.change((first.line, first.character), (last.line, last.character), new)
        edited = desk.last.of(desk.document)
        assert edited is not None
        begin, stop = ends_of(desk.document, edited.line, edited.last_line)
        now = desk.document.text
        assert now[:begin] + edited.before + now[stop:] == origin


def test_several_changes_at_once_that_move_lines_are_forgotten() -> None:
    desk = Desk("a\nb\n")
    moved = [
        Change("\n", (Position(0, 0), Position(0, 0))),
        Change("c", (Position(1, 0), Position(1, 1))),
    ]
    desk.last.watch(desk.document, moved)
    assert desk.edited() is None
    desk.last.watch(desk.document, moved[1:])
    desk.document.apply(moved[1:], 2)
    assert desk.edited() == (1, "b", "c")
    desk.last.watch(desk.document, [Change("all", None)])
    assert desk.edited() is None
