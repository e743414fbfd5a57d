"""Cells in order, and as text."""

import pytest

from lsp_server.notebooks import Cell, Notebooks, join_cells

CELLS = [Cell("c:1", "markup"), Cell("c:2", "code"), Cell("c:3", "code")]


def test_a_cell_knows_its_neighbors() -> None:
    notebooks = Notebooks()
    notebooks.open("n", CELLS)
    assert notebooks.around("c:2") == (CELLS[:1], CELLS[2:])
    assert notebooks.notebook_of("c:3") == "n"
    notebooks.splice("n", 1, 1, [Cell("c:9", "code")])
    assert notebooks.around("c:3") == ([CELLS[0], Cell("c:9", "code")], [])
    assert notebooks.around("c:2") == ([], [])
    notebooks.close("n")
    assert notebooks.notebook_of("c:3") is None


def test_what_is_not_open_is_ignored() -> None:
    notebooks = Notebooks()
    notebooks.splice("n", 0, 0, CELLS)
    notebooks.close("n")
    assert notebooks.around("c:1") == ([], [])


@pytest.mark.parametrize(("language", "mark"), [("python", "#"), ("rust", "//")])
def test_cells_are_one_text_with_words_in_comments(language: str, mark: str) -> None:
    texts = {"c:1": "Load\n\nall", "c:2": "x = 1\n", "c:3": None}
    assert join_cells(language, CELLS, texts.get) == (
        f"{mark} Load\n{mark}\n{mark} all\n\nx = 1\n\n"
    )
