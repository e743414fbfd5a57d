"""Typing towards a text in mind: which key comes next, and how far a text is on its way there.

Pure. Knows that editors close brackets, nothing else about them.
"""

import re

PAIRS = {"(": ")", "[": "]", "{": "}"}
_WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)")


def progress(
    text: str, before: str, wanted: str, after: str, closers: str
) -> tuple[int, str] | None:
    """Of a text on the way from `before + after` to `before + wanted + after`: the characters
    that are there, and the brackets that were closed ahead; None if it is not on that way."""
    if not (text.startswith(before) and text.endswith(after)):
        return None
    middle = text[len(before) : len(text) - len(after)]
    for start in range(len(closers) + 1):
        ahead = closers[start:]
        done = middle.removesuffix(ahead)
        is_there = middle.endswith(ahead) and wanted.startswith(done)
        if is_there and unopened(wanted[len(done) :]).startswith(ahead):
            return len(done), ahead
    return None


def key_of(rest: str) -> str:
    """What one key press adds: a character, or a line break with the indentation after it."""
    found = re.match(r"(?:\r\n|\r|\n)[ \t]*|.", rest, re.DOTALL)
    assert found is not None
    return found.group()


def first_word(text: str) -> str:
    found = _WORD.match(text)
    return found.group() if found else text


def unopened(text: str) -> str:
    """The closing brackets of a text that it does not open itself."""
    closing, found = [], ""
    for character in text:
        if character in PAIRS:
            closing.append(PAIRS[character])
        elif closing and character == closing[-1]:
            closing.pop()
        elif character in PAIRS.values():
            found += character
    return found
