"""What of a generated text may be shown, and whether generation has to stop.

Pure and incremental: called with ever longer `generated`, the text it returns only ever grows, so
that text once shown never has to be taken back. Knows neither tokens nor tree-sitter; of languages
only how brackets, strings and comments look (`lexer`).
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from model.format.lexer import CLOSERS, LINE_BREAK, LINE_COMMENT, Event, Frame, quote_frame, scan
from model.format.plan import HolePlan
from model.format.repetition import Row, find_repetition

Stop = Literal["end_of_hole", "line"]
"""The syntax or the text after the cursor closes the hole · the one line is full."""

_WITH_LABELS = frozenset({"go"})
"""Languages whose blocks hold lines that are indented like the block's opener (`case x:`)."""
_WORD = re.compile(r"\w+")
_RULE = re.compile(r"[/#*!]+")
"""A line that many lines are alike to: an empty one of a comment."""
_ATTRIBUTE = re.compile(r"\s*(?:@\w|#!?\[)")
"""A line above a definition that says little about which one: no proof of a repetition."""


@dataclass(frozen=True)
class Settlement:
    """`text` is a prefix of what was generated; `stop` is set exactly if `is_stopped`."""

    text: str
    is_stopped: bool
    stop: Stop | None


def settle(generated: str, plan: HolePlan, *, is_final: bool) -> Settlement:
    """Decide over everything that the model has produced for a hole so far.

    Held back is what may have to go: blanks at the end, a line that may come to repeat the next
    one or those above, a tail that may come to repeat the head of `line_suffix`. With `is_final`
    nothing is. Blanks at the end stay only where they part the text from a word after the cursor.

    Args:
        generated: all text so far, without end tokens.
        plan: the hole.
        is_final: nothing will come after it.
    """
    if plan.kind == "answer":
        return _settle_answer(generated, plan, is_final)
    if plan.max_lines == 1:
        return _settle_line(generated, plan, is_final)
    return _settle_block(generated, plan, is_final)


def _settle_answer(generated: str, plan: HolePlan, is_final: bool) -> Settlement:
    """An answer stands for itself: it ends where `next_line` does, whatever it says twice."""
    for start, end, is_complete in _lines(generated):
        line = generated[start:end]
        if line.startswith(plan.next_line):
            return Settlement(generated[:start].rstrip(), True, "end_of_hole")
        if not is_complete and not is_final and plan.next_line.startswith(line):
            return Settlement(generated[:start].rstrip(), False, None)
    return Settlement(generated.rstrip(), False, None)


def _settle_line(generated: str, plan: HolePlan, is_final: bool) -> Settlement:
    stop: Stop | None = None
    line_break = LINE_BREAK.search(generated)
    line = generated[: line_break.start()] if line_break else generated
    if line_break:
        stop = "line"
    reading = _Reading(line, plan, is_final or stop is not None)
    if reading.cut is not None:
        stop, line = "end_of_hole", line[: reading.cut]

    is_over = is_final or stop is not None
    row = Row(0, plan.line_prefix + line, is_over)
    is_row = not plan.line_prefix.strip() and not plan.line_suffix.strip()
    if is_row and (
        _repeats(row.text, plan, is_whole=is_over)
        or find_repetition(plan.lines_above[-1:], [row], is_final=is_over)
    ):
        return Settlement("", stop is not None, stop)
    if not is_over:
        # The line may go on, or have been cut where its reading is not yet certain.
        ends = (
            _overlap_start(part.rstrip(), plan, reading, is_whole=False)
            for part in (line, line[: reading.end])
        )
        return Settlement(line[: min(reading.end, *ends)].rstrip(), False, None)

    text = line.rstrip()
    end = _overlap_start(text, plan, reading, is_whole=True)
    if end < len(text):
        text = text[:end]
    elif stop != "line":
        text = line
    parts_words = plan.line_suffix.strip() and plan.line_suffix[0] not in " \t)]}"
    if not parts_words or not text.strip():
        text = text.rstrip()
    return Settlement(text, stop is not None, stop)


def _overlap_start(text: str, plan: HolePlan, reading: "_Reading", *, is_whole: bool) -> int:
    """Where the tail begins that repeats the head of `line_suffix`; the end of `text` if none.

    The tail must not begin inside a word. While more may come (not `is_whole`) it may end in one.
    """
    suffix = plan.line_suffix.rstrip()
    for start in range(max(len(text) - len(suffix), 0), len(text)):
        for head in (suffix, suffix.lstrip()):
            length = len(text) - start
            is_repetition = (
                head.startswith(text[start:])
                and not _is_in_word(text, start)
                and reading.is_doubled(start, len(text))
            )
            if is_repetition and not (is_whole and _is_in_word(head, length)):
                return start
    return len(text)


def _is_in_word(text: str, index: int) -> bool:
    return 0 < index < len(text) and _WORD.fullmatch(text, index - 1, index + 1) is not None


def _settle_block(generated: str, plan: HolePlan, is_final: bool) -> Settlement:
    reading = _Reading(generated, plan, is_final)
    end, is_stopped = _end_of_block(generated, plan, reading, is_final)
    return Settlement(generated[:end].rstrip(), is_stopped, "end_of_hole" if is_stopped else None)


def _end_of_block(
    generated: str, plan: HolePlan, reading: "_Reading", is_final: bool
) -> tuple[int, bool]:
    """How far the text may be shown, and whether that is because the hole ends there."""
    least_width = _least_width(generated, plan)
    repetition = find_repetition(plan.lines_above, _rows(generated, plan), is_final=is_final)
    num_lines = 0
    for start, end, is_complete in _lines(generated):
        line = generated[start:end]
        is_first = start == 0
        row = plan.line_prefix + line if is_first else line
        is_continued = is_first and bool(plan.line_prefix.strip())
        cut = reading.cut if reading.cut is not None and start <= reading.cut < end else None

        if line.strip() and reading.is_top(start):
            is_closer = line.lstrip()[0] in ")]}"
            is_code = not reading.is_quoted(start) and not is_closer and not is_continued
            if is_code and _width(row) < least_width:
                return start, True
            if cut is not None and plan.next_line.startswith(row[: len(row) - (end - cut - 1)]):
                return start, True
            is_new = not generated[:start].strip() and _ATTRIBUTE.match(plan.next_line)
            if cut is None and not is_new and _repeats(row, plan, is_whole=is_complete or is_final):
                return start, is_complete or is_final
        if repetition is not None and repetition.start == start:
            return start, repetition.is_certain
        if cut is not None:
            return cut, True

        num_lines += bool(line.strip()) or not is_first
        if is_complete and (num_lines >= plan.max_lines or reading.is_done(end)):
            return end, True
    return reading.end, False


def _lines(text: str) -> Iterator[tuple[int, int, bool]]:
    """Start and end of each line, and whether a line break follows; the last may be empty."""
    start = 0
    for line_break in LINE_BREAK.finditer(text):
        yield start, line_break.start(), True
        start = line_break.end()
    yield start, len(text), False


def _rows(generated: str, plan: HolePlan) -> list[Row]:
    is_begun = bool(plan.line_prefix.strip())
    return [
        Row(
            start,
            (plan.line_prefix if start == 0 else "") + generated[start:end],
            is_complete,
            is_new=start > 0 or not is_begun,
        )
        for start, end, is_complete in _lines(generated)
    ]


def _least_width(generated: str, plan: HolePlan) -> int:
    """Columns of indentation below which a line no longer belongs to the block."""
    if plan.line_prefix.strip():  # a block begins here: its lines are deeper than this one
        own = _width(plan.line_prefix)
        return min(_width(plan.indent), own if plan.language in _WITH_LABELS else own + 1)
    if plan.line_prefix:
        return _width(plan.line_prefix)
    # Nobody has indented yet: the text may come back as far as the next line stands, but not to the
    # left edge unless it began there.
    first = next((generated[a:b] for a, b, _ in _lines(generated) if generated[a:b].strip()), "")
    return min(_width(first), max(_width(plan.next_line), 1))


def _width(line: str) -> int:
    """Columns of its indentation, tabs as four."""
    return len(line[: len(line) - len(line.lstrip())].expandtabs(4))


def _repeats(row: str, plan: HolePlan, *, is_whole: bool) -> bool:
    """Whether a row is the next line again or, unless it `is_whole`, may become that."""
    row, next_line = row.rstrip(), plan.next_line.rstrip()
    if not row or not next_line or _RULE.fullmatch(next_line.strip()):
        return False
    return row == next_line or (not is_whole and next_line.startswith(row))


class _State(NamedTuple):
    depth: int
    """Frames open that the completion itself has opened."""
    num_due: int
    """Brackets from before the cursor that the completion still has to close."""
    is_quoted: bool
    """Inside the string or comment that the cursor stands in."""


class _Reading:
    """What the brackets and quotes of a completion say at each of its characters."""

    def __init__(self, text: str, plan: HolePlan, is_final: bool) -> None:
        quote = quote_at_cursor(plan)
        frames = () if quote is None else (quote,)
        lexed = scan(text, plan.language, frames, is_final=is_final, before=plan.line_prefix)
        self.end = lexed.end
        """Up to here the reading holds whatever follows."""
        self.cut: int | None = None
        """Where the hole ends: what closes here is closed after the cursor already."""
        self._plan = plan
        self._outer = list(zip(plan.open_brackets, plan.is_closed, strict=True))
        self._num_wanted = _num_wanted_openers(plan)
        num_due = 0
        for _, is_closed in reversed(self._outer):
            if is_closed:
                break
            num_due += 1
        state = _State(0, num_due, quote is not None)
        self._has_to_close = num_due > 0 or (bool(plan.quote_end) and not plan.is_quote_ended)
        self._positions, self._states = [0], [state]
        for event in lexed.events:
            following = self._after(event, state)
            if following is None:
                self.cut = event.start
                break
            state = following
            # Inside of a delimiter the frame that it opens counts already, or still.
            self._positions.append(event.start + 1 if event.is_open else event.end)
            self._states.append(state)
        last = lexed.frames[-1] if lexed.frames and state.depth > 0 else None
        if (
            self.cut is None
            and last is not None
            and last.kind == "string"
            and not last.is_multiline
        ):
            # Never closed, so perhaps no string: an apostrophe between JSX tags, a lone quote.
            self._positions.pop()
            self._states.pop()

    def _after(self, event: Event, state: _State) -> _State | None:
        """The state after an event, None if the hole ends before it."""
        if event.frame is None:
            return self._after_stray(event.character, state)
        if event.is_open:
            # A comment to the end of the line would swallow the code after the cursor.
            is_swallowing = event.frame == LINE_COMMENT and self._plan.line_suffix.strip()
            return None if is_swallowing else state._replace(depth=state.depth + 1)
        if state.depth > 0:
            return state._replace(depth=state.depth - 1)
        is_ended = self._plan.is_quote_ended and bool(event.character)
        return None if is_ended else state._replace(is_quoted=False)

    def _after_stray(self, closer: str, state: _State) -> _State | None:
        """A closer without an opener in the completion."""
        if state.depth == 0 and self._outer and CLOSERS[self._outer[-1][0]] == closer:
            if self._outer.pop()[1]:
                return None
            return state._replace(num_due=state.num_due - 1)
        # In code it belongs to something too far above to be seen; elsewhere it may be a smiley.
        return state if self._plan.language == "text" else None

    def is_top(self, index: int) -> bool:
        """Whether nothing is open at `index` that the completion has opened."""
        return self._at(index).depth == 0

    def is_doubled(self, start: int, end: int) -> bool:
        """Whether this part, if the text after the cursor holds it too, is one too many.

        It is not if the completion itself needs it: inside of what it has opened, unless the line
        holds closers that wait for openers, or to close what was open.
        """
        first, last = self._at(start), self._at(end)
        return first.depth <= self._num_wanted and first.num_due == last.num_due

    def is_quoted(self, index: int) -> bool:
        """Whether `index` is still inside the string or comment around the cursor."""
        return self._at(index).is_quoted

    def is_done(self, index: int) -> bool:
        """Whether all is closed at `index` that the completion had to close."""
        state = self._at(index)
        is_closed = state.depth == 0 and state.num_due == 0 and not state.is_quoted
        return self._has_to_close and is_closed

    def _at(self, index: int) -> _State:
        return self._states[bisect_right(self._positions, index) - 1]


def _num_wanted_openers(plan: HolePlan) -> int:
    """Closers in the rest of the line that nothing before the cursor has opened."""
    if plan.quote_end:
        return 0
    strays = [event for event in scan(plan.line_suffix, plan.language).events if not event.frame]
    return max(len(strays) - len(plan.open_brackets), 0)


def quote_at_cursor(plan: HolePlan) -> Frame | None:
    """The string or comment that a completion begins in."""
    if plan.quote_end:
        return quote_frame(plan.language, plan.quote_end)
    return LINE_COMMENT if plan.kind == "comment" else None
