"""Prompts of a given length from the bundled sample: our own code, with holes in it.

Knows no engine; lengths are those of one vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lsp_server.bench.line import PLAN
from model.format.tokenizer import Tokenizer
from sampler.messages import Complete, Mode
from sampler.sample import Hole, read_holes

FEWEST_TOKENS, MOST_TOKENS = 32, 2048
"""A longer prompt would be cut to the engine's window of characters."""
SUFFIX_SHARE = 4
"""One token in four stands behind the hole."""
_MARKS = 3
"""Special tokens of a prompt with a hole."""


@dataclass(frozen=True)
class Prompt:
    """The text around a hole that begins at the begin of a line."""

    prefix: str
    suffix: str

    def request(self, request_id: str, mode: Mode, layout: str, max_new_tokens: int) -> Complete:
        """Ask for what is to stand there."""
        return Complete(
            request_id,
            "bench",
            self.prefix,
            self.suffix,
            PLAN,
            mode=mode,
            layout=layout,
            max_new_tokens=max_new_tokens,
        )


def check_sizes(sizes: Sequence[int]) -> None:
    """Refuse what no prompt can have.

    Raises:
        ValueError: if a size is out of bounds.
    """
    for size in sizes:
        if not FEWEST_TOKENS <= size <= MOST_TOKENS:
            raise ValueError(
                f"prompts have {FEWEST_TOKENS} to {MOST_TOKENS:,} tokens, {size:,} is not possible"
            )


def read_prompts(tokenizer: Tokenizer, num_tokens: int) -> list[Prompt]:
    """All holes of the sample, each in about so many tokens of context.

    Where a hole's own file is too short, the other files stand before and behind it.
    """
    holes = read_holes()
    texts = list(dict.fromkeys(hole.prefix + hole.middle + hole.suffix for hole in holes))
    return [_prompt(hole, texts, tokenizer, num_tokens) for hole in holes]


def _prompt(hole: Hole, texts: list[str], tokenizer: Tokenizer, num_tokens: int) -> Prompt:
    others = [text for text in texts if text != hole.prefix + hole.middle + hole.suffix]
    before, behind = others[: -len(others) // 3], others[-len(others) // 3 :]
    # Within a line the last word would have to be healed, by forwards that decode one by one.
    line_start = hole.prefix.rfind("\n") + 1
    suffix_ids = tokenizer.encode("\n\n\n".join([hole.suffix, *behind]))
    suffix_ids = suffix_ids[: num_tokens // SUFFIX_SHARE]
    prefix_ids = tokenizer.encode("\n\n\n".join([*before, hole.prefix[:line_start]]))
    prefix_ids = prefix_ids[-(num_tokens - len(suffix_ids) - _MARKS) :]
    return Prompt(tokenizer.decode(prefix_ids), tokenizer.decode(suffix_ids))
