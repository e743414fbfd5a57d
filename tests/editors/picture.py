"""Frames of a screen as a moving picture: SVG that loads nothing and needs no script."""

from collections.abc import Sequence
from itertools import groupby, pairwise
from xml.sax.saxutils import escape

from tests.editors.grid import Cell, Frame

CELL_WIDTH, CELL_HEIGHT, MARGIN, TITLE_HEIGHT = 8.4, 18, 12, 28
LONGEST_S = 1.0
"""A pause that is longer is shown as one of this length."""
LAST_S = 2.5
BACKGROUND, FOREGROUND = "#16191f", "#d6d9e0"


def animate(frames: Sequence[Frame], title: str) -> str:
    """An SVG that shows the frames in their times, again and again.

    Frames that look the same are shown as one. A viewer without animation shows the last one.
    """
    looks = [next(same) for _, same in groupby(frames, key=lambda frame: frame.rows)]
    height = looks[-1].text.count("\n") + 2
    width = len(looks[0].rows[0])
    starts = [0.0]
    for before, after in pairwise(looks):
        starts.append(starts[-1] + min(after.time_s - before.time_s, LONGEST_S))
    total = starts[-1] + LAST_S
    size = (width * CELL_WIDTH + 2 * MARGIN, height * CELL_HEIGHT + 2 * MARGIN + TITLE_HEIGHT)
    groups = [
        _group(frame, height, start / total, end / total, total)
        for frame, start, end in zip(looks, starts, [*starts[1:], total], strict=True)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]:g} {size[1]:g}" '
            'font-family="monospace" font-size="14" xml:space="preserve">',
            f"<title>{escape(title)}</title>",
            f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
            f'<text x="{size[0] / 2:g}" y="20" text-anchor="middle" fill="#8a909c">'
            f"{escape(title)}</text>",
            *groups,
            "</svg>\n",
        ]
    )


def _group(frame: Frame, height: int, start: float, end: float, total_s: float) -> str:
    is_last = end == 1
    values = "hidden;visible" if is_last else "hidden;visible;hidden"
    times = f"0;{start:.4f}" if is_last else f"0;{start:.4f};{end:.4f}"
    lines = [_line(row, index) for index, row in enumerate(frame.rows[:height])]
    return "\n".join(
        [
            f'<g visibility="{"visible" if is_last else "hidden"}">'
            f'<animate attributeName="visibility" calcMode="discrete" values="{values}" '
            f'keyTimes="{times}" dur="{total_s:.2f}s" repeatCount="indefinite"/>',
            *(line for line in lines if line),
            "</g>",
        ]
    )


def _line(row: Sequence[Cell], index: int) -> str:
    """One row; each run of a color begins at its own column, whatever the font's width."""
    y = TITLE_HEIGHT + MARGIN + (index + 0.8) * CELL_HEIGHT
    spans, column = [], 0
    for color, cells in groupby(row, key=lambda cell: cell.color):
        run = list(cells)
        text = "".join(cell.text for cell in run)
        if color is None:
            text = text.rstrip()  # what is right of the code
        if text.strip():
            x = MARGIN + column * CELL_WIDTH
            fill = FOREGROUND if color is None else f"#{color:06x}"
            length = len(text) * CELL_WIDTH
            spans.append(
                f'<tspan x="{x:g}" fill="{fill}" textLength="{length:g}">{escape(text)}</tspan>'
            )
        column += len(run)
    return f'<text y="{y:g}">{"".join(spans)}</text>' if spans else ""
