"""Text to token ids and back, exactly: byte-level BPE without any normalization.

Knows no special tokens by name: what a user wrote is only ever text, even where it spells one.
The merging itself is the `tokenizers` library's.
"""

import codecs
import re
from collections.abc import Iterable

import tokenizers
from tokenizers import models, pre_tokenizers

from model.format.vocabulary import Vocabulary, VocabularyError, byte_characters

_SURROGATE = re.compile("[\ud800-\udfff]")
_BYTE_OF = {character: byte for byte, character in byte_characters().items()}


class Tokenizer:
    """Encodes and decodes with one vocabulary.

    Raises:
        VocabularyError: if the vocabulary contradicts itself, e.g. merges into unknown tokens.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._tokens = vocabulary.tokens
        self._special_ids = vocabulary.special_ids
        ordinary = {
            token: token_id
            for token_id, token in enumerate(vocabulary.tokens)
            if token_id not in vocabulary.special_ids
        }
        try:
            # Special tokens are not handed over, so that no text can come out as one.
            bpe = models.BPE(
                ordinary, list(vocabulary.merges), ignore_merges=vocabulary.has_whole_words
            )
            stages: list[pre_tokenizers.PreTokenizer] = [
                pre_tokenizers.Split(tokenizers.Regex(split), "isolated")
                for split in vocabulary.splits
            ]
        except Exception as error:  # the library raises nothing more specific
            raise VocabularyError(f"The vocabulary contradicts itself: {error}.") from error
        stages.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
        self._tokenizer = tokenizers.Tokenizer(bpe)
        self._tokenizer.pre_tokenizer = pre_tokenizers.Sequence(stages)

    def encode(self, text: str) -> list[int]:
        """Ids of a text, never special ones; lone surrogates count as U+FFFD."""
        ids: list[int] = self._tokenizer.encode(
            _SURROGATE.sub("\ufffd", text), add_special_tokens=False
        ).ids
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of the ids; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode(errors="replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Bytes of the ids; special tokens as they are spelled, ids without a token as nothing.

        A network may have more outputs than its vocabulary has tokens.
        """
        return b"".join(map(self._token_bytes, ids))

    def _token_bytes(self, token_id: int) -> bytes:
        if not 0 <= token_id < len(self._tokens):
            return b""
        token = self._tokens[token_id]
        if token_id not in self._special_ids and all(map(_BYTE_OF.__contains__, token)):
            return bytes(map(_BYTE_OF.__getitem__, token))
        return token.encode(errors="replace")


class TextStream:
    """Decodes ids that arrive bit by bit; a character comes out once all its bytes are there."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, ids: Iterable[int]) -> str:
        """The text that these ids complete."""
        return self._decoder.decode(self._tokenizer.decode_bytes(ids))

    def flush(self) -> str:
        """The text still held back: none, for an incomplete character at the end is dropped."""
        self._decoder.reset()
        return ""
