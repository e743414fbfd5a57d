"""What an editor does with an inline completion item, and what must be true of every one.

Pure. Knows neither requests nor time.
"""

import re
from dataclasses import dataclass
from typing import Any

from tests.e2e.buffer import LINE_BREAK, Buffer, Encoding


@dataclass(frozen=True)
class Ghost:
    """An offer as the editor would apply it to the text of `version`."""

    version: int
    start: int
    end: int
    insert: str
    text: str
    """What shows behind the cursor: `insert` without the rest of the line that it writes again."""
    command: Any = None


def judge(
    item: Any, version: int, text: str, cursor: int, encoding: Encoding
) -> tuple[Ghost | None, list[str]]:
    """An item as an edit of the text that it was asked for, None if it is no sound one, and what is
    wrong with it."""
    problems: list[str] = []
    there = Buffer(text, encoding)
    there.cursor = cursor
    line_suffix = there.line_suffix
    insert = item["insertText"]
    if not isinstance(insert, str) or not item.get("range"):
        problems.append(f"an item without text or range: {item}")
        return None, problems
    try:
        start, end = (there.offset(item["range"][name]) for name in ("start", "end"))
    except ValueError as error:
        problems.append(f"a range outside the text of version {version}: {error}")
        return None, problems
    if start != cursor or not start <= end <= cursor + len(line_suffix):
        problems.append(
            f"the range {start}–{end} is not between the cursor {cursor} and the line's end"
        )
        return None, problems
    replaced = text[start:end]
    if LINE_BREAK.search(insert) and end != cursor + len(line_suffix):
        problems.append(f"{insert!r} has a line break but its range ends within the line")
    if not is_subsequence(replaced, insert):
        problems.append(f"{insert!r} is invisible in VS Code: it does not hold {replaced!r}")
    visible = insert.removesuffix(replaced)
    if {*LINE_BREAK.findall(insert)} - {there.line_break}:
        problems.append(f"{insert!r} has line breaks that the document does not have")
    repeated = find_repetition(there.line_prefix, visible, there.suffix[end - cursor :])
    if repeated is not None:
        problems.append(
            f"{visible!r} between {there.line_prefix!r} and {there.suffix[:80]!r} {repeated}"
        )
    return Ghost(version, start, end, insert, visible, item.get("command")), problems


def is_subsequence(part: str, whole: str) -> bool:
    """Whether `part` is what is left of `whole` when some characters are struck out."""
    characters = iter(whole)
    return all(character in characters for character in part)


def find_repetition(line_prefix: str, inserted: str, suffix: str) -> str | None:
    """How a text inserted between a line's beginning and what follows repeats either, if it does.

    Words of three letters and ends of four characters count: less is often right.
    """
    typed = re.search(r"\w{3,}$", line_prefix)
    if typed and re.match(re.escape(typed.group()) + r"\b", inserted):
        return "repeats the word that was typed"
    first_line = LINE_BREAK.split(inserted, maxsplit=1)[0].strip()
    if len(line_prefix.strip()) >= 6 and first_line.startswith(line_prefix.strip()):
        return "repeats the line that was typed"
    line_suffix, *following = LINE_BREAK.split(suffix, maxsplit=40)
    rest = line_suffix.strip()
    if len(rest) >= 4 and inserted.rstrip().endswith(rest):
        return "repeats the rest of the line"
    next_line = next((line.strip() for line in following if line.strip()), "")
    last_line = LINE_BREAK.split(inserted.rstrip())[-1].strip()
    is_whole_line = bool(LINE_BREAK.search(inserted.strip())) or not line_prefix.strip()
    if len(next_line) >= 4 and next_line == last_line and is_whole_line and not rest:
        return "repeats the line that follows"
    return None
