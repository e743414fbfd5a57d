"""Records whose middle the model has written itself.

Mode `exact` measures drafts by the base's own greedy text, which is easier to foresee than what
people write, and refuses all that stands behind a token that the base would not have written. On
data such rows teach little (`Recipe.off_path_weight`); here there are hardly any.

Source: distillation on text that a model wrote (sequence-level distillation, Kim and Rush
1606.07947; on-policy distillation, Agarwal et al. 2306.13649). Here teacher and student are one
base without and with an adapter, and mode `exact` writes what both would write.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from model.format.syntax import plan_hole
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import FimTokens
from sampler.messages import Complete, Finished
from training.data.holes import Hole
from training.data.records import Record, RecordMaker
from training.data.shards import Shards

MIN_TARGET = 16
"""Tokens of a hole that is filled anew: shorter ones have too few places for blocks."""
MAX_LINES = 20
MAX_NEW_TOKENS = 160


class Writer(Protocol):
    """What fills holes."""

    def complete(self, request: Complete) -> Finished:
        """Answer one request."""
        ...


def write_own(
    shards: Shards,
    writer: Writer,
    maker: RecordMaker,
    *,
    limit: int,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Iterator[tuple[Record, int]]:
    """Fill holes anew: each record with the `file` that its hole is in.

    Holes of which the model writes less than half of `MIN_TARGET` are left out.

    Args:
        shards: records with holes long enough, in any layout; the new ones are all `spm`.
        writer: a model's engine; greedy.
        maker: makes records with that model's vocabulary.
        limit: how many holes are asked for.
        seed: which ones.
        progress: is told how far it is.
    """
    count = min(limit, len(shards))
    for number in range(count):
        progress("own text", number, count)
        index = shards.place(number, seed)
        around = text_around(shards[index], maker.fim, maker.tokenizer)
        if around is None:
            continue
        prefix, suffix = around
        answer = writer.complete(
            Complete(
                request_id=str(number),
                document=str(number),
                prefix=prefix,
                suffix=suffix,
                plan=plan_hole("python", prefix, suffix, max_lines=MAX_LINES),
                max_new_tokens=MAX_NEW_TOKENS,
            )
        )
        text = prefix + answer.text + suffix
        hole = Hole(shards[index].kind, len(prefix), len(prefix) + len(answer.text))
        record = maker.fill(text, hole, "spm", chars_per_token=3.0)
        if record is not None and len(record.tokens) - record.target_start >= MIN_TARGET // 2:
            yield record, shards.file_of(index)


def text_around(record: Record, fim: FimTokens, tokenizer: Tokenizer) -> tuple[str, str] | None:
    """Text before and behind the hole of a record; None if its window cut a character in two."""
    ids = record.tokens[: record.target_start].tolist()
    middle, between = ids.index(fim.middle), ids.index(fim.suffix)
    if ids[1] == fim.suffix:  # spm
        prefix_ids, suffix_ids = ids[middle + 1 :], ids[2:middle]
    else:
        prefix_ids, suffix_ids = ids[1:between], ids[between + 1 : middle]
    prefix, suffix = tokenizer.decode(prefix_ids), tokenizer.decode(suffix_ids)
    return None if "\ufffd" in prefix + suffix else (prefix, suffix)
