"""A rename begun by hand, and the places that it leaves."""

import pytest

from lsp_server.documents import Change, Document, Position
from lsp_server.last_edit import LastEdit, line_ends, line_of
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


def test_the_line_is_remembered_as_it_was_before_the_keys() -> None:
    document = Document("file:///a.py", "python", 1, "a = 1\nb = a\n", "utf-16")
    last = LastEdit()

    def type_at(line: int, start: int, end: int, text: str) -> None:
        change = Change(text, (Position(line, start), Position(line, end)))
        last.watch(document, [change])
        document.apply([change], 2)

    assert last.of(document) is None
    for start, end, text in ((0, 1, ""), (0, 0, "n"), (1, 1, "u"), (2, 2, "m")):
        type_at(0, start, end, text)
    edited = last.of(document)
    assert edited is not None
    assert (edited.line, edited.before, line_of(document, 0)) == (0, "a = 1", "num = 1")
    assert line_ends(document, 1) == (8, 13)
    other = Document("file:///b.py", "python", 1, "", "utf-16")
    assert last.of(other) is None
    type_at(1, 0, 1, "c")
    edited = last.of(document)
    assert edited is not None
    assert (edited.line, edited.before) == (1, "b = a")
    type_at(1, 0, 0, "\n")
    assert last.of(document) is None
