"""What a request wants computed next, as data. Knows no network."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

from sampler.judgment import Judgment
from sampler.kv_cache import CachedSequence
from sampler.messages import Event

Result = TypeVar("Result")


class InterruptedForwardError(Exception):
    """A forward was ended before it had a result; what it was to compute can be computed again."""


@dataclass(frozen=True)
class Forward:
    """A chain of tokens behind those of a sequence, and branches of MASK rows behind the chain.

    Row i of the chain is judged by the AR model: what follows its token. The caller extends the
    sequence by the tokens that it keeps; K/V behind them are scratch.
    """

    sequence: CachedSequence
    """All its tokens are visible."""
    chain: list[int]
    """At least one token."""
    sizes: tuple[int, ...] = ()
    """MASK rows behind each of them, see `model.masks.Branches`; none if empty."""
    num_judged: int | None = None
    """How many of the last chain rows are judged, besides all MASK rows; all if None. With branches
    behind any but the last chain row, that is what it must be."""
    num_early: int = 0
    """How many of the first chain rows, none of which are judged, leave early, see `model.early`;
    none do where the network has no such map."""
    needs_logits: bool = False
    """Whether the judgment has logits."""
    needs_candidates: bool = False
    """Whether the judgment tells the likeliest tokens of all rows (`Judgment.likeliest`)."""

    @property
    def num_rows(self) -> int:
        """Chain and branches."""
        return len(self.chain) + sum(self.sizes)

    @property
    def num_unjudged(self) -> int:
        """First rows of the chain that are not judged."""
        return 0 if self.num_judged is None else len(self.chain) - self.num_judged

    def can_share(self, other: "Forward") -> bool:
        """Whether one forward may compute both.

        Rows that are not judged come first in it, so they must be of one. MASK rows choose among
        all ids where logits are asked for and else, perhaps, among fewer.
        """
        if self.num_unjudged and other.num_unjudged:
            return False
        plain = other if self.needs_logits else self
        return self.needs_logits == other.needs_logits or not any(plain.sizes)


Work = Generator[Forward | list[Event], Judgment, Result]
"""What a request does: it yields forwards and is sent what they say, and events that have come of
them, for which it is sent nothing."""


@dataclass(frozen=True)
class Turn:
    """What a request is granted of the next forward."""

    num_before: int = 0
    """Rows of others in it."""
    room: int | None = None
    """Rows that it may take; None: as many as it likes."""

    def limit(self, num_rows: int) -> int:
        """So many rows, or what there is room for."""
        return num_rows if self.room is None else min(num_rows, self.room)
