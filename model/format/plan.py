"""The hole plan: what is known about a hole before anything is generated for it.

A frozen record of text and numbers, made by `syntax.plan_hole`, carried inside a request to the
engine and read by `settle.settle`. Knows neither tree-sitter nor tokens.
"""

from dataclasses import dataclass
from typing import Literal

HoleKind = Literal["line", "block", "string", "comment"]
"""`line`: rest of one line of code · `block`: one or more whole lines · the other two: inside one."""


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
    """First line after the cursor's line that is not blank, without its line break; empty at the end."""
    open_brackets: str = ""
    """Openers still open at the cursor, outermost first, e.g. `({`."""
    closed_after: str = ""
    """The tail of `open_brackets` whose closers already stand right after the cursor."""
