"""Ordinary Python code with holes in it, on which a machine's acceptance of drafts is measured.

The texts are our own. A hole stands between ⟦ and ⟧; the other holes of its file are filled. Knows
neither an engine nor what is measured.
"""

from dataclasses import dataclass
from pathlib import Path

from model.format.plan import HolePlan
from model.format.tokenizer import Tokenizer
from model.format.vocabulary import Vocabulary
from sampler.context import ContextLimits, build_context
from sampler.messages import Complete

BEGIN, END = "⟦", "⟧"
FOLDER = Path(__file__).parent
LIMITS = ContextLimits(num_tokens=512, max_prefix_chars=900, max_suffix_chars=240)
"""Short prompts, for reading them takes time that shows nothing."""


@dataclass(frozen=True)
class Hole:
    """A place in a text and what the author wrote there."""

    prefix: str
    middle: str
    suffix: str


def read_holes() -> list[Hole]:
    """All holes, one of each file in turn, so that any number of the first ones is varied."""
    by_file = [cut_holes(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.txt"))]
    longest = max(map(len, by_file))
    return [holes[i] for i in range(longest) for holes in by_file if i < len(holes)]


def cut_holes(text: str) -> list[Hole]:
    """The holes of a text in their order.

    Raises:
        ValueError: if the marks are not in pairs.
    """
    parts = text.replace(END, BEGIN).split(BEGIN)
    marks = [character for character in text if character in (BEGIN, END)]
    if marks != [BEGIN, END] * (len(parts) // 2):
        raise ValueError("the marks of holes are not in pairs")
    return [
        Hole("".join(parts[:index]), parts[index], "".join(parts[index + 1 :]))
        for index in range(1, len(parts), 2)
    ]


def sample_prompts(vocabulary: Vocabulary, tokenizer: Tokenizer) -> list[list[int]]:
    """The prompt of each hole, without the word at the cursor: that is for the model to write."""
    plan = HolePlan("python", "block", 12, "", "", "", "")
    prompts = []
    for hole in read_holes():
        request = Complete("sample", "sample", hole.prefix, hole.suffix, plan)
        context = build_context(request, vocabulary, tokenizer, LIMITS)
        prompts.append(context.tokens[: len(context.tokens) - context.num_healed])
    return prompts
