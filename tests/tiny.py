"""A tiny vocabulary for the debug model: as many tokens as the model has outputs."""

import functools
import string
from typing import Any

from model.config import NAMED
from model.format.vocabulary import SPLITS, Vocabulary, byte_characters, make_vocabulary

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
_WORDS = (" return", "return", " self", "def", " in", " not", "import", " =", "):", "é", "\n\n")


@functools.cache
def tiny_vocabulary(size: int = NAMED["debug"].vocab_size) -> Vocabulary:
    """All single bytes, `size` - 265 merges, then the special tokens of Qwen."""
    characters = byte_characters()
    tokens = [characters[byte] for byte in range(256)]
    merges: list[tuple[str, str]] = []

    def merge(left: str, right: str) -> None:
        if left + right not in tokens and len(tokens) < size - len(SPECIAL_TOKENS):
            merges.append((left, right))
            tokens.append(left + right)

    for word in ("    " * 2, *_WORDS):
        spelled = "".join(characters[byte] for byte in word.encode())
        for end in range(2, len(spelled) + 1):
            merge(spelled[: end - 1], spelled[end - 1])
    for first in (" ", *"etaoins", *string.ascii_lowercase):
        for second in string.ascii_lowercase:
            merge(characters[ord(first)], second)

    first_special = len(tokens)
    tokens += SPECIAL_TOKENS
    return make_vocabulary(
        tokens,
        merges,
        SPLITS["qwen2"],
        added_ids=frozenset(range(first_special, len(tokens))),
    )


def tokenizer_json(vocabulary: Vocabulary) -> dict[str, Any]:
    """What a `tokenizer.json` with this vocabulary holds."""
    tokens = enumerate(vocabulary.tokens)
    special = {id_ for id_, token in enumerate(vocabulary.tokens) if token in SPECIAL_TOKENS}
    return {
        "normalizer": {"type": "NFC"},
        "added_tokens": [{"id": id_, "content": vocabulary.tokens[id_]} for id_ in sorted(special)],
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": vocabulary.splits[0]},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        },
        "model": {
            "type": "BPE",
            "vocab": {token: id_ for id_, token in tokens if id_ not in special},
            "merges": [list(merge) for merge in vocabulary.merges],
        },
    }
