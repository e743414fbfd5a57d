"""Which pieces of other files are chosen, and in which order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.related import (
    Module,
    Piece,
    Query,
    choose,
    keep_order,
    symbol_pieces,
    window_pieces,
    without_loose_ends,
)
from lsp_server.symbols import Definition

MAKE = Definition("make_invoice", "def make_invoice(customer, due_date): ...")
SEND = Definition("send_invoice", "def send_invoice(invoice): ...")
QUERY = Query("from billing import make_invoice\n\ninvoice = make_invoice(", ")\n")
BILLING = """
def make_invoice(customer, due_date):
    lines = [line for line in customer.orders if line.due_date <= due_date]
    return Invoice(customer, lines, due_date)
"""
OTHER = """
def rotate(image, angle):
    matrix = rotation_matrix(angle)
    return image.transform(matrix)
"""


def test_imported_names_come_first_and_in_the_order_of_the_file() -> None:
    billing = Module("billing.py", (SEND, MAKE), frozenset({"make_invoice", "send_invoice"}))
    mail = Module("mail.py", (Definition("make_invoice", "def make_invoice(): ..."),))
    pieces = symbol_pieces(QUERY, [mail, billing], 500)
    assert [piece.path for piece in pieces] == ["billing.py", "mail.py"]
    assert pieces[0].text == f"{SEND.text}\n{MAKE.text}"


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (Module("a.py", (SEND,), frozenset({"other"})), None),
        (Module("a.py", (SEND,), frozenset({"*"})), None),
        (Module("a.py", (MAKE,), frozenset({"*"})), MAKE.text),
        (Module("a.py", (MAKE, SEND)), MAKE.text),
        (Module("a.py", (SEND,)), None),
        (Module("a.py", (Definition("run", "def run(): ..."),)), None),
    ],
)
def test_what_counts_of_a_module(module: Module, text: str | None) -> None:
    assert [piece.text for piece in symbol_pieces(QUERY, [module], 500)] == ([text] if text else [])


def test_names_that_many_files_define_say_nothing() -> None:
    modules = [Module(f"{name}.py", (MAKE,)) for name in "abc"]
    assert symbol_pieces(QUERY, modules, 500) == []


def test_too_many_definitions_leave_the_ones_that_are_used() -> None:
    module = Module("a.py", (SEND, MAKE), frozenset({"make_invoice", "send_invoice"}))
    assert symbol_pieces(QUERY, [module], 50)[0].text == MAKE.text


def test_the_window_that_shares_rare_names_wins() -> None:
    query = Query("invoice = Invoice(customer, lines, ", "\n")
    texts = [("image.py", OTHER), ("billing.py", OTHER + "\n" * 30 + BILLING + "\n" * 30 + OTHER)]
    (piece,) = window_pieces(query, texts)
    assert piece.path == "billing.py"
    assert "Invoice(customer, lines, due_date)" in piece.text
    assert piece.source == "related"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("def add(first, second):\n    return ", ""),
        ("x = 1\ndef add(first, second):\n    return\n", "x = 1"),
        ("x = 1\ny = \nz = 3", "x = 1\nz = 3"),
        ("x = f(\n    1,\n", ""),
        ("if (a) {\n  b();\n}\n", "if (a) {\n  b();\n}"),
        ("text = value.\nother = 2", "other = 2"),
        ("x = 1\n@property\n", "x = 1"),
    ],
)
def test_loose_ends_are_cut_off(text: str, kept: str) -> None:
    assert without_loose_ends(text) == kept


def test_nothing_related_is_nothing() -> None:
    assert window_pieces(QUERY, [("image.py", OTHER), ("empty.py", "")]) == []
    assert window_pieces(Query("", ""), [("billing.py", BILLING)]) == []


def test_what_the_prompt_shows_is_not_shown_twice() -> None:
    query = Query(BILLING + "\n\ninvoice = Invoice(customer, lines, ", "\n")
    assert window_pieces(query, [("copy.py", BILLING)]) == []


PIECES = st.builds(
    Piece,
    st.sampled_from(["symbols", "edits", "related"]),
    st.sampled_from("ab"),
    st.text("xy", min_size=1),
)


@given(st.lists(PIECES), st.lists(PIECES), st.lists(PIECES), st.integers(0, 60))
def test_the_budget_holds_and_nothing_is_shown_twice(
    symbols: list[Piece], edits: list[Piece], windows: list[Piece], max_chars: int
) -> None:
    chosen = choose(symbols, edits, windows, max_chars)
    assert sum(len(piece.path) + len(piece.text) for piece in chosen) <= max_chars
    for index, piece in enumerate(chosen):
        others = [other for other in chosen[:index] if other.path == piece.path]
        assert not any(piece.text in other.text for other in others)


@given(st.lists(PIECES, unique=True), st.lists(PIECES, unique=True))
def test_what_stays_keeps_its_place_in_front(chosen: list[Piece], before: list[Piece]) -> None:
    ordered = keep_order(chosen, before)
    assert sorted(map(repr, ordered)) == sorted(map(repr, chosen))
    kept = [piece for piece in before if piece in chosen]
    assert list(ordered[: len(kept)]) == kept
