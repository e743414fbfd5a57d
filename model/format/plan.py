"""The hole plan: what is known about a hole before anything is generated for it.

A frozen record of text and numbers, made by `syntax.plan_hole`, carried inside a request to the
engine and read by `settle.settle`. Knows neither tree-sitter nor tokens.
"""

from dataclasses import dataclass
from typing import Literal

HoleKind = Literal["line", "block", "string", "comment", "answer"]
"""`line`: rest of one line of code · `block`: whole lines · `string`, `comment`: inside one of them
· `answer`: no hole, but code that answers a question and ends before a line that begins with
`next_line`."""


@dataclass(frozen=True)
class HolePlan:
    """Where the cursor stands and where generated text has to end.

    All texts are verbatim source. `max_lines` of 1 means that the completion never holds a line
    break; a larger number caps the lines of a block.
    """

    language: str
    kind: HoleKind
    max_lines: int
    indent: str
    """Leading whitespace that a new line of this hole starts with."""
    line_prefix: str
    """The cursor's line, before the cursor."""
    line_suffix: str
    """The cursor's line, after the cursor, without its line break."""
    next_line: str
    """First line after the cursor's that is not blank, without its line break; empty at the end."""
    open_brackets: str = ""
    """Openers before the cursor that enclose it, outermost first, e.g. `({`."""
    is_closed: tuple[bool, ...] = ()
    """For each of `open_brackets`, whether its closer already stands after the cursor, so that the
    completion must not write it again."""
    quote_end: str = ""
    """What ends the string or comment around the cursor, e.g. `\"\"\"` or `*/`; empty in code, and
    where only the end of the line does."""
    is_quote_ended: bool = False
    """Whether `quote_end` already stands after the cursor."""
    lines_above: tuple[str, ...] = ()
    """The last lines above the cursor's that are not blank, topmost first."""
    indent_unit: str = ""
    """What one level of indentation is in this file; empty where it is not clear."""
