"""Lines and their indentation around a cursor. Knows what opens a block, and no other syntax."""

import re
from itertools import pairwise

from model.format.lexer import CLOSERS, LINE_BREAK

_BLOCK_WORDS = {
    "python": frozenset(
        {
            *("if", "elif", "else", "for", "while", "try", "except", "finally", "with"),
            *("def", "class", "async", "match", "case"),
        }
    )
}
_LABEL_WORDS = frozenset({"case", "default"})
_LAST_WORDS = frozenset({"return", "raise", "break", "continue", "pass"})
"""Statements after which nothing more comes at their own level."""
_UNITS = frozenset({"\t", "  ", "    "})
_DEFAULT_UNITS = {"go": "\t", "javascript": "  ", "typescript": "  ", "tsx": "  "}
_MAX_STATEMENT_LINES = 60
_CLEAR_SHARE = 0.8


def last_line(text: str) -> str:
    """What follows the last line break."""
    return text[max(text.rfind("\n"), text.rfind("\r")) + 1 :]


def lines_above(before: str, count: int) -> tuple[str, ...]:
    """The last so many lines above the one that the text ends in, blank ones left out."""
    lines = LINE_BREAK.split(before)[:-1]
    return tuple([line for line in lines if line.strip()][-count:])


def following_lines(after: str) -> tuple[str, str]:
    """Rest of the cursor's line, and the first line below that is not blank."""
    lines = LINE_BREAK.split(after)
    return lines[0], next((line for line in lines[1:] if line.strip()), "")


def leading(line: str) -> str:
    """The indentation of a line, verbatim."""
    return line[: len(line) - len(line.lstrip(" \t"))]


def width(line: str) -> int:
    """Columns of a line's indentation, tabs as four."""
    return len(leading(line).expandtabs(4))


def ends_with_colon(language: str, before: str) -> bool:
    """Whether the text before the cursor ends with a colon that opens a block."""
    line = last_line(before).rstrip()
    if not line.endswith(":"):
        return False
    first = re.match(r"\w+", _statement(before).lstrip())
    return first is not None and first[0] in _BLOCK_WORDS.get(language, _LABEL_WORDS)


def indent(language: str, before: str, after: str, *, opens_block: bool) -> str:
    """Leading whitespace that a new line at the cursor starts with."""
    line = last_line(before)
    _, next_line = following_lines(after)
    if line.strip():
        return _below(language, before, after, next_line) if opens_block else leading(line)
    if line:
        return leading(line)
    above = before.rstrip()
    if not above:
        return leading(next_line)
    if above[-1] in CLOSERS or ends_with_colon(language, above):
        return _below(language, above, after, next_line)
    statement = _statement(above)
    is_last = statement.lstrip().split(" ", 1)[0].rstrip(";") in _LAST_WORDS
    if width(next_line) > width(statement) or is_last:
        return leading(next_line)
    return leading(statement)


def _below(language: str, before: str, after: str, next_line: str) -> str:
    """The indentation under a line that opens a block."""
    opener = leading(_statement(before))
    if width(next_line) > len(opener.expandtabs(4)):
        return leading(next_line)
    return opener + unit(language, before + after)


def _statement(before: str) -> str:
    """The line on which the statement begins that ends the text.

    A line that closes more brackets than it opens continues the one above.
    """
    lines = LINE_BREAK.split(before[-8000:])
    balance = 0
    for line in reversed(lines[-_MAX_STATEMENT_LINES:]):
        balance += sum(map(line.count, CLOSERS.values())) - sum(map(line.count, CLOSERS))
        if balance <= 0 and line.strip():
            return line
    return lines[-1]


def unit(language: str, text: str) -> str:
    """One level of indentation as the text has it, else as is usual in the language."""
    steps = _steps(text)
    if not steps:
        return _DEFAULT_UNITS.get(language, "    ")
    return max(dict.fromkeys(steps), key=steps.count)


def clear_unit(text: str) -> str:
    """One level of indentation if nearly the whole text agrees about it, else nothing."""
    steps = _steps(text)
    most = max(dict.fromkeys(steps), key=steps.count) if steps else ""
    is_clear = len(steps) > 1 and steps.count(most) >= _CLEAR_SHARE * len(steps)
    return most if is_clear else ""


def _steps(text: str) -> list[str]:
    """What lines are indented by, compared with the line above."""
    indents = [leading(line) for line in LINE_BREAK.split(text) if line.strip()]
    steps = (
        below.removeprefix(above) for above, below in pairwise(indents) if below.startswith(above)
    )
    return [step for step in steps if step in _UNITS]
