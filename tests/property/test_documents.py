"""The document store against the simplest thing that could be right: one flat string."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.documents import Change, Document, Encoding, Position, num_units, split_lines

ENCODINGS: list[Encoding] = ["utf-8", "utf-16", "utf-32"]
PIECES = [
    *"ab (){}\t",
    *("\n", "\r", "\r\n", "\n\n", "\r\r\n"),
    *("é", "ß", "日本", "😀", "👩‍💻", "e\u0301"),
    *("\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x1d", "\x85", "\0", "\ufeff"),
    "def f(x):\n    return x\n",
]  # fmt: skip


class FlatDocument:
    """A string, and conversions written down character by character."""

    def __init__(self, text: str, encoding: Encoding):
        self.text = text
        self.encoding = encoding

    def width(self, character: str) -> int:
        if self.encoding == "utf-8":
            return len(character.encode())
        if self.encoding == "utf-16":
            return 2 if ord(character) > 0xFFFF else 1
        return 1

    def line_spans(self) -> list[tuple[int, int]]:
        """(start, end without line break) of every line."""
        spans, start, index = [], 0, 0
        while index < len(self.text):
            if self.text[index] in "\r\n":
                spans.append((start, index))
                index += 2 if self.text[index : index + 2] == "\r\n" else 1
                start = index
            else:
                index += 1
        return [*spans, (start, len(self.text))]

    def offset_at(self, position: Position) -> int:
        spans = self.line_spans()
        if position.line >= len(spans):
            return len(self.text)
        offset, end = spans[position.line]
        units = 0
        while offset < end and units + self.width(self.text[offset]) <= position.character:
            units += self.width(self.text[offset])
            offset += 1
        return offset

    def replace(self, start: Position, end: Position, text: str) -> None:
        start_offset, end_offset = self.offset_at(start), self.offset_at(end)
        self.text = self.text[:start_offset] + text + self.text[end_offset:]


def random_text(rng: random.Random, max_pieces: int) -> str:
    return "".join(rng.choices(PIECES, k=rng.randint(0, max_pieces)))


def random_position(rng: random.Random, num_lines: int) -> Position:
    return Position(rng.randint(0, num_lines + 1), rng.choice([0, rng.randint(0, 24), 10_000]))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_7000_random_edits_agree_with_a_flat_string(encoding: Encoding) -> None:
    """Over the three encodings: 21,000 edits."""
    rng = random.Random(f"documents {encoding}")
    num_edits = 0
    while num_edits < 7000:
        text = random_text(rng, 60)
        document = Document("file:///a", "python", 0, text, encoding)
        flat = FlatDocument(text, encoding)
        for version in range(50):
            num_lines = len(flat.line_spans())
            start = random_position(rng, num_lines)
            kind = rng.random()
            if kind < 0.5:
                end = start
            elif kind < 0.9:
                end = Position(start.line + rng.randint(0, 1), start.character + rng.randint(0, 3))
            else:  # rarely, or the document would stay empty
                start, end = sorted((start, random_position(rng, num_lines)))
            new_text = random_text(rng, 6)
            document.apply([Change(new_text, (start, end))], version)
            flat.replace(start, end, new_text)
            num_edits += 1
            assert document.text == flat.text
            assert document._lines == split_lines(flat.text)
            assert document.num_bytes == len(flat.text.encode())
            position = random_position(rng, num_lines)
            assert document.offset_at(position) == flat.offset_at(position)


texts = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=20).map("".join)


@given(text=texts, encoding=st.sampled_from(ENCODINGS), data=st.data())
def test_offset_to_position_to_offset(text: str, encoding: Encoding, data: st.DataObject) -> None:
    document = Document("file:///a", "python", 0, text, encoding)
    offset = data.draw(st.integers(0, len(text)))
    expected = offset
    if offset > 0 and text[offset - 1 : offset + 1] == "\r\n":
        expected = offset - 1  # inside a line break is not a position
    assert document.offset_at(document.position_at(offset)) == expected


@given(text=texts, encoding=st.sampled_from(ENCODINGS), data=st.data())
def test_position_to_offset_to_position(text: str, encoding: Encoding, data: st.DataObject) -> None:
    """A position on a character boundary is itself; any other becomes one that stays put."""
    document = Document("file:///a", "python", 0, text, encoding)
    position = Position(data.draw(st.integers(0, 25)), data.draw(st.integers(0, 60)))
    clamped = document.position_at(document.offset_at(position))
    assert clamped <= position
    assert document.position_at(document.offset_at(clamped)) == clamped


@given(text=texts)
def test_lines_are_the_text(text: str) -> None:
    lines = split_lines(text)
    assert "".join(lines) == text
    assert all(line.endswith(("\n", "\r")) for line in lines[:-1])
    assert not lines[-1].endswith(("\n", "\r"))


@given(text=texts)
def test_units_agree_with_the_encoders(text: str) -> None:
    assert num_units(text, "utf-8") == len(text.encode("utf-8"))
    assert num_units(text, "utf-16") == len(text.encode("utf-16-be")) // 2
    assert num_units(text, "utf-32") == len(text)
