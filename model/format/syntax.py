"""The hole planner: what the code around a cursor tells about the hole there.

Three sources, each for what it knows best. The syntax tree says up to where the code before the
cursor is sound, and judges which reading of broken code is the better one. The lexer reads on from
there to the cursor, whatever the state of the code. The lines around tell how the file is indented.
Any text is accepted; without a grammar only the cursor's own line is read. Knows neither tokens nor
models nor editors.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tree_sitter import Node, Tree

from model.format import indentation
from model.format.grammars import language_of, num_errors, parse
from model.format.lexer import BRACKETS, LINE_BREAK, Event, Frame, scan
from model.format.plan import HoleKind, HolePlan
from model.format.repetition import MAX_PERIOD

__all__ = ["language_of", "num_syntax_errors", "parses", "plan_hole", "surroundings"]

MAX_PREFIX_CHARS = 10_000
MAX_SUFFIX_CHARS = 4_000
"""Read around the cursor: about 350 lines, which cost two milliseconds."""

_TOP_LEVEL = re.compile(r"(?<=[\r\n])(?=[^\W\d]|@)")
"""The start of a line on which something begins that is in nothing else."""
_STATEMENT = re.compile(
    r"(?<=[\r\n])(?=[ \t]*(?:(?:async )?def \w+\(|class \w+[(:]|@\w)"
    r"|import \w|from [\w.]+ import |[\w.]+ ?[=(\[])"
)
"""The same in Python, where prose stands at the left edge of long docstrings."""
_BOUNDARY = re.compile(r"[\r\n](?=[^\s)\]}#/*])")
"""Before such a line everything has been closed that was open further up."""
_CODE_LINE = re.compile(r"[ \t]*(?!case\b|default\b)[^\s)\]}#/*]")
"""A line that belongs to no bracket of a line beside it, as closers, comments and labels do."""
_QUOTE_NODE = re.compile("string|comment|char|rune|regex|template|text_block")
_MAX_UNCLOSED = 8


def parses(language: str, text: str) -> bool | None:
    """Whether `text` is free of syntax errors; None if there is no grammar."""
    tree = parse(language_of(language), _encode(text))
    return None if tree is None else not tree.root_node.has_error


def num_syntax_errors(language: str, text: str) -> int | None:
    """ERROR and MISSING nodes in the tree of `text`; None if there is no grammar."""
    tree = parse(language_of(language), _encode(text))
    return None if tree is None else num_errors(tree)


def surroundings(
    language: str,
    prefix: str,
    suffix: str,
    *,
    num_before: int = MAX_PREFIX_CHARS,
    num_after: int = MAX_SUFFIX_CHARS,
) -> tuple[str, str]:
    """What is read of the text before and after a cursor: about so many characters."""
    start = _window_start(language, prefix, num_before)
    return prefix[start:], suffix[: _window_end(suffix, num_after)]


def plan_hole(language: str, prefix: str, suffix: str, *, max_lines: int = 12) -> HolePlan:
    """Plan the hole between `prefix` and `suffix`.

    Args:
        language: an editor's language id, a file name, or a name of ours.
        prefix: text before the cursor.
        suffix: text after the cursor.
        max_lines: most lines of a completion; 1 allows no line break at all.
    """
    language = language_of(language)
    before, after = surroundings(language, prefix, suffix)
    line_prefix = indentation.last_line(before)
    line_suffix, next_line = indentation.following_lines(suffix[:MAX_SUFFIX_CHARS])
    place = _locate(language, before, after)
    line_start = len(before) - len(line_prefix)

    opens_block = place.quote is None and (
        place.brackets[-1].offset == line_start + len(line_prefix.rstrip()) - 1
        if place.brackets
        else indentation.ends_with_colon(language, before)
    )
    kind: HoleKind
    if place.quote is None:
        takes_lines = opens_block or not line_prefix.strip()
        kind = "block" if takes_lines else "line"
    else:
        frame = place.quote.frame
        kind = "comment" if frame.kind == "comment" else "string"
        takes_lines = frame.is_multiline and (
            len(frame.closer) > 1 or place.quote.offset < line_start
        )
    if line_suffix.strip() or max_lines == 1:
        takes_lines = False
    return HolePlan(
        language=language,
        kind="line" if kind == "block" and not takes_lines else kind,
        max_lines=max_lines if takes_lines else 1,
        indent=indentation.indent(language, before, after, opens_block=opens_block),
        line_prefix=line_prefix,
        line_suffix=line_suffix,
        next_line=next_line,
        open_brackets="".join(bracket.frame.opener for bracket in place.brackets),
        is_closed=place.is_closed,
        quote_end=place.quote.frame.closer if place.quote else "",
        is_quote_ended=place.is_quote_ended,
        lines_above=indentation.lines_above(before, MAX_PERIOD),
        indent_unit=indentation.clear_unit(before + after),
    )


@dataclass(frozen=True)
class _Open:
    """A frame that is open at the cursor, and where it begins in the text before it."""

    frame: Frame
    offset: int
    width: int
    """Indentation of the line on which it begins, in columns."""


@dataclass(frozen=True)
class _Place:
    """What the cursor stands in."""

    brackets: list[_Open]
    is_closed: tuple[bool, ...]
    """For each bracket, whether its closer stands in the text after the cursor."""
    quote: _Open | None
    is_quote_ended: bool


def _locate(language: str, before: str, after: str) -> _Place:
    tree = parse(language, _encode(before + after))
    open_frames = _open_frames(language, before, tree)
    quote, is_quote_ended = None, False
    if open_frames and open_frames[-1].frame.kind != "bracket":
        quote = open_frames[-1]
        is_quote_ended = _is_ended(quote, language, before, after, tree)
        if not is_quote_ended:
            open_frames.pop()
    brackets = [one for one in open_frames if one.frame.kind == "bracket"]
    num_closed = len(brackets) - _num_unclosed(open_frames, language, after)
    is_closed = tuple(index < num_closed for index in range(len(brackets)))
    return _Place(brackets, is_closed, quote, is_quote_ended)


def _open_frames(language: str, before: str, tree: Tree | None) -> list[_Open]:
    """What is open at the cursor, outermost first."""
    start = len(before) - len(indentation.last_line(before))
    offsets: list[int] = []
    frames: tuple[Frame, ...] = ()
    if tree is not None:
        data = _encode(before)
        trusted, openers = _trusted(tree.root_node, len(data))
        start = _num_chars(data, trusted)
        frames = tuple(BRACKETS[opener] for opener, _ in openers)
        offsets = [_num_chars(data, offset) for _, offset in openers]
    lexed = scan(before[start:], language, frames, before=indentation.last_line(before[:start]))
    for event in lexed.events:
        if event.is_open:
            offsets.append(start + event.start)
        elif event.frame is not None:
            offsets.pop()
    return [
        _Open(frame, offset, indentation.width(indentation.last_line(before[:offset])))
        for frame, offset in zip(lexed.frames, offsets, strict=True)
    ]


def _trusted(root: Node, cursor: int) -> tuple[int, list[tuple[str, int]]]:
    """Up to where the tree is sound before the cursor, and the brackets open there.

    That is the end of the last complete node, or the start of the first broken one or of the
    string or comment that the cursor is in.

    Returns:
        An offset in bytes, and each opener with its own.
    """
    node, start = root, root.start_byte
    openers: list[tuple[str, int]] = []
    while True:
        around = None
        num_outer = len(openers)
        for child in node.children:
            if child.start_byte >= cursor:
                break
            is_complete = child.end_byte <= cursor
            if child.is_error or child.is_missing or (child.has_error and is_complete):
                return child.start_byte, openers
            is_quote = _QUOTE_NODE.search(child.type) is not None
            if not is_complete or (is_quote and child.end_byte == cursor):
                if is_quote or child.child_count == 0:
                    # Text between JSX tags has no quotes, whatever it looks like.
                    return cursor if child.type == "jsx_text" else child.start_byte, openers
                around = child
                break
            if child.type[-1:] in BRACKETS and not child.is_named:
                openers.append((child.type[-1], child.start_byte))
            elif child.type in (")", "]", "}") and len(openers) > num_outer:
                openers.pop()
            start = child.end_byte
        if around is None:
            return start, openers
        node, start = around, around.start_byte


def _is_ended(quote: _Open, language: str, before: str, after: str, tree: Tree | None) -> bool:
    """Whether a string or comment around the cursor ends in the text after it."""
    end = _first_end(quote.frame, language, after)
    if end is None or not end.character:
        return False
    inside = after[: end.start]
    if not LINE_BREAK.search(inside):
        return True
    if quote.frame.kind == "comment":
        return quote.frame.opener not in inside
    if tree is None or not tree.root_node.has_error:
        return True
    # It may be the next string's opener that was found: then an end here mends the syntax, or else
    # to leave out the line, where brackets on it wait for their closers too.
    line_start = quote.offset - len(indentation.last_line(before[: quote.offset]))
    repairs = (before + quote.frame.closer + after, before[:line_start] + after)
    return all(num_errors(tree) <= _num_errors(language, repaired) for repaired in repairs)


def _num_errors(language: str, text: str) -> float:
    num_found = num_syntax_errors(language, text)
    return math.inf if num_found is None else num_found


def _first_end(quote: Frame, language: str, after: str) -> Event | None:
    depth = 0
    for event in scan(after, language, (quote,)).events:
        if event.is_open:
            depth += 1
        elif event.frame is not None:
            if depth == 0:
                return event
            depth -= 1
    return None


def _num_unclosed(open_frames: Sequence[_Open], language: str, after: str) -> int:
    """How many of the innermost open brackets have no closer in the text after the cursor.

    Of all answers, that one under which brackets match best from here on; indentation counts too,
    because a closer at the start of a line stands below the line of its opener.
    """
    indexes = [index for index, one in enumerate(open_frames) if one.frame.kind == "bracket"]
    if not indexes:
        return 0
    last = open_frames[-1].frame
    quote_end = None if last.kind == "bracket" else _first_end(last, language, after)
    boundary = _BOUNDARY.search(after, quote_end.end if quote_end else 0)
    is_whole = boundary is not None or len(after) < MAX_SUFFIX_CHARS
    after = after[: boundary.start()] if boundary else after
    least_width = -1 if is_whole else _least_width(after)
    best, fewest = 0, None
    for count in range(min(len(indexes), _MAX_UNCLOSED) + 1):
        left_out = set(indexes[len(indexes) - count :])
        kept = [one for index, one in enumerate(open_frames) if index not in left_out]
        num_faults = _num_faults(kept, language, after, least_width)
        if fewest is None or num_faults < fewest:
            best, fewest = count, num_faults
        if fewest == 0:
            break
    return best


def _least_width(after: str) -> float:
    """Columns of indentation of the line below the cursor that stands furthest to the left."""
    lines = LINE_BREAK.split(after)[1:]
    widths = (indentation.width(line) for line in lines if _CODE_LINE.match(line))
    return min(widths, default=math.inf)


def _num_faults(open_frames: Sequence[_Open], language: str, after: str, least_width: float) -> int:
    """Brackets that do not match if exactly `open_frames` are open at the start of `after`.

    One that never closes in `after` is a fault if its line is indented no less than `least_width`:
    then code follows that stands beside it, not inside.
    """
    waiting = list(open_frames)
    depth, num_faults = 0, 0
    for event in scan(after, language, tuple(one.frame for one in open_frames)).events:
        head = indentation.last_line(after[: event.start])
        is_first = len(head) < event.start and not head.strip()
        # Once all is closed, what else closes belongs to something above the text that was read;
        # if nothing was open to begin with, only where it begins a line.
        if not waiting and (open_frames or (event.frame is None and is_first)):
            return num_faults
        if event.frame is None:
            num_faults += 1
        elif event.is_open:
            depth += 1
        elif depth:
            depth -= 1
        else:
            opener = waiting.pop()
            num_faults += is_first and indentation.width(head) != opener.width
    return num_faults + sum(
        one.frame.kind == "bracket" and one.width >= least_width for one in waiting
    )


def _window_start(language: str, prefix: str, num_chars: int) -> int:
    """Where to begin reading: at a line on which something new begins, if there is one."""
    start = len(prefix) - num_chars
    if start <= 0:
        return 0
    beginning = _STATEMENT if language == "python" else _TOP_LEVEL
    top = beginning.search(prefix, start, len(prefix) - num_chars // 4)
    if top is not None:
        return top.start()
    line_break = LINE_BREAK.search(prefix, start)
    return start if line_break is None else line_break.end()


def _window_end(suffix: str, num_chars: int) -> int:
    """Where to end reading: before a line on which something new begins, if there is one."""
    if len(suffix) < num_chars:
        return len(suffix)
    starts = [top.start() for top in _TOP_LEVEL.finditer(suffix, 0, num_chars)]
    return starts[-1] if starts else num_chars


def _encode(text: str) -> bytes:
    """UTF-8, lone surrogates as `?`: each character stays one."""
    return text.encode(errors="replace")


def _num_chars(data: bytes, end: int) -> int:
    return end if data.isascii() else len(data[:end].decode())
