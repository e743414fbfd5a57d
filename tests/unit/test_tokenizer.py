"""Encoding and decoding in single cases; the properties stand in `tests/property`."""

import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from model.format.tokenizer import TextStream, Tokenizer
from model.format.vocabulary import VocabularyError, read_vocabulary
from tests.tiny import SPECIAL_TOKENS, tiny_vocabulary

TINY = Tokenizer(tiny_vocabulary())


def id_of(token: str) -> int:
    return tiny_vocabulary().tokens.index(token)


def test_merges_are_applied() -> None:
    ids = TINY.encode("def f():\n    return")
    assert [TINY.decode([id_]) for id_ in ids] == ["def", " f", "(", "):", "\n", "   ", " return"]


@pytest.mark.parametrize("special", SPECIAL_TOKENS)
def test_special_spellings_in_text_are_text(special: str) -> None:
    text = f"a {special} b{special}"
    ids = TINY.encode(text)
    assert not tiny_vocabulary().special_ids.intersection(ids)
    assert TINY.decode(ids) == text


def test_a_whole_word_is_never_a_special_token() -> None:
    """Without a split, and with words that are taken whole, a spelling would be its token."""
    vocabulary = replace(tiny_vocabulary(), splits=(), has_whole_words=True)
    ids = Tokenizer(vocabulary).encode("<|im_end|>")
    assert not vocabulary.special_ids.intersection(ids)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n",
        "\r\n\r",
        "\t\t x",
        "e\u0301 \u212b \ufb01",
        "\0\x7f\ufeff",
        "👩‍👩‍👧 漢字 \U0010ffff",
    ],
)
def test_text_comes_back_unchanged(text: str) -> None:
    assert TINY.decode(TINY.encode(text)) == text


def test_lone_surrogates_become_replacement_characters() -> None:
    assert TINY.encode("a\ud800b\udfff") == TINY.encode("a\ufffdb\ufffd")


def test_special_ids_decode_as_they_are_spelled() -> None:
    assert TINY.decode([id_of("<|fim_pad|>"), id_of("def")]) == "<|fim_pad|>def"


def test_ids_without_a_token_decode_to_nothing() -> None:
    """Networks are often padded to more outputs than there are tokens."""
    assert TINY.decode_bytes([512, 97, 151_936, -1]) == bytes([97])


def test_broken_bytes_decode_to_replacement_characters() -> None:
    assert TINY.decode([0xC3, 0x28]) == "\ufffd("
    assert TINY.decode_bytes([0xC3, 0x28]) == b"\xc3("


def test_contradictory_vocabulary_is_refused() -> None:
    vocabulary = replace(tiny_vocabulary(), merges=(("never", "there"),))
    with pytest.raises(VocabularyError, match="contradicts itself"):
        Tokenizer(vocabulary)


def test_stream_holds_back_incomplete_characters() -> None:
    stream = TextStream(TINY)
    assert [stream.feed([byte]) for byte in "é€😀".encode()] == [
        *("", "é"),
        *("", "", "€"),
        *("", "", "", "😀"),
    ]


def test_stream_drops_an_incomplete_end() -> None:
    stream = TextStream(TINY)
    assert stream.feed(list("x€".encode()[:-1])) == "x"
    assert stream.flush() == ""
    assert stream.feed(list(b"y")) == "y", "nothing of the dropped character is left"


@pytest.mark.weights
def test_real_vocabulary_reads_special_spellings_as_text(weights_path: Path) -> None:
    vocabulary = read_vocabulary(weights_path)
    tokenizer = Tokenizer(vocabulary)
    for special_id in vocabulary.special_ids:
        text = f"x = '{vocabulary.tokens[special_id]}'"
        ids = tokenizer.encode(text)
        assert not vocabulary.special_ids.intersection(ids)
        assert tokenizer.decode(ids) == text


@pytest.mark.weights
@pytest.mark.slow
def test_ids_equal_those_of_transformers(weights_path: Path) -> None:
    """On real code in several languages; text in NFC, to which theirs may normalize."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(
        weights_path.parent, gguf_file=weights_path.name
    )
    ours = Tokenizer(read_vocabulary(weights_path))
    root = Path(__file__).parents[2]
    sources = [
        *root.glob("model/**/*.py"),
        *root.glob("sampler/*.py"),
        *root.glob("editors/**/*.lua"),
        *root.glob("docs/*.md"),
        root / "pyproject.toml",
    ]
    texts = [path.read_text() for path in sources]
    texts.append("\r\n\t# don't WE'LL 12345 漢字 привет 한국어 🙂‍↔️\u00a0\u3000x  \n\n   \n y=1;;\n")
    num_compared = 0
    for text in texts:
        text = unicodedata.normalize("NFC", text)
        for special in theirs.get_added_vocab():  # in user text, theirs are special
            text = text.replace(special, "")
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False)
        num_compared += len(text)
    assert num_compared > 50_000
