"""Figures as words and cells of a Markdown table. Knows nothing of runs."""

from collections.abc import Mapping, Sequence

NONE = "–"
"""In place of what was not told."""


def listed(record: Mapping[str, object]) -> str:
    """Names and values in a row, nested ones in brackets."""
    return ", ".join(
        f"{key} ({listed(value)})" if isinstance(value, Mapping) else f"{key} {_plain(value)}"
        for key, value in record.items()
    )


def _plain(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(str, value))
    return str(value)


def share(value: float | None, interval: tuple[float, float] | None = None) -> str:
    """A share in [0, 1] in percent, with its interval behind it."""
    if value is None:
        return NONE
    told = f"{100 * value:.1f} %"
    return told if interval is None else f"{told} ({100 * interval[0]:.1f}–{100 * interval[1]:.1f})"


def number(value: float | None, digits: int) -> str:
    """With so many digits behind the point."""
    return NONE if value is None else f"{value:,.{digits}f}"


def both(first: float | None, second: float | None) -> str:
    """Two whole numbers in one cell."""
    return f"{number(first, 0)} / {number(second, 0)}"


def table(names: Sequence[str], columns: Mapping[str, Sequence[str]]) -> str:
    """A row for each name; columns in which nothing is told are left out."""
    told = {head: cells for head, cells in columns.items() if any(cell != NONE for cell in cells)}
    return grid(["", *told], list(zip(names, *told.values(), strict=True)))


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table out of its rows."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |" for cells in lines
    )
