"""For every text: decoding undoes encoding, in one go and bit by bit."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.format.tokenizer import TextStream, Tokenizer
from model.format.vocabulary import read_vocabulary
from tests.tiny import SPECIAL_TOKENS, tiny_vocabulary

TINY = Tokenizer(tiny_vocabulary())

# Arbitrary characters, and code, in which merges and splits have something to do.
TEXTS = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            [
                *SPECIAL_TOKENS,
                "    ",
                "\r\n",
                "\n\n",
                "return self",
                "12345",
                "don't",
                "é",
                "e\u0301",
            ]
        ),
    ),
    max_size=12,
).map("".join)


@given(TEXTS)
def test_decoding_undoes_encoding(text: str) -> None:
    ids = TINY.encode(text)
    assert TINY.decode(ids) == text
    assert TINY.decode_bytes(ids) == text.encode()
    assert not tiny_vocabulary().special_ids.intersection(ids)


@given(st.text(st.characters(), max_size=30))
@example("\ud83d\ude00")
def test_only_surrogates_are_replaced(text: str) -> None:
    expected = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    assert TINY.decode(TINY.encode(text)) == expected


@given(st.text(max_size=20), st.data())
def test_stream_gives_the_same_text_in_any_pieces(text: str, data: st.DataObject) -> None:
    ids = list(text.encode())  # single bytes: every character is cut everywhere
    stream, shown, fed = TextStream(TINY), "", 0
    while fed < len(ids):
        size = data.draw(st.integers(1, len(ids) - fed))
        shown += stream.feed(ids[fed : fed + size])
        fed += size
        assert shown == bytes(ids[:fed]).decode(errors="ignore")
    assert shown + stream.flush() == text


@pytest.mark.parametrize("text", ["aé€😀\n", "👩‍👩‍👧x", "e\u0301漢字"])
def test_stream_over_every_split_in_three(text: str) -> None:
    ids = list(text.encode())
    for first in range(len(ids) + 1):
        for second in range(first, len(ids) + 1):
            stream = TextStream(TINY)
            pieces = [ids[:first], ids[first:second], ids[second:]]
            assert "".join(map(stream.feed, pieces)) == text


@given(st.lists(st.integers(0, 520), max_size=30), st.integers(0, 30))
def test_stream_never_takes_text_back(ids: list[int], cut: int) -> None:
    """A model may generate anything, bytes that are no UTF-8 included."""
    stream = TextStream(TINY)
    shown = stream.feed(ids[:cut]) + stream.feed(ids[cut:])
    assert TINY.decode(ids).startswith(shown)
    assert stream.flush() == ""


@pytest.mark.weights
def test_real_vocabulary_round_trip(weights_path: Path) -> None:
    vocabulary = read_vocabulary(weights_path)
    tokenizer = Tokenizer(vocabulary)

    @settings(deadline=None)
    @given(TEXTS)
    def check(text: str) -> None:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert not vocabulary.special_ids.intersection(ids)

    check()
