"""How much of an edit's answer is the old code, and how much of that had to be generated again.

Counts tokens, and so does not depend on the machine. Knows no engine: what the drafts of old code
would have been follows from the answer alone.
"""

from dataclasses import dataclass
from difflib import SequenceMatcher

from model.format.tokenizer import Tokenizer
from sampler.old_code import OldCode


@dataclass(frozen=True)
class Kept:
    """Tokens of an answer."""

    num_old: int
    num_new: int
    num_kept: int
    """Of both, by the longest common runs."""
    num_unforeseen: int
    """Kept ones that were not the next draft at their turn: a forward had to choose them."""

    @property
    def changed(self) -> float:
        """Share that is not kept, of the longer text."""
        return 1 - self.num_kept / max(self.num_old, self.num_new, 1)

    @property
    def unforeseen(self) -> float:
        """Share of the kept tokens."""
        return self.num_unforeseen / max(self.num_kept, 1)


def kept_tokens(tokenizer: Tokenizer, old: str, new: str) -> Kept:
    """What an answer kept of the old code; blank lines around it do not count."""
    old_tokens, new_tokens = (tokenizer.encode(text.strip("\n") + "\n") for text in (old, new))
    matcher = SequenceMatcher(None, old_tokens, new_tokens, autojunk=False)
    is_kept = [False] * len(new_tokens)
    for block in matcher.get_matching_blocks():
        is_kept[block.b : block.b + block.size] = [True] * block.size
    code, num_unforeseen = OldCode(old_tokens), 0
    for token, kept in zip(new_tokens, is_kept, strict=True):
        num_unforeseen += kept and code.drafts(1) != [token]
        code.follow([token])
    return Kept(len(old_tokens), len(new_tokens), sum(is_kept), num_unforeseen)
