"""A model's vocabulary as plain data: tokens, merges, split rules, special ids.

Reads it from a GGUF file or from a folder with `tokenizer.json`. Knows neither how text is
encoded (`tokenizer`) nor in which order prompts put the special tokens (`prompt`).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.format.gguf_file import GGUFError, read_head

_GPT2_SPLIT = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"  # as in GPT-2
)
_DIGIT_SPLIT = r"\p{N}"


def _gpt4_split(digits: str) -> str:
    """The split regex of GPT-4 with another rule for runs of digits."""
    return (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
        + digits
        + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


SPLITS: Mapping[str, tuple[str, ...]] = {
    "qwen2": (_gpt4_split(r"\p{N}"),),
    "llama-bpe": (_gpt4_split(r"\p{N}{1,3}"),),
    "deepseek-coder": (
        r"[\r\n]",
        r"\s?\p{L}+",
        r"\s?\p{P}+",
        r"[\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+",
        _DIGIT_SPLIT,
    ),
    "starcoder": (_DIGIT_SPLIT, _GPT2_SPLIT),
    "gpt-2": (_GPT2_SPLIT,),
    "default": (r"[\p{P}\$\+<=>\^~\|]+", _GPT2_SPLIT, r"\p{N}+", r"[0-9][0-9][0-9]"),
}
"""Split regexes by the name that a GGUF file gives its pre-tokenizer, applied one after another to
what the one before has isolated and left over. Source: the pre-tokenizers in the `tokenizer.json`
of the models that the names stand for; `default` as llama.cpp has it."""

_FIM_SPELLINGS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>"),  # Qwen, CodeGemma
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>"),  # StarCoder, Granite
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>", "<fim-pad>"),  # SantaCoder
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", "<pad>"),  # DeepSeek-Coder
    ("<PRE>", "<SUF>", "<MID>", "<PAD>"),  # CodeLlama
)
_CHAT_SPELLINGS = ("<|im_start|>", "<|im_end|>")
_REPOSITORY_SPELLINGS = (
    ("<|repo_name|>", "<|file_sep|>"),  # Qwen
    ("<repo_name>", "<file_sep>"),  # StarCoder2
)
_END_SPELLINGS = frozenset(
    {
        *("<|endoftext|>", "<|end_of_text|>", "</s>", "<｜end▁of▁sentence｜>"),
        *_CHAT_SPELLINGS,
        *("<|eot_id|>", "<|eom_id|>", "<|EOT|>", "<EOT>"),
        *("<reponame>", "<file_separator>", "<filename>"),
        *(spelling for spellings in _REPOSITORY_SPELLINGS for spelling in spellings),
        *(spelling for spellings in _FIM_SPELLINGS for spelling in spellings),
    }
)

_NORMAL_TYPE = 1
"""`tokenizer.ggml.token_type` of a token that text is made of; the others are control tokens (3),
tokens added by the user (4), holes in the table (5) and the like."""


class VocabularyError(ValueError):
    """A vocabulary that cannot be read or is of another kind; one sentence for a person."""


@dataclass(frozen=True)
class FimTokens:
    """Ids of the special tokens around a hole."""

    prefix: int
    suffix: int
    middle: int
    pad: int | None


@dataclass(frozen=True)
class ChatTokens:
    """Ids of the special tokens around a turn of a conversation (ChatML)."""

    start: int
    end: int


@dataclass(frozen=True)
class RepositoryTokens:
    """Ids of the special tokens before a repository's name and before each of its files."""

    name: int
    file: int


@dataclass(frozen=True)
class Vocabulary:
    """A byte-level BPE vocabulary.

    In an ordinary token each character stands for a byte (`byte_characters`); special tokens are
    spelled out and are no part of any text.
    """

    tokens: tuple[str, ...] = field(repr=False)
    """By id; an empty string where the table has a hole."""
    merges: tuple[tuple[str, str], ...] = field(repr=False)
    """Pairs to merge, the most eager first."""
    splits: tuple[str, ...] = field(repr=False)
    """Regexes that cut text into the words within which tokens are merged."""
    has_whole_words: bool
    """Whether a word that is a token is that token, whatever the merges say (Llama 3)."""
    special_ids: frozenset[int] = field(repr=False)
    """Every id that is not text."""
    end_ids: frozenset[int]
    """The special ids with which a model says that a hole, a file or a turn ends."""
    fim: FimTokens | None
    """None if the vocabulary has no tokens for filling in the middle."""
    chat: ChatTokens | None
    """None if the vocabulary has no tokens for a conversation."""
    repository: RepositoryTokens | None = None
    """None if the vocabulary has no tokens for several files in one text."""


def byte_characters() -> dict[int, str]:
    """The printable character that stands for each byte in a byte-level vocabulary.

    Source: GPT-2. Printable Latin-1 bytes are themselves, the others are counted up from U+0100.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    shifted = {byte: chr(0x100 + index) for index, byte in enumerate(others)}
    return {byte: shifted.get(byte, chr(byte)) for byte in range(256)}


def make_vocabulary(
    tokens: Sequence[str],
    merges: Sequence[tuple[str, str]],
    splits: Sequence[str],
    *,
    added_ids: frozenset[int],
    end_ids: frozenset[int] = frozenset(),
    has_whole_words: bool = False,
) -> Vocabulary:
    """Find the special tokens by name and check that every text can be encoded.

    Args:
        tokens: spellings by id.
        merges: pairs to merge, in order.
        splits: regexes, see `Vocabulary.splits`.
        added_ids: ids that the source says are not text; tokens with a known special name are
            added to them, because not every converter marks them.
        end_ids: ids that the source says are an end.
        has_whole_words: see `Vocabulary.has_whole_words`.

    Raises:
        VocabularyError: if a byte that occurs in UTF-8 has no token.
    """
    named = {token: token_id for token_id, token in enumerate(tokens) if token in _END_SPELLINGS}
    if not added_ids.issuperset(named.values()):
        # `</s>` is special to some vocabularies and a closing HTML tag to others: if there is a
        # merge that makes it, it is text.
        for left, right in merges:
            text = left + right
            if text in named and named[text] not in added_ids:
                del named[text]
    ends = end_ids | frozenset(named.values())
    special_ids = added_ids | ends
    ordinary = {token for id_, token in enumerate(tokens) if id_ not in special_ids}
    characters = byte_characters()
    never_in_utf8 = {0xC0, 0xC1, *range(0xF5, 0x100)}
    if any(characters[byte] not in ordinary for byte in range(256) if byte not in never_in_utf8):
        raise VocabularyError(
            "The vocabulary is not a byte-level one: it lacks tokens for single bytes."
        )
    return Vocabulary(
        tokens=tuple(tokens),
        merges=tuple(merges),
        splits=tuple(splits),
        has_whole_words=has_whole_words,
        special_ids=special_ids,
        end_ids=ends,
        fim=_find_fim(named),
        chat=_find_chat(named),
        repository=_find_repository(named),
    )


def _find_fim(named: Mapping[str, int]) -> FimTokens | None:
    for prefix, suffix, middle, pad in _FIM_SPELLINGS:
        if prefix in named and suffix in named and middle in named:
            return FimTokens(named[prefix], named[suffix], named[middle], named.get(pad))
    return None


def _find_chat(named: Mapping[str, int]) -> ChatTokens | None:
    start, end = (named.get(spelling) for spelling in _CHAT_SPELLINGS)
    return None if start is None or end is None else ChatTokens(start, end)


def _find_repository(named: Mapping[str, int]) -> RepositoryTokens | None:
    for name, file in _REPOSITORY_SPELLINGS:
        if name in named and file in named:
            return RepositoryTokens(named[name], named[file])
    return None


def read_vocabulary(path: Path) -> Vocabulary:
    """Read the vocabulary of a GGUF file, or of a folder with `tokenizer.json`.

    Raises:
        VocabularyError: if there is none, it is damaged, or it is no byte-level BPE.
    """
    try:
        return _from_folder(path) if path.is_dir() else _from_gguf(path)
    except GGUFError as error:  # names the path itself
        raise VocabularyError(str(error)) from error
    except VocabularyError as error:
        raise VocabularyError(f"{path}: {error}") from error
    except RecursionError as error:  # JSON or GGUF arrays nested without end
        raise VocabularyError(f"{path} is damaged: its vocabulary does not parse.") from error


def _from_gguf(path: Path) -> Vocabulary:
    metadata = read_head(path).metadata
    kind = metadata.get("tokenizer.ggml.model")
    if kind is None:
        raise VocabularyError("The file holds no vocabulary.")
    if kind != "gpt2":
        raise VocabularyError(
            f"The vocabulary is of the kind {kind!r} (SentencePiece or another), "
            "only byte-level BPE ('gpt2') is supported."
        )
    name = metadata.get("tokenizer.ggml.pre", "default")
    if not isinstance(name, str) or name not in SPLITS:
        raise VocabularyError(f"Unknown pre-tokenizer {name!r}; known are {', '.join(SPLITS)}.")
    tokens = _strings(metadata.get("tokenizer.ggml.tokens"), "tokens")
    merges = _merges(metadata.get("tokenizer.ggml.merges"))
    types = metadata.get("tokenizer.ggml.token_type")
    if not isinstance(types, list) or len(types) != len(tokens):
        raise VocabularyError("The vocabulary is damaged: not every token has a type.")
    marked = (metadata.get(f"tokenizer.ggml.{end}_token_id") for end in ("eos", "eot", "eom"))
    return make_vocabulary(
        tokens,
        merges,
        SPLITS[name],
        added_ids=frozenset(id_ for id_, type_ in enumerate(types) if type_ != _NORMAL_TYPE),
        end_ids=frozenset(id_ for id_ in marked if isinstance(id_, int) and id_ < len(tokens)),
        has_whole_words=name == "llama-bpe",
    )


def _from_folder(folder: Path) -> Vocabulary:
    """Read `tokenizer.json`; its normalizer is ignored, because code must stay as it is."""
    try:
        root = json.loads((folder / "tokenizer.json").read_bytes())
    except OSError as error:
        raise VocabularyError(f"tokenizer.json: {error.strerror or error}.") from error
    except ValueError as error:
        raise VocabularyError("tokenizer.json is not JSON.") from error
    model = _mapping(_mapping(root).get("model"))
    ordinary = _mapping(model.get("vocab"))
    # Files older than the field `type` are recognized by what is in them.
    if model.get("type", "BPE") != "BPE" or "merges" not in model:
        raise VocabularyError("tokenizer.json holds no byte-level BPE, the only supported kind.")
    added = root.get("added_tokens") or []
    if not isinstance(added, list):
        raise VocabularyError("tokenizer.json is damaged: its added tokens are no list.")
    pairs = [(token.get("content"), token.get("id")) for token in map(_mapping, added)]
    added_ids = _token_ids(pairs)
    ids = _token_ids(ordinary.items()) | added_ids
    if max(ids.values(), default=0) > 2 * len(ids) + 1024:
        raise VocabularyError("tokenizer.json is damaged: its ids are too far apart.")
    tokens = [""] * (1 + max(ids.values(), default=-1))
    for token, id_ in ids.items():
        tokens[id_] = token
    holes = frozenset(id_ for id_, token in enumerate(tokens) if not token)
    return make_vocabulary(
        tokens,
        _merges(model.get("merges")),
        _splits(root.get("pre_tokenizer")),
        added_ids=holes.union(added_ids.values()),
        has_whole_words=model.get("ignore_merges") is True,
    )


def _token_ids(pairs: Iterable[tuple[Any, Any]]) -> dict[str, int]:
    ids = {}
    for token, id_ in pairs:
        if not isinstance(token, str) or type(id_) is not int or id_ < 0:
            raise VocabularyError(f"tokenizer.json is damaged: token {token!r} has the id {id_!r}.")
        ids[token] = id_
    return ids


def _splits(pre_tokenizer: Any) -> list[str]:
    """Split regexes of a `pre_tokenizer` entry, whose last stage has to be `ByteLevel`."""
    stage = _mapping(pre_tokenizer)
    stages = stage.get("pretokenizers") if stage.get("type") == "Sequence" else [stage]
    if not isinstance(stages, list) or not stages:
        raise VocabularyError("tokenizer.json is damaged: its pre-tokenizer has no stages.")
    splits = []
    for index, stage in enumerate(map(_mapping, stages)):
        is_last = index == len(stages) - 1
        match stage:
            case {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated"} if (
                not is_last and not stage.get("invert")
            ):
                splits.append(pattern)
            case {"type": "Digits"} if not is_last:
                splits.append(_DIGIT_SPLIT if stage.get("individual_digits") else r"\p{N}+")
            case {"type": "ByteLevel", "add_prefix_space": False} if is_last:
                splits += [_GPT2_SPLIT] if stage.get("use_regex", True) else []
            case _:
                raise VocabularyError(
                    f"tokenizer.json has a pre-tokenizer stage {stage.get('type')!r} "
                    "that is not supported; byte-level BPE is."
                )
    return splits


def _merges(value: Any) -> list[tuple[str, str]]:
    """Merges written as `"a b"` or, in newer files, as `["a", "b"]`."""
    if not isinstance(value, list):
        raise VocabularyError("The vocabulary is damaged: its merges are no list.")
    merges = []
    for merge in value:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2:
            raise VocabularyError(f"The vocabulary is damaged: {merge!r} is no merge.")
        left, right = parts
        if not isinstance(left, str) or not isinstance(right, str):
            raise VocabularyError(f"The vocabulary is damaged: {merge!r} is no merge.")
        merges.append((left, right))
    return merges


def _strings(value: Any, noun: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise VocabularyError(f"The vocabulary is damaged: its {noun} are no list of texts.")
    return value


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise VocabularyError("tokenizer.json is damaged: an object is missing.")
    return value
