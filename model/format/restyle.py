"""The indentation of a completion as the file has it: tabs or spaces, and how wide a level is.

Line by line and from above, so that the result for a longer text begins with the result for a
shorter one that ends behind a character that is not blank. Knows neither syntax nor tokens.
"""

import re

from model.format.indentation import width
from model.format.lexer import LINE_BREAK
from model.format.plan import HolePlan

_TAB = "\t"
_OPENERS = (":", "{")
_LINE = re.compile(r"(?:\r\n|\r|\n)?[^\r\n]+|\r\n|\r|\n")
"""A line with the break before it."""
_BREAK_AND_INDENT = re.compile(r"(\r\n|\r|\n|)([ \t]*)")


def restyle(text: str, plan: HolePlan) -> str:
    """`text` with the indentation of each of its lines in the file's style.

    A level is what a line lies deeper than the opener of its block above it; what is deeper for
    other reasons, like continued arguments, keeps its distance.
    """
    if not plan.indent_unit or plan.quote_end or plan.kind == "comment":
        return text
    start = 0
    pieces: list[str] = []
    above = ""
    # Columns as generated, and the columns they stand for, of every level that is open here.
    levels = [(width(plan.indent),) * 2]
    if plan.line_prefix:  # the first line is indented already
        start = next((found.start() for found in LINE_BREAK.finditer(text)), len(text))
        pieces.append(text[:start])
        above = plan.line_prefix + text[:start]
        if above.strip():
            levels = [(width(above),) * 2]
    opener = levels[0]  # of the line above, the same two
    for line in _LINE.findall(text, start):
        body = line.lstrip(" \t\r\n")
        if not body:
            pieces.append(line)
            continue
        line_break, indent = _BREAK_AND_INDENT.match(line).groups()  # type: ignore[union-attr]
        given = width(indent)
        while len(levels) > 1 and levels[-1][0] > given:
            levels.pop()
        if given > opener[0] and above.rstrip().endswith(_OPENERS):
            levels.append((given, opener[1] + width(plan.indent_unit)))
        generated, wanted = levels[-1]
        columns = max(wanted + given - generated, 0)
        opener = given, columns
        pieces += [line_break, _indentation(columns, plan.indent_unit, indent), body]
        above = body
    return "".join(pieces)


def _indentation(columns: int, unit: str, given: str) -> str:
    """So many columns in the file's style; what was given stays if it is that already."""
    is_alike = columns == width(given) and (" " if unit == _TAB else _TAB) not in given
    if is_alike or unit != _TAB:
        return given if is_alike else " " * columns
    return _TAB * (columns // 4) + " " * (columns % 4)
