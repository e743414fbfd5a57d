"""The screen that a Neovim draws, rebuilt from its `redraw` events; one frame for each flush.

Knows Neovim's line grid (`:help ui-linegrid`), not who sends the events.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One place on the screen: its character and the color of it, as 0xRRGGBB."""

    text: str = " "
    color: int | None = None


@dataclass(frozen=True)
class Frame:
    """What was on the screen at one moment."""

    time_s: float
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def text(self) -> str:
        """The screen as text, without blanks at the ends."""
        rows = ("".join(cell.text for cell in row).rstrip() for row in self.rows)
        return "\n".join(rows).rstrip()

    def text_in(self, color: int) -> str:
        """What is shown in one color; rows of it are separated by line breaks."""
        rows = ("".join(cell.text for cell in row if cell.color == color) for row in self.rows)
        return "\n".join(row for row in rows if row)


@dataclass
class Grid:
    """The state of the screen between two events."""

    width: int
    height: int
    frames: list[Frame] = field(default_factory=list)
    _cells: list[list[Cell]] = field(default_factory=list)
    _colors: dict[int, int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._clear()

    def take(self, events: Iterable[list[Any]], time_s: float) -> None:
        """Follow one `redraw` notification, received at `time_s`."""
        for name, *calls in events:
            for call in calls:
                match name:
                    case "hl_attr_define":
                        self._colors[call[0]] = call[1].get("foreground")
                    case "grid_line":
                        self._draw(*call[1:4])
                    case "grid_scroll":
                        self._scroll(*call[1:6])
                    case "grid_clear":
                        self._clear()
                    case "flush":
                        rows = tuple(map(tuple, self._cells))
                        self.frames.append(Frame(time_s, rows))

    def _clear(self) -> None:
        self._cells = [[Cell()] * self.width for _ in range(self.height)]

    def _draw(self, row: int, column: int, cells: list[list[Any]]) -> None:
        """Draw cells, each `[text, highlight?, repeat?]`; the last highlight goes on."""
        highlight = 0
        for text, *rest in cells:
            highlight = rest[0] if rest else highlight
            count = rest[1] if len(rest) > 1 else 1
            for _ in range(count):
                self._cells[row][column] = Cell(text, self._colors.get(highlight))
                column += 1

    def _scroll(self, top: int, bottom: int, left: int, right: int, num_rows: int) -> None:
        """Move a region up, or down if `num_rows` is negative."""
        before = [row[left:right] for row in self._cells]
        for row in range(top, bottom):
            if top <= row + num_rows < bottom:
                self._cells[row][left:right] = before[row + num_rows]
