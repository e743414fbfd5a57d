"""Vocabularies read from files: what is found in them, and what is refused."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.format.tokenizer import Tokenizer
from model.format.vocabulary import (
    SPLITS,
    FimTokens,
    Vocabulary,
    VocabularyError,
    byte_characters,
    make_vocabulary,
    read_vocabulary,
)
from tests.tiny import SPECIAL_TOKENS, tiny_vocabulary, tokenizer_json

TEXT = "def f(self):\n    return 'é' <|fim_middle|>"


def write_gguf(
    path: Path,
    vocabulary: Vocabulary,
    *,
    kind: str = "gpt2",
    pre: str | None = "qwen2",
    types: list[int] | None = None,
    eos: int | None = None,
) -> Path:
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_tokenizer_model(kind)
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_merges([" ".join(merge) for merge in vocabulary.merges])
    size = len(vocabulary.tokens)
    writer.add_token_types(
        types or [3 if id_ in vocabulary.special_ids else 1 for id_ in range(size)]
    )
    if eos is not None:
        writer.add_eos_token_id(eos)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def write_folder(folder: Path, content: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder


def test_gguf_gives_back_what_was_written(tmp_path: Path) -> None:
    assert read_vocabulary(write_gguf(tmp_path / "tiny.gguf", tiny_vocabulary())) == (
        tiny_vocabulary()
    )


def test_folder_gives_back_what_was_written(tmp_path: Path) -> None:
    assert read_vocabulary(write_folder(tmp_path, tokenizer_json(tiny_vocabulary()))) == (
        tiny_vocabulary()
    )


def test_merges_may_be_written_as_one_text(tmp_path: Path) -> None:
    content = tokenizer_json(tiny_vocabulary())
    content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
    assert read_vocabulary(write_folder(tmp_path, content)) == tiny_vocabulary()


def test_folder_ignores_the_normalizer(tmp_path: Path) -> None:
    tokenizer = Tokenizer(
        read_vocabulary(write_folder(tmp_path, tokenizer_json(tiny_vocabulary())))
    )
    decomposed = "e\u0301"
    assert tokenizer.decode(tokenizer.encode(decomposed)) == decomposed


def test_holes_in_a_table_are_special(tmp_path: Path) -> None:
    content = tokenizer_json(tiny_vocabulary())
    last = max(token["id"] for token in content["added_tokens"])
    content["added_tokens"].append({"id": last + 3, "content": "<|far|>"})
    vocabulary = read_vocabulary(write_folder(tmp_path, content))
    assert {last + 1, last + 2, last + 3} <= vocabulary.special_ids
    assert vocabulary.end_ids == tiny_vocabulary().end_ids


@pytest.mark.parametrize(
    ("prefix", "suffix", "middle", "pad"),
    [
        ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>"),
        ("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>"),
        ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", None),
        ("<PRE>", "<SUF>", "<MID>", None),
    ],
)
def test_fim_tokens_are_found_by_name(
    prefix: str, suffix: str, middle: str, pad: str | None
) -> None:
    added = [middle, "<|endoftext|>", prefix, suffix, *([pad] if pad else [])]
    vocabulary = bytes_and(added)
    assert vocabulary.fim == FimTokens(259, 260, 257, 261 if pad else None)
    assert vocabulary.end_ids == frozenset(range(257, 257 + len(added)))


def test_no_fim_tokens_is_no_error() -> None:
    assert bytes_and(["<|endoftext|>", "<|fim_prefix|>"]).fim is None


def test_unmarked_special_names_are_special(tmp_path: Path) -> None:
    """Some converters call every token normal."""
    vocabulary = tiny_vocabulary()
    path = write_gguf(tmp_path / "a.gguf", vocabulary, types=[1] * len(vocabulary.tokens))
    assert read_vocabulary(path) == vocabulary


def test_a_name_that_text_can_make_is_text() -> None:
    """`</s>` ends a text for some models and closes an HTML tag for Qwen."""
    characters = byte_characters()
    tokens = [*(characters[byte] for byte in range(256)), "</", "</s", "</s>"]
    merges = [("<", "/"), ("</", "s"), ("</s", ">")]
    vocabulary = make_vocabulary(tokens, merges, SPLITS["default"], added_ids=frozenset())
    assert vocabulary.end_ids == frozenset()
    assert Tokenizer(replace(vocabulary, splits=())).encode("</s>") == [258]
    assert make_vocabulary(
        tokens[:256] + tokens[258:], [], SPLITS["default"], added_ids=frozenset()
    ).end_ids == {256}


def test_end_named_by_the_file_counts(tmp_path: Path) -> None:
    vocabulary = bytes_and(["<|stop|>", "<|unrelated|>"])
    path = write_gguf(tmp_path / "a.gguf", vocabulary, eos=257)
    assert read_vocabulary(path).end_ids == {257}
    assert read_vocabulary(path).special_ids == {257, 258}


@pytest.mark.parametrize("name", SPLITS)
def test_every_known_pre_tokenizer_splits(tmp_path: Path, name: str) -> None:
    path = write_gguf(tmp_path / "a.gguf", tiny_vocabulary(), pre=name)
    tokenizer = Tokenizer(read_vocabulary(path))
    text = TEXT + "  \t\r\n\r\n x=1234567;;; don't 漢字 가 ++\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    ("name", "numbers"), [("qwen2", [1] * 7), ("llama-bpe", [3, 3, 1]), ("gpt-2", [7])]
)
def test_pre_tokenizers_cut_numbers_apart(name: str, numbers: list[int]) -> None:
    characters = byte_characters()
    tokens = [characters[byte] for byte in range(256)]
    runs = ["1" * length for length in range(2, 8)]
    # Every run is a token of its own, so that nothing but the split decides what comes out.
    vocabulary = make_vocabulary(
        tokens + runs, [], SPLITS[name], added_ids=frozenset(), has_whole_words=True
    )
    tokenizer = Tokenizer(vocabulary)
    assert [len(tokenizer.decode([id_])) for id_ in tokenizer.encode("1" * 7)] == numbers


def test_unknown_pre_tokenizer_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "a.gguf", tiny_vocabulary(), pre="klingon")
    with pytest.raises(VocabularyError, match=r"pre-tokenizer 'klingon'; known are qwen2, .*\.$"):
        read_vocabulary(path)


def test_sentencepiece_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "a.gguf", tiny_vocabulary(), kind="llama", pre=None)
    with pytest.raises(VocabularyError, match=r"'llama' \(SentencePiece"):
        read_vocabulary(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole_path = write_gguf(tmp_path / "a.gguf", bytes_and(["<|endoftext|>"]))
    assert read_vocabulary(whole_path).end_ids == {257}
    whole = whole_path.read_bytes()
    path = tmp_path / "cut.gguf"
    for size in {*range(0, len(whole) - 64, 37), *range(64)}:
        path.write_bytes(whole[:size])
        with pytest.raises(VocabularyError):
            read_vocabulary(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + bytes(500), b"GGUF" + bytes(500)])
def test_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    with pytest.raises(VocabularyError):
        read_vocabulary(path)


def test_missing_things_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(VocabularyError, match=r"No such file or directory\.$"):
            read_vocabulary(path)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None
)
@given(data=st.data())
def test_damage_gives_a_vocabulary_or_one_sentence(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(write_gguf(tmp_path / "a.gguf", bytes_and(["<|im_end|>"])).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.gguf"
    path.write_bytes(content)
    try:
        Tokenizer(read_vocabulary(path)).encode(TEXT)
    except VocabularyError as error:
        assert str(error).endswith(".")  # noqa: PT017 - most damage is an error, some is not


def break_(*keys: str | int, value: Any) -> Callable[[dict[str, Any]], Any]:
    def apply(content: dict[str, Any]) -> Any:
        place: Any = content
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        return content

    return apply


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: [],
        lambda _: {},
        break_("model", value=None),
        break_("model", "type", value="Unigram"),
        break_("model", "type", value="WordPiece"),
        break_("model", "vocab", value=[["a", 0.5]]),
        break_("model", "vocab", value={"a": 0}),
        break_("model", "vocab", "!", value="33"),
        break_("model", "vocab", "!", value=1 << 40),
        break_("model", "vocab", "!", value=-1),
        break_("model", "merges", value="a b"),
        break_("model", "merges", 0, value=["a"]),
        break_("model", "merges", 0, value=["a", 1]),
        break_("model", "merges", 0, value="a b c"),
        break_("added_tokens", value=3),
        break_("added_tokens", 0, value="<|endoftext|>"),
        break_("added_tokens", 0, "content", value=["x"]),
        break_("added_tokens", 0, "id", value=None),
        break_("pre_tokenizer", value=None),
        break_("pre_tokenizer", value={"type": "Metaspace"}),
        break_("pre_tokenizer", "pretokenizers", value=[]),
        break_("pre_tokenizer", "pretokenizers", 0, "behavior", value="Removed"),
        break_("pre_tokenizer", "pretokenizers", 0, "invert", value=True),
        break_("pre_tokenizer", "pretokenizers", 0, "pattern", value={"Regex": "(("}),
        break_("pre_tokenizer", "pretokenizers", 1, "add_prefix_space", value=True),
        break_("pre_tokenizer", "pretokenizers", 1, value={"type": "Punctuation"}),
        break_("model", "merges", 0, value=["zz", "zzz"]),
    ],
)
def test_foreign_tokenizer_json_is_refused(
    tmp_path: Path, damage: Callable[[dict[str, Any]], Any]
) -> None:
    content = damage(tokenizer_json(tiny_vocabulary()))
    with pytest.raises(VocabularyError, match=r"\.$"):
        Tokenizer(read_vocabulary(write_folder(tmp_path, content)))


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\xfd", b"[" * 100_000])
def test_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(VocabularyError):
        read_vocabulary(tmp_path)


def test_older_pre_tokenizers_are_understood(tmp_path: Path) -> None:
    content = tokenizer_json(tiny_vocabulary())
    content["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False},
        ],
    }
    assert read_vocabulary(write_folder(tmp_path, content)).splits == SPLITS["starcoder"]


@pytest.mark.weights
def test_real_vocabulary(weights_path: Path) -> None:
    started = time.perf_counter()
    vocabulary = read_vocabulary(weights_path)
    Tokenizer(vocabulary)
    assert time.perf_counter() - started < 5.0, "0.6 s when measured; the gguf reader needs 9 s"
    assert len(vocabulary.tokens) == 151_936
    assert len(vocabulary.merges) == 151_387
    assert vocabulary.fim == FimTokens(prefix=151_659, suffix=151_661, middle=151_660, pad=151_662)
    assert {vocabulary.tokens[id_] for id_ in vocabulary.end_ids} == set(SPECIAL_TOKENS)
    assert min(vocabulary.special_ids) == 151_643
    assert len(repr(vocabulary)) < 1000, "it must not flood a log"


def bytes_and(added: list[str]) -> Vocabulary:
    """Tokens of single bytes, one of two, then the added ones."""
    characters = byte_characters()
    tokens = [*(characters[byte] for byte in range(256)), "if", *added]
    return make_vocabulary(
        tokens, [("i", "f")], SPLITS["qwen2"], added_ids=frozenset(range(257, len(tokens)))
    )
