"""The vocabulary of trained weights: `tokenizer.json` beside them, so that the folder is complete.

Knows vocabularies as plain data; encodes nothing.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from model.format.vocabulary import Vocabulary, read_vocabulary


def copy_vocabulary(base: Path, folder: Path) -> None:
    """Put the base's vocabulary into a folder of weights.

    A folder's `tokenizer.json` is copied; that of a GGUF file is written anew from its tokens,
    merges and split rules.

    Raises:
        VocabularyError: if the base has none that can be read.
    """
    target = folder / "tokenizer.json"
    if base.is_dir():
        shutil.copyfile(base / "tokenizer.json", target)
        return
    record = tokenizer_record(read_vocabulary(base))
    target.write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")


def tokenizer_record(vocabulary: Vocabulary) -> dict[str, Any]:
    """What a `tokenizer.json` with this vocabulary says; no normalizer, as code stays as it is."""
    stages: list[dict[str, Any]] = [
        {
            "type": "Split",
            "pattern": {"Regex": regex},
            "behavior": "Isolated",
            "invert": False,
        }
        for regex in vocabulary.splits
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": id_,
                "content": vocabulary.tokens[id_],
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for id_ in sorted(vocabulary.special_ids)
            if vocabulary.tokens[id_]
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [*stages, {**byte_level, "use_regex": False}],
        },
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": False},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": vocabulary.has_whole_words,
            "vocab": {
                token: id_
                for id_, token in enumerate(vocabulary.tokens)
                if token and id_ not in vocabulary.special_ids
            },
            "merges": [list(pair) for pair in vocabulary.merges],
        },
    }
