"""What of a generated text may be shown, and whether generation has to stop.

Pure and incremental: called with ever longer `generated`, the text it returns only ever grows, so
that text once shown never has to be taken back. Knows neither tokens nor tree-sitter; of languages
only how strings and comments look.
"""

from dataclasses import dataclass
from typing import Literal

from model.format.plan import HolePlan

_CLOSERS = {")": "(", "]": "[", "}": "{"}
_LINE_COMMENTS = {"python": "#", "text": ""}  # the others: //
_MIN_REPEATED = 3
"""Shortest next line, without blanks, that a generated line can be said to repeat."""


@dataclass(frozen=True)
class Settlement:
    """`text` is a prefix of what was generated; `stop` is set once `is_stopped`."""

    text: str
    is_stopped: bool
    stop: Literal["end_of_hole", "line"] | None


def settle(generated: str, plan: HolePlan, *, is_final: bool) -> Settlement:
    """Decide over everything that the model has produced for a hole so far.

    Args:
        generated: all text so far, without end tokens.
        plan: the hole.
        is_final: the model has ended the hole by itself, nothing more will come.
    """
    scan = _scan(generated, plan)
    if plan.max_lines == 1:
        end, stop = _end_of_line(generated, scan)
        return _settle_line(generated, plan, end, stop, is_final)
    end, stop = _end_of_block(generated, plan, scan)
    text = generated[:end]
    if stop is None and not is_final:
        # The last line may still turn out to be a dedent or to repeat the suffix.
        text = text[: text.rfind("\n") + 1]
    elif not text.endswith("\n"):
        text = _without_overlap(text, plan, is_final=True)
    return Settlement(_trimmed(text), stop is not None, stop)


_Stop = Literal["end_of_hole", "line"] | None


def _end_of_line(generated: str, scan: "_Scan") -> tuple[int, _Stop]:
    breaks = [index for index in (generated.find("\n"), generated.find("\r")) if index >= 0]
    end = min(breaks, default=len(generated))
    if scan.doubled is not None and scan.doubled < end:
        return scan.doubled, "end_of_hole"
    return end, "line" if breaks else None


def _settle_line(
    generated: str, plan: HolePlan, end: int, stop: _Stop, is_final: bool
) -> Settlement:
    is_over = is_final or stop is not None
    text = _without_overlap(generated[:end], plan, is_final=is_over)
    return Settlement(_trimmed(text), stop is not None, stop)


def _end_of_block(generated: str, plan: HolePlan, scan: "_Scan") -> tuple[int, _Stop]:
    """Where the block ends: before a dedent, before the repeated suffix, after `max_lines`."""
    limit = len(generated) if scan.doubled is None else scan.doubled
    minimum = _width(plan.indent)
    is_first = True
    num_lines, begin = 0, 0
    while begin <= limit:
        found = generated.find("\n", begin, limit)
        end = limit if found < 0 else found
        is_complete = found >= 0
        line = generated[begin:end]
        whole = plan.line_prefix + line if begin == 0 else line
        if whole.strip():
            is_continued = begin == 0 and bool(plan.line_prefix.strip())
            is_inside = scan.depth_at(begin) > 0 or begin in scan.closing_lines
            width = _width(_indent_of(whole))
            if not is_continued and not is_inside and width < minimum:
                return begin, "end_of_hole"
            if is_first and not is_continued and minimum == 0:
                minimum = min(width, 1)
            is_first = False
            if is_complete and _repeats(whole, plan):
                return begin, "end_of_hole"
        if begin > 0 or line.strip():
            num_lines += 1
        if is_complete and num_lines >= plan.max_lines:
            return end, "end_of_hole"
        if not is_complete:
            break
        if begin in scan.closing_lines and scan.depth_at(end) < 0:
            return end, "end_of_hole"  # it closed the brackets that were open around the hole
        begin = end + 1
    return limit, None if scan.doubled is None else "end_of_hole"


def _repeats(line: str, plan: HolePlan) -> bool:
    return len(plan.next_line.strip()) >= _MIN_REPEATED and line.rstrip() == plan.next_line.rstrip()


def _without_overlap(text: str, plan: HolePlan, *, is_final: bool) -> str:
    """Cut a tail that repeats the head of the text after the cursor.

    Before the end any tail that could become such a repetition is held back.
    """
    suffix = plan.line_suffix.strip()
    text = text.rstrip()
    for length in range(min(len(suffix), len(text)), 0, -1):
        if not text.endswith(suffix[:length]):
            continue
        if is_final and not _is_overlap(text, length, suffix, plan):
            continue
        return text[:-length]
    return text


def _is_overlap(text: str, length: int, suffix: str, plan: HolePlan) -> bool:
    """Whether the last `length` characters double the suffix rather than belong to the text."""
    rest, tail = text[:-length], text[-length:]
    is_in_word = rest[-1:].isalnum() and tail[:1].isalnum()
    if is_in_word:
        return False
    # A closer that the completion itself opened is its own.
    opened = _scan(rest, plan).stack
    for character in tail:
        if character in _CLOSERS and opened and opened[-1] == _CLOSERS[character]:
            return False
    is_partial_word = (
        length < len(suffix) and suffix[length - 1].isalnum() and suffix[length].isalnum()
    )
    return not is_partial_word


def _trimmed(text: str) -> str:
    """Without trailing blanks and blank lines."""
    return text.rstrip()


def _indent_of(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _width(indent: str) -> int:
    return len(indent.expandtabs(4))


@dataclass(frozen=True)
class _Scan:
    doubled: int | None
    """Index of the first closer whose twin already stands after the cursor."""
    stack: list[str]
    """Openers of the completion that are still open at its end."""
    depths: list[int]
    """Brackets open at each index, counted from the cursor; negative once outer ones are closed."""
    closing_lines: frozenset[int]
    """Starts of lines whose first character closes a bracket that the suffix does not close."""

    def depth_at(self, index: int) -> int:
        return self.depths[index] if index < len(self.depths) else 0


def _scan(generated: str, plan: HolePlan) -> _Scan:
    """Follow brackets through `generated`, past strings and comments."""
    if plan.kind in ("string", "comment"):
        return _Scan(None, [], [0] * (len(generated) + 1), frozenset())
    outer = list(zip(plan.open_brackets, plan.is_closed, strict=True))
    stack: list[str] = []
    depths: list[int] = []
    closing_lines: list[int] = []
    line_begin, num_outer_closed, skip_until = 0, 0, 0
    doubled = None
    for index, character in enumerate(generated):
        depths.append(len(stack) - num_outer_closed)
        if character == "\n":
            line_begin = index + 1
        if index < skip_until:
            continue
        skipped = _skip_literal(generated, index, plan.language)
        if skipped > index:
            skip_until = skipped
        elif character in "([{":
            stack.append(character)
        elif character in _CLOSERS:
            if stack:
                if stack[-1] == _CLOSERS[character]:
                    stack.pop()
            elif outer and outer[-1][0] == _CLOSERS[character]:
                if outer[-1][1]:
                    doubled = index
                    break
                outer.pop()
                num_outer_closed += 1
                if not generated[line_begin:index].strip():
                    closing_lines.append(line_begin)
    depths.append(len(stack) - num_outer_closed)
    return _Scan(doubled, stack, depths, frozenset(closing_lines))


def _skip_literal(text: str, index: int, language: str) -> int:
    """End of the string or comment that starts at `index`; `index` itself if none does."""
    character = text[index]
    comment = _LINE_COMMENTS.get(language, "//")
    if comment and text.startswith(comment, index):
        end = text.find("\n", index)
        return len(text) if end < 0 else end
    if comment == "//" and text.startswith("/*", index):
        end = text.find("*/", index + 2)
        return len(text) if end < 0 else end + 2
    if language == "python" and text.startswith(('"""', "'''"), index):
        end = text.find(text[index : index + 3], index + 3)
        return len(text) if end < 0 else end + 3
    if character == "'" and language in ("rust", "text"):
        # A lifetime, or an apostrophe: only 'x' and '\x…' are literals.
        is_literal = text[index + 1 : index + 2] == "\\" or text[index + 2 : index + 3] == "'"
        if language == "text" or not is_literal:
            return index
    if character in "\"'" or (character == "`" and language in ("go", "javascript", "typescript")):
        position = index + 1
        while position < len(text) and text[position] != character:
            if text[position] == "\n" and character != "`":
                return position
            position += 2 if text[position] == "\\" else 1
        return min(position + 1, len(text))
    return index
