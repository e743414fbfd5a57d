"""Notebooks: which cells belong together, and one cell's place among them as text.

A cell is a document of its own; what is kept here is the order. Knows neither LSP nor documents.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from model.format.grammars import language_of


@dataclass(frozen=True)
class Cell:
    """One cell by the uri of its document."""

    uri: str
    kind: Literal["code", "markup"]


class Notebooks:
    """The open notebooks: their cells in order."""

    def __init__(self) -> None:
        self._cells: dict[str, list[Cell]] = {}

    def open(self, uri: str, cells: Sequence[Cell]) -> None:
        """Hold a notebook, in place of an older one of that uri."""
        self._cells[uri] = list(cells)

    def splice(self, uri: str, start: int, num_deleted: int, cells: Sequence[Cell]) -> None:
        """Replace cells; a notebook that is not open is ignored."""
        if uri in self._cells:
            self._cells[uri][start : start + num_deleted] = cells

    def close(self, uri: str) -> None:
        """Forget a notebook; one that is not open is ignored."""
        self._cells.pop(uri, None)

    def notebook_of(self, cell_uri: str) -> str | None:
        """The notebook that a document is a cell of."""
        for uri, cells in self._cells.items():
            if any(cell.uri == cell_uri for cell in cells):
                return uri
        return None

    def around(self, cell_uri: str) -> tuple[list[Cell], list[Cell]]:
        """The cells before and after one; none for a document that is no cell."""
        for cells in self._cells.values():
            for index, cell in enumerate(cells):
                if cell.uri == cell_uri:
                    return cells[:index], cells[index + 1 :]
        return [], []


def join_cells(language: str, cells: Sequence[Cell], text_of: Callable[[str], str | None]) -> str:
    """The cells as one text, each followed by a blank line; words stand in comments.

    Args:
        language: of the code cells; it decides how a comment is written.
        cells: in order.
        text_of: the text of a cell by its uri; None leaves the cell out.
    """
    mark = "//" if language_of(language) not in ("python", "text") else "#"
    parts = []
    for cell in cells:
        text = (text_of(cell.uri) or "").strip("\r\n")
        if cell.kind == "markup":
            text = "\n".join(f"{mark} {line}".rstrip() for line in text.splitlines())
        if text.strip():
            parts.append(text + "\n\n")
    return "".join(parts)
