"""An editor's own copy of a document: text, cursor, version, undo.

Independent of the server's document store on purpose: the two must agree. Lines end at `\\n`,
`\\r\\n` and `\\r`; columns count units of the negotiated encoding. Knows nothing of completions.
"""

import re
from typing import Any, Literal

Encoding = Literal["utf-8", "utf-16"]

LINE_BREAK = re.compile(r"\r\n|\r|\n")


class Buffer:
    """One open document."""

    def __init__(self, text: str, encoding: Encoding) -> None:
        self.text = text
        self.encoding = encoding
        self.cursor = 0
        """Characters before the cursor."""
        self.version = 1
        self._undo: list[tuple[str, int]] = []

    @property
    def prefix(self) -> str:
        return self.text[: self.cursor]

    @property
    def suffix(self) -> str:
        return self.text[self.cursor :]

    @property
    def line_break(self) -> str:
        """How the document ends its lines."""
        found = LINE_BREAK.search(self.text)
        return found.group() if found else "\n"

    @property
    def line_suffix(self) -> str:
        """The rest of the cursor's line."""
        return LINE_BREAK.split(self.suffix, maxsplit=1)[0]

    @property
    def line_prefix(self) -> str:
        """The cursor's line before the cursor."""
        return self.prefix[self._line_start(self.cursor) :]

    def position(self, offset: int) -> dict[str, int]:
        """An LSP position."""
        line = sum(1 for _ in LINE_BREAK.finditer(self.text, 0, offset))
        column = self.text[self._line_start(offset) : offset]
        return {"line": line, "character": self._num_units(column)}

    def offset(self, position: dict[str, int]) -> int:
        """The offset of a position that must exist.

        Raises:
            ValueError: if it is outside the text or inside a character.
        """
        start = 0
        line_breaks = LINE_BREAK.finditer(self.text)
        for _ in range(position["line"]):
            found = next(line_breaks, None)
            if found is None:
                raise ValueError(f"there is no line {position['line']}")
            start = found.end()
        line = LINE_BREAK.split(self.text[start:], maxsplit=1)[0]
        units = position["character"]
        for index in range(len(line) + 1):
            if self._num_units(line[:index]) == units:
                return start + index
        raise ValueError(f"no character of line {position['line']} starts at column {units}")

    def replace(self, start: int, end: int, text: str) -> dict[str, Any]:
        """Replace a range, the cursor goes behind it; the change as LSP tells it."""
        return self.replace_all([(start, end, text)])[0]

    def replace_all(self, patches: list[tuple[int, int, str]]) -> list[dict[str, Any]]:
        """Several replacements as one version and one undo step, each after the one before it."""
        self._undo.append((self.text, self.cursor))
        changes = []
        for start, end, text in patches:
            span = {"start": self.position(start), "end": self.position(end)}
            changes.append({"range": span, "text": text})
            self.text = self.text[:start] + text + self.text[end:]
            self.cursor = start + len(text)
        self.version += 1
        return changes

    def undo(self) -> dict[str, Any] | None:
        """Take the last change back; None if there is none."""
        if not self._undo:
            return None
        text, cursor = self._undo.pop()
        shorter = min(len(text), len(self.text))
        start = next((i for i in range(shorter) if text[i] != self.text[i]), shorter)
        num_same = next(
            (i for i in range(shorter - start) if text[-1 - i] != self.text[-1 - i]),
            shorter - start,
        )
        start -= start > 0 and text[start - 1] == "\r"  # no change cuts a line break in two
        num_same -= num_same > 0 and text[-num_same] == "\n"
        new = text[start : len(text) - num_same]
        change = self.replace(start, len(self.text) - num_same, new)
        self._undo.pop()  # an undo is not undone here
        assert self.text == text
        self.cursor = cursor
        return change

    def _line_start(self, offset: int) -> int:
        """Offset of the first character of the line that holds `offset`."""
        return max(self.text.rfind("\n", 0, offset), self.text.rfind("\r", 0, offset)) + 1

    def _num_units(self, text: str) -> int:
        if self.encoding == "utf-8":
            return len(text.encode())
        return len(text.encode("utf-16-le")) // 2
